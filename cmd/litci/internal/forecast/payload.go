package forecast

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/litci/litci/pkg/workflow"
)

// Payload is what a webhook's body says to triggers.
type Payload struct {
	Event workflow.Event
	// Title names the event for people: "pull_request opened, octo/hello#7 into main".
	Title string
	// Nothing says why such an event starts nothing, whatever the workflows say.
	Nothing string
	// fork names the head's repository where it is another than the base's.
	fork string
}

// Open are the facts that neither the payload nor e holds and that the planner
// would ask GitHub for: one sentence each.
func (p Payload) Open(e workflow.Event) (unknown []string) {
	if e.Kind == workflow.EventPullRequest && e.Message == "" && p.fork == "" {
		unknown = append(unknown, "The payload does not hold the head commit's message, so skip words are not looked for; --message gives it.")
	}
	if p.fork != "" {
		unknown = append(unknown, fmt.Sprintf("The pull request comes from a fork (%s), whose code does not run unasked.", p.fork))
	}
	if e.Kind == workflow.EventPush && e.Branch != "" && !e.Deleted && !e.OpenPullRequest {
		unknown = append(unknown, "If the branch has an open pull request, workflows that listen to pull requests too run for that alone; --open-pull-request says that it has.")
	}
	return unknown
}

// body holds the few fields of the three webhooks that triggers look at.
type body struct {
	Action      string `json:"action"`
	Ref         string `json:"ref"`
	After       string `json:"after"`
	Deleted     bool   `json:"deleted"`
	PullRequest *struct {
		Number int  `json:"number"`
		Draft  bool `json:"draft"`
		Base   side `json:"base"`
		Head   side `json:"head"`
	} `json:"pull_request"`
	MergeGroup *struct {
		BaseRef string `json:"base_ref"`
	} `json:"merge_group"`
	HeadCommit *struct {
		Message string `json:"message"`
	} `json:"head_commit"`
	Changes struct {
		Base *json.RawMessage `json:"base"`
	} `json:"changes"`
	Repository struct {
		FullName string `json:"full_name"`
	} `json:"repository"`
	Review  *json.RawMessage `json:"review"`
	Comment *json.RawMessage `json:"comment"`
}

// side is the head or the base of a pull request.
type side struct {
	Ref  string `json:"ref"`
	Repo *struct {
		ID       int64  `json:"id"`
		FullName string `json:"full_name"`
	} `json:"repo"`
}

// ReadPayload reads the body of a pull_request, push or merge_group webhook.
func ReadPayload(data []byte) (Payload, error) {
	var b body
	err := json.Unmarshal(data, &b)
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &mismatch) && mismatch.Field == "", err == nil && !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")):
		return Payload{}, errors.New("the payload is JSON, but no object")
	case mismatch != nil:
		// The library would name Go's types.
		return Payload{}, fmt.Errorf("it is no pull_request, push or merge_group event: its %q cannot be a JSON %s", mismatch.Field, mismatch.Value)
	case err != nil:
		return Payload{}, fmt.Errorf("not JSON: %w", err)
	}
	switch {
	case b.Review != nil, b.Comment != nil:
	case b.PullRequest != nil && b.PullRequest.Base.Ref != "":
		return b.pull(), nil
	case b.MergeGroup != nil && b.MergeGroup.BaseRef != "":
		return b.queue(), nil
	case b.Action == "" && b.After != "" && strings.HasPrefix(b.Ref, "refs/"):
		return b.push(), nil
	}
	return Payload{}, errors.New("it is no pull_request, push or merge_group event")
}

func (b body) pull() Payload {
	pr := b.PullRequest
	p := Payload{
		Event: workflow.Event{Kind: workflow.EventPullRequest, Action: b.Action, Branch: pr.Base.Ref, Draft: pr.Draft, BaseChanged: b.Changes.Base != nil},
		Title: fmt.Sprintf("pull_request %s, %s#%d into %s", b.Action, b.Repository.FullName, pr.Number, pr.Base.Ref),
	}
	if pr.Draft {
		p.Title += ", a draft"
	}
	switch base, head := pr.Base.Repo, pr.Head.Repo; {
	case head == nil:
		p.fork = "deleted since"
	case base != nil && base.ID != head.ID:
		p.fork = head.FullName
	}
	if b.Action == "closed" {
		p.Nothing = "a closed pull request starts nothing"
	}
	return p
}

func (b body) queue() Payload {
	branch := strings.TrimPrefix(b.MergeGroup.BaseRef, "refs/heads/")
	return Payload{
		Event: workflow.Event{Kind: workflow.EventMergeGroup, Action: b.Action, Branch: branch},
		Title: fmt.Sprintf("merge_group %s, %s into %s", b.Action, b.Repository.FullName, branch),
	}
}

func (b body) push() Payload {
	p := Payload{
		Event: workflow.Event{Kind: workflow.EventPush, Deleted: b.Deleted || strings.Trim(b.After, "0") == "", TrustedAuthor: true}, // who pushes may write
		Title: fmt.Sprintf("push of %s to %s", b.Ref, b.Repository.FullName),
	}
	if b.HeadCommit != nil {
		p.Event.Message = b.HeadCommit.Message
	}
	if branch, ok := strings.CutPrefix(b.Ref, "refs/heads/"); ok {
		p.Event.Branch = branch
	} else if tag, ok := strings.CutPrefix(b.Ref, "refs/tags/"); ok {
		p.Event.Tag = tag
	} else {
		p.Nothing = b.Ref + " is neither a branch nor a tag"
	}
	if p.Event.Deleted {
		p.Title = fmt.Sprintf("deletion of %s in %s", b.Ref, b.Repository.FullName)
	}
	return p
}
