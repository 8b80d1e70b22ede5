package planner

import (
	"context"
	"slices"

	"github.com/litci/litci/pkg/workflow"
)

// look asks GitHub for the facts that the set's triggers depend on, and for no
// others.
func (r repository) look(ctx context.Context, a *ask, set *workflow.Set) error {
	if a.Event == workflow.EventPush && a.facts.Branch != "" {
		open, err := r.hasOpenPull(ctx, a.facts.Branch)
		if err != nil {
			return err
		}
		a.facts.OpenPullRequest = open
	}
	// Skip words of those who cannot write do not count, so of forks they are not asked.
	if a.Event == workflow.EventPullRequest && a.fork == "" && triggered(*set, a.facts) {
		message, err := r.message(ctx, a.SHA)
		if err != nil {
			return err
		}
		a.facts.Message = message
		if trustMatters(*set, a.facts) {
			if a.facts.TrustedAuthor, err = r.mayWrite(ctx, a.author); err != nil {
				return err
			}
		}
	}
	if !set.NeedsChanged(a.facts) {
		return nil
	}
	var err error
	if a.PullRequest > 0 {
		a.facts.Changed, a.facts.ChangedKnown, err = r.pullFiles(ctx, a.PullRequest, a.files)
	} else {
		a.facts.Changed, a.facts.ChangedKnown, err = r.pushFiles(ctx, a.from, a.SHA)
	}
	if err == nil && !a.facts.ChangedKnown {
		set.Notices = append(set.Notices, "GitHub's list of changed files is missing or incomplete, so path filters let workflows run.")
	}
	return err
}

// triggered tells whether an event triggers any workflow.
func triggered(set workflow.Set, e workflow.Event) bool {
	return slices.ContainsFunc(set.Workflows, func(w workflow.Workflow) bool { return w.Decide(e).Triggered })
}

// trustMatters tells whether a decision depends on who wrote the message: it
// holds a skip word.
func trustMatters(set workflow.Set, e workflow.Event) bool {
	trusted, stranger := e, e
	trusted.TrustedAuthor, stranger.TrustedAuthor = true, false
	return slices.ContainsFunc(set.Workflows, func(w workflow.Workflow) bool { return w.Decide(trusted) != w.Decide(stranger) })
}

// pools are the named pools that the triggered workflows ask for, in order.
func pools(a ask, set workflow.Set) []string {
	var found []string
	for _, w := range set.Workflows {
		if !w.Decide(a.facts).Triggered {
			continue
		}
		for _, job := range w.Jobs(a.facts) {
			if job.Pool != "" && !slices.Contains(found, job.Pool) {
				found = append(found, job.Pool)
			}
		}
	}
	return found
}
