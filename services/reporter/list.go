package reporter

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

// Job is a job's newest attempt as the reporter knows it, for people who operate a
// mesh.
type Job struct {
	flow.Identity
	Job     string `json:"job"`
	Index   int    `json:"index"`
	Attempt int    `json:"attempt"`
	Check   string `json:"check"`
	Pool    string `json:"pool,omitempty"`
	// Optional jobs may fail.
	Optional bool       `json:"optional,omitempty"`
	State    flow.State `json:"state"`
	// Conclusion is empty while the job is open.
	Conclusion flow.Conclusion `json:"conclusion,omitempty"`
	Cause      flow.Cause      `json:"cause,omitempty"`
	// Message is what the services said last: what it waits for, or why it ended.
	Message    string    `json:"message,omitempty"`
	ExitCode   *int      `json:"exit_code,omitempty"`
	Executor   string    `json:"executor,omitempty"`
	Host       string    `json:"host,omitempty"`
	QueuedAt   time.Time `json:"queued_at,omitzero"`
	BeganAt    time.Time `json:"began_at,omitzero"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
	// FirstError is the log's first line that looks like an error.
	FirstError string `json:"first_error,omitempty"`
	// URL is the address of the job's page, empty where it is not known.
	URL string `json:"url,omitempty"`
	// Log is the name of the archive in the object store logs.
	Log string `json:"log,omitempty"`
}

// Open says that the job has no verdict yet.
func (j Job) Open() bool { return j.Conclusion == "" }

// Failed says that the job's verdict is a red one.
func (j Job) Failed() bool { return failed(j.Conclusion) }

// Word names the state or the verdict.
func (j Job) Word() string { return stateWord(j.State, j.Conclusion) }

func jobOf(s jobState, page string) Job {
	return Job{
		Identity: s.Identity, Job: s.Job, Index: s.Index, Attempt: s.Attempt, Check: s.Check, Pool: s.Pool, Optional: s.Optional,
		State: s.State, Conclusion: s.Conclusion, Cause: s.Cause, Message: s.Message, ExitCode: s.ExitCode,
		Executor: s.Executor, Host: s.Host, QueuedAt: s.QueuedAt, BeganAt: s.began(), FinishedAt: s.FinishedAt, FirstError: s.FirstError, Log: s.Log, URL: pageOf(page, s.Index),
	}
}

// unstarted is a job of a plan of which no message came yet.
func unstarted(r runState, index int) Job {
	p, planned := r.Plan, r.Plan.Jobs[index]
	return Job{
		Identity: p.Identity, Job: planned.Job, Index: index, Attempt: 1, Check: planned.Check, Pool: planned.Pool,
		Optional: planned.Optional, State: flow.Queued, QueuedAt: p.PlannedAt, URL: pageOf(r.Page, index),
	}
}

// pageOf is the address of a job's page below its run's.
func pageOf(run string, index int) string {
	if run == "" {
		return ""
	}
	return fmt.Sprintf("%s/jobs/%d", run, index)
}

// EachJob hands fn every job that the reporter knows of, or those of one run, in no
// order, and returns with the first error of fn. Jobs that are only planned count.
func EachJob(ctx context.Context, b *bus.Bus, run string, fn func(Job) error) error {
	if run == "" {
		run = "*"
	}
	jobs, plans := jobsPattern(run), runKey(run)
	planned := map[string]runState{}
	err := b.Runs().Each(ctx, bus.Following{Patterns: []string{plans}}, func(key string, data []byte) error {
		state, err := decode[runState](key, data)
		if err == nil && state.Plan != nil {
			planned[state.Plan.Run] = state
		}
		return err
	})
	if err != nil {
		return err
	}
	heard := map[string]map[int]bool{}
	err = b.Runs().Each(ctx, bus.Following{Patterns: []string{jobs}}, func(key string, data []byte) error {
		state, err := decode[jobState](key, data)
		if err != nil || state.Attempt == 0 {
			return err
		}
		if heard[state.Run] == nil {
			heard[state.Run] = map[int]bool{}
		}
		heard[state.Run][state.Index] = true
		return fn(jobOf(state, planned[state.Run].Page))
	})
	if err != nil {
		return err
	}
	for run, state := range planned {
		for index := range state.Plan.Jobs {
			if heard[run][index] {
				continue
			}
			if err := fn(unstarted(state, index)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Runs are the ids of the runs that the reporter knows of and that begin with a
// prefix, sorted.
func Runs(ctx context.Context, b *bus.Bus, prefix string) ([]string, error) {
	var found []string
	err := b.Runs().Each(ctx, bus.Following{Patterns: []string{runKey("*")}, KeysOnly: true}, func(key string, _ []byte) error {
		if run := strings.TrimPrefix(key, runKey("")); strings.HasPrefix(run, prefix) {
			found = append(found, run)
		}
		return nil
	})
	slices.Sort(found)
	return found, err
}
