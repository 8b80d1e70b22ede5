package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/litci/litci/pkg/executor/internal/rest"
)

const (
	// maxWait bounds the wait between two tries, also where the server asks for more.
	maxWait = 15 * time.Second
	// maxAnswer bounds an answer, maxError what is kept of an error's text; in bytes.
	maxAnswer = 256 << 20
	maxError  = 16 << 10
	// tokenLife is when a token's file is read again.
	tokenLife = time.Minute
)

// client makes requests, and makes them again when the server has trouble: each of
// ours is harmless when it is made twice, as names are ours.
type client struct {
	base string
	http *http.Client
	pace Pace
	auth bearer
}

func newClient(cluster Cluster, with *http.Client, pace Pace) (*client, error) {
	if err := cluster.check(); err != nil {
		return nil, err
	}
	if with == nil {
		transport, err := cluster.transport()
		if err != nil {
			return nil, err
		}
		with = &http.Client{Transport: transport}
	}
	// A redirect would take the credentials to another place.
	own := *with
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{
		base: strings.TrimRight(cluster.Server, "/"), http: &own, pace: pace,
		auth: bearer{token: cluster.Token, file: cluster.TokenFile},
	}, nil
}

// bearer is a token, or a file with one that others replace.
type bearer struct {
	file string

	mu    sync.Mutex
	token string
	read  time.Time
}

// get is the present token. Anew asks for it from the file.
func (b *bearer) get(anew bool) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.file == "" || !anew && b.token != "" && time.Since(b.read) < tokenLife {
		return b.token, nil
	}
	data, err := os.ReadFile(b.file)
	if err != nil {
		if b.token != "" && !anew {
			return b.token, nil // it may be good for a while
		}
		return "", fmt.Errorf("token: %w", err)
	}
	b.token, b.read = strings.TrimSpace(string(data)), time.Now()
	return b.token, nil
}

// request is one request. Sent is its body: JSON, or a merge patch for PATCH.
type request struct {
	method, path string
	query        url.Values
	sent         any
	// secret must not appear in an error, even when the server repeats it.
	secret string
}

func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

// call makes a request and decodes the answer into out.
func (c *client) call(ctx context.Context, r request, out any) error {
	return rest.Again(ctx, c.pace.Retry, maxWait, rest.Transient, func() error {
		within, cancel := context.WithTimeout(ctx, c.pace.Call)
		defer cancel()
		answer, err := c.open(within, r)
		if err != nil {
			return err
		}
		defer answer.Close()
		if out == nil {
			_, err = io.Copy(io.Discard, io.LimitReader(answer, maxAnswer))
		} else {
			err = decode(answer, out)
		}
		if err != nil {
			return fmt.Errorf("%s %s: answer: %w", r.method, r.path, rest.Bare(err))
		}
		return nil
	})
}

// decode reads an answer whole before it is looked at: what was cut off is not half
// an object.
func decode(from io.Reader, out any) error {
	data, err := io.ReadAll(io.LimitReader(from, maxAnswer))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, out); err != nil {
		return errors.New("it is not the JSON that was expected")
	}
	return nil
}

// stream makes a request whose answer is read at length.
func (c *client) stream(ctx context.Context, r request) (io.ReadCloser, error) {
	var body io.ReadCloser
	err := rest.Again(ctx, c.pace.Retry, maxWait, rest.Transient, func() (err error) {
		body, err = c.open(ctx, r)
		return err
	})
	return body, err
}

// open makes a request once; with a fresh token, where the old one is not taken.
func (c *client) open(ctx context.Context, r request) (io.ReadCloser, error) {
	answer, err := c.once(ctx, r, false)
	if rest.Status(err) == http.StatusUnauthorized && c.auth.file != "" {
		answer, err = c.once(ctx, r, true)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	return answer, nil
}

func (c *client) once(ctx context.Context, r request, anew bool) (io.ReadCloser, error) {
	token, err := c.auth.get(anew)
	if err != nil {
		return nil, err
	}
	address := c.base + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	var body io.Reader
	if r.sent != nil {
		data, err := json.Marshal(r.sent)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address, body)
	if err != nil {
		return nil, rest.Bare(err)
	}
	switch {
	case r.method == http.MethodPatch:
		req.Header.Set("Content-Type", "application/merge-patch+json")
	case r.sent != nil:
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json, */*;q=0.5")
	req.Header.Set("User-Agent", "litci")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := c.http.Do(req)
	if err != nil {
		return nil, rest.Bare(err)
	}
	if answer.StatusCode/100 == 2 {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	return nil, refusalOf(answer, token, r.secret)
}

// refusalOf reads an error: a Status of the API, or the page of a proxy.
func refusalOf(answer *http.Response, secrets ...string) error {
	refused, data := rest.Refusal(answer, maxError)
	var own struct {
		Kind    string `json:"kind"`
		Message string `json:"message"`
	}
	if json.Unmarshal(data, &own) == nil && own.Kind == "Status" {
		refused.Message = own.Message
	}
	for _, secret := range secrets {
		if secret != "" {
			refused.Message = strings.ReplaceAll(refused.Message, secret, "***")
		}
	}
	return refused
}

// advise adds to an error what its reader can do.
func advise(err error) error {
	switch rest.Status(err) {
	case http.StatusUnauthorized:
		return fmt.Errorf("kubernetes: %w; the cluster does not take the credentials: make a new token for the service account", err)
	case http.StatusForbidden:
		return fmt.Errorf("kubernetes: %w; bind the Role in deploy/kubernetes/role.yaml to litci's service account, in this namespace", err)
	case 0:
		if errors.Is(err, context.Canceled) {
			return err
		}
		return fmt.Errorf("kubernetes: %w; check that this machine reaches the API server (address, certificates, proxy, DNS)", err)
	default:
		return fmt.Errorf("kubernetes: %w", err)
	}
}
