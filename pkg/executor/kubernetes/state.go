package kubernetes

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/wrapper"
)

// over says that a pod's containers have ended for good.
func (p *pod) over() bool {
	if p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" {
		return true
	}
	c := p.container(jobContainer)
	return c != nil && c.State.Terminated != nil
}

func (p *pod) container(name string) *containerStatus {
	for _, list := range [][]containerStatus{p.Status.Init, p.Status.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// finished is the condition that ends a Job, nil before.
func finished(j *job) *condition {
	if j.Status == nil {
		return nil
	}
	if c := find(j.Status.Conditions, "Complete"); c != nil {
		return c
	}
	return find(j.Status.Conditions, "Failed")
}

func (j *job) removed() bool { return j.Metadata.Labels[removedLabel] != "" }

// ended is the final state that was written to the Job, nil where there is none.
func (j *job) ended() *executor.State {
	text := j.Metadata.Annotations[endAnnotation]
	if text == "" {
		return nil
	}
	var state executor.State
	if err := json.Unmarshal([]byte(text), &state); err != nil || state.Phase != executor.Ended {
		return nil
	}
	return &state
}

// stopRequest is what was asked for, and when.
type stopRequest struct {
	At    time.Time `json:"at"`
	Grace int64     `json:"grace_ms"`
}

func (j *job) stop() *stopRequest {
	text := j.Metadata.Annotations[stopAnnotation]
	if text == "" {
		return nil
	}
	var r stopRequest
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return &stopRequest{} // somebody asked, in words of their own
	}
	return &r
}

// lingering is how long a pod may outlive its job's end: on a node that does not
// answer it never ends.
const lingering = 10 * time.Minute

// grade is how a pending job's wait looks.
type grade int

const (
	waits    grade = iota
	troubled       // it may get better, and seldom does
	hopeless
)

// wait is what a pending job waits for.
type wait struct {
	message string
	grade   grade
	// since is when it began to wait for this.
	since time.Time
}

// stateOf is a job as its objects show it. refusal is why the cluster makes no pod for
// it, as far as known. The wait is that of a pending job.
func stateOf(l look, refusal string, now time.Time) (executor.State, wait) {
	j := l.job
	alive := false
	for i := range l.pods {
		alive = alive || !l.pods[i].over()
	}
	if end := j.ended(); end != nil && (!alive || j.removed() || now.Sub(end.FinishedAt) > lingering) {
		return *end, wait{}
	}
	// Should there ever be two pods, the first one's word counts.
	if len(l.pods) > 0 && l.pods[0].over() {
		return fate(j, &l.pods[0]), wait{}
	}
	if c := finished(j); c != nil && !alive {
		return vanished(j, c), wait{}
	}
	if len(l.pods) == 0 {
		return unbegun(podless(j, refusal))
	}
	p := &l.pods[0]
	c := p.container(jobContainer)
	if c == nil || c.State.Running == nil {
		return unbegun(podWait(j, p))
	}
	state := executor.State{Phase: executor.Running, StartedAt: c.State.Running.Started.UTC()}
	switch disrupted := find(p.Status.Conditions, "DisruptionTarget"); {
	case j.stop() != nil:
		state.Message = "stopping"
	case disrupted != nil:
		state.Message = "the machine is being taken back: " + words(disrupted.Message, disrupted.Reason)
	case !p.Metadata.Deleted.IsZero():
		state.Message = "the pod is being deleted"
	case p.Status.Phase == "Unknown" || p.Status.Reason == "NodeLost":
		state.Message = "node " + p.Spec.NodeName + " does not answer"
	}
	return state, wait{}
}

func unbegun(w wait) (executor.State, wait) {
	return executor.State{Phase: executor.Pending, Message: w.message}, w
}

// podless is the wait of a job without a pod.
func podless(j *job, refusal string) wait {
	switch {
	case j.ended() != nil || j.stop() != nil:
		return wait{message: "stopping"}
	case j.Spec.Suspend:
		return wait{message: "waiting in the cluster's queue"}
	case strings.Contains(refusal, "exceeded quota"):
		return wait{message: "waiting for room in the namespace's quota: " + refusal}
	case refusal != "":
		return wait{message: "the cluster refuses the pod: " + refusal, grade: troubled, since: j.Metadata.Created}
	}
	return wait{message: "waiting for a pod"}
}

// podWait is the wait of a job whose script has not begun.
func podWait(j *job, p *pod) wait {
	if j.ended() != nil || j.stop() != nil {
		return wait{message: "stopping"}
	}
	scheduled := time.Time{}
	for _, c := range p.Status.Conditions {
		if c.Type != "PodScheduled" {
			continue
		}
		if c.Status != "True" {
			if c.Message == "" && c.Reason == "" {
				return wait{message: "waiting for a node"}
			}
			return wait{message: "waiting for a node: " + words(c.Message, c.Reason)}
		}
		scheduled = c.Changed
	}
	if scheduled.IsZero() && p.Spec.NodeName == "" {
		return wait{message: "waiting for a node"}
	}
	source, main := p.container(sourceContainer), p.container(jobContainer)
	sourced := source != nil && source.State.Terminated != nil
	for _, c := range []*containerStatus{source, main} {
		if c == nil || c.State.Waiting == nil {
			continue
		}
		image := imageOf(&j.Spec.Template.Spec, c.Name)
		w := c.State.Waiting
		switch w.Reason {
		case "InvalidImageName":
			return wait{message: "image " + image + " has a malformed name: " + words(w.Message, w.Reason), grade: hopeless, since: scheduled}
		case "ErrImageNeverPull":
			return wait{message: "image " + image + " is not there: " + words(w.Message, w.Reason), grade: hopeless, since: scheduled}
		case "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed":
			return wait{message: "image " + image + " cannot be pulled: " + words(w.Message, w.Reason), grade: troubled, since: scheduled}
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff":
			return wait{message: "the container cannot be started: " + words(w.Message, w.Reason), grade: troubled, since: scheduled}
		}
		if c == main && sourced {
			return wait{message: "pulling image " + image}
		}
	}
	if source != nil && source.State.Running != nil {
		return wait{message: "fetching the source"}
	}
	if p.Spec.NodeName == "" {
		return wait{message: "preparing the pod"}
	}
	return wait{message: "preparing the pod on node " + p.Spec.NodeName}
}

func imageOf(spec *podSpec, name string) string {
	for _, list := range [][]container{spec.InitContainers, spec.Containers} {
		for _, c := range list {
			if c.Name == name {
				return c.Image
			}
		}
	}
	return ""
}

// words are a message, or the bare reason where there is none; one line.
func words(message, reason string) string {
	if message == "" {
		message = reason
	}
	return strings.Join(strings.Fields(message), " ")
}

// fate is the final state of a job whose pod is over.
func fate(j *job, p *pod) executor.State {
	var ended *terminated
	if c := p.container(jobContainer); c != nil {
		ended = c.State.Terminated
	}
	s := executor.State{Phase: executor.Ended, FinishedAt: endOf(j, p, ended)}
	if ended == nil {
		withoutContainer(&s, j, p)
		return s
	}
	if told, ok := parseFinal(ended.Message); ok {
		byWrapper(&s, j, p, ended, told)
		return s
	}
	// The wrapper itself was killed, or never began.
	if !ended.Started.IsZero() && ended.Started.Unix() > 0 {
		s.StartedAt = ended.Started.UTC()
	}
	code := ended.Code
	interrupted := interruption(j, p)
	switch {
	case code == 0:
		s.Reason, s.ExitCode = executor.ReasonExit, &code
	case j.stop() != nil:
		s.Reason, s.ExitCode = executor.ReasonStopped, &code
	case interrupted.Reason != "":
		s.Reason, s.Message = interrupted.Reason, interrupted.Message
	case ended.Reason == "OOMKilled":
		s.Reason, s.ExitCode, s.Message = executor.ReasonMemory, &code, "the container used more memory than its limit"
	case ended.Reason == "StartError" || ended.Reason == "ContainerCannotRun":
		s.Reason, s.StartedAt = executor.ReasonInfrastructure, time.Time{}
		s.Message = "the container cannot be started (an image needs sh): " + words(ended.Message, ended.Reason)
	case !p.Metadata.Deleted.IsZero():
		s.Reason, s.Message = executor.ReasonLost, "the pod was deleted"
	default:
		s.Reason, s.Message = executor.ReasonInfrastructure, fmt.Sprintf("the container was killed (exit code %d): %s", code, words(ended.Message, ended.Reason))
	}
	return s
}

// byWrapper is what the wrapper told, in the light of what the cluster did.
func byWrapper(s *executor.State, j *job, p *pod, ended *terminated, told *wrapper.Exit) {
	s.LogSize = told.Size
	code := told.Code
	s.ExitCode = &code
	if !told.Began.IsZero() {
		s.StartedAt, s.FinishedAt = told.Began, told.Ended
	}
	switch told.Reason {
	case "timeout":
		s.Reason = executor.ReasonTimeout
	case "memory":
		s.Reason = executor.ReasonMemory
	case "infra":
		s.Reason, s.Message, s.ExitCode = executor.ReasonInfrastructure, told.Message, nil
	case "term":
		interrupted := interruption(j, p)
		switch {
		case j.stop() != nil:
			s.Reason = executor.ReasonStopped
		case interrupted.Reason != "":
			s.Reason, s.Message = interrupted.Reason, interrupted.Message
		default:
			s.Reason, s.Message = executor.ReasonLost, "the pod was deleted, or its node was shut down"
		}
		if told.Began.IsZero() {
			s.ExitCode = nil // the script never began
		}
	default:
		switch {
		case j.stop() != nil:
			s.Reason = executor.ReasonStopped // the request came first
		case ended.Reason == "OOMKilled" && code != 0:
			s.Reason = executor.ReasonMemory
		default:
			s.Reason = executor.ReasonExit
		}
	}
}

// withoutContainer is the end of a pod whose job's container never ran, or of which
// nothing is left.
func withoutContainer(s *executor.State, j *job, p *pod) {
	if interrupted := interruption(j, p); interrupted.Reason != "" {
		s.Reason, s.Message = interrupted.Reason, interrupted.Message
		return
	}
	s.Reason = executor.ReasonInfrastructure
	if j.stop() != nil {
		s.Reason = executor.ReasonStopped
		return
	}
	if c := p.container(sourceContainer); c != nil && c.State.Terminated != nil && c.State.Terminated.Code != 0 {
		t := c.State.Terminated
		told, ok := parseFinal(t.Message)
		switch {
		case ok:
			s.Message = told.Message
		case t.Reason == "OOMKilled":
			s.Message = "the source could not be unpacked: not enough memory"
		default:
			s.Message = "the source could not be fetched: " + words(t.Message, t.Reason)
		}
		return
	}
	s.Message = "the node did not run the pod: " + words(p.Status.Message, p.Status.Reason)
}

// interruption is what the cluster did to a running pod; without a reason where it did
// nothing.
func interruption(j *job, p *pod) executor.State {
	said := words(p.Status.Message, p.Status.Reason)
	evicted := p.Status.Reason == "Evicted"
	if evicted && strings.Contains(said, "exceed") && strings.Contains(said, "limit") {
		// Another machine of the kind would do the same.
		return executor.State{Reason: executor.ReasonInfrastructure, Message: "the pod used more disk than its limit: " + said}
	}
	if c := find(p.Status.Conditions, "DisruptionTarget"); c != nil {
		return executor.State{Reason: executor.ReasonPreempted, Message: words(c.Message, c.Reason)}
	}
	switch p.Status.Reason {
	case "Evicted", "Preempting", "Preempted", "NodeLost", "NodeShutdown", "Shutdown", "Terminated":
		return executor.State{Reason: executor.ReasonPreempted, Message: said}
	case "DeadlineExceeded":
		return executor.State{Reason: executor.ReasonTimeout, Message: "the cluster ended the pod at its deadline"}
	}
	if c := finished(j); c != nil && c.Reason == "DeadlineExceeded" {
		return executor.State{Reason: executor.ReasonTimeout, Message: "the cluster ended the job at its deadline"}
	}
	return executor.State{}
}

// vanished is the end of a job whose pod is gone.
func vanished(j *job, c *condition) executor.State {
	s := executor.State{Phase: executor.Ended, FinishedAt: c.Changed.UTC()}
	switch {
	case c.Type == "Complete":
		s.Reason, s.ExitCode = executor.ReasonExit, pointer(0)
		s.StartedAt = j.Status.Started.UTC()
		if !j.Status.Completed.IsZero() {
			s.FinishedAt = j.Status.Completed.UTC()
		}
	case j.stop() != nil:
		s.Reason = executor.ReasonStopped
	case c.Reason == "DeadlineExceeded":
		s.Reason, s.Message = executor.ReasonTimeout, "the cluster ended the job at its deadline"
	case c.Reason == "PodFailurePolicy":
		s.Reason, s.Message = executor.ReasonPreempted, words(c.Message, c.Reason)
	default:
		s.Reason, s.Message = executor.ReasonLost, "the pod was deleted, and nothing tells how it ended"
	}
	return s
}

// endOf is when a pod ended: by its container, else by the first sign of it.
func endOf(j *job, p *pod, ended *terminated) time.Time {
	var signs []time.Time
	if ended != nil {
		signs = append(signs, ended.Finished)
	}
	if c := p.container(sourceContainer); c != nil && c.State.Terminated != nil && c.State.Terminated.Code != 0 {
		signs = append(signs, c.State.Terminated.Finished)
	}
	if c := find(p.Status.Conditions, "DisruptionTarget"); c != nil {
		signs = append(signs, c.Changed)
	}
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" || c.Type == "ContainersReady" {
			signs = append(signs, c.Changed)
		}
	}
	if c := finished(j); c != nil {
		signs = append(signs, c.Changed)
	}
	for _, at := range append(signs, p.Metadata.Deleted, p.Status.Started, p.Metadata.Created) {
		if !at.IsZero() && at.Unix() > 0 {
			return at.UTC()
		}
	}
	return time.Time{}
}

// parseFinal reads the wrapper's last line from a termination message.
func parseFinal(message string) (*wrapper.Exit, bool) {
	rest, found := strings.CutPrefix(strings.TrimSpace(message), "exit ")
	if !found {
		return nil, false
	}
	return wrapper.ParseExit(rest)
}
