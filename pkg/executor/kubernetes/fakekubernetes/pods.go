package fakekubernetes

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// podState is a pod with what its node knows.
type podState struct {
	pod    pod
	server *Server
	job    *jobState
	// deleted is closed when the pod is to end, with force when at once.
	deleted chan struct{}
	force   bool
	box     *box
	log     nodeLog
	dir     string
	// fate is what befell the running pod.
	fate string
	gone bool
}

func (p *podState) terminal() bool {
	return p.pod.Status.Phase == "Succeeded" || p.pod.Status.Phase == "Failed"
}

func (p *podState) disrupted() *condition {
	for i, c := range p.pod.Status.Conditions {
		if c.Type == "DisruptionTarget" && c.Status == "True" {
			return &p.pod.Status.Conditions[i]
		}
	}
	return nil
}

func (p *podState) condition(kind, status, reason, message string) {
	list := slices.DeleteFunc(p.pod.Status.Conditions, func(c condition) bool { return c.Type == kind })
	p.pod.Status.Conditions = append(list, condition{kind, status, reason, message, now()})
	p.changed()
}

func (p *podState) changed() {
	p.pod.Metadata.ResourceVersion = p.server.nextVersion()
	p.server.touch()
}

// vanish ends a pod at once.
func (p *podState) vanish() {
	p.force = true
	p.leave()
}

// leave asks the node to end the pod.
func (p *podState) leave() {
	if p.pod.Metadata.Deleted == nil {
		p.pod.Metadata.Deleted = ptr(now())
		close(p.deleted)
	}
	if p.box == nil {
		return
	}
	if p.force {
		p.box.kill()
		return
	}
	p.box.terminate(p.grace())
}

func (p *podState) grace() time.Duration {
	if g := p.pod.Spec.TerminationSeconds; g != nil {
		return time.Duration(*g) * time.Second
	}
	return 30 * time.Second
}

// remove deletes a pod: one that has ended at once, another one when it has.
func (s *Server) remove(p *podState) {
	if p.terminal() {
		delete(s.pods, p.pod.Metadata.Name)
		p.gone = true
		s.touch()
		return
	}
	if p.pod.Metadata.Deleted == nil {
		p.leave()
		p.changed()
	}
}

// evictQuietly is the garbage collector's deletion.
func (s *Server) evictQuietly(p *podState) { s.remove(p) }

func (s *Server) deletePod(c call) (any, int, error) {
	p := s.pods[c.name]
	if p == nil {
		return nil, 0, notFound("pods", c.name)
	}
	if _, err := deletionOf(c, "pods", &p.pod.Metadata); err != nil {
		return nil, 0, err
	}
	s.remove(p)
	return &p.pod, http.StatusOK, nil
}

func (s *Server) patchPod(c call) (any, int, error) {
	p := s.pods[c.name]
	if p == nil {
		return nil, 0, notFound("pods", c.name)
	}
	after, err := patched(c, "pods", &p.pod, func(p *pod) *meta { return &p.Metadata })
	if err != nil {
		return nil, 0, err
	}
	p.pod.Metadata = after.Metadata
	p.project()
	p.changed()
	return &p.pod, http.StatusOK, nil
}

// project writes the annotations that the pod mounts, as the node does.
func (p *podState) project() {
	if p.dir == "" {
		return
	}
	for _, v := range p.pod.Spec.Volumes {
		if v.Downward == nil {
			continue
		}
		for _, item := range v.Downward.Items {
			key, _ := strings.CutPrefix(item.Field.Path, "metadata.annotations['")
			value := p.pod.Metadata.Annotations[strings.TrimSuffix(key, "']")]
			at := filepath.Join(p.dir, v.Name, item.Path)
			if os.WriteFile(at+".new", []byte(value), 0o644) == nil {
				_ = os.Rename(at+".new", at) // a folder that is gone needs none
			}
		}
	}
}

// live is the pod's life: the scheduler's and the node's part of it.
func (p *podState) live() {
	s := p.server
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		if p.dir != "" {
			_ = os.RemoveAll(p.dir) // what is left is in the test's own folder
		}
		s.ended(p)
	}()
	story := scenario(p.pod.Spec.Containers[0].Image)
	switch story {
	case "unschedulable":
		p.condition("PodScheduled", "False", "Unschedulable", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
		p.hold()
	case "gated":
		p.condition("PodScheduled", "False", "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")
		p.hold()
	}
	if p.dying() {
		return
	}
	p.pod.Spec.NodeName = "node-1"
	p.pod.Status.Started = ptr(now())
	p.condition("PodScheduled", "True", "", "")
	if !p.volumes() {
		return
	}
	for i := range p.pod.Spec.InitContainers {
		if p.dying() {
			return
		}
		if code := p.run(&p.pod.Spec.InitContainers[i], &p.pod.Status.Init[i]); code != 0 {
			p.pod.Status.Phase = "Failed"
			return
		}
	}
	main := &p.pod.Status.Containers[0]
	if w := trouble(story, main.Image); w != nil {
		main.State = containerState{Waiting: w}
		p.changed()
		p.hold()
		main.State = containerState{Waiting: &waiting{Reason: "PodInitializing"}}
	}
	if p.dying() {
		return
	}
	if story == "start-error" {
		main.State = containerState{Terminated: &terminated{
			Code: 128, Reason: "StartError", Finished: now(),
			Message: `failed to create containerd task: exec: "sh": executable file not found in $PATH`,
		}}
		p.pod.Status.Phase = "Failed"
		return
	}
	code := p.run(&p.pod.Spec.Containers[0], main)
	p.close(code)
}

