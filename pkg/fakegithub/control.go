package fakegithub

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/litci/litci/pkg/fakegithub/internal/route"
)

// ControlPath is one of the paths that do what people do on GitHub's pages.
type ControlPath struct {
	Method string
	Path   string
	Takes  string // the body or the query, in words
}

// ControlPaths lists the control paths. Bodies are JSON; fields that are not said to
// be needed may be missing. Answers name the delivery that told the App, with the
// answer it got: null when there is no webhook address.
func ControlPaths() []ControlPath {
	var list []ControlPath
	for _, p := range controlPaths() {
		list = append(list, p.ControlPath)
	}
	return list
}

// controlPath is a control path and what it does.
type controlPath struct {
	ControlPath
	template route.Template
	handle   func(*control) (any, error)
}

// control is one request to a control path.
type control struct {
	s      *Server
	r      *http.Request
	params map[string]string
	body   []byte
}

// controlPaths is the table of the control paths.
func controlPaths() []controlPath {
	var table []controlPath
	add := func(method, path, takes string, handle func(*control) (any, error)) {
		shown := ControlPath{Method: method, Path: "/_fake" + path, Takes: takes}
		table = append(table, controlPath{shown, route.Parse(shown.Path, nil), handle})
	}
	const get, post, del = http.MethodGet, http.MethodPost, http.MethodDelete
	add(get, "/state", "?payloads=true for what webhooks carried", (*control).state)
	add(post, "/repos/{owner}/{repo}/pulls", `{"head" (needed), "base", "author", "permission", "fork", "title", "body", "draft", "number", "silent"}`, (*control).openPull)
	add(post, "/repos/{owner}/{repo}/pulls/{number}/synchronize", `{"head"}`, (*control).synchronize)
	add(post, "/repos/{owner}/{repo}/pulls/{number}/close", `{"merged"}`, (*control).closePull)
	add(post, "/repos/{owner}/{repo}/pulls/{number}/reopen", "", (*control).reopenPull)
	add(post, "/repos/{owner}/{repo}/push", `{"ref" (needed), "before", "sender"}`, (*control).push)
	add(post, "/repos/{owner}/{repo}/issues/{number}/comments", `{"body" (needed), "author", "permission"}`, (*control).comment)
	add(post, "/check-runs/{id}/rerequest", `{"sender", "permission"}`, (*control).rerequest)
	add(post, "/check-runs/{id}/action", `{"identifier" (needed), "sender", "permission"}`, (*control).action)
	add(post, "/deliver", `{"event" (needed), "payload" (needed)}`, (*control).deliver)
	add(post, "/faults", `[{"method", "path", "status", "headers", "body", "delay_ms", "after_effect", "drop", "count"}]`, (*control).addFaults)
	add(del, "/faults", "", (*control).clearFaults)
	add(post, "/manifests", `an App manifest; answers {"code"}`, (*control).manifest)
	return table
}

// serveControl answers a control request: 200 or 201 with a JSON object, or a
// refusal in GitHub's shape.
func (s *Server) serveControl(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 32<<20))
	if err != nil {
		s.send(w, r, s.replyTo(refuse(http.StatusBadRequest, "Problems reading the body")), nil)
		return
	}
	for _, path := range controlPaths() {
		params, matches := path.template.Match(r.URL.EscapedPath())
		if !matches || path.Method != r.Method {
			continue
		}
		shown, err := path.handle(&control{s: s, r: r, params: params, body: body})
		if err != nil {
			s.send(w, r, s.controlError(err), nil)
			return
		}
		status := http.StatusOK
		if r.Method == http.MethodPost {
			status = http.StatusCreated
		}
		s.send(w, r, reply{status: status, body: shown}, nil)
		return
	}
	s.send(w, r, s.replyTo(refuse(http.StatusNotFound, "no such control path")), nil)
}

// controlError answers with the whole error: who uses the control paths wants
// to know.
func (s *Server) controlError(err error) reply {
	var no *refusal
	if errors.As(err, &no) {
		rep := no.reply()
		return rep
	}
	status := http.StatusUnprocessableEntity
	return (&refusal{status: status, message: err.Error()}).reply()
}

// read decodes the body, which may be missing; unknown fields are refused, so
// that a misspelt one is noticed.
func (c *control) read(v any) error {
	if len(bytes.TrimSpace(c.body)) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(c.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return refuse(http.StatusBadRequest, "body: "+err.Error())
	}
	return nil
}

func (c *control) number() (int, error) {
	n, err := strconv.Atoi(c.params["number"])
	if err != nil {
		return 0, notFound()
	}
	return n, nil
}

// state shows what the server holds. Payloads are most of it, so they are left out
// unless the query wants them.
func (c *control) state() (any, error) {
	st := c.s.State()
	if c.r.URL.Query().Get("payloads") == "true" {
		return st, nil
	}
	for i := range st.Deliveries {
		st.Deliveries[i].Request.Payload = nil
	}
	return st, nil
}

