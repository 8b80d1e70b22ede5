package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/litci/litci/cmd/litci/internal/board"
)

// Example makes the repository of the documentation's example in dir, for an emulator
// that PlayOn is to find it on.
func Example(ctx context.Context, dir string) (repository string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("example: %w", err)
	}
	r, err := exampleRepository(ctx, dir)
	return r.dir, err
}

// PlayOn opens a pull request of the example on an emulator whose App is a mesh that
// runs already, shows how its checks change there, and returns what is there when
// everything is reported. github is the emulator's address, repo the example's
// owner/name.
func PlayOn(ctx context.Context, github, repo string, progress io.Writer) (Report, error) {
	g := elsewhere{address: strings.TrimRight(github, "/"), repo: repo}
	show := board.New(board.Options{Out: progress})
	sent := time.Now()
	pull, err := g.open(ctx)
	if err != nil {
		return Report{}, err
	}
	report := Report{Timings: Timings{WebhookTo202: ms(time.Since(sent))}}
	show.Note(fmt.Sprintf("webhook pull_request.opened of %s#%d answered 202", repo, pull.Number))
	seen := map[string]string{}
	tick := time.NewTicker(4 * poll)
	defer tick.Stop()
	for {
		at, err := g.standing(ctx, pull)
		if err != nil {
			return Report{}, err
		}
		for _, c := range at.checks {
			state := c.Status
			if c.Conclusion != "" {
				state = c.Conclusion
			}
			if seen[c.Name] != state {
				seen[c.Name] = state
				show.Note(fmt.Sprintf("%-11s %s", state, c.Name))
			}
		}
		if at.over() {
			report.Checks, report.Conclusion, report.Comment = at.checks, at.conclusion, at.comment
			return report, nil
		}
		select {
		case <-ctx.Done():
			return Report{}, fmt.Errorf("stopped before the run was reported: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// Unexpected names the checks that did not pass, as all of the example's do.
func (r Report) Unexpected() error {
	var wrong []string
	for _, c := range r.Checks {
		if c.Conclusion != "success" {
			wrong = append(wrong, fmt.Sprintf("%s (%s)", c.Name, c.Conclusion))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("checks that did not pass: %s", strings.Join(wrong, ", "))
	}
	return nil
}

// elsewhere is an emulator in another process.
type elsewhere struct{ address, repo string }

// opened is a pull request on it.
type opened struct {
	Number int `json:"number"`
	Pull   struct {
		Head struct {
			SHA string `json:"sha"`
		} `json:"head"`
	} `json:"pull_request"`
	Delivery *struct {
		StatusCode int    `json:"status_code"`
		Status     string `json:"status"`
	} `json:"delivery"`
}

// open opens the pull request, of which the emulator sends the webhook.
func (g elsewhere) open(ctx context.Context) (opened, error) {
	var p opened
	body, err := json.Marshal(map[string]string{"head": headBranch, "author": "octocat"})
	if err != nil {
		return p, err
	}
	if err := g.call(ctx, http.MethodPost, "/_fake/repos/"+g.repo+"/pulls", body, &p); err != nil {
		return p, err
	}
	switch {
	case p.Delivery == nil:
		return p, errors.New("the emulator sends no webhooks; litci fakegithub --webhook-url says where to")
	case p.Delivery.StatusCode != http.StatusAccepted:
		return p, fmt.Errorf("webhook was answered with %d %s", p.Delivery.StatusCode, p.Delivery.Status)
	}
	return p, nil
}

// standing is what the pull request shows.
type standing struct {
	checks     []Check
	conclusion string // of the aggregate, empty while it has none
	title      string // of the aggregate
	comment    string
}

// over tells that all checks have their verdict and the comment shows it.
func (s standing) over() bool {
	for _, c := range s.checks {
		if c.Status != "completed" {
			return false
		}
	}
	return s.conclusion != "" && strings.Contains(s.comment, s.title)
}

func (g elsewhere) standing(ctx context.Context, p opened) (standing, error) {
	var state struct {
		CheckRuns []struct {
			Name       string  `json:"name"`
			HeadSHA    string  `json:"head_sha"`
			Status     string  `json:"status"`
			Conclusion *string `json:"conclusion"`
			DetailsURL string  `json:"details_url"`
			Output     struct {
				Title   *string `json:"title"`
				Summary *string `json:"summary"`
			} `json:"output"`
		} `json:"check_runs"`
		Comments []struct {
			IssueURL string `json:"issue_url"`
			Body     string `json:"body"`
		} `json:"comments"`
	}
	if err := g.call(ctx, http.MethodGet, "/_fake/state", nil, &state); err != nil {
		return standing{}, err
	}
	at := standing{checks: []Check{}}
	for _, c := range state.CheckRuns {
		if c.HeadSHA != p.Pull.Head.SHA {
			continue
		}
		at.checks = append(at.checks, Check{Name: c.Name, Status: c.Status, Conclusion: text(c.Conclusion), DetailsURL: c.DetailsURL, Summary: text(c.Output.Summary)})
		if c.Name == aggregate {
			at.conclusion, at.title = text(c.Conclusion), text(c.Output.Title)
		}
	}
	for _, c := range state.Comments {
		if strings.HasSuffix(c.IssueURL, fmt.Sprintf("/repos/%s/issues/%d", g.repo, p.Number)) {
			at.comment = c.Body
		}
	}
	return at, nil
}

// call asks the emulator and decodes its answer.
func (g elsewhere) call(ctx context.Context, method, path string, body []byte, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, g.address+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("emulator at %s: %s %s: %s %s; is it litci fakegithub --example %s?", g.address, method, path, res.Status, bytes.TrimSpace(data), g.repo)
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("emulator: answer to %s: %w", path, err)
	}
	return nil
}
