package planner

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/workflow"
)

// checkoutMerge is the value of checkout that tests a pull request merged into its base.
const checkoutMerge = "merge"

// mergeWithin is for how long GitHub is asked whether a pull request can be merged,
// which it computes once it is asked
// (https://docs.github.com/en/rest/guides/using-the-rest-api-to-interact-with-your-git-database).
const mergeWithin = 2 * time.Minute

// merge finds the commit that is the pull request merged into its base, where a
// triggered workflow tests that, or why there is none.
func (p *Planner) merge(ctx context.Context, repo repository, a *ask, set workflow.Set) error {
	if a.Event != workflow.EventPullRequest || a.fork != "" || !slices.ContainsFunc(set.Workflows, func(w workflow.Workflow) bool {
		return w.Options.Checkout == checkoutMerge && w.Decide(a.facts).Triggered
	}) {
		return nil
	}
	sha, mergeable, err := repo.testMerge(ctx, a.PullRequest)
	if err != nil {
		return err
	}
	if mergeable != nil && !*mergeable {
		a.unmerged = fmt.Sprintf("the pull request conflicts with %s: merge %s into it, or rebase it, and push", a.baseRef, a.baseRef)
		return nil
	}
	if mergeable != nil {
		parents, err := repo.parents(ctx, sha)
		if err != nil {
			return err
		}
		// The test merge of another head than this one is an old one.
		if len(parents) == 2 && parents[1] == a.SHA {
			a.merge = sha
			return nil
		}
	}
	if time.Since(bus.Delivery(ctx).Stored) < mergeWithin {
		return bus.Later(fmt.Errorf("pull request %d: GitHub has no test merge of %s yet", a.PullRequest, a.SHA), lag)
	}
	a.unmerged = fmt.Sprintf("GitHub did not say within %s whether the pull request can be merged into %s: push again, or run this check again", mergeWithin, a.baseRef)
	return nil
}

// testMerge asks for the commit that GitHub made to see whether a pull request can be
// merged; mergeable is nil while that is computed.
func (r repository) testMerge(ctx context.Context, number int) (sha string, mergeable *bool, err error) {
	pr, _, err := r.client.PullRequests.Get(ctx, r.Owner, r.Name, number)
	if err != nil {
		return "", nil, fmt.Errorf("pull request %d: %w", number, err)
	}
	return pr.GetMergeCommitSHA(), pr.Mergeable, nil
}

// parents are a commit's.
func (r repository) parents(ctx context.Context, sha string) ([]string, error) {
	commit, _, err := r.client.Git.GetCommit(ctx, r.Owner, r.Name, sha)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", sha, err)
	}
	var parents []string
	for _, parent := range commit.Parents {
		parents = append(parents, parent.GetSHA())
	}
	return parents, nil
}
