package kubernetes

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
)

func at(minute int) time.Time { return time.Date(2026, 9, 25, 7, minute, 0, 0, time.UTC) }

// conditions are written "Type=Status:Reason:Message".
func conditions(texts ...string) []condition {
	var list []condition
	for i, one := range texts {
		parts := strings.SplitN(one, ":", 3)
		kind, status, _ := strings.Cut(parts[0], "=")
		c := condition{Type: kind, Status: status, Changed: at(40 + i)}
		if len(parts) > 1 {
			c.Reason = parts[1]
		}
		if len(parts) > 2 {
			c.Message = parts[2]
		}
		list = append(list, c)
	}
	return list
}

func withState(name string, change func(*containerStatus)) containerStatus {
	c := containerStatus{Name: name}
	change(&c)
	return c
}

func waitingFor(name, reason, message string) containerStatus {
	return withState(name, func(c *containerStatus) { c.State.Waiting = &waiting{reason, message} })
}

func runs(name string) containerStatus {
	return withState(name, func(c *containerStatus) { c.State.Running = &running{at(10)} })
}

func gone(name string, code int, reason, message string) containerStatus {
	return withState(name, func(c *containerStatus) {
		c.State.Terminated = &terminated{Code: code, Reason: reason, Message: message, Started: at(10), Finished: at(20)}
	})
}

// final is a termination message, for a script that ran from 7:11 to 7:15.
func final(reason string, code int) string {
	return "exit " + reason + " " + strconv.Itoa(code) + " 5 " + strconv.FormatInt(at(11).UnixMilli(), 10) + " " + strconv.FormatInt(at(15).UnixMilli(), 10) + " \n"
}