// trouble is what keeps a container waiting.
func trouble(story, image string) *waiting {
	switch story {
	case "pull":
		return &waiting{"ImagePullBackOff", `Back-off pulling image "` + image + `": ErrImagePull: not found`}
	case "invalid-image":
		return &waiting{"InvalidImageName", "couldn't parse image name: invalid reference format"}
	case "slow-pull":
		return &waiting{"PodInitializing", ""}
	case "config-error":
		return &waiting{"CreateContainerConfigError", "container has runAsNonRoot and image will run as root"}
	}
	return nil
}

// hold waits until the scenario is released, or the pod is deleted.
func (p *podState) hold() {
	for !p.dying() && !p.server.released[p.job.job.Metadata.Name] {
		p.server.wait(p.deleted)
	}
}

// dying says that the pod was deleted; one that never ran has failed then.
func (p *podState) dying() bool { return p.pod.Metadata.Deleted != nil || p.server.closed }

// volumes waits for what the pod mounts, and makes it.
func (p *podState) volumes() bool {
	s := p.server
	p.dir = filepath.Join(s.options.Dir, p.pod.Metadata.UID)
	for _, v := range p.pod.Spec.Volumes {
		at := filepath.Join(p.dir, v.Name)
		if os.MkdirAll(at, 0o777) != nil {
			return false
		}
		if v.Secret == nil {
			continue
		}
		for s.secrets[v.Secret.Name] == nil {
			if p.dying() {
				return false
			}
			s.wait(p.deleted)
		}
		for key, value := range s.secrets[v.Secret.Name].Data {
			if os.WriteFile(filepath.Join(at, key), value, 0o440) != nil {
				return false
			}
		}
	}
	p.project()
	return !p.dying()
}

// run runs one container to its end. The lock is not held meanwhile.
func (p *podState) run(c *container, status *containerStatus) int {
	s := p.server
	began := now()
	b, err := p.boot(c)
	if err != nil {
		status.State = containerState{Terminated: &terminated{Code: 128, Reason: "StartError", Message: err.Error(), Finished: now()}}
		p.pod.Status.Phase = "Failed"
		p.changed()
		return 128
	}
	p.box = b
	status.ImageID = c.Image + "@sha256:" + strings.Repeat("0", 64)
	status.State = containerState{Running: &running{began}}
	if status == &p.pod.Status.Containers[0] {
		p.pod.Status.Phase = "Running"
	}
	p.changed()
	if p.pod.Metadata.Deleted != nil {
		p.leave()
	}
	s.mu.Unlock()
	code := b.wait()
	message, _ := os.ReadFile(b.final) // none is none
	s.mu.Lock()
	if b.timer != nil {
		b.timer.Stop()
	}
	p.box = nil
	reason := "Completed"
	if code != 0 {
		reason = "Error"
	}
	status.State = containerState{Terminated: &terminated{Code: code, Reason: reason, Message: string(message), Started: began, Finished: now()}}
	return code
}

// printed is called when the script itself has printed something: the time for fate.
// The lock is held.
func (p *podState) printed() {
	if p.fate != "" || p.box == nil {
		return
	}
	p.fate = scenario(p.pod.Spec.Containers[0].Image)
	switch p.fate {
	case "oom", "evict", "disk", "node-lost", "killed":
		p.box.kill()
	case "preempt":
		p.condition("DisruptionTarget", "True", "PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod")
		p.server.remove(p)
	case "drain":
		p.condition("DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting")
		p.server.remove(p)
	case "deleted":
		p.server.remove(p)
	case "shutdown":
		// A node that shuts down ends pods in order, and keeps them.
		p.condition("DisruptionTarget", "True", "TerminationByKubelet", "Pod was terminated in response to imminent node shutdown.")
		p.box.terminate(p.grace())
	}
}

// close is the end of the pod as its node tells it.
func (p *podState) close(code int) {
	st := &p.pod.Status
	st.Phase = "Succeeded"
	if code != 0 {
		st.Phase = "Failed"
	}
	t := st.Containers[0].State.Terminated
	switch p.fate {
	case "oom":
		t.Reason = "OOMKilled"
	case "evict":
		st.Reason, st.Message = "Evicted", "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. Container job was using 3Gi, request is 2Gi."
		p.condition("DisruptionTarget", "True", "TerminationByKubelet", st.Message)
	case "disk":
		st.Reason, st.Message = "Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. "
	case "node-lost":
		st.Containers[0].State = containerState{Running: &running{t.Started}}
		p.condition("DisruptionTarget", "True", "DeletionByPodGC", "PodGC: node no longer exists")
	case "shutdown":
		st.Reason, st.Message = "Terminated", "Pod was terminated in response to imminent node shutdown."
	}
}

// ended is the end of the pod's life: the controller counts it, and a deleted one goes.
func (s *Server) ended(p *podState) {
	if !p.terminal() {
		p.pod.Status.Phase = "Failed"
	}
	p.changed()
	s.sync(p.job)
	if p.pod.Metadata.Deleted != nil {
		delete(s.pods, p.pod.Metadata.Name)
		p.gone = true
		s.sync(p.job)
	}
	s.touch()
}
