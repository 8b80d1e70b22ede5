package launcher

import (
	"encoding/json"
	"testing"

	"github.com/litci/litci/pkg/bus/bustest"
)

func TestBounds(t *testing.T) {
	repo, inst := scope{repository, 7}, scope{installation, 12}
	for name, test := range map[string]struct {
		pool              string
		own               [3]int // slots, repository, installation
		set               string
		slots, repo, inst int
	}{
		"its own settings":     {"", [3]int{4, 2, 3}, `{}`, 4, 2, 3},
		"no settings":          {"", [3]int{4, 0, 0}, `{}`, 4, 0, 0},
		"of the unnamed pool":  {"", [3]int{4, 0, 0}, `{"slots": {"": 8, "gpu": 1}}`, 8, 0, 0},
		"of a named pool":      {"gpu", [3]int{4, 0, 0}, `{"slots": {"": 8, "gpu": 1}}`, 1, 0, 0},
		"a closed pool":        {"gpu", [3]int{4, 0, 0}, `{"slots": {"gpu": 0}}`, 0, 0, 0},
		"for everybody":        {"", [3]int{4, 2, 3}, `{"repository": 5, "installation": 6}`, 4, 5, 6},
		"none for everybody":   {"", [3]int{4, 2, 3}, `{"repository": 0, "installation": 0}`, 4, 0, 0},
		"for one":              {"", [3]int{4, 2, 3}, `{"repository": 5, "repositories": {"octo/7": 9}, "installations": {"12": 10}}`, 4, 9, 10},
		"none for one":         {"", [3]int{4, 2, 3}, `{"repositories": {"octo/7": 0}, "installations": {"12": 0}}`, 4, 0, 0},
		"for others":           {"", [3]int{4, 2, 3}, `{"repositories": {"octo/8": 9}, "installations": {"13": 9}}`, 4, 2, 3},
		"below zero is no one": {"", [3]int{4, 2, 3}, `{"slots": {"": -1}, "repository": -1}`, 0, 0, 3},
	} {
		b := boundsOf(Options{Pool: test.pool, Slots: test.own[0], RepositoryJobs: test.own[1], InstallationJobs: test.own[2]})
		if err := json.Unmarshal([]byte(test.set), &b.set); err != nil {
			t.Fatal(err)
		}
		if slots, r, i := b.ofMachine(), b.ofScope(repo, "octo/7"), b.ofScope(inst, "octo/7"); slots != test.slots || r != test.repo || i != test.inst {
			t.Errorf("%s: %d slots, %d a repository, %d an installation", name, slots, r, i)
		}
	}
}

func TestLimitsAreKept(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	if got, err := ReadLimits(t.Context(), b); err != nil || got.Slots != nil || got.Repository != nil {
		t.Errorf("at first %+v, %v", got, err)
	}
	four := 4
	for _, change := range []func(*Limits){
		func(l *Limits) { l.Repository = &four },
		func(l *Limits) { l.Slots = map[string]int{"gpu": 2} },
	} {
		if _, err := ChangeLimits(t.Context(), b, change); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadLimits(t.Context(), b)
	if err != nil || got.Slots["gpu"] != 2 || *got.Repository != 4 {
		t.Errorf("kept %+v, %v", got, err)
	}
}
