package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/fakegithub"
)

// Every example that GitHub publishes is answered with 2xx, and what becomes of it
// is said: ingress says why it did not pass it on, or the planner what it did.
func TestEveryExamplePayloadIsAccountedFor(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("..", "..", "services", "ingress", "testdata", "webhooks", "*.json"))
	if err != nil || len(files) < 30 {
		t.Fatalf("%d payloads, %v", len(files), err)
	}
	w := newWorld(t, map[string]string{"tests.yml": "name: Tests\nrun: echo fine\n"})
	// The repository of most examples; their commits are not in it.
	if err := w.github.AddRepo(fakegithub.Repo{Owner: "Codertocat", Name: "Hello-World", ID: 186853002, Dir: w.repo, Installation: 2}); err != nil {
		t.Fatal(err)
	}
	p := w.up()
	guids := map[string]string{}
	for _, file := range files {
		event, _, _ := strings.Cut(filepath.Base(file), ".")
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// Repository hooks leave the installation out; an App's webhooks have it.
		var payload map[string]any
		if err := json.Unmarshal(body, &payload); err != nil {
			t.Fatal(err)
		}
		if _, has := payload["installation"]; !has {
			payload["installation"] = map[string]any{"id": 2}
			if body, err = json.Marshal(payload); err != nil {
				t.Fatal(err)
			}
		}
		d, err := w.github.Deliver(t.Context(), event, body)
		if err != nil {
			t.Fatal(err)
		}
		if d.StatusCode/100 != 2 {
			t.Errorf("%s was answered with %d", filepath.Base(file), d.StatusCode)
		}
		guids[d.GUID] = filepath.Base(file)
	}
	said := map[string]string{}
	w.until("a word about each", func() bool {
		said = accounts(t, p.logged())
		for guid := range guids {
			if said[guid] == "" {
				return false
			}
		}
		return true
	})
	for guid, file := range guids {
		t.Logf("%s: %s", file, said[guid])
	}
}

// accounts are what the log says of each delivery: ingress when it did not pass it
// on, the planner or the bus otherwise.
func accounts(t *testing.T, log string) map[string]string {
	t.Helper()
	said := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(log))
	for lines.Scan() {
		var line struct {
			Message  string `json:"msg"`
			Delivery string `json:"delivery"`
			Reason   string `json:"reason"`
			Error    string `json:"error"`
			Run      string `json:"run"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("log line %s: %v", lines.Text(), err)
		}
		switch {
		case line.Delivery == "" || line.Message == "accepted":
		case line.Reason != "":
			said[line.Delivery] = line.Message + ": " + line.Reason
		case line.Error != "":
			said[line.Delivery] = line.Message + ": " + line.Error
		case line.Run != "":
			said[line.Delivery] = line.Message + ": run " + line.Run
		}
	}
	return said
}