// The rows of the executor's table: a Job, its pod, and what they say of the job.
func TestStates(t *testing.T) {
	t.Parallel()
	const (
		pending = string(executor.Pending)
		started = string(executor.Running)
	)
	stop := map[string]string{stopAnnotation: text(stopRequest{At: at(12), Grace: 1000})}
	end := map[string]string{endAnnotation: text(executor.State{Phase: executor.Ended, Reason: executor.ReasonStopped, FinishedAt: at(9)})}
	scheduled := conditions("PodScheduled=True")
	disrupted := conditions("PodScheduled=True", "DisruptionTarget=True:PreemptionByScheduler:preempting")
	ended := func(phase string, main containerStatus) *pod {
		return &pod{Status: podStatus{Phase: phase, Conditions: scheduled, Containers: []containerStatus{main}}}
	}
	for name, test := range map[string]struct {
		job     []condition
		notes   map[string]string
		suspend bool
		pod     *pod
		refusal string

		want string // phase or reason
		code int    // -1 is none
		says string
		wait grade
	}{
		"nothing yet":     {want: pending, code: -1, says: "waiting for a pod"},
		"refused":         {refusal: "violates PodSecurity", want: pending, code: -1, says: "refuses the pod: violates", wait: troubled},
		"quota":           {refusal: "exceeded quota: x", want: pending, code: -1, says: "quota"},
		"queued by Kueue": {suspend: true, want: pending, code: -1, says: "queue"},
		"not scheduled": {
			pod:  &pod{Status: podStatus{Phase: "Pending", Conditions: conditions("PodScheduled=False:Unschedulable:0/3 nodes")}},
			want: pending, code: -1, says: "waiting for a node: 0/3 nodes",
		},
		"no conditions at all": {pod: &pod{Status: podStatus{Phase: "Pending"}}, want: pending, code: -1, says: "waiting for a node"},
		"fetching": {
			pod:  &pod{Status: podStatus{Phase: "Pending", Conditions: scheduled, Init: []containerStatus{runs(sourceContainer)}, Containers: []containerStatus{waitingFor(jobContainer, "PodInitializing", "")}}},
			want: pending, code: -1, says: "fetching the source",
		},
		"pulling": {
			pod:  &pod{Status: podStatus{Phase: "Pending", Conditions: scheduled, Init: []containerStatus{gone(sourceContainer, 0, "Completed", "")}, Containers: []containerStatus{waitingFor(jobContainer, "PodInitializing", "")}}},
			want: pending, code: -1, says: "pulling image debian",
		},
		"the source image cannot be pulled": {
			pod:  &pod{Status: podStatus{Phase: "Pending", Conditions: scheduled, Init: []containerStatus{waitingFor(sourceContainer, "ErrImagePull", "no such host")}}},
			want: pending, code: -1, says: "image curl cannot be pulled: no such host", wait: troubled,
		},
		"running": {pod: ended("Running", runs(jobContainer)), want: started, code: -1},
		"stopping": {
			pod: ended("Running", runs(jobContainer)), notes: stop, want: started, code: -1, says: "stopping",
		},
		"running on a node that is silent": {
			pod:  &pod{Spec: podSpec{NodeName: "n1"}, Status: podStatus{Phase: "Unknown", Containers: []containerStatus{runs(jobContainer)}}},
			want: started, code: -1, says: "node n1 does not answer",
		},
		"success":           {pod: ended("Succeeded", gone(jobContainer, 0, "Completed", final("exit", 0))), want: "exit", code: 0},
		"failure":           {job: conditions("Failed=True:BackoffLimitExceeded"), pod: ended("Failed", gone(jobContainer, 3, "Error", final("exit", 3))), want: "exit", code: 3},
		"script's own 137":  {pod: ended("Failed", gone(jobContainer, 137, "Error", final("exit", 137))), want: "exit", code: 137},
		"wrapper's timeout": {pod: ended("Failed", gone(jobContainer, 143, "Error", final("timeout", 143))), want: "timeout", code: 143},
		"memory of a child": {pod: ended("Failed", gone(jobContainer, 137, "Error", final("memory", 137))), want: "out of memory", code: 137},
		"memory, by the runtime's word": {
			pod: ended("Failed", gone(jobContainer, 1, "OOMKilled", final("exit", 1))), want: "out of memory", code: 1,
		},
		"memory of a child that did not matter": {pod: ended("Succeeded", gone(jobContainer, 0, "OOMKilled", final("exit", 0))), want: "exit", code: 0},
		"memory of all":                         {pod: ended("Failed", gone(jobContainer, 137, "OOMKilled", "")), want: "out of memory", code: 137},
		"stopped":                               {pod: ended("Failed", gone(jobContainer, 3, "Error", final("term", 3))), notes: stop, want: "stopped", code: 3},
		"ended by itself after the request":     {pod: ended("Succeeded", gone(jobContainer, 0, "Completed", final("exit", 0))), notes: stop, want: "stopped", code: 0},
		"terminated by nobody we know":          {pod: ended("Failed", gone(jobContainer, 143, "Error", final("term", 143))), want: "lost", code: 143, says: "deleted"},
		"terminated by the cluster's deadline": {
			job: conditions("Failed=True:DeadlineExceeded"), pod: ended("Failed", gone(jobContainer, 143, "Error", final("term", 143))), want: "timeout", code: 143,
		},
		"preempted, and told": {
			pod:  &pod{Status: podStatus{Phase: "Failed", Conditions: disrupted, Containers: []containerStatus{gone(jobContainer, 143, "Error", final("term", 143))}}},
			want: "preempted", code: 143, says: "preempting",
		},
		"ended by itself while being preempted": {
			pod:  &pod{Status: podStatus{Phase: "Failed", Conditions: disrupted, Containers: []containerStatus{gone(jobContainer, 4, "Error", final("exit", 4))}}},
			want: "exit", code: 4,
		},
		"preempted, killed": {
			pod:  &pod{Status: podStatus{Phase: "Failed", Conditions: disrupted, Containers: []containerStatus{gone(jobContainer, 137, "Error", "")}}},
			want: "preempted", code: -1,
		},
		"preempted before it began": {
			pod: &pod{Status: podStatus{Phase: "Failed", Conditions: disrupted}}, want: "preempted", code: -1,
		},
		"evicted without a condition": {
			pod: &pod{Status: podStatus{Phase: "Failed", Reason: "Evicted", Message: "The node was low on resource: memory."}}, want: "preempted", code: -1, says: "low on",
		},
		"too much disk": {
			pod:  &pod{Status: podStatus{Phase: "Failed", Reason: "Evicted", Message: "Container job exceeded its local ephemeral storage limit \"1Gi\"."}},
			want: "infrastructure", code: -1, says: "more disk",
		},
		"no room on the node": {
			pod: &pod{Status: podStatus{Phase: "Failed", Reason: "OutOfcpu", Message: "Node didn't have enough resource: cpu"}}, want: "infrastructure", code: -1, says: "enough resource",
		},
		"no source": {
			pod:  &pod{Status: podStatus{Phase: "Failed", Init: []containerStatus{gone(sourceContainer, 96, "Error", "exit infra 96 0 0 0 no curl\n")}}},
			want: "infrastructure", code: -1, says: "no curl",
		},
		"no memory for the source": {
			pod:  &pod{Status: podStatus{Phase: "Failed", Init: []containerStatus{gone(sourceContainer, 137, "OOMKilled", "")}}},
			want: "infrastructure", code: -1, says: "not enough memory",
		},
		"run twice by the node":   {pod: ended("Failed", gone(jobContainer, 98, "Error", "exit infra 98 0 0 0 not run twice")), want: "infrastructure", code: -1, says: "not run twice"},
		"succeeded, pod gone":     {job: conditions("Complete=True:CompletionsReached"), want: "exit", code: 0},
		"failed, pod gone":        {job: conditions("Failed=True:BackoffLimitExceeded"), want: "lost", code: -1, says: "deleted"},
		"preempted, pod gone":     {job: conditions("Failed=True:PodFailurePolicy:Pod x has condition"), want: "preempted", code: -1, says: "Pod x has condition"},
		"deadline, pod gone":      {job: conditions("Failed=True:DeadlineExceeded"), want: "timeout", code: -1},
		"stopped, pod gone":       {job: conditions("Failed=True:BackoffLimitExceeded"), notes: stop, want: "stopped", code: -1},
		"target is not the end":   {job: conditions("FailureTarget=True:DeadlineExceeded"), pod: ended("Running", runs(jobContainer)), want: started, code: -1},
		"concluded by us":         {notes: end, suspend: true, want: "stopped", code: -1},
		"concluded, pod alive":    {notes: end, suspend: true, pod: &pod{Status: podStatus{Phase: "Pending"}}, want: pending, code: -1, says: "stopping"},
		"garbage for an end":      {notes: map[string]string{endAnnotation: "{"}, want: pending, code: -1},
		"garbage for a request":   {notes: map[string]string{stopAnnotation: "now"}, pod: ended("Running", runs(jobContainer)), want: started, code: -1, says: "stopping"},
		"no final message, code":  {pod: ended("Failed", gone(jobContainer, 127, "Error", "")), want: "infrastructure", code: -1, says: "exit code 127"},
		"no final message, zero":  {pod: ended("Succeeded", gone(jobContainer, 0, "Completed", "")), want: "exit", code: 0},
		"another's final message": {pod: ended("Failed", gone(jobContainer, 1, "Error", "exit strategy")), want: "infrastructure", code: -1},
	} {
		l := look{job: &job{Metadata: meta{Created: at(0), Annotations: test.notes}, Status: &jobStatus{Conditions: test.job, Started: at(1)}}}
		l.job.Spec.Suspend = test.suspend
		l.job.Spec.Template.Spec.InitContainers = []container{{Name: sourceContainer, Image: "curl"}}
		l.job.Spec.Template.Spec.Containers = []container{{Name: jobContainer, Image: "debian"}}
		if test.pod != nil {
			test.pod.Metadata.Created = at(1)
			l.pods = []pod{*test.pod}
		}
		got, w := stateOf(l, test.refusal, at(12))
		is := string(got.Phase)
		if got.Phase == executor.Ended {
			is = string(got.Reason)
			if got.FinishedAt.IsZero() {
				t.Errorf("%s: no time of its end", name)
			}
		}
		code := -1
		if got.ExitCode != nil {
			code = *got.ExitCode
		}
		if is != test.want || code != test.code || !strings.Contains(got.Message, test.says) || w.grade != test.wait {
			t.Errorf("%s: %+v, code %d, %+v", name, got, code, w)
		}
		if got.Phase == executor.Ended && got.Reason == executor.ReasonExit && got.LogSize == 5 && !got.FinishedAt.Equal(at(15)) {
			t.Errorf("%s: ended at %v", name, got.FinishedAt)
		}
	}
}

