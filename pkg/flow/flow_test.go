package flow_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/litci/litci/pkg/flow"
)

func TestRunIDIsComputedFromItsInput(t *testing.T) {
	base := flow.RunID(1, 2, "pull_request", "7", "abc", "")
	if base != flow.RunID(1, 2, "pull_request", "7", "abc", "") {
		t.Error("the same input gives two ids")
	}
	if len(base) != 20 || strings.ToLower(base) != base {
		t.Errorf("%q is not 20 lower-case characters", base)
	}
	others := map[string]string{
		"installation": flow.RunID(2, 2, "pull_request", "7", "abc", ""),
		"repository":   flow.RunID(1, 3, "pull_request", "7", "abc", ""),
		"event":        flow.RunID(1, 2, "push", "7", "abc", ""),
		"subject":      flow.RunID(1, 2, "pull_request", "8", "abc", ""),
		"sha":          flow.RunID(1, 2, "pull_request", "7", "abd", ""),
		"nonce":        flow.RunID(1, 2, "pull_request", "7", "abc", "x"),
		"boundaries":   flow.RunID(1, 2, "pull_request", "7a", "bc", ""),
	}
	for what, id := range others {
		if id == base {
			t.Errorf("another %s gives the same id", what)
		}
	}
}

func TestAttemptIDsComeApartAsTheyWerePutTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		run := flow.RunID(rapid.Int64().Draw(t, "installation"), 1, "push", "", "", "")
		index, attempt := rapid.IntRange(0, 999).Draw(t, "index"), rapid.IntRange(1, 99).Draw(t, "attempt")
		id := flow.AttemptID(flow.JobID(run, index), attempt)
		gotRun, gotIndex, gotAttempt, ok := flow.ParseAttemptID(id)
		if !ok || gotRun != run || gotIndex != index || gotAttempt != attempt {
			t.Fatalf("%s came apart as %s %d %d %v", id, gotRun, gotIndex, gotAttempt, ok)
		}
		if name := flow.ExternalName(flow.JobID(run, index), attempt); len(name) > 63 {
			t.Fatalf("%s is longer than a DNS label", name)
		}
	})
}

func TestForeignExternalIDsAreRefused(t *testing.T) {
	run := strings.Repeat("a", 20)
	for _, id := range []string{
		"", "x", run, run + "-0", run + "-0-1", run + "-0-a0", run + "-0-a01", run + "--1-a1", run + "-+1-a1", run + "-0-a1-x",
		strings.Repeat("A", 20) + "-0-a1", strings.Repeat("a", 19) + "-0-a1", "../" + run[3:] + "-0-a1",
	} {
		if _, _, _, ok := flow.ParseAttemptID(id); ok {
			t.Errorf("%q was taken for an attempt", id)
		}
	}
}

func TestParamsKeepTheirOrderAndTypes(t *testing.T) {
	const text = `{"z":"3.10","a":3.10,"m":true,"n":null,"o":{"k":1},"l":[1,"two"]}`
	var p flow.Params
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(p)
	if err != nil || string(again) != text {
		t.Errorf("%s, %v", again, err)
	}
	want := []string{"3.10", "3.10", "true", "", `{"k":1}`, `[1,"two"]`}
	for i, param := range p {
		if param.Text() != want[i] {
			t.Errorf("%s is %q, want %q", param.Name, param.Text(), want[i])
		}
	}
	if v, ok := p.Get("m"); !ok || v != true {
		t.Errorf("m is %v", v)
	}
	if _, ok := p.Get("absent"); ok {
		t.Error("an absent name has a value")
	}
	for _, bad := range []string{`[]`, `"x"`, `{`, `{"a"}`} {
		if err := json.Unmarshal([]byte(bad), &p); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestStatesHaveARank(t *testing.T) {
	order := []flow.State{"", flow.Queued, flow.Starting, flow.Started, flow.Running, flow.Ended}
	for i := 1; i < len(order); i++ {
		if order[i].Rank() <= order[i-1].Rank() {
			t.Errorf("%s does not rank above %s", order[i], order[i-1])
		}
	}
}

// Messages of one kind must never share a key, and the same message always has
// the same one.
func TestKeysAndHeadersNameTheMessage(t *testing.T) {
	id := flow.Identity{Delivery: "guid", Installation: 7, Repo: flow.Repo{ID: 1, Owner: "o", Name: "n"}, SHA: "abc", Run: "run"}
	job := flow.Job{Identity: id, Job: "run-3", Index: 3, Attempt: 2, Check: "ci.yml / x"}
	status := flow.StatusOf(job, flow.Started, time.Unix(0, 0))
	result := flow.ResultOf(job, flow.Success, flow.CauseExit, "", time.Unix(0, 0))
	messages := map[string]flow.Message{
		"gh/guid":                flow.Event{Delivery: "guid"},
		"start/run-3/2":          job,
		"status/run-3/2/started": status,
		"result/run-3/2":         result,
		"result/run":             flow.Result{Identity: id},
		"plan/run":               flow.Plan{Identity: id},
		"log/run-3/2/5/1":        flow.LogBlock{Job: "run-3", Attempt: 2, Offset: 5, Text: "x"},
	}
	for key, m := range messages {
		if m.Key() != key {
			t.Errorf("key is %s, want %s", m.Key(), key)
		}
	}
	for _, m := range []flow.Message{job, status, result} {
		h := m.Headers()
		for name, want := range map[string]string{
			flow.HeaderDelivery: "guid", flow.HeaderInstallation: "7", flow.HeaderRepo: "o/n", flow.HeaderSHA: "abc",
			flow.HeaderRun: "run", flow.HeaderJob: "run-3", flow.HeaderAttempt: "2",
		} {
			if h[name] != want {
				t.Errorf("%T: %s is %q, want %q", m, name, h[name], want)
			}
		}
	}
}

func TestSubjectsOfPools(t *testing.T) {
	if flow.Jobs.OfPool("") != "jobs.start" || flow.Jobs.OfPool("gpu") != "jobs.start.gpu" {
		t.Errorf("%s, %s", flow.Jobs.OfPool(""), flow.Jobs.OfPool("gpu"))
	}
}
