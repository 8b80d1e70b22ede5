package reporter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-github/v62/github"

	"github.com/litci/litci/pkg/failpoint"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/ghapp"
)

// App is GitHub as this App, with some of its permissions.
type App interface {
	ID() int64
	// Login is the App's account, "slug[bot]".
	Login(ctx context.Context) (string, error)
	// Check asks GitHub whether it knows the App by its key.
	Check(ctx context.Context) error
	// Client speaks for an installation and is good for one repository.
	Client(installation, repo int64) (*github.Client, error)
	// Reserve takes a part of what an installation may spend, or returns a
	// *ghapp.LimitError; nil is as good as any part. Both Apps spend of the same.
	Reserve(installation int64, cost ghapp.Cost, urgent bool) (*ghapp.Reservation, error)
	// Close gives up idle connections.
	Close()
}

// hub are the calls to GitHub that this service makes, for one repository.
type hub struct {
	app    App
	client *github.Client
	repo   flow.Repo
}

func newHub(app App, id flow.Identity) (*hub, error) {
	client, err := app.Client(id.Installation, id.Repo.ID)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", id.Repo.FullName(), err)
	}
	return &hub{app: app, client: client, repo: id.Repo}, nil
}

func (h *hub) path(format string, args ...any) string {
	return fmt.Sprintf("repos/%s/%s/", url.PathEscape(h.repo.Owner), url.PathEscape(h.repo.Name)) + fmt.Sprintf(format, args...)
}

