package fakekubernetes

import (
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// jobState is a Job with what its controller knows.
type jobState struct {
	job    job
	server *Server
	timer  *time.Timer
	// made says that the controller has made its pod, and refused that it could not.
	made, refused bool
	late          bool
}

// quiet ends what goes on for a Job by itself.
func (j *jobState) quiet() {
	if j.timer != nil {
		j.timer.Stop()
	}
}

var (
	nameForm     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	labelForm    = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`)
	quantityForm = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$`)
	keyForm      = regexp.MustCompile(`^[-._a-zA-Z0-9]+$`)
)

func checkMeta(kind string, m *meta, namespace string) error {
	if len(m.Name) > 253 || !nameForm.MatchString(m.Name) {
		return invalid(kind, m.Name, "metadata.name", "Invalid value: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'")
	}
	if m.Namespace != "" && m.Namespace != namespace {
		return fail(http.StatusBadRequest, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request")
	}
	for key, value := range m.Labels {
		if len(value) > 63 || !labelForm.MatchString(value) {
			return invalid(kind, m.Name, "metadata.labels", "Invalid value: "+value)
		}
		if _, name, found := strings.Cut(key, "/"); found && len(name) > 63 || key == "" {
			return invalid(kind, m.Name, "metadata.labels", "Invalid value: "+key)
		}
	}
	return nil
}

// checkJob is the API's validation, as far as our fields go.
func checkJob(j *job) error {
	bad := func(field, problem string) error { return invalid("Job.batch", j.Metadata.Name, field, problem) }
	spec := &j.Spec.Template.Spec
	switch {
	case len(j.Metadata.Name) > 63:
		return bad("metadata.name", "must be no more than 63 characters")
	case j.APIVersion != "batch/v1" || j.Kind != "Job":
		return fail(http.StatusBadRequest, "BadRequest", "the object provided is unrecognized (must be of type Job)")
	case spec.RestartPolicy != "Never" && spec.RestartPolicy != "OnFailure":
		return bad("spec.template.spec.restartPolicy", "Required value: valid values: \"OnFailure\", \"Never\"")
	case j.Spec.PodFailurePolicy != nil && spec.RestartPolicy != "Never":
		return bad("spec.template.spec.restartPolicy", "Invalid value: only \"Never\" is supported when podFailurePolicy is specified")
	case j.Spec.PodFailurePolicy != nil && j.Spec.Replacement != "" && j.Spec.Replacement != "Failed":
		return bad("spec.podReplacementPolicy", "Unsupported value: supported values: \"Failed\"")
	case j.Spec.Deadline != nil && *j.Spec.Deadline < 0 || j.Spec.TTL != nil && *j.Spec.TTL < 0:
		return bad("spec", "Invalid value: must be greater than or equal to 0")
	case len(spec.Containers) == 0:
		return bad("spec.template.spec.containers", "Required value")
	}
	if j.Spec.PodFailurePolicy != nil {
		for _, rule := range j.Spec.PodFailurePolicy.Rules {
			if !slices.Contains([]string{"FailJob", "Ignore", "Count", "FailIndex"}, rule.Action) || len(rule.OnPodConditions) == 0 {
				return bad("spec.podFailurePolicy.rules", "Invalid value")
			}
		}
	}
	volumes := map[string]bool{}
	for _, v := range spec.Volumes {
		if volumes[v.Name] || !nameForm.MatchString(v.Name) {
			return bad("spec.template.spec.volumes", "Duplicate or invalid value: "+v.Name)
		}
		volumes[v.Name] = true
		if v.Secret != nil && !nameForm.MatchString(v.Secret.Name) {
			return bad("spec.template.spec.volumes.secret.secretName", "Invalid value: "+v.Secret.Name)
		}
	}
	names := map[string]bool{}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		switch {
		case names[c.Name] || !nameForm.MatchString(c.Name):
			return bad("spec.template.spec.containers.name", "Duplicate or invalid value: "+c.Name)
		case c.Image == "" || strings.TrimSpace(c.Image) != c.Image:
			return bad("spec.template.spec.containers.image", "Invalid value: "+c.Image)
		}
		names[c.Name] = true
		paths := map[string]bool{}
		for _, m := range c.Mounts {
			if !volumes[m.Name] || paths[m.Path] || !strings.HasPrefix(m.Path, "/") {
				return bad("spec.template.spec.containers.volumeMounts", "Not found or not unique: "+m.Name+" "+m.Path)
			}
			paths[m.Path] = true
		}
		for name, amount := range c.Resources.Requests {
			if !quantityForm.MatchString(amount) {
				return bad("spec.template.spec.containers.resources.requests", "Invalid value: "+amount)
			}
			if strings.Contains(name, "/") && c.Resources.Limits[name] != amount {
				return bad("spec.template.spec.containers.resources.requests", "Limit must be set for non overcommitable resources")
			}
		}
		for _, amount := range c.Resources.Limits {
			if !quantityForm.MatchString(amount) {
				return bad("spec.template.spec.containers.resources.limits", "Invalid value: "+amount)
			}
		}
	}
	return nil
}

