package workflow

import (
	"fmt"
	"testing"
)

// BenchmarkPlan256 reads a workflow with a matrix of 256 jobs, decides and expands it.
func BenchmarkPlan256(b *testing.B) {
	text := "run: make\nenv: {A: 1, B: two}\ntrigger: {pull_request: {branches: [main]}}\nparametrize:\n  matrix:\n"
	for _, axis := range []string{"os", "python", "machine", "mode_"} {
		text += "    " + axis + ": [one, two, three, four]\n"
	}
	files := []File{{Path: Folder + "/ci.yml", Data: []byte(text)}}
	event := Event{Kind: EventPullRequest, Action: "opened", Branch: "main"}
	b.ReportAllocs()
	for b.Loop() {
		w := Load(files).Workflows[0]
		if !w.Decide(event).Triggered || len(w.Jobs(event)) != 256 {
			b.Fatal("not 256 jobs")
		}
	}
}

// BenchmarkPaths matches 10,000 changed files against 50 patterns, none of which
// selects any, so that every file meets every pattern.
func BenchmarkPaths(b *testing.B) {
	var patterns []string
	for i := range 10 {
		patterns = append(patterns,
			fmt.Sprintf("services/s%d/**", i),
			fmt.Sprintf("**/*.x%d", i),
			fmt.Sprintf("pkg/*/internal/**/gen%d/*.go", i),
			fmt.Sprintf("**/testdata%d/**", i),
			fmt.Sprintf("docs/v[0-9]+/page%d?.md", i),
		)
	}
	filter, err := NewFilter("paths", patterns...)
	if err != nil {
		b.Fatal(err)
	}
	w := Workflow{Triggers: []Trigger{{Event: EventPush, Paths: filter}}}
	event := Event{Kind: EventPush, Branch: "main", ChangedKnown: true}
	for i := range 10_000 {
		event.Changed = append(event.Changed, fmt.Sprintf("pkg/module%d/internal/deep/folder/file%d.go", i%97, i))
	}
	b.ReportAllocs()
	for b.Loop() {
		if w.Decide(event).Triggered {
			b.Fatal("a file is selected")
		}
	}
}
