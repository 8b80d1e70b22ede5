package workflow

import (
	"fmt"
	"slices"
	"strings"
)

// queuePrefix begins the branches that GitHub's merge queue makes.
const queuePrefix = "gh-readonly-queue/"

// Event is what a trigger decision looks at.
type Event struct {
	// Kind is EventPullRequest, EventPush or EventMergeGroup.
	Kind string
	// Action is the payload's, for pull requests and merge groups; empty counts as any.
	Action string
	// Branch is the pushed branch; of a pull request or merge group the base branch.
	Branch string
	// Tag is set for the push of a tag.
	Tag            string
	Deleted, Draft bool
	// BaseChanged says that an edited pull request has a new base branch.
	BaseChanged bool
	// Message is the head commit's.
	Message string
	// TrustedAuthor makes skip words count.
	TrustedAuthor bool
	// Changed are the changed files. ChangedKnown is false where the list is missing or
	// incomplete; path filters then let the workflow run.
	Changed      []string
	ChangedKnown bool
	// OpenPullRequest is set for a push to a branch with an open pull request of the
	// same repository.
	OpenPullRequest bool
}

// Decision is the rule that decided, in words.
type Decision struct {
	// Listed says that the event is among the workflow's triggers: one that is listed
	// and not triggered is shown as skipped, one that is not listed not at all.
	Listed    bool
	Triggered bool
	// Reason is a clause without a full stop: "branch dev does not match branches [main]".
	Reason string
}

// Decide tells whether an event triggers the workflow (behaviours.md §5.2, §5.7).
func (w Workflow) Decide(e Event) Decision {
	d, _ := w.decide(e)
	return d
}

// NeedsChanged tells whether any workflow's decision on e depends on the changed
// files, so that they are asked for only then.
func (s Set) NeedsChanged(e Event) bool {
	return slices.ContainsFunc(s.Workflows, func(w Workflow) bool {
		_, paths := w.decide(e)
		return paths
	})
}

// decide also tells whether the decision depends on the changed files.
func (w Workflow) decide(e Event) (d Decision, paths bool) {
	t, reason := w.listens(e)
	if reason != "" {
		return Decision{Reason: reason}, false
	}
	if word := skipWord(e.Message); word != "" && e.TrustedAuthor && e.Kind != EventMergeGroup {
		return Decision{Listed: true, Reason: "the head commit says " + word}, false
	}
	if t.SkipDrafts && e.Draft && e.Kind == EventPullRequest {
		return Decision{Listed: true, Reason: "the pull request is a draft, and draft is false"}, false
	}
	what, name, filter := "branch", e.Branch, t.Branches
	switch {
	case e.Tag != "":
		what, name, filter = "tag", e.Tag, t.Tags
	case e.Kind != EventPush:
		what = "base branch"
	}
	because := "the workflow listens to " + t.Event
	if filter != nil {
		because = fmt.Sprintf("%s %s is %s", what, name, filter.verdict(name))
		if !filter.Includes(name) {
			return Decision{Listed: true, Reason: because}, false
		}
	}
	// A tag has no changed files: GitHub does not look at paths for tags.
	if t.Paths == nil || e.Tag != "" {
		return Decision{Listed: true, Triggered: true, Reason: because}, false
	}
	d, some, none := Decision{Listed: true}, "a changed file is selected by ", "no changed file is selected by "
	if t.Paths.Ignore {
		some, none = "a changed file is not ignored by ", "every changed file is ignored by "
	}
	switch {
	case t.Paths.IncludesAny(e.Changed):
		d.Triggered, d.Reason = true, some+t.Paths.String()
	case !e.ChangedKnown:
		d.Triggered, d.Reason = true, "the changed files are not known in full, so "+t.Paths.String()+" is not applied"
	case len(e.Changed) == 0:
		d.Reason = "no file is changed, and " + t.Paths.String() + " wants one"
	default:
		d.Reason = none + t.Paths.String()
	}
	return d, true
}

// listens finds the trigger for an event, or says why there is none.
func (w Workflow) listens(e Event) (t Trigger, reason string) {
	pull, pulls := w.trigger(EventPullRequest)
	t, listed := w.trigger(e.Kind)
	if e.Kind == EventMergeGroup && !listed && pulls {
		// A queue whose required checks never come would stand still. Paths do not
		// count there unless the workflow says so.
		t, listed = pull, true
		t.Event, t.Paths, t.SkipDrafts = EventMergeGroup, nil, false
	}
	switch {
	case !listed || t.Off:
		return t, "the workflow does not listen to " + e.Kind
	case e.Kind == EventPush && e.Deleted:
		return t, "a deleted branch or tag runs nothing"
	case e.Kind == EventPush && strings.HasPrefix(e.Branch, queuePrefix):
		return t, "the merge queue's own branch runs by merge_group, not by push"
	case e.Kind == EventPush && e.Tag != "" && t.Tags == nil && t.Branches != nil:
		return t, "the workflow listens to pushes of branches, not of tags"
	case e.Kind == EventPush && e.Tag == "" && t.Branches == nil && t.Tags != nil:
		return t, "the workflow listens to pushes of tags, not of branches"
	case e.Kind == EventPush && e.Tag == "" && e.OpenPullRequest && pulls && !pull.Off && slices.Contains(pull.Types, "synchronize"):
		return t, "the branch has an open pull request, whose event runs the workflow"
	case e.Kind == EventMergeGroup && e.Action != "" && e.Action != "checks_requested":
		return t, "the merge queue asks for no checks by " + e.Action
	case e.Kind == EventPullRequest && e.Action != "" && !slices.Contains(t.Types, e.Action):
		return t, fmt.Sprintf("the workflow does not listen to pull_request %s, only to %s", e.Action, strings.Join(t.Types, ", "))
	case e.Kind == EventPullRequest && e.Action == "edited" && !e.BaseChanged:
		return t, "the pull request was edited, but its base branch is the same"
	}
	return t, ""
}

func (w Workflow) trigger(event string) (Trigger, bool) {
	for _, t := range w.Triggers {
		if t.Event == event {
			return t, true
		}
	}
	return Trigger{}, false
}

// skipWord finds the words by which a commit asks not to be tested.
func skipWord(message string) string {
	lower := strings.ToLower(message)
	for _, word := range []string{"[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]"} {
		if strings.Contains(lower, word) {
			return word
		}
	}
	// A trailer stands in the last paragraph, which is not the subject.
	text := strings.TrimSpace(strings.ReplaceAll(lower, "\r\n", "\n"))
	if i := strings.LastIndex(text, "\n\n"); i >= 0 {
		for line := range strings.Lines(text[i+2:]) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "skip-checks" && strings.TrimSpace(value) == "true" {
				return "skip-checks: true"
			}
		}
	}
	return ""
}