func (c *control) openPull() (any, error) {
	var in struct {
		Head       string `json:"head"`
		Base       string `json:"base"`
		Author     string `json:"author"`
		Permission string `json:"permission"`
		Fork       bool   `json:"fork"`
		Title      string `json:"title"`
		Body       string `json:"body"`
		Draft      bool   `json:"draft"`
		Number     int    `json:"number"`
		Silent     bool   `json:"silent"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if in.Head == "" {
		return nil, refuse(http.StatusUnprocessableEntity, "head is missing: a branch of the repository")
	}
	p, delivery, err := c.s.openPull(c.r.Context(), OpenPull{
		Owner: c.params["owner"], Repo: c.params["repo"], Number: in.Number, Head: in.Head, Base: in.Base, Title: in.Title,
		Body: in.Body, Draft: in.Draft, Author: in.Author, Permission: in.Permission, Fork: in.Fork, Silent: in.Silent,
	})
	if err != nil {
		return nil, err
	}
	return c.withPull(p.number, delivery)
}

// withPull shows a pull request, and the delivery that told of it: null when
// none was sent.
func (c *control) withPull(number int, delivery *Delivery) (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	r, err := c.s.find(c.params["owner"], c.params["repo"])
	if err != nil {
		return nil, err
	}
	p, err := r.pullNumbered(number)
	if err != nil {
		return nil, err
	}
	return object{"number": number, "pull_request": c.s.pull(c.s.linksHeld(""), r, p), "delivery": delivery}, nil
}

func (c *control) synchronize() (any, error) {
	var in struct {
		Head string `json:"head"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	n, err := c.number()
	if err != nil {
		return nil, err
	}
	delivery, err := c.s.Synchronize(c.r.Context(), c.params["owner"], c.params["repo"], n, in.Head)
	if err != nil {
		return nil, err
	}
	return c.withPull(n, delivery)
}

func (c *control) closePull() (any, error) {
	var in struct {
		Merged bool `json:"merged"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	n, err := c.number()
	if err != nil {
		return nil, err
	}
	delivery, err := c.s.ClosePull(c.r.Context(), c.params["owner"], c.params["repo"], n, in.Merged)
	if err != nil {
		return nil, err
	}
	return c.withPull(n, delivery)
}

func (c *control) reopenPull() (any, error) {
	n, err := c.number()
	if err != nil {
		return nil, err
	}
	delivery, err := c.s.ReopenPull(c.r.Context(), c.params["owner"], c.params["repo"], n)
	if err != nil {
		return nil, err
	}
	return c.withPull(n, delivery)
}

func (c *control) push() (any, error) {
	var in struct {
		Ref    string `json:"ref"`
		Before string `json:"before"`
		Sender string `json:"sender"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	delivery, err := c.s.Push(c.r.Context(), Push{
		Owner: c.params["owner"], Repo: c.params["repo"], Ref: in.Ref, Before: in.Before, Sender: in.Sender,
	})
	return object{"delivery": delivery}, err
}

func (c *control) comment() (any, error) {
	var in struct {
		Author     string `json:"author"`
		Permission string `json:"permission"`
		Body       string `json:"body"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	n, err := c.number()
	if err != nil {
		return nil, err
	}
	id, delivery, err := c.s.Comment(c.r.Context(), Remark{
		Owner: c.params["owner"], Repo: c.params["repo"], Number: n, Author: in.Author, Permission: in.Permission, Body: in.Body,
	})
	return object{"id": id, "delivery": delivery}, err
}

// click reads who clicks on the check run that the path names, and on what.
func (c *control) click() (Click, string, error) {
	var in struct {
		Sender     string `json:"sender"`
		Permission string `json:"permission"`
		Identifier string `json:"identifier"`
	}
	if err := c.read(&in); err != nil {
		return Click{}, "", err
	}
	id, err := strconv.ParseInt(c.params["id"], 10, 64)
	if err != nil {
		return Click{}, "", notFound()
	}
	return Click{CheckRun: id, Sender: in.Sender, Permission: in.Permission}, in.Identifier, nil
}

func (c *control) rerequest() (any, error) {
	click, _, err := c.click()
	if err != nil {
		return nil, err
	}
	delivery, err := c.s.RerequestCheckRun(c.r.Context(), click)
	return object{"delivery": delivery}, err
}

func (c *control) action() (any, error) {
	click, identifier, err := c.click()
	if err != nil {
		return nil, err
	}
	delivery, err := c.s.ClickAction(c.r.Context(), click, identifier)
	return object{"delivery": delivery}, err
}

func (c *control) deliver() (any, error) {
	var in struct {
		Event   string          `json:"event"`
		Payload json.RawMessage `json:"payload"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if in.Event == "" || len(in.Payload) == 0 {
		return nil, refuse(http.StatusUnprocessableEntity, "event and payload are both needed")
	}
	var compact bytes.Buffer // GitHub sends compact JSON
	if err := json.Compact(&compact, in.Payload); err != nil {
		return nil, refuse(http.StatusBadRequest, "payload: "+err.Error())
	}
	return c.s.Deliver(c.r.Context(), in.Event, compact.Bytes())
}

// addFaults takes a list of faults.
func (c *control) addFaults() (any, error) {
	var faults []Fault
	if err := c.read(&faults); err != nil {
		return nil, err
	}
	for _, f := range faults {
		if f.Status != 0 && (f.Status < 200 || f.Status > 599) || f.DelayMS < 0 {
			return nil, refuse(http.StatusUnprocessableEntity, "status is 200 to 599, delay_ms not negative")
		}
	}
	c.s.AddFaults(faults...)
	return object{"added": len(faults)}, nil
}

func (c *control) clearFaults() (any, error) {
	c.s.ClearFaults()
	return object{}, nil
}

// manifest agrees to an App manifest as a person would.
func (c *control) manifest() (any, error) {
	code, err := c.s.AddManifest(c.body)
	return object{"code": code}, err
}
