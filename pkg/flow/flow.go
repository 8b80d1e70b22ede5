// Package flow is the map of litci: the four subjects a commit travels, and
// the message each one carries. Services know this package, never each other.
//
//	         events.pr          jobs.start            jobs.status          results
//	GitHub ─▶ ingress ──Event▶ planner ──Job▶ launcher ──Status▶ watcher ──Result▶ reporter ─▶ GitHub
//
// Beside them pass the marker of a plan (Plan, with the jobs in one batch),
// live log blocks (LogBlock) and dead letters. Payloads are plain JSON;
// the identities stand in headers too, so that a tail is readable.
//
// Messages grow by optional fields: services restart in any order, so the zero
// value of a new field means the old behaviour.
package flow

import "strconv"

// Subject is a place on the bus where messages of one type pass.
type Subject[T any] string

// The four subjects, a public interface: people tail them.
const (
	Events  Subject[Event]  = "events.pr"   // ingress ▶ planner
	Jobs    Subject[Job]    = "jobs.start"  // planner ▶ launcher, reporter
	States  Subject[Status] = "jobs.status" // launcher, watcher ▶ watcher, reporter
	Results Subject[Result] = "results"     // watcher, planner, launcher ▶ reporter
)

// Plans and Logs are the filters that match the subjects of all plans and of
// all log blocks.
const (
	Plans Subject[Plan]     = "jobs.plan.>" // planner ▶ reporter
	Logs  Subject[LogBlock] = "jobs.log.>"  // watcher ▶ report pages
)

// DeadLetters matches what every service gave up on.
const DeadLetters = "dlq.>"

// PlanOf is the subject of a run's marker. A run is planned when, and only
// when, this subject holds a message.
func PlanOf(run string) Subject[Plan] { return Subject[Plan]("jobs.plan." + run) }

// LogOf is the subject of a job's live log blocks.
func LogOf(job string) Subject[LogBlock] { return Subject[LogBlock]("jobs.log." + job) }

// DeadLettersOf is the subject of what a service gave up on.
func DeadLettersOf(service string) string { return "dlq." + service }

// OfPool is the same subject for a named pool of machines; the unnamed pool uses the bare name.
func (s Subject[T]) OfPool(pool string) Subject[T] {
	if pool == "" {
		return s
	}
	return s + "." + Subject[T](pool)
}

// The headers that repeat a message's identity.
const (
	HeaderDelivery     = "Litci-Delivery"
	HeaderInstallation = "Litci-Installation"
	HeaderRepo         = "Litci-Repo"
	HeaderSHA          = "Litci-Sha"
	HeaderRun          = "Litci-Run"
	HeaderJob          = "Litci-Job"
	HeaderAttempt      = "Litci-Attempt"
)

// Message is what every payload can say of itself.
type Message interface {
	// Key is the message's id: publishing the same key twice stores it once.
	Key() string
	// Headers are the identities that go beside the payload.
	Headers() map[string]string
}

// Repo is a repository. The id is its key: names change.
type Repo struct {
	ID            int64  `json:"id"`
	Owner         string `json:"owner"`
	Name          string `json:"name"`
	DefaultBranch string `json:"default_branch,omitempty"`
	Private       bool   `json:"private,omitempty"`
}

// FullName is owner/name.
func (r Repo) FullName() string { return r.Owner + "/" + r.Name }

// Identity follows a commit through all five services.
type Identity struct {
	Delivery     string `json:"delivery"`
	Installation int64  `json:"installation"`
	Repo         Repo   `json:"repo"`
	// Event is GitHub's name of the event that asked for the run: pull_request, push.
	Event string `json:"event"`
	// SHA is the commit that is tested and reported on, 40 hex digits.
	SHA string `json:"sha"`
	// Ref is the fully formed ref: refs/heads/main, refs/pull/7/head.
	Ref string `json:"ref,omitempty"`
	// PullRequest is the number, 0 where there is none.
	PullRequest int `json:"pull_request,omitempty"`
	// Run names everything that one delivery started.
	Run string `json:"run"`
}

// Headers are the identities that go beside the payload.
func (i Identity) Headers() map[string]string {
	return map[string]string{
		HeaderDelivery:     i.Delivery,
		HeaderInstallation: strconv.FormatInt(i.Installation, 10),
		HeaderRepo:         i.Repo.FullName(),
		HeaderSHA:          i.SHA,
		HeaderRun:          i.Run,
	}
}

func jobHeaders(i Identity, job string, attempt int) map[string]string {
	h := i.Headers()
	h[HeaderJob] = job
	h[HeaderAttempt] = strconv.Itoa(attempt)
	return h
}
