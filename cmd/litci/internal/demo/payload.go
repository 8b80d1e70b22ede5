package demo

import (
	"encoding/json"
	"errors"
	"fmt"
)

// payload is a pull_request webhook whose repository and commits are to be fitted.
type payload struct {
	body map[string]any
	pull map[string]any

	action      string
	owner, name string
	repo        int64
	number      int
	author      string
	fork        bool
}

// parsePayload reads a webhook body and checks that a pull request is in it.
func parsePayload(data []byte) (*payload, error) {
	p := &payload{}
	if err := json.Unmarshal(data, &p.body); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	var known struct {
		Action     string `json:"action"`
		Number     int    `json:"number"`
		Repository struct {
			ID    int64  `json:"id"`
			Name  string `json:"name"`
			Owner struct {
				Login string `json:"login"`
			} `json:"owner"`
		} `json:"repository"`
		PullRequest struct {
			User struct {
				Login string `json:"login"`
			} `json:"user"`
			Head struct {
				Repo *struct {
					ID int64 `json:"id"`
				} `json:"repo"`
			} `json:"head"`
		} `json:"pull_request"`
	}
	if err := json.Unmarshal(data, &known); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	var isPull bool
	p.pull, isPull = p.body["pull_request"].(map[string]any)
	if !isPull || known.Number == 0 {
		return nil, errors.New("payload: it is no pull_request event; the demo opens a pull request, so give it one, such as GitHub's pull_request.opened")
	}
	if known.Repository.ID == 0 || known.Repository.Name == "" || known.Repository.Owner.Login == "" {
		return nil, errors.New("payload: repository has no id, name or owner.login")
	}
	p.action, p.number, p.author = known.Action, known.Number, known.PullRequest.User.Login
	p.owner, p.name, p.repo = known.Repository.Owner.Login, known.Repository.Name, known.Repository.ID
	p.fork = known.PullRequest.Head.Repo == nil || known.PullRequest.Head.Repo.ID != p.repo
	return p, nil
}

// fit puts the real repository's branches and commits into the payload, and the
// installation, which only an App's webhooks carry.
func (p *payload) fit(r repository, installation int64) ([]byte, error) {
	p.body["installation"] = map[string]any{"id": installation}
	if repo, ok := p.body["repository"].(map[string]any); ok {
		repo["default_branch"] = r.base
	}
	for side, at := range map[string][2]string{"head": {r.head, r.headSHA}, "base": {r.base, r.baseSHA}} {
		end, ok := p.pull[side].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("payload: pull_request.%s is no object", side)
		}
		end["ref"], end["sha"] = at[0], at[1]
	}
	data, err := json.Marshal(p.body)
	if err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	return data, nil
}
