package fakegithub

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// label is a label of a repository.
type label struct {
	id                       int64
	name, color, description string
}

func (l links) label(r *repo, lb *label) object {
	return object{
		"id": lb.id, "node_id": nodeID("LA", lb.id), "url": l.api + "/repos/" + r.fullName() + "/labels/" + url.PathEscape(lb.name),
		"name": lb.name, "description": orNil(lb.description), "color": lb.color, "default": false,
	}
}

func (l links) labels(r *repo, labels []*label) []object {
	shown := []object{}
	for _, lb := range labels {
		shown = append(shown, l.label(r, lb))
	}
	return shown
}

// labelNamed finds a label; case does not count. s.mu is held.
func (r *repo) labelNamed(name string) *label {
	for _, lb := range r.labels {
		if strings.EqualFold(lb.name, name) {
			return lb
		}
	}
	return nil
}

func (c *call) listLabels() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return list(c, c.urls.labels(c.repo, c.repo.labels))
}

func (c *call) listIssueLabels() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	p, err := c.pullOf("issue_number")
	if err != nil {
		return reply{}, err
	}
	return list(c, c.urls.labels(c.repo, p.labels))
}

// labelOf returns the label that the path names. s.mu is held.
func (c *call) labelOf() (*label, error) {
	if lb := c.repo.labelNamed(c.params["name"]); lb != nil {
		return lb, nil
	}
	return nil, notFound()
}

func (c *call) getLabel() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	lb, err := c.labelOf()
	if err != nil {
		return reply{}, err
	}
	return ok(c.urls.label(c.repo, lb))
}

// labelInput is the body that creates or changes a label.
type labelInput struct {
	Name        *string `json:"name"`
	NewName     *string `json:"new_name"`
	Color       *string `json:"color"`
	Description *string `json:"description"`
}

func (in labelInput) validate(f *faultsOf) error {
	if in.Color != nil && (len(*in.Color) != 6 || !isHex(strings.ToLower(*in.Color))) {
		f.add("color", "invalid", "color is not a hexadecimal code of six digits")
	}
	if in.Description != nil {
		f.short("description", *in.Description, 100)
	}
	return f.err()
}

func (in labelInput) apply(lb *label) {
	if in.NewName != nil {
		lb.name = *in.NewName
	}
	if in.Color != nil {
		lb.color = strings.ToLower(*in.Color)
	}
	if in.Description != nil {
		lb.description = *in.Description
	}
}

func (c *call) createLabel() (reply, error) {
	var in labelInput
	if err := c.decode(&in); err != nil {
		return reply{}, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	f := &faultsOf{resource: "Label"}
	f.require("name", in.Name)
	if in.Name != nil && c.repo.labelNamed(*in.Name) != nil {
		f.add("name", "already_exists", "")
	}
	if err := in.validate(f); err != nil {
		return reply{}, err
	}
	lb := c.s.newLabel(c.repo, *in.Name)
	in.apply(lb)
	return created(c.urls.label(c.repo, lb))
}

// newLabel adds a grey label. s.mu is held.
func (s *Server) newLabel(r *repo, name string) *label {
	lb := &label{id: s.id(), name: name, color: "ededed"}
	r.labels = append(r.labels, lb)
	return lb
}

func (c *call) updateLabel() (reply, error) {
	var in labelInput
	if err := c.decode(&in); err != nil {
		return reply{}, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	lb, err := c.labelOf()
	if err != nil {
		return reply{}, err
	}
	f := &faultsOf{resource: "Label"}
	if in.NewName != nil && c.repo.labelNamed(*in.NewName) != nil && c.repo.labelNamed(*in.NewName) != lb {
		f.add("name", "already_exists", "")
	}
	if err := in.validate(f); err != nil {
		return reply{}, err
	}
	in.apply(lb)
	return ok(c.urls.label(c.repo, lb))
}

func (c *call) deleteLabel() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	lb, err := c.labelOf()
	if err != nil {
		return reply{}, err
	}
	gone := func(have *label) bool { return have == lb }
	c.repo.labels = slices.DeleteFunc(c.repo.labels, gone)
	for _, p := range c.repo.pulls {
		p.labels = slices.DeleteFunc(p.labels, gone)
	}
	return noContent()
}

// labelNames reads a list of labels: {"labels": [...]} or the list alone, of
// names or of objects with a name.
func (c *call) labelNames() ([]string, error) {
	var wrapped struct {
		Labels json.RawMessage `json:"labels"`
	}
	raw := json.RawMessage(c.body)
	if strings.HasPrefix(strings.TrimSpace(string(c.body)), "{") {
		if err := c.decode(&wrapped); err != nil {
			return nil, err
		}
		raw = wrapped.Labels
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, schemaError("labels is not a list")
	}
	var names []string
	for _, item := range items {
		var name string
		var named struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(item, &name) != nil && json.Unmarshal(item, &named) == nil {
			name = named.Name
		}
		if name == "" {
			return nil, schemaError("%s is not a label", item)
		}
		names = append(names, name)
	}
	return names, nil
}

func (c *call) addIssueLabels() (reply, error) { return c.changeIssueLabels(false) }
func (c *call) setIssueLabels() (reply, error) { return c.changeIssueLabels(true) }

// changeIssueLabels puts labels on a pull request; those that the repository
// lacks are made.
func (c *call) changeIssueLabels(replace bool) (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	p, err := c.pullOf("issue_number")
	if err != nil {
		return reply{}, err
	}
	names, err := c.labelNames()
	if err != nil {
		return reply{}, err
	}
	before := slices.Clone(p.labels)
	if replace {
		p.labels = nil
	}
	for _, name := range names {
		lb := c.repo.labelNamed(name)
		if lb == nil {
			lb = c.s.newLabel(c.repo, name)
		}
		if !slices.Contains(p.labels, lb) {
			p.labels = append(p.labels, lb)
		}
	}
	c.announceLabels(p, "labeled", p.labels, before)
	c.announceLabels(p, "unlabeled", before, p.labels)
	return ok(c.urls.labels(c.repo, p.labels))
}

// announceLabels sends a pull_request event for each of the labels that is not
// among the others. s.mu is held.
func (c *call) announceLabels(p *pull, action string, labels, others []*label) {
	s := c.s
	for _, lb := range labels {
		if slices.Contains(others, lb) {
			continue
		}
		l := s.linksHeld("")
		payload := s.event(c.repo, action, s.bot())
		payload["number"], payload["pull_request"], payload["label"] = p.number, s.pull(l, c.repo, p), l.label(c.repo, lb)
		s.emit("pull_request", payload)
	}
}

func (c *call) removeIssueLabel() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	p, err := c.pullOf("issue_number")
	if err != nil {
		return reply{}, err
	}
	lb := c.repo.labelNamed(c.params["name"])
	if lb == nil || !slices.Contains(p.labels, lb) {
		return reply{}, refuse(http.StatusNotFound, "Label does not exist")
	}
	before := slices.Clone(p.labels)
	p.labels = slices.DeleteFunc(p.labels, func(have *label) bool { return have == lb })
	c.announceLabels(p, "unlabeled", before, p.labels)
	return ok(c.urls.labels(c.repo, p.labels))
}
