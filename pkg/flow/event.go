package flow

import "time"

// Event is a verified webhook, normalised to the few kilobytes that matter.
// Exactly one of the detail fields is set, by Kind; installation events have none.
type Event struct {
	// Delivery is the GUID of X-GitHub-Delivery, stable when GitHub redelivers.
	Delivery string `json:"delivery"`
	// Kind is the value of X-GitHub-Event, Action the payload's action.
	Kind         string    `json:"kind"`
	Action       string    `json:"action,omitempty"`
	ReceivedAt   time.Time `json:"received_at"`
	Installation int64     `json:"installation"`
	Repo         Repo      `json:"repo,omitzero"`
	// Sender caused the event.
	Sender User `json:"sender,omitzero"`

	PullRequest *PullRequest `json:"pull_request,omitempty"`
	Push        *Push        `json:"push,omitempty"`
	CheckRun    *CheckRun    `json:"check_run,omitempty"`
	CheckSuite  *CheckSuite  `json:"check_suite,omitempty"`
	Comment     *Comment     `json:"comment,omitempty"`
	Review      *Review      `json:"review,omitempty"`
	MergeGroup  *MergeGroup  `json:"merge_group,omitempty"`
	Rerun       *Rerun       `json:"rerun,omitempty"`

	// Replay tells planning a stored delivery again from the first time: it makes the
	// run another one. Empty for what GitHub sent.
	Replay string `json:"replay,omitempty"`
}

// KindRerun is the Kind of an operator's wish to run jobs again; GitHub's own are
// check_run and check_suite.
const KindRerun = "rerun"

// Rerun asks for jobs of a run to be run again.
type Rerun struct {
	Run string `json:"run"`
	// Attempt is the attempt's id of the one job that is meant, empty for those of the
	// run that failed, or all where none did.
	Attempt string `json:"attempt,omitempty"`
}

// User is an account on GitHub.
type User struct {
	Login string `json:"login"`
	ID    int64  `json:"id,omitempty"`
	// Type is "User", "Bot" or "Organization".
	Type string `json:"type,omitempty"`
}

// PullRequest is the state of a pull request when the event happened.
type PullRequest struct {
	Number  int    `json:"number"`
	HeadSHA string `json:"head_sha"`
	HeadRef string `json:"head_ref"`
	// HeadRepo is 0 when the fork was deleted.
	HeadRepo int64  `json:"head_repo,omitempty"`
	BaseSHA  string `json:"base_sha"`
	BaseRef  string `json:"base_ref"`
	Author   User   `json:"author,omitzero"`
	Draft    bool   `json:"draft,omitempty"`
	Open     bool   `json:"open,omitempty"`
	Merged   bool   `json:"merged,omitempty"`
	// Fork says that the head is in another repository, or in none any more.
	Fork bool `json:"fork,omitempty"`
	// BaseChanged says that an edited event changed the base branch.
	BaseChanged bool `json:"base_changed,omitempty"`
}

// Push is a moved ref.
type Push struct {
	// Ref is fully formed: refs/heads/main, refs/tags/v1.
	Ref     string `json:"ref"`
	Before  string `json:"before"`
	After   string `json:"after"`
	Created bool   `json:"created,omitempty"`
	Deleted bool   `json:"deleted,omitempty"`
	Forced  bool   `json:"forced,omitempty"`
	// Head is the commit behind After: for an annotated tag the commit, not the tag object.
	Head string `json:"head,omitempty"`
	// Message is the head commit's message, cut at 4 KiB.
	Message string `json:"message,omitempty"`
}

// CheckRun is a check run that somebody acted on.
type CheckRun struct {
	ID         int64  `json:"id"`
	Name       string `json:"name"`
	HeadSHA    string `json:"head_sha"`
	ExternalID string `json:"external_id,omitempty"`
	App        int64  `json:"app"`
	// Identifier names the button of a requested_action.
	Identifier string `json:"identifier,omitempty"`
}

// CheckSuite is a check suite that somebody acted on.
type CheckSuite struct {
	ID         int64  `json:"id"`
	HeadSHA    string `json:"head_sha"`
	HeadBranch string `json:"head_branch,omitempty"`
	App        int64  `json:"app"`
}

// Comment is a comment on an issue or a pull request.
type Comment struct {
	ID int64 `json:"id"`
	// Issue is the number of the issue or pull request.
	Issue         int  `json:"issue"`
	OnPullRequest bool `json:"on_pull_request,omitempty"`
	// Body is cut at 64 KiB.
	Body   string `json:"body"`
	Author User   `json:"author"`
	// App is the App that wrote it for its author, 0 for people.
	App int64 `json:"app,omitempty"`
}

// Review is a submitted review.
type Review struct {
	ID          int64 `json:"id"`
	PullRequest int   `json:"pull_request"`
	// State is lower case: approved, changes_requested, commented.
	State    string `json:"state"`
	CommitID string `json:"commit_id"`
	Author   User   `json:"author"`
}

// MergeGroup is a candidate of the merge queue.
type MergeGroup struct {
	HeadSHA string `json:"head_sha"`
	HeadRef string `json:"head_ref"`
	BaseSHA string `json:"base_sha"`
	BaseRef string `json:"base_ref"`
}

// Key is the delivery's id, so that a redelivery inside the window is stored once.
func (e Event) Key() string {
	if e.Replay != "" {
		return "gh/" + e.Delivery + "/" + e.Replay
	}
	return "gh/" + e.Delivery
}

// SHA is the commit that the event is about, empty where it names none.
func (e Event) SHA() string {
	switch {
	case e.PullRequest != nil:
		return e.PullRequest.HeadSHA
	case e.Push != nil && e.Push.Head != "":
		return e.Push.Head
	case e.Push != nil:
		return e.Push.After
	case e.CheckRun != nil:
		return e.CheckRun.HeadSHA
	case e.CheckSuite != nil:
		return e.CheckSuite.HeadSHA
	case e.Review != nil:
		return e.Review.CommitID
	case e.MergeGroup != nil:
		return e.MergeGroup.HeadSHA
	}
	return ""
}

// Headers are the identities that go beside the payload.
func (e Event) Headers() map[string]string {
	h := Identity{Delivery: e.Delivery, Installation: e.Installation, Repo: e.Repo, SHA: e.SHA()}.Headers()
	delete(h, HeaderRun)
	h["Litci-Event"] = e.Kind
	return h
}