// restricted says how a pod breaks the restricted profile.
func restricted(spec *podSpec) string {
	var broken []string
	if spec.Security == nil || spec.Security.RunAsNonRoot == nil || !*spec.Security.RunAsNonRoot || spec.Security.RunAsUser != nil && *spec.Security.RunAsUser == 0 {
		broken = append(broken, "runAsNonRoot != true")
	}
	if spec.Security == nil || spec.Security.Seccomp == nil || spec.Security.Seccomp.Type != "RuntimeDefault" {
		broken = append(broken, "seccompProfile")
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		if c.Security == nil || c.Security.PrivilegeEscalation == nil || *c.Security.PrivilegeEscalation {
			broken = append(broken, "allowPrivilegeEscalation != false (container \""+c.Name+"\")")
		}
		if c.Security == nil || c.Security.Capabilities == nil || !slices.Contains(c.Security.Capabilities.Drop, "ALL") {
			broken = append(broken, "unrestricted capabilities (container \""+c.Name+"\")")
		}
	}
	return strings.Join(broken, ", ")
}

func (s *Server) createJob(c call) (any, int, error) {
	var j job
	if err := strict(c.body, &j); err != nil {
		return nil, 0, err
	}
	if err := checkMeta("Job.batch", &j.Metadata, s.options.Namespace); err != nil {
		return nil, 0, err
	}
	if s.jobs[j.Metadata.Name] != nil {
		return nil, 0, fail(http.StatusConflict, "AlreadyExists", "jobs.batch %q already exists", j.Metadata.Name)
	}
	if err := checkJob(&j); err != nil {
		return nil, 0, err
	}
	if s.closed {
		return nil, 0, fail(http.StatusServiceUnavailable, "ServiceUnavailable", "the cluster is going down")
	}
	s.born(&j.Metadata)
	j.Status = jobStatus{}
	state := &jobState{job: j, server: s}
	s.jobs[j.Metadata.Name] = state
	s.sync(state)
	return &state.job, http.StatusCreated, nil
}

func (s *Server) born(m *meta) {
	m.UID, m.ResourceVersion, m.Created, m.Namespace = newUID(), s.nextVersion(), ptr(now()), s.options.Namespace
}

func (s *Server) patchJob(c call) (any, int, error) {
	j := s.jobs[c.name]
	if j == nil {
		return nil, 0, notFound("jobs.batch", c.name)
	}
	after, err := patched(c, "jobs.batch", &j.job, func(j *job) *meta { return &j.Metadata })
	if err != nil {
		return nil, 0, err
	}
	if err := checkMeta("Job.batch", &after.Metadata, s.options.Namespace); err != nil {
		return nil, 0, err
	}
	was, is := j.job.Spec, after.Spec
	was.Suspend, was.Deadline, was.TTL, was.Parallelism = is.Suspend, is.Deadline, is.TTL, is.Parallelism
	if !reflect.DeepEqual(was, is) {
		return nil, 0, invalid("Job.batch", c.name, "spec.template", "Invalid value: field is immutable")
	}
	status := j.job.Status
	j.job = *after
	j.job.Status = status
	s.sync(j)
	return &j.job, http.StatusOK, nil
}

func (s *Server) deleteJob(c call) (any, int, error) {
	j := s.jobs[c.name]
	if j == nil {
		return nil, 0, notFound("jobs.batch", c.name)
	}
	options, err := deletionOf(c, "jobs.batch", &j.job.Metadata)
	if err != nil {
		return nil, 0, err
	}
	if options.Propagation != "Background" {
		return nil, 0, fail(http.StatusBadRequest, "BadRequest", "the double deletes Jobs in the background alone, not by %q", options.Propagation)
	}
	s.dropJob(j)
	return map[string]string{"kind": "Status", "apiVersion": "v1", "status": "Success"}, http.StatusOK, nil
}

// dropJob deletes a Job, and what it owns behind it.
func (s *Server) dropJob(j *jobState) {
	j.quiet()
	delete(s.jobs, j.job.Metadata.Name)
	for name, one := range s.secrets {
		if owned(one.Metadata.Owners, j.job.Metadata.UID) {
			delete(s.secrets, name)
		}
	}
	for _, p := range s.podsOf(j) {
		s.evictQuietly(p)
	}
	s.touch()
}

