package workflow

import (
	"strings"
	"testing"
)

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key, patterns, yes, no string // lists by spaces
	}{
		{"branches", "feature/*", "feature/a", "feature/a/b feature"},
		{"branches", "feature/**", "feature/a feature/a/b", "features/a"},
		{"branches", "*", "main", "releases/1"},
		{"branches", "**", "main releases/1 a/b/c", ""},
		{"branches", "*feature", "feature my-feature", "a/feature"},
		{"branches", "v2*", "v2 v2.0", "v1 release/v2"},
		{"tags", "v[12].[0-9]+.[0-9]+", "v1.10.1 v2.0.0", "v3.0.0 v1.0 v1x0x1"},
		{"paths", "*.jsx?", "page.js page.jsx", "src/page.js page.jsxx"},
		{"paths", "**.js", "a.js src/x/a.js", "a.jsx"},
		{"paths", "docs/*", "docs/a.md", "docs/x/a.md"},
		{"paths", "docs/**/*.md", "docs/a.md docs/x/y/a.md", "a.md docsx/a.md"},
		{"paths", "**/README.md", "README.md js/README.md a/b/README.md", "xREADME.md"},
		{"paths", "**/*src/**", "my-src/a a/src/b src/a", "srcx/a"},
		{"paths", "*.md !README.md", "hello.md", "README.md docs/hello.md"},
		{"paths", "*.md !README.md README*", "hello.md README.md README.doc", "docs/a.md"},
		// Beyond the table.
		{"branches", "main", "main", "Main mains main/x"},
		{"branches", "release-?", "release release-", "release--"},
		{"branches", "[CB]at", "Cat Bat", "cat at CBat"},
		{"branches", "[0-9a-z]+", "a 0z", "A a-"},
		{"branches", "a[x-]?b", "ab axb a-b", "axxb ayb"},
		{"branches", `v1\.0\*`, "v1.0*", "v1.0x"},
		{"branches", "a.b", "a.b", "axb"},
		{"branches", "(x|y)$", "(x|y)$", "x y"},
		{"paths", "**/docs/**", "docs/a x/docs/a/b", "docs mydocs/a"},
		{"paths", "**/migrate-*.sql", "migrate-1.sql db/migrate-1.sql", "db/a-migrate-1.sql db/migrate-1/x.sql"},
		{"paths", "**/*.go", "a.go x/y/a.go .go", "a.gox"},
		{"paths", "**/*-post.md", "my-post.md a/b/my-post.md", "my-post.mdx"},
		{"paths", "src/**", "src/a src/a/b", "src a/src/b"},
		{"paths", "**/a/**/b", "a/b x/a/b x/a/y/z/b", "ab xa/b a/xb"},
		{"paths", "***", "a a/b", ""},
		{"paths-ignore", "docs/** *.md", "a.go docs.go", "docs/a.go a.md"},
	} {
		t.Run(c.key+" "+c.patterns, func(t *testing.T) {
			t.Parallel()
			f, err := NewFilter(c.key, strings.Fields(c.patterns)...)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range strings.Fields(c.yes) {
				if !f.Includes(name) {
					t.Errorf("%s does not select %s", f, name)
				}
			}
			for _, name := range strings.Fields(c.no) {
				if f.Includes(name) {
					t.Errorf("%s selects %s", f, name)
				}
			}
		})
	}
}

