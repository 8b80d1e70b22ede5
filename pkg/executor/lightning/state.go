package lightning

import (
	"strings"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/wrapper"
)

// stage is how far a job is by the service's word.
type stage int

const (
	// unclear stands for pending and for words that are not known: the service shows
	// either for a while at the end of a run.
	unclear stage = iota
	preparing
	running
	finishing
	ending
	over
	missed
)

// stageOf reads a state. Beside states, the word may be an action that was asked for
// and not done yet.
func stageOf(state string) stage {
	switch state {
	case "creating":
		return preparing
	case "running", "restarting":
		return running
	case "complete", "fail":
		return finishing
	case "stop", "stopping", "delete":
		return ending
	case "completed", "failed", "stopped":
		return over
	case "deleted":
		return missed
	}
	return unclear
}

func terminal(state string) bool { return stageOf(state) == over }
func stopping(state string) bool { return stageOf(state) == ending }
func gone(j *job) bool           { return stageOf(j.State) == missed }

// knownState says that a word is in the service's vocabulary.
func knownState(state string) bool { return state == "pending" || stageOf(state) != unclear }

// unended is the state of a job that has not ended. begun says that its script was
// seen to run: from then on no word makes it pending again.
func unended(j *job, begun bool) executor.State {
	s := executor.State{Phase: executor.Pending}
	if begun {
		s.Phase = executor.Running
		s.StartedAt = j.UserLogsStartedAt.Time
		if s.StartedAt.IsZero() {
			s.StartedAt = j.StartedAt.Time
		}
	}
	switch stage := stageOf(j.State); {
	case stage == ending:
		s.Message = "stopping"
	case j.State == "restarting":
		s.Message = "the machine is being started again"
		if j.InterruptionNoticeReceived {
			s.Message = "the machine was taken back by its provider, and another one is being started"
		}
	case begun && stage != running:
		s.Message = "finishing"
	case begun:
	case !j.StartedAt.IsZero():
		s.Message = "pulling image " + j.Spec.Image
	case stage == preparing:
		s.Message = "preparing a machine " + j.Spec.InstanceName
	default:
		s.Message = "waiting for a machine " + j.Spec.InstanceName
	}
	return s
}

// evidence is what is known of an ended job beside the service's own words.
type evidence struct {
	exit  *wrapper.Exit // nil where the log does not tell
	begun bool
	asked bool // by us, to stop
	seen  time.Time
}

// outcome is the state of an ended job.
func outcome(j *job, found evidence) executor.State {
	s := executor.State{Phase: executor.Ended, FinishedAt: endOf(j)}
	if s.FinishedAt.IsZero() {
		s.FinishedAt = found.seen
	}
	if found.begun {
		s.StartedAt = j.StartedAt.Time
	}
	said := strings.Join(notEmpty(j.Message, j.ServerError), "; ")
	taken := j.InterruptionNoticeReceived
	e := found.exit
	if e == nil {
		switch text := strings.ToLower(said); {
		case taken:
			s.Reason = executor.ReasonPreempted
		case strings.Contains(text, "oom") || strings.Contains(text, "out of memory"):
			s.Reason = executor.ReasonMemory
		case found.asked && j.State == "stopped":
			s.Reason = executor.ReasonStopped
		case j.Spec.Spot && found.begun && j.ServerError == "" && (j.State != "completed" || j.RestartCount > 0):
			s.Reason = executor.ReasonPreempted
		case j.State == "stopped":
			s.Reason = executor.ReasonStopped
		case j.State == "failed":
			s.Reason = executor.ReasonInfrastructure
			if said == "" {
				said = "Lightning AI says that the job failed, and its log does not tell how"
			}
		default:
			s.Reason = executor.ReasonLost
			said = "the job ended, and its log does not tell how"
		}
		s.Message = said
		return s
	}
	s.LogSize = e.Size
	if !e.Began.IsZero() {
		s.StartedAt, s.FinishedAt = e.Began, e.Ended
	}
	code := e.Code
	s.ExitCode = &code
	switch e.Reason {
	case "timeout":
		s.Reason = executor.ReasonTimeout
	case "memory":
		s.Reason, s.Message = executor.ReasonMemory, said
	case "infra":
		s.Reason, s.Message, s.ExitCode = executor.ReasonInfrastructure, e.Message, nil
	case "term":
		s.Reason = executor.ReasonStopped
		if taken || j.Spec.Spot && !found.asked {
			s.Reason = executor.ReasonPreempted
		}
		if s.StartedAt.IsZero() {
			s.ExitCode = nil // the script never began
		}
	default:
		switch {
		case j.State == "stopped" && found.asked:
			s.Reason = executor.ReasonStopped // the request came first
		case j.State == "failed" && code == 0:
			s.Reason, s.ExitCode = executor.ReasonInfrastructure, nil
			s.Message = strings.Join(notEmpty("the script succeeded, and Lightning AI says that the job failed", said), ": ")
		default:
			s.Reason = executor.ReasonExit
		}
	}
	return s
}

// endOf is when a job ended, by the service's word.
func endOf(j *job) time.Time {
	if !j.StoppedAt.IsZero() {
		return j.StoppedAt.Time
	}
	return j.UpdatedAt.Time
}

func notEmpty(texts ...string) []string {
	var list []string
	for _, text := range texts {
		if text = strings.TrimSpace(text); text != "" {
			list = append(list, text)
		}
	}
	return list
}