// DeleteJob deletes a Job as somebody else would.
func (s *Server) DeleteJob(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		s.dropJob(j)
	}
}

// Hold makes a Job look as if its deletion waits for something, or not any more.
func (s *Server) Hold(id string, deleting bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		j.job.Metadata.Deleted = nil
		if deleting {
			j.job.Metadata.Deleted = ptr(now())
		}
		s.touch()
	}
}

// Age makes a Job older than it is.
func (s *Server) Age(id string, by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		j.job.Metadata.Created = ptr(j.job.Metadata.Created.Add(-by))
	}
}

// Overdue makes a Job pass its deadline now.
func (s *Server) Overdue(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		j.late = true
		s.sync(j)
	}
}

func owned(owners []owner, uid string) bool {
	return slices.ContainsFunc(owners, func(o owner) bool { return o.UID == uid })
}

func (s *Server) podsOf(j *jobState) []*podState {
	var list []*podState
	for _, p := range s.pods {
		if owned(p.pod.Metadata.Owners, j.job.Metadata.UID) {
			list = append(list, p)
		}
	}
	return list
}

func (j *jobState) done() bool {
	return slices.ContainsFunc(j.job.Status.Conditions, func(c condition) bool {
		return (c.Type == "Complete" || c.Type == "Failed") && c.Status == "True"
	})
}

func (j *jobState) set(kind, reason, message string) {
	j.job.Status.Conditions = append(j.job.Status.Conditions, condition{kind, "True", reason, message, now()})
}

// sync is the job controller. The lock is held.
func (s *Server) sync(j *jobState) {
	defer s.touch()
	j.job.Metadata.ResourceVersion = s.nextVersion()
	if s.closed || j.done() || s.jobs[j.job.Metadata.Name] != j {
		return
	}
	pods := s.podsOf(j)
	alive := 0
	for _, p := range pods {
		if !p.terminal() {
			alive++
		}
	}
	st := &j.job.Status
	st.Active = alive
	if j.job.Spec.Suspend {
		for _, p := range pods {
			s.remove(p)
		}
		if !slices.ContainsFunc(st.Conditions, func(c condition) bool { return c.Type == "Suspended" }) {
			j.set("Suspended", "JobSuspended", "Job suspended")
		}
		st.Started = nil
		return
	}
	if st.Started == nil && !j.refused {
		st.Started = ptr(now())
		if d := j.job.Spec.Deadline; d != nil {
			j.timer = time.AfterFunc(time.Duration(*d)*time.Second, func() { s.Overdue(j.job.Metadata.Name) })
		}
	}
	if j.late {
		for _, p := range pods {
			if !p.terminal() {
				s.remove(p)
			}
		}
		if alive == 0 {
			for _, p := range pods {
				s.remove(p)
			}
			j.failed("DeadlineExceeded", "Job was active longer than specified deadline")
		}
		return
	}
	for _, p := range pods {
		switch {
		case p.pod.Status.Phase == "Succeeded":
			j.set("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")
			j.set("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
			st.Succeeded, st.Completed = 1, ptr(now())
			return
		case p.terminal():
			if d := p.disrupted(); d != nil && j.failsOn(d) {
				j.failed("PodFailurePolicy", fmt.Sprintf("Pod %s/%s has condition DisruptionTarget matching FailJob rule at index 0", s.options.Namespace, p.pod.Metadata.Name))
				return
			}
			j.failed("BackoffLimitExceeded", "Job has reached the specified backoff limit")
			return
		case p.pod.Metadata.Deleted != nil:
			st.Terminating = 1
		}
	}
	if !j.made {
		s.makePod(j)
	}
}

func (j *jobState) failsOn(c *condition) bool {
	if j.job.Spec.PodFailurePolicy == nil {
		return false
	}
	for _, rule := range j.job.Spec.PodFailurePolicy.Rules {
		for _, on := range rule.OnPodConditions {
			if rule.Action == "FailJob" && on.Type == c.Type && on.Status == c.Status {
				return true
			}
		}
	}
	return false
}

func (j *jobState) failed(reason, message string) {
	j.quiet()
	j.job.Status.Failed, j.job.Status.Active, j.job.Status.Terminating = 1, 0, 0
	j.set("FailureTarget", reason, message)
	j.set("Failed", reason, message)
}

// makePod makes the Job's one pod, or tells in an event why not.
func (s *Server) makePod(j *jobState) {
	template := j.job.Spec.Template
	name := scenario(template.Spec.Containers[0].Image)
	refusal := ""
	if broken := restricted(&template.Spec); s.options.Restricted && broken != "" {
		refusal = `pods "` + j.job.Metadata.Name + `-" is forbidden: violates PodSecurity "restricted:latest": ` + broken
	}
	switch name {
	case "refused":
		refusal = `admission webhook "policy.example" denied the request: images of strangers are not run here`
	case "quota":
		refusal = `pods "` + j.job.Metadata.Name + `-" is forbidden: exceeded quota: compute, requested: cpu=1, used: cpu=8, limited: cpu=8`
	}
	if refusal != "" && !s.released[j.job.Metadata.Name] {
		if !j.refused {
			j.refused = true
			j.job.Status.Started = nil
			j.quiet()
			s.events = append(s.events, event{
				Metadata: meta{Name: j.job.Metadata.Name + ".1"}, Involved: involved{"Job", j.job.Metadata.Name, j.job.Metadata.UID},
				Reason: "FailedCreate", Message: "Error creating: " + refusal, Type: "Warning", Last: ptr(now()),
			})
			s.retry(j)
		}
		return
	}
	j.made, j.refused = true, false
	p := &podState{server: s, job: j, deleted: make(chan struct{})}
	p.pod = pod{APIVersion: "v1", Kind: "Pod", Metadata: template.Metadata, Spec: template.Spec, Status: podStatus{Phase: "Pending"}}
	m := &p.pod.Metadata
	m.Labels, m.Annotations = copied(m.Labels), copied(m.Annotations)
	m.Labels["batch.kubernetes.io/job-name"], m.Labels["batch.kubernetes.io/controller-uid"] = j.job.Metadata.Name, j.job.Metadata.UID
	m.Owners = []owner{{APIVersion: "batch/v1", Kind: "Job", Name: j.job.Metadata.Name, UID: j.job.Metadata.UID, Controller: true}}
	s.born(m)
	m.Name = fmt.Sprintf("%s-%05d", j.job.Metadata.Name, s.version%100000)
	for _, c := range template.Spec.InitContainers {
		p.pod.Status.Init = append(p.pod.Status.Init, containerStatus{Name: c.Name, Image: c.Image, State: containerState{Waiting: &waiting{Reason: "PodInitializing"}}})
	}
	for _, c := range template.Spec.Containers {
		p.pod.Status.Containers = append(p.pod.Status.Containers, containerStatus{Name: c.Name, Image: c.Image, State: containerState{Waiting: &waiting{Reason: "PodInitializing"}}})
	}
	s.pods[m.Name] = p
	j.job.Status.Active = 1
	s.running.Go(p.live)
}

// retry makes the pod of a refused Job when the scenario is released.
func (s *Server) retry(j *jobState) {
	s.running.Go(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for !s.closed && !s.released[j.job.Metadata.Name] && s.jobs[j.job.Metadata.Name] == j {
			s.wait(nil)
		}
		s.sync(j)
	})
}