// call makes a request; go-github's own types lack fields that we send and read.
func (h *hub) call(ctx context.Context, method, path string, body, into any) (*github.Response, error) {
	req, err := h.client.NewRequest(method, path, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	writes := method != http.MethodGet
	if writes {
		failpoint.Hit("reporter.before-call")
	}
	resp, err := h.client.Do(ctx, req, into)
	if err != nil {
		return resp, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if writes {
		failpoint.Hit("reporter.after-call")
	}
	return resp, nil
}

// wireCheck is a check run as GitHub takes it, whole: an update replaces
// everything that we say.
type wireCheck struct {
	Name        string     `json:"name"`
	HeadSHA     string     `json:"head_sha,omitempty"`
	ExternalID  string     `json:"external_id"`
	DetailsURL  string     `json:"details_url,omitempty"`
	Status      string     `json:"status"`
	Conclusion  string     `json:"conclusion,omitempty"`
	StartedAt   *time.Time `json:"started_at,omitempty"`
	CompletedAt *time.Time `json:"completed_at,omitempty"`
	Output      wireOutput `json:"output"`
}

type wireOutput struct {
	Title       string       `json:"title"`
	Summary     string       `json:"summary"`
	Text        string       `json:"text,omitempty"`
	Annotations []annotation `json:"annotations,omitempty"`
}

func wire(c check, sha string, annotations []annotation) wireCheck {
	return wireCheck{
		Name: orElse(c.Name, c.ExternalID), HeadSHA: sha, ExternalID: c.ExternalID, DetailsURL: c.DetailsURL,
		Status: c.Status, Conclusion: c.Conclusion, StartedAt: c.StartedAt, CompletedAt: c.CompletedAt,
		Output: wireOutput{Title: c.Title, Summary: c.Summary, Text: c.Text, Annotations: annotations},
	}
}

// createCheck makes a check run. GitHub has no idempotency key: whoever cannot
// rule out an earlier attempt looks for it with findCheck first.
func (h *hub) createCheck(ctx context.Context, sha string, c check) (int64, error) {
	var made github.CheckRun
	body := wire(c, sha, c.Annotations[:min(len(c.Annotations), maxAnnotations)])
	if _, err := h.call(ctx, http.MethodPost, h.path("check-runs"), body, &made); err != nil {
		return 0, err
	}
	return made.GetID(), nil
}

// updateCheck replaces a check run's content with the given annotations added.
func (h *hub) updateCheck(ctx context.Context, id int64, c check, add []annotation) error {
	_, err := h.call(ctx, http.MethodPatch, h.path("check-runs/%d", id), wire(c, "", add), nil)
	return err
}

// annotated is how many annotations GitHub holds for a check run.
func (h *hub) annotated(ctx context.Context, id int64) (int, error) {
	var run github.CheckRun
	if _, err := h.call(ctx, http.MethodGet, h.path("check-runs/%d", id), nil, &run); err != nil {
		return 0, err
	}
	return run.GetOutput().GetAnnotationsCount(), nil
}

// findCheck looks for our check run of this name whose external id is the
// check's, or an earlier attempt's that was never finished, and returns which. The
// id is 0 when there is none.
func (h *hub) findCheck(ctx context.Context, sha string, c check) (id int64, external string, err error) {
	query := url.Values{
		"check_name": {c.Name}, "app_id": {fmt.Sprint(h.app.ID())}, "filter": {"all"}, "per_page": {"100"},
	}
	for page := 1; page != 0; {
		query.Set("page", fmt.Sprint(page))
		var found github.ListCheckRunsResults
		resp, err := h.call(ctx, http.MethodGet, h.path("commits/%s/check-runs?%s", sha, query.Encode()), nil, &found)
		if err != nil {
			return 0, "", err
		}
		for _, run := range found.CheckRuns {
			switch {
			case run.GetExternalID() == c.ExternalID:
				return run.GetID(), c.ExternalID, nil
			case run.GetStatus() != statusCompleted && sameJob(run.GetExternalID(), c.ExternalID):
				id, external = run.GetID(), run.GetExternalID()
			}
		}
		page = resp.NextPage
	}
	return id, external, nil
}

// sameJob says that two external ids are attempts of one job.
func sameJob(a, b string) bool {
	runA, indexA, _, okA := flow.ParseAttemptID(a)
	runB, indexB, _, okB := flow.ParseAttemptID(b)
	return okA && okB && runA == runB && indexA == indexB
}

// comment is a comment as GitHub gives it; go-github's type does not know the App.
type comment struct {
	ID   int64  `json:"id"`
	Body string `json:"body"`
	User struct {
		Login string `json:"login"`
		Type  string `json:"type"`
	} `json:"user"`
	App *struct {
		ID int64 `json:"id"`
	} `json:"performed_via_github_app"`
}

// findComment pages all comments of a pull request for ours: the marker in the
// first line, and this App as its author, since anybody can write the marker.
// It returns 0 when there is none.
func (h *hub) findComment(ctx context.Context, number int, marker string) (int64, error) {
	login, err := h.app.Login(ctx)
	if err != nil {
		return 0, fmt.Errorf("login of the app: %w", err)
	}
	for page := 1; page != 0; {
		var found []comment
		resp, err := h.call(ctx, http.MethodGet, h.path("issues/%d/comments?per_page=100&page=%d", number, page), nil, &found)
		if err != nil {
			return 0, err
		}
		for _, c := range found {
			ours := (c.App != nil && c.App.ID == h.app.ID()) || (c.User.Login == login && c.User.Type == "Bot")
			first, _, _ := strings.Cut(c.Body, "\n")
			if ours && strings.TrimSpace(first) == marker {
				return c.ID, nil
			}
		}
		page = resp.NextPage
	}
	return 0, nil
}

func (h *hub) createComment(ctx context.Context, number int, body string) (int64, error) {
	var made comment
	_, err := h.call(ctx, http.MethodPost, h.path("issues/%d/comments", number), map[string]string{"body": body}, &made)
	return made.ID, err
}

func (h *hub) editComment(ctx context.Context, id int64, body string) error {
	_, err := h.call(ctx, http.MethodPatch, h.path("issues/comments/%d", id), map[string]string{"body": body}, nil)
	return err
}

// statusOf is the status of GitHub's answer, 0 when there was none.
func statusOf(err error) int {
	var refusal *github.ErrorResponse
	var limit *github.RateLimitError
	var abuse *github.AbuseRateLimitError
	var paused *ghapp.LimitError
	switch {
	case errors.As(err, &refusal) && refusal.Response != nil:
		return refusal.Response.StatusCode
	case errors.As(err, &limit), errors.As(err, &abuse), errors.As(err, &paused):
		return http.StatusForbidden
	}
	return 0
}

// refused says that GitHub answered and did nothing, so that no doubt is left.
func refused(err error) bool {
	status := statusOf(err)
	return status >= 400 && status < 500
}

// hopeless says that no retry helps: the repository is gone, or a permission is missing.
func hopeless(err error) bool {
	if _, wait := ghapp.Pause(err); wait {
		return false
	}
	return ghapp.IsNotFound(err) || ghapp.IsRefused(err)
}