func TestPatternErrors(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"":                        "empty",
		"!":                       "empty",
		"?a":                      "repeats the character before it",
		"*+":                      "repeats the character before it",
		"a++":                     "repeats the character before it",
		"a/**?":                   "repeats the character before it",
		"[":                       "[ has no ]",
		"a[b":                     "[ has no ]",
		"[]":                      "holds no character",
		"[^a]":                    "cannot be negated",
		"[!a]":                    "cannot be negated",
		"[z-a]":                   "the range z-a",
		"[a-Z]":                   "the range a-Z",
		`a\`:                      "stands at the end",
		strings.Repeat("a", 1025): "longer than 1024 bytes",
		"\xff":                    "not UTF-8",
	} {
		if _, err := CompilePattern(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: have %v, want %q", pattern, err, want)
		}
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	pull := func(change func(*Event)) Event {
		e := Event{Kind: EventPullRequest, Action: "synchronize", Branch: "main", TrustedAuthor: true, ChangedKnown: true, Changed: []string{"src/a.go"}}
		if change != nil {
			change(&e)
		}
		return e
	}
	push := func(change func(*Event)) Event {
		e := Event{Kind: EventPush, Branch: "main", TrustedAuthor: true, ChangedKnown: true, Changed: []string{"src/a.go"}}
		if change != nil {
			change(&e)
		}
		return e
	}
	queue := Event{Kind: EventMergeGroup, Action: "checks_requested", Branch: "main", ChangedKnown: true, Changed: []string{"src/a.go"}}
	tag := func(name string) Event { return push(func(e *Event) { e.Branch, e.Tag = "", name }) }
	const none, runs, skipped = "none", "runs", "skipped"
	for _, c := range []struct {
		name, trigger string
		event         Event
		want, reason  string
	}{
		// Which events.
		{"no trigger: a push", "", push(nil), runs, "listens to push"},
		{"no trigger: a pull request", "", pull(nil), runs, "listens to pull_request"},
		{"no trigger: a tag", "", tag("v1"), runs, "listens to push"},
		{"a null trigger is no trigger", "trigger:", push(nil), runs, "listens to push"},
		{"one event as a text: listed", "trigger: push", push(nil), runs, "listens to push"},
		{"one event as a text: another", "trigger: push", pull(nil), none, "does not listen to pull_request"},
		{"a list", "trigger: [push, pull_request]", pull(nil), runs, "listens to pull_request"},
		{"a mapping with null", "trigger: {push: }", push(nil), runs, "listens to push"},
		{"an event switched off", "trigger: {push: , pull_request: false}", pull(nil), none, "does not listen"},

		// Branches and tags.
		{"the base branch of a pull request", "trigger: {pull_request: {branches: [main]}}", pull(nil), runs, "base branch main is selected by branches [main]"},
		{"another base branch", "trigger: {pull_request: {branches: main}}", pull(func(e *Event) { e.Branch = "dev" }), skipped, "base branch dev is not selected by branches [main]"},
		{"the pushed branch", "trigger: {push: {branches: ['release/**']}}", push(func(e *Event) { e.Branch = "release/1/x" }), runs, "branch release/1/x is selected"},
		{"an ignored branch", "trigger: {push: {branches-ignore: [main]}}", push(nil), skipped, "branch main is ignored by branches-ignore [main]"},
		{"a branch beside an ignored one", "trigger: {push: {branches-ignore: [dev]}}", push(nil), runs, "branch main is not ignored by branches-ignore [dev]"},
		{"the last match wins", "trigger: {push: {branches: ['**', '!main']}}", push(nil), skipped, "is not selected"},
		{"a tag by tags", "trigger: {push: {tags: ['v*']}}", tag("v1"), runs, "tag v1 is selected by tags [v*]"},
		{"another tag", "trigger: {push: {tags: ['v*']}}", tag("x"), skipped, "tag x is not selected"},
		{"an ignored tag", "trigger: {push: {tags-ignore: ['v*']}}", tag("v1"), skipped, "tag v1 is ignored by tags-ignore [v*]"},
		{"a tag does not match branches", "trigger: {push: {branches: ['**']}}", tag("v1"), none, "of branches, not of tags"},
		{"a branch does not match tags", "trigger: {push: {tags: ['**']}}", push(nil), none, "of tags, not of branches"},
		{"tags and branches: a branch", "trigger: {push: {tags: [v1], branches: [main]}}", push(nil), runs, "branch main"},
		{"tags and branches: a tag", "trigger: {push: {tags: [v1], branches: [main]}}", tag("v1"), runs, "tag v1"},
		{"a deleted branch", "", push(func(e *Event) { e.Deleted = true }), none, "deleted"},
		{"a deleted tag", "", Event{Kind: EventPush, Tag: "v1", Deleted: true}, none, "deleted"},

		// Paths.
		{"a path that is selected", "trigger: {push: {paths: ['src/**']}}", push(nil), runs, "a changed file is selected by paths [src/**]"},
		{"no path that is selected", "trigger: {push: {paths: ['docs/**']}}", push(nil), skipped, "no changed file is selected by paths [docs/**]"},
		{"one of two files is enough", "trigger: {push: {paths: ['docs/**']}}", push(func(e *Event) { e.Changed = []string{"a", "docs/a"} }), runs, "selected"},
		{"all files are ignored", "trigger: {push: {paths-ignore: ['src/**']}}", push(nil), skipped, "every changed file is ignored by paths-ignore [src/**]"},
		{"one file is not ignored", "trigger: {push: {paths-ignore: ['src/**']}}", push(func(e *Event) { e.Changed = []string{"src/a", "b"} }), runs, "a changed file is not ignored by paths-ignore [src/**]"},
		{"no changed file, paths", "trigger: {push: {paths: ['**']}}", push(func(e *Event) { e.Changed = nil }), skipped, "no file is changed"},
		{"no changed file, paths-ignore", "trigger: {push: {paths-ignore: [a]}}", push(func(e *Event) { e.Changed = nil }), skipped, "no file is changed"},
		{"an incomplete list fails open", "trigger: {push: {paths: ['docs/**']}}", push(func(e *Event) { e.ChangedKnown = false }), runs, "not known in full"},
		{"branches and paths: both", "trigger: {push: {branches: [main], paths: ['src/**']}}", push(nil), runs, "changed file"},
		{"branches and paths: paths alone", "trigger: {push: {branches: [dev], paths: ['src/**']}}", push(nil), skipped, "branch main"},
		{"branches and paths: branches alone", "trigger: {push: {branches: [main], paths: ['docs/**']}}", push(nil), skipped, "no changed file"},
		{"paths are ignored for tags", "trigger: {push: {paths: ['docs/**']}}", tag("v1"), runs, "listens to push"},

		// Pull requests.
		{"opened", "trigger: pull_request", pull(func(e *Event) { e.Action = "opened" }), runs, ""},
		{"reopened", "trigger: pull_request", pull(func(e *Event) { e.Action = "reopened" }), runs, ""},
		{"labeled is no default", "trigger: pull_request", pull(func(e *Event) { e.Action = "labeled" }), none, "only to opened, synchronize, reopened"},
		{"labeled by types", "trigger: {pull_request: {types: [labeled]}}", pull(func(e *Event) { e.Action = "labeled" }), runs, ""},
		{"types replace the defaults", "trigger: {pull_request: {types: [labeled]}}", pull(nil), none, "only to labeled"},
		{"edited with a new base", "trigger: {pull_request: {types: edited}}", pull(func(e *Event) { e.Action, e.BaseChanged = "edited", true }), runs, ""},
		{"edited text", "trigger: {pull_request: {types: edited}}", pull(func(e *Event) { e.Action = "edited" }), none, "its base branch is the same"},
		{"no action counts as any", "trigger: {pull_request: {types: [labeled]}}", pull(func(e *Event) { e.Action = "" }), runs, ""},
		{"a draft", "trigger: pull_request", pull(func(e *Event) { e.Draft = true }), runs, ""},
		{"a draft, draft: true", "trigger: {pull_request: {draft: true}}", pull(func(e *Event) { e.Draft = true }), runs, ""},
		{"a draft, draft: false", "trigger: {pull_request: {draft: false}}", pull(func(e *Event) { e.Draft = true }), skipped, "draft"},
		{"ready, draft: false", "trigger: {pull_request: {draft: false}}", pull(func(e *Event) { e.Action = "ready_for_review" }), runs, ""},
		{"ready, no draft key", "trigger: pull_request", pull(func(e *Event) { e.Action = "ready_for_review" }), none, ""},

		// Skip words.
		{"skip ci", "", push(func(e *Event) { e.Message = "fix [skip ci]" }), skipped, "the head commit says [skip ci]"},
		{"ci skip", "", pull(func(e *Event) { e.Message = "[ci skip] fix" }), skipped, "[ci skip]"},
		{"no ci", "", push(func(e *Event) { e.Message = "fix\n\nbody [No CI]" }), skipped, "[no ci]"},
		{"skip actions", "", push(func(e *Event) { e.Message = "[skip actions]" }), skipped, "[skip actions]"},
		{"actions skip", "", push(func(e *Event) { e.Message = "[actions skip]" }), skipped, "[actions skip]"},
		{"the trailer", "", push(func(e *Event) { e.Message = "fix\n\nbody\n\nskip-checks: true\n" }), skipped, "skip-checks: true"},
		{"the trailer among others", "", push(func(e *Event) { e.Message = "fix\r\n\r\nSigned-off-by: x\r\nskip-checks:true" }), skipped, "skip-checks: true"},
		{"no trailer in the body", "", push(func(e *Event) { e.Message = "fix\n\nskip-checks: true\n\nmore" }), runs, ""},
		{"a subject is no trailer", "", push(func(e *Event) { e.Message = "skip-checks: true" }), runs, ""},
		{"the trailer false", "", push(func(e *Event) { e.Message = "fix\n\nskip-checks: false" }), runs, ""},
		{"words of a stranger", "", pull(func(e *Event) { e.Message, e.TrustedAuthor = "[skip ci]", false }), runs, ""},
		{"words in the queue", "", Event{Kind: EventMergeGroup, Branch: "main", Message: "[skip ci]", TrustedAuthor: true}, runs, ""},
		{"other words", "", push(func(e *Event) { e.Message = "skip ci" }), runs, ""},

		// One commit, two events.
		{"a push to a branch with a pull request", "", push(func(e *Event) { e.OpenPullRequest = true }), none, "open pull request"},
		{"the same, pushes only", "trigger: push", push(func(e *Event) { e.OpenPullRequest = true }), runs, ""},
		{"the same, pull requests off", "trigger: {push: , pull_request: false}", push(func(e *Event) { e.OpenPullRequest = true }), runs, ""},
		{"the same, pull requests only when labeled", "trigger: {push: , pull_request: {types: [labeled]}}", push(func(e *Event) { e.OpenPullRequest = true }), runs, ""},
		{"a tag on it", "", push(func(e *Event) { e.Branch, e.Tag, e.OpenPullRequest = "", "v1", true }), runs, ""},

		// The merge queue.
		{"a workflow for pull requests runs in the queue", "trigger: pull_request", queue, runs, "listens to merge_group"},
		{"a workflow without triggers runs in the queue", "", queue, runs, ""},
		{"a workflow for pushes does not", "trigger: push", queue, none, "does not listen to merge_group"},
		{"the target branch is filtered", "trigger: {pull_request: {branches: [dev]}}", queue, skipped, "base branch main"},
		{"the paths of pull requests do not count", "trigger: {pull_request: {paths: ['docs/**']}}", queue, runs, ""},
		{"paths by choice", "trigger: {pull_request: , merge_group: {paths: ['docs/**']}}", queue, skipped, "no changed file"},
		{"branches by choice", "trigger: {merge_group: {branches: [main]}}", queue, runs, ""},
		{"switched off", "trigger: {pull_request: , merge_group: false}", queue, none, ""},
		{"destroyed", "trigger: merge_group", Event{Kind: EventMergeGroup, Action: "destroyed", Branch: "main"}, none, "destroyed"},
		{"the queue's branch as a push", "trigger: push", push(func(e *Event) { e.Branch = "gh-readonly-queue/main/pr-7-abc" }), none, "merge queue"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := load(t, c.trigger+"\nrun: make")
			d := w.Decide(c.event)
			have := none
			switch {
			case d.Triggered && d.Listed:
				have = runs
			case d.Listed:
				have = skipped
			case d.Triggered:
				have = "triggered without being listed"
			}
			if have != c.want || !strings.Contains(d.Reason, c.reason) || d.Reason == "" {
				t.Errorf("have %s (%s), want %s (%s)", have, d.Reason, c.want, c.reason)
			}
		})
	}
}

func TestNeedsChanged(t *testing.T) {
	t.Parallel()
	set := Load([]File{
		{Path: Folder + "/a.yml", Data: []byte("run: make\ntrigger: {pull_request: {branches: [main], paths: [a]}}")},
		{Path: Folder + "/b.yml", Data: []byte("run: make")},
	})
	for _, c := range []struct {
		name  string
		event Event
		want  bool
	}{
		{"a path filter decides", Event{Kind: EventPullRequest, Action: "opened", Branch: "main"}, true},
		{"the branch decides before", Event{Kind: EventPullRequest, Action: "opened", Branch: "dev"}, false},
		{"no workflow filters pushes by path", Event{Kind: EventPush, Branch: "main"}, false},
		{"skip words decide before", Event{Kind: EventPullRequest, Branch: "main", Message: "[skip ci]", TrustedAuthor: true}, false},
		{"the queue has no path filter", Event{Kind: EventMergeGroup, Branch: "main"}, false},
	} {
		if have := set.NeedsChanged(c.event); have != c.want {
			t.Errorf("%s: have %t, want %t", c.name, have, c.want)
		}
	}
}
