package localrun

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/workflow"
	"github.com/litci/litci/services/planner"
)

// UseError is a wrong use: a name or a value that is not there.
type UseError struct{ error }

// Unwrap gives the cause.
func (e *UseError) Unwrap() error { return e.error }

func useErrorf(format string, args ...any) error { return &UseError{fmt.Errorf(format, args...)} }

// narrow keeps the workflows that --workflow names, and the problems of their
// files.
func narrow(set *workflow.Set, dir string, files []string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	chosen := map[string]bool{}
	for _, name := range names {
		found := false
		at, err := filepath.Abs(name)
		if err != nil {
			return fmt.Errorf("--workflow %s: %w", name, err)
		}
		is := func(file, id string) bool {
			return name == id || name == file || path.Clean(name) == file || name == path.Base(file) || at == filepath.Join(dir, filepath.FromSlash(file))
		}
		for _, w := range set.Workflows {
			if is(w.Path, w.ID()) {
				found, chosen[w.Path+"\x00"+w.ID()] = true, true
			}
		}
		for _, f := range files { // one that is broken has problems and no workflow
			if is(f, f) {
				found, chosen[f] = true, true
			}
		}
		if !found {
			return useErrorf("--workflow %s is not there; the workflow files are %s", name, listed(files, *set))
		}
	}
	set.Workflows = slices.DeleteFunc(set.Workflows, func(w workflow.Workflow) bool { return !chosen[w.Path+"\x00"+w.ID()] })
	set.Problems = slices.DeleteFunc(set.Problems, func(p flow.Problem) bool {
		return p.File != "" && !chosen[p.File] && !slices.ContainsFunc(set.Workflows, func(w workflow.Workflow) bool { return w.Path == p.File })
	})
	return nil
}

// listed are the names that --workflow takes.
func listed(files []string, set workflow.Set) string {
	var names []string
	for _, f := range files {
		names = append(names, path.Base(f))
	}
	for _, w := range set.Workflows {
		if w.Path == workflow.SingleFile {
			names = append(names, w.ID())
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// asked is what the planner is asked to plan. Without --event the triggers have no
// say: every workflow listens.
func asked(ctx context.Context, o Options, t *tree, set *workflow.Set) (planner.Asked, place, error) {
	p := t.place(ctx)
	now := time.Now().UTC()
	a := planner.Asked{
		Identity: flow.Identity{
			Delivery: "local", Installation: 1, Repo: flow.Repo{ID: 1, Owner: p.owner, Name: p.name, DefaultBranch: p.base},
			Event: cmp.Or(o.Event, workflow.EventPullRequest), SHA: p.sha,
		},
		Actor: p.user, At: now,
	}
	if p.branch != "" {
		a.Ref = "refs/heads/" + p.branch
	}
	a.Run = flow.RunID(a.Installation, a.Repo.ID, a.Event, a.Ref, a.SHA, rand.Text())
	a.Facts = workflow.Event{Kind: a.Event}
	switch o.Event {
	case "":
		for i := range set.Workflows {
			set.Workflows[i].Triggers = []workflow.Trigger{{Event: a.Event}}
		}
		return a, p, ctx.Err()
	case workflow.EventPush:
		a.Facts.Branch = cmp.Or(o.Branch, p.branch)
		a.Ref = "refs/heads/" + a.Facts.Branch
	case workflow.EventPullRequest, workflow.EventMergeGroup:
		a.Facts.Branch = cmp.Or(o.Branch, p.base)
	default:
		return a, p, useErrorf("--event %s is not known; the events are %s, %s and %s", o.Event, workflow.EventPush, workflow.EventPullRequest, workflow.EventMergeGroup)
	}
	if a.Facts.Branch == "" {
		return a, p, useErrorf("--event %s needs a --branch: none is checked out", o.Event)
	}
	p.base = a.Facts.Branch
	if !set.NeedsChanged(a.Facts) {
		return a, p, ctx.Err()
	}
	var err error
	if a.Facts.Changed, a.Facts.ChangedKnown, err = t.changed(ctx, a.Facts.Branch); err != nil {
		return a, p, err
	}
	if !a.Facts.ChangedKnown {
		set.Notices = append(set.Notices, fmt.Sprintf("The changed files are not known, because no branch %s is there to compare with, so path filters let workflows run.", a.Facts.Branch))
	}
	return a, p, ctx.Err()
}

// only keeps the jobs whose parameters have the values of --only. Values of one
// name are alternatives; several names must all fit.
func only(jobs []flow.Job, wanted []string) ([]flow.Job, error) {
	if len(wanted) == 0 || len(jobs) == 0 { // why there are none matters more
		return jobs, nil
	}
	values := map[string][]string{}
	for _, pair := range wanted {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, useErrorf("--only %s is not KEY=VALUE, such as --only python=3.11", pair)
		}
		have := valuesOf(jobs, name)
		switch {
		case len(have) == 0:
			return nil, useErrorf("--only %s: no job has a parameter %s; %s", pair, name, parameters(jobs))
		case !slices.Contains(have, value):
			return nil, useErrorf("--only %s: no job has this value; %s is %s", pair, name, strings.Join(have, ", "))
		}
		values[name] = append(values[name], value)
	}
	kept := slices.DeleteFunc(slices.Clone(jobs), func(job flow.Job) bool {
		for name, alternatives := range values {
			if !slices.ContainsFunc(job.Params, func(p flow.Param) bool { return p.Name == name && slices.Contains(alternatives, p.Text()) }) {
				return true
			}
		}
		return false
	})
	if len(kept) == 0 {
		var names []string
		for _, job := range jobs {
			names = append(names, job.Check)
		}
		return nil, useErrorf("no job has all of --only %s; the jobs are\n  %s", strings.Join(wanted, " --only "), strings.Join(names, "\n  "))
	}
	return kept, nil
}

// valuesOf are the values that a parameter has, in the order of the jobs.
func valuesOf(jobs []flow.Job, name string) []string {
	var values []string
	for _, job := range jobs {
		for _, p := range job.Params {
			if p.Name == name && !slices.Contains(values, p.Text()) {
				values = append(values, p.Text())
			}
		}
	}
	return values
}

// parameters says which parameters there are.
func parameters(jobs []flow.Job) string {
	var names []string
	for _, job := range jobs {
		for _, p := range job.Params {
			if !slices.Contains(names, p.Name) {
				names = append(names, p.Name)
			}
		}
	}
	if len(names) == 0 {
		return "there is no matrix"
	}
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = name + " (" + strings.Join(valuesOf(jobs, name), ", ") + ")"
	}
	return "the parameters are " + strings.Join(texts, "; ")
}
