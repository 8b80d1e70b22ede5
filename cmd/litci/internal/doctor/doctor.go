// Package doctor looks at every part of litci that the settings name and says what is
// wrong with it and what to do. It changes nothing.
package doctor

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/litci/litci/pkg/config"
)

// State is how a part is.
type State string

// The states of parts. What warns works, but not as it could.
const (
	OK   State = "ok"
	Warn State = "warn"
	Fail State = "fail"
)

// Finding is one line of a report.
type Finding struct {
	// What was looked at.
	What  string `json:"what"`
	State State  `json:"state"`
	// Text says how it is, Remedy what to do where it is not well.
	Text   string `json:"finding"`
	Remedy string `json:"remedy,omitempty"`
}

// Report is what was found, in the order in which it was looked at.
type Report struct {
	Findings []Finding `json:"findings"`
	// Failed counts the findings that fail, Warned those that warn.
	Failed int `json:"failed"`
	Warned int `json:"warned"`
}

func (r *Report) add(what string, state State, text, remedy string) {
	r.Findings = append(r.Findings, Finding{what, state, text, remedy})
	switch state {
	case Fail:
		r.Failed++
	case Warn:
		r.Warned++
	}
}

// patience bounds each part.
const patience = 30 * time.Second

// Examine looks at what the named services need; "nats" among them stands for a
// server that litci up runs itself.
func Examine(ctx context.Context, cfg *config.Config, services ...string) *Report {
	r := &Report{}
	r.settings(cfg, services)
	runs := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(services, n) })
	}
	within := func(look func(context.Context)) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		look(ctx)
	}
	within(func(ctx context.Context) { r.nats(ctx, cfg) })
	if runs("ingress", "planner", "reporter") && cfg.AppID > 0 && len(cfg.PrivateKey) > 0 {
		within(func(ctx context.Context) { r.github(ctx, cfg) })
	}
	if runs("launcher", "watcher") {
		for _, pool := range cfg.Served() {
			within(func(ctx context.Context) { r.executor(ctx, pool) })
		}
	}
	if runs("reporter", "launcher") {
		within(func(ctx context.Context) { r.pages(ctx, cfg, runs("reporter")) })
	}
	return r
}

// settings lists what is missing or contradicts itself.
func (r *Report) settings(cfg *config.Config, services []string) {
	err := cfg.Validate(services...)
	var all *config.Error
	switch {
	case err == nil:
		r.add("settings", OK, "nothing is missing", "")
	case errors.As(err, &all):
		for _, problem := range all.Problems {
			r.add("settings", Fail, problem, "set it; docs/operations.md lists all settings")
		}
	default:
		r.add("settings", Fail, err.Error(), "correct it")
	}
}
