package console

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/services/launcher"
	"github.com/litci/litci/services/reporter"
)

// defaultName stands for all that no limit names.
const defaultName = "default"

// Changes are the limits that are to be set or unset.
type Changes struct {
	// Slots are those of launchers by their pool, empty for the unnamed one.
	Slots map[string]int
	// Repositories by owner/name, Installations by id; defaultName is all others.
	Repositories  map[string]int
	Installations map[string]int
}

// Empty tells that nothing is to be changed.
func (c Changes) Empty() bool {
	return len(c.Slots)+len(c.Repositories)+len(c.Installations) == 0
}

// ParseLimits reads NAME=N for repositories or installations; none is 0.
func ParseLimits(flag string, pairs []string) (map[string]int, error) {
	limits := map[string]int{}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		n, err := strconv.Atoi(value)
		if value == "none" {
			n, err = 0, nil
		}
		if !ok || err != nil || n < 0 {
			return nil, fmt.Errorf("--%s %s: want NAME=N, N a whole number or none", flag, pair)
		}
		if err := checkName(flag, name); err != nil {
			return nil, err
		}
		limits[name] = n
	}
	return limits, nil
}

// ParseNames reads the names of limits that are to be unset.
func ParseNames(flag string, names []string) (map[string]int, error) {
	limits := map[string]int{}
	for _, name := range names {
		if err := checkName(flag, name); err != nil {
			return nil, err
		}
		limits[name] = 0
	}
	return limits, nil
}

func checkName(flag, name string) error {
	if name == defaultName {
		return nil
	}
	if flag == "installation" {
		if id, err := strconv.ParseInt(name, 10, 64); err != nil || id <= 0 {
			return fmt.Errorf("--%s %s: an installation is a number, or %s", flag, name, defaultName)
		}
		return nil
	}
	owner, repo, both := strings.Cut(name, "/")
	if !both || owner == "" || repo == "" || strings.ContainsAny(repo, "/= ") {
		return fmt.Errorf("--%s %s: a repository is OWNER/NAME, or %s", flag, name, defaultName)
	}
	return nil
}

// Set puts the changes into limits.
func (c Changes) Set(l *launcher.Limits) {
	l.Slots = with(l.Slots, c.Slots)
	for name, n := range c.Repositories {
		if name == defaultName {
			l.Repository = &n
		} else {
			l.Repositories = with(l.Repositories, map[string]int{name: n})
		}
	}
	for id, n := range c.Installations {
		if id == defaultName {
			l.Installation = &n
		} else {
			l.Installations = with(l.Installations, map[string]int{id: n})
		}
	}
}

func with(have, more map[string]int) map[string]int {
	if have == nil {
		have = map[string]int{}
	}
	maps.Copy(have, more)
	return have
}

// Unset takes what the changes name out of limits.
func (c Changes) Unset(l *launcher.Limits) {
	for pool := range c.Slots {
		delete(l.Slots, pool)
	}
	for name := range c.Repositories {
		if name == defaultName {
			l.Repository = nil
		}
		delete(l.Repositories, name)
	}
	for id := range c.Installations {
		if id == defaultName {
			l.Installation = nil
		}
		delete(l.Installations, id)
	}
}

// NotSet says which of the changes would take nothing out of limits, a line each.
func (c Changes) NotSet(l launcher.Limits) []string {
	var lines []string
	say := func(what string) { lines = append(lines, "No limit of "+terminal.Plain(what)+" is set here.") }
	for _, pool := range slices.Sorted(maps.Keys(c.Slots)) {
		if _, set := l.Slots[pool]; !set {
			say("the slots of " + poolName(pool))
		}
	}
	named := func(kind string, names map[string]int, all *int, each map[string]int) {
		for _, name := range slices.Sorted(maps.Keys(names)) {
			_, set := each[name]
			switch {
			case name == defaultName && all == nil:
				say("each other " + kind)
			case name != defaultName && !set:
				say(kind + " " + name)
			}
		}
	}
	named("repository", c.Repositories, l.Repository, l.Repositories)
	named("installation", c.Installations, l.Installation, l.Installations)
	return lines
}

// Unknown says of which repositories and installations in the changes no run is known,
// a line each: their limits may hold for nothing, as with a slip of the pen.
func (c Changes) Unknown(ctx context.Context, b *bus.Bus) ([]string, error) {
	known := map[string]bool{defaultName: true}
	err := reporter.EachJob(ctx, b, "", func(j reporter.Job) error {
		known[j.Repo.FullName()] = true
		known[strconv.FormatInt(j.Installation, 10)] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	var lines []string
	named := func(kind string, names map[string]int) {
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if !known[name] {
				lines = append(lines, fmt.Sprintf("No run of %s %s is known; its limit is set all the same.", kind, terminal.Plain(name)))
			}
		}
	}
	named("repository", c.Repositories)
	named("installation", c.Installations)
	return lines, nil
}

// poolName is a pool in words.
func poolName(pool string) string {
	if pool == "" {
		return "the unnamed pool"
	}
	return "pool " + pool
}

// PrintLimits writes limits as a table to out.
func PrintLimits(l launcher.Limits, out, words io.Writer, screen terminal.Screen) error {
	t := terminal.Table{}
	t.Head("LIMIT", "OF", "JOBS AT ONCE")
	row := func(kind, of string, n int, zero string) {
		value := strconv.Itoa(n)
		if n == 0 {
			value = zero
		}
		t.Add(terminal.Cell{Text: kind}, terminal.Cell{Text: terminal.Plain(of)}, terminal.Cell{Text: value})
	}
	for _, pool := range slices.Sorted(maps.Keys(l.Slots)) {
		row("slots", "each launcher of "+poolName(pool), l.Slots[pool], "0, nothing is started")
	}
	named := func(kind string, all *int, each map[string]int) {
		for _, name := range slices.Sorted(maps.Keys(each)) {
			row(kind, name, each[name], "no limit")
		}
		if all != nil {
			row(kind, "each other", *all, "no limit")
		}
	}
	named("repository", l.Repository, l.Repositories)
	named("installation", l.Installation, l.Installations)
	if t.Rows() == 0 {
		fmt.Fprintln(words, "No limit is set here: each launcher keeps to its own settings.")
		return nil
	}
	return t.Print(out, screen)
}