// A pod that cannot be seen to end does not keep a concluded job for ever.
func TestLingeringPod(t *testing.T) {
	t.Parallel()
	end := text(executor.State{Phase: executor.Ended, Reason: executor.ReasonStopped, FinishedAt: at(0)})
	l := look{job: &job{Metadata: meta{Annotations: map[string]string{endAnnotation: end}}}, pods: []pod{{Status: podStatus{Phase: "Unknown"}}}}
	for minute, want := range map[int]executor.Phase{5: executor.Pending, 11: executor.Ended} {
		if got, _ := stateOf(l, "", at(minute)); got.Phase != want {
			t.Errorf("after %d minutes: %+v", minute, got)
		}
	}
}

// Should the cluster have made two pods, the first one's word counts, always.
func TestTwoPods(t *testing.T) {
	t.Parallel()
	made := func(name string, minute, code int) pod {
		return pod{
			Metadata: meta{Name: name, Created: at(minute), Owners: []owner{{UID: "u"}}},
			Status:   podStatus{Phase: "Failed", Containers: []containerStatus{gone(jobContainer, code, "Error", final("exit", code))}},
		}
	}
	j := &job{Metadata: meta{UID: "u"}}
	stranger := made("stranger", 0, 9)
	stranger.Metadata.Owners = nil
	l := look{j, podsOf(j, []pod{made("b", 2, 2), stranger, made("a", 1, 1)})}
	if got, _ := stateOf(l, "", at(30)); len(l.pods) != 2 || got.ExitCode == nil || *got.ExitCode != 1 {
		t.Errorf("state is %+v", got)
	}
}