// wait lets go of the lock until something changes, or the channel is closed.
func (s *Server) wait(also <-chan struct{}) {
	changed := s.changed
	s.mu.Unlock()
	select {
	case <-changed:
	case <-also:
	}
	s.mu.Lock()
}

func copied(from map[string]string) map[string]string {
	to := map[string]string{}
	for key, value := range from {
		to[key] = value
	}
	return to
}

func (s *Server) createSecret(c call) (any, int, error) {
	var one secret
	if err := strict(c.body, &one); err != nil {
		return nil, 0, err
	}
	if err := checkMeta("Secret", &one.Metadata, s.options.Namespace); err != nil {
		return nil, 0, err
	}
	if s.secrets[one.Metadata.Name] != nil {
		return nil, 0, fail(http.StatusConflict, "AlreadyExists", "secrets %q already exists", one.Metadata.Name)
	}
	total := 0
	for key, value := range one.Data {
		total += len(value)
		if !keyForm.MatchString(key) {
			return nil, 0, invalid("Secret", one.Metadata.Name, "data", "Invalid value: "+key)
		}
	}
	if total > 1<<20 {
		return nil, 0, invalid("Secret", one.Metadata.Name, "data", "Too long: may not be more than 1048576 bytes")
	}
	s.born(&one.Metadata)
	s.secrets[one.Metadata.Name] = &one
	s.collectOwned(&one)
	s.touch()
	answer := one
	return &answer, http.StatusCreated, nil
}

// collectOwned deletes a Secret whose owner is gone, as the garbage collector does.
func (s *Server) collectOwned(one *secret) {
	for _, o := range one.Metadata.Owners {
		if j := s.jobs[o.Name]; o.Kind == "Job" && (j == nil || j.job.Metadata.UID != o.UID) {
			delete(s.secrets, one.Metadata.Name)
		}
	}
}
