package lightning

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/executor/lightning/fakelightning"
)

func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.Read(data) // never fails
	return data
}

// The self-test says what to do.
func TestCheck(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options fakelightning.Options
		change  func(*Config)
		want    string
	}{
		"good":                   {},
		"listed twice":           {options: fakelightning.Options{Duplicate: true}},
		"name alone":             {change: func(c *Config) { c.Teamspace = "ci" }},
		"displayed name":         {change: func(c *Config) { c.Teamspace = "acme/Space ci" }},
		"scoped key":             {options: fakelightning.Options{Scoped: true}, change: func(c *Config) { c.UserID, c.Teamspace = "", "" }},
		"scoped key, its own":    {options: fakelightning.Options{Scoped: true}, change: func(c *Config) { c.UserID = "" }},
		"scoped key of another":  {fakelightning.Options{Scoped: true}, func(c *Config) { c.UserID, c.Teamspace = "", "acme/other" }, "belongs to teamspace acme/ci"},
		"wrong key":              {change: func(c *Config) { c.APIKey = "wrong-key" }, want: "LIGHTNING_API_KEY are not accepted"},
		"no teamspace":           {change: func(c *Config) { c.Teamspace = "" }, want: "set LIGHTNING_TEAMSPACE"},
		"unknown teamspace":      {change: func(c *Config) { c.Teamspace = "acme/gone" }, want: "the account is in ci"},
		"unknown owner":          {change: func(c *Config) { c.Teamspace = "nobody/ci" }, want: `no organization and no user "nobody"`},
		"teamspace of a user":    {change: func(c *Config) { c.Teamspace = "jane/ci" }, want: "is not there"},
		"jobs are switched off":  {options: fakelightning.Options{JobsDisabled: true}, want: "jobs are switched off in teamspace ci"},
		"nobody answers":         {change: func(c *Config) { c.URL = "http://127.0.0.1:1" }, want: "LIGHTNING_CLOUD_URL"},
		"something else answers": {change: func(c *Config) { c.URL += "/elsewhere" }, want: "404"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, test.options)
			e := w.executor(t, test.change)
			err := e.Check(t.Context())
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%v, want %q", err, test.want)
			case err != nil && (strings.Contains(err.Error(), "wrong-key") || strings.Contains(err.Error(), w.Options().APIKey)):
				t.Errorf("error shows a key: %v", err)
			}
			if err == nil {
				p, err := e.place(t.Context())
				if err != nil || p.name() != "acme/ci" {
					t.Errorf("teamspace is %s, %v", p.name(), err)
				}
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"no key":            {Config{}, "LIGHTNING_API_KEY"},
		"not an address":    {Config{URL: "lightning", APIKey: "k"}, "malformed"},
		"key in the clear":  {Config{URL: "http://lightning.example", APIKey: "k"}, "https"},
		"password in it":    {Config{URL: "https://u:p@lightning.example", APIKey: "k"}, "malformed"},
		"file":              {Config{URL: "file:///etc", APIKey: "k"}, "malformed"},
		"something to sign": {Config{URL: "https://lightning.ai?x=y", APIKey: "k"}, "malformed"},
	} {
		if _, err := New(test.config); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A request that cannot have its turn says so, and is not made.
func TestPace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakelightning.Options{})
	e := w.executor(t, func(c *Config) { c.Pace.Rate = 0.001 })
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	err := e.Check(ctx)
	if !errors.Is(err, errPace) || !errors.Is(err, context.DeadlineExceeded) || len(w.Requests()) != 1 {
		t.Errorf("%v after %d requests", err, len(w.Requests()))
	}
}

// Answers about running jobs are shared, so that many jobs do not use up the rate.
func TestFreshAnswersAreShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakelightning.Options{})
	e := w.executor(t, func(c *Config) { c.Pace.Fresh = time.Hour })
	h := executortest.Start(t, e, spec("fresh", "stuck", "true\n"))
	before := len(w.Requests())
	for range 50 {
		if _, err := e.Observe(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.Requests()) - before; n != 1 {
		t.Errorf("%d requests", n)
	}
}
