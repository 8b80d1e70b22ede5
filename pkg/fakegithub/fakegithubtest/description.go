// Package fakegithubtest checks requests to GitHub, and GitHub's answers,
// against GitHub's own OpenAPI description. It stands between a client and
// package fakegithub in tests: neither may say what GitHub would not.
package fakegithubtest

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/litci/litci/pkg/fakegithub/internal/route"
)

//go:embed testdata/api.github.com.trimmed.json
var descriptionJSON []byte

// description is GitHub's description, read once for all tests of a process.
var description = sync.OnceValues(load)

// api is the description with its paths ready to match.
type api struct {
	spec  *openapi3.T
	paths []path
}

// path is one path of the description.
type path struct {
	template route.Template
	item     *openapi3.PathItem
}

func load() (*api, error) {
	spec, err := openapi3.NewLoader().LoadFromData(descriptionJSON)
	if err != nil {
		return nil, fmt.Errorf("GitHub's description: %w", err)
	}
	a := &api{spec: spec}
	for text, item := range spec.Paths.Map() {
		a.paths = append(a.paths, path{route.Parse(text, multiSegment(item)), item})
	}
	return a, nil
}

// multiSegment tells which parameters of a path hold slashes.
func multiSegment(item *openapi3.PathItem) func(string) bool {
	return func(name string) bool {
		for _, op := range item.Operations() {
			for _, p := range slices.Concat(item.Parameters, op.Parameters) {
				if p.Value.Name == name && p.Value.In == openapi3.ParameterInPath && p.Value.Extensions["x-multi-segment"] == true {
					return true
				}
			}
		}
		return false
	}
}

// find returns the operation for a request: kin-openapi's own router cannot
// match parameters that hold slashes.
func (a *api) find(method, escapedPath string) (*routers.Route, map[string]string) {
	// The root directory's contents have no path to fill the parameter with.
	if strings.HasPrefix(escapedPath, "/repos/") && strings.Count(escapedPath, "/") <= 5 {
		if root := strings.TrimSuffix(escapedPath, "/"); strings.HasSuffix(root, "/contents") && strings.Count(root, "/") == 4 {
			escapedPath = root + "/."
		}
	}
	var best *path
	var bestParams map[string]string
	for i := range a.paths {
		p := &a.paths[i]
		if p.item.GetOperation(method) == nil || best != nil && p.template.Literals() <= best.template.Literals() {
			continue
		}
		if params, ok := p.template.Match(escapedPath); ok {
			best, bestParams = p, params
		}
	}
	if best == nil {
		return nil, nil
	}
	return &routers.Route{
		Spec: a.spec, Path: best.template.String(), PathItem: best.item, Method: method, Operation: best.item.GetOperation(method),
	}, bestParams
}

// exchange is a request and its answer.
type exchange struct {
	request     *http.Request
	requestBody []byte
	status      int
	header      http.Header
	body        []byte
}

// undescribed are statuses that any endpoint may answer with.
func undescribed(status int) bool {
	return slices.Contains([]int{
		http.StatusMovedPermanently, http.StatusNotModified, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden,
		http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusTooManyRequests,
	}, status) || status >= 500
}

// check holds an exchange against the description. Requests that the server
// refused need not fit when refusalsMayDiffer.
func (a *api) check(x exchange, refusalsMayDiffer bool) error {
	escaped := strings.TrimPrefix(x.request.URL.EscapedPath(), "/api/v3")
	found, params := a.find(x.request.Method, escaped)
	if found == nil {
		if refusalsMayDiffer && x.status == http.StatusNotFound {
			return nil
		}
		return fmt.Errorf("%s %s: no operation of GitHub's description", x.request.Method, escaped)
	}
	options := &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, SkipSettingDefaults: true, MultiError: true,
	}
	options.WithCustomSchemaErrorFunc(brief)
	in := &openapi3filter.RequestValidationInput{
		Request: x.request.Clone(context.Background()), PathParams: params, Route: found, Options: options,
	}
	in.Request.Body = http.NoBody
	// Client libraries send null where nothing optional is said; GitHub takes it.
	described := found.Operation.RequestBody
	nothing := described != nil && !described.Value.Required && string(bytes.TrimSpace(x.requestBody)) == "null"
	if len(x.requestBody) > 0 && !nothing {
		in.Request.Body = io.NopCloser(bytes.NewReader(x.requestBody))
		if in.Request.Header.Get("Content-Type") == "" {
			in.Request.Header.Set("Content-Type", "application/json")
		}
	}
	if !refusalsMayDiffer || x.status < 400 {
		if err := checkRequest(in); err != nil {
			return fmt.Errorf("%s %s: the request does not fit GitHub's description: %w", found.Method, found.Path, err)
		}
	}
	if err := checkAnswer(in, x); err != nil {
		return fmt.Errorf("%s %s: the answer %d does not fit GitHub's description: %w\nbody: %.2000s", found.Method, found.Path, x.status, err, x.body)
	}
	return nil
}

// brief says where a value breaks which rule, without the pages of schema
// that kin-openapi prints.
func brief(err *openapi3.SchemaError) string {
	text := fmt.Sprintf("/%s: %s", strings.Join(err.JSONPointer(), "/"), err.Reason)
	if err.Origin != nil {
		text += ": " + err.Origin.Error()
	}
	return text
}

func checkRequest(in *openapi3filter.RequestValidationInput) error {
	known := map[string]bool{}
	for _, p := range slices.Concat(in.Route.PathItem.Parameters, in.Route.Operation.Parameters) {
		if p.Value.In == openapi3.ParameterInQuery {
			known[p.Value.Name] = true
		}
	}
	query, err := url.ParseQuery(in.Request.URL.RawQuery)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	for name := range query {
		if !known[name] {
			return fmt.Errorf("query parameter %q is none of this operation's", name)
		}
	}
	return openapi3filter.ValidateRequest(context.Background(), in)
}

func checkAnswer(in *openapi3filter.RequestValidationInput, x exchange) error {
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: x.status, Header: x.header, Options: in.Options,
	}
	responses := in.Route.Operation.Responses
	if responses.Status(x.status) == nil && undescribed(x.status) {
		return checkError(x)
	}
	response := responses.Status(x.status)
	if response == nil {
		return fmt.Errorf("status %d is not one of the operation's", x.status)
	}
	if x.status >= 400 && len(response.Value.Content) == 0 {
		return checkError(x)
	}
	if x.status == http.StatusNotModified || len(response.Value.Content) == 0 {
		if len(x.body) > 0 {
			return fmt.Errorf("a body where none is described")
		}
		return nil
	}
	// Raw media types are described in words only.
	if strings.HasPrefix(x.header.Get("Content-Type"), "application/vnd.github.") {
		return nil
	}
	out.SetBodyBytes(x.body)
	if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
		return err
	}
	if x.status >= 400 {
		return checkError(x)
	}
	return nil
}

// checkError holds a refusal to the shape that all of GitHub's have.
func checkError(x exchange) error {
	if x.status == http.StatusNotModified {
		if len(x.body) > 0 {
			return fmt.Errorf("a body with 304")
		}
		return nil
	}
	for _, field := range []string{`"message":`, `"documentation_url":`} {
		if !bytes.Contains(x.body, []byte(field)) {
			return fmt.Errorf("the body has no %s", strings.Trim(field, `":`))
		}
	}
	return nil
}
