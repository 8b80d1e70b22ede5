package ingress

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/litci/litci/pkg/flow"
)

const (
	shaA = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
	shaB = "f95f852bd8fca8fcc58a9a2d6c842781e32a215e"
	zero = "0000000000000000000000000000000000000000"
)

// object is a JSON object in the making.
type object = map[string]any

// payload is a delivery's body with what all deliveries have.
func payload(t testing.TB, more object) []byte {
	t.Helper()
	whole := object{
		"installation": object{"id": 9},
		"repository":   object{"id": 7, "name": "hello", "owner": object{"login": "octo"}, "default_branch": "main", "private": true},
		"sender":       object{"login": "mona", "id": 1, "type": "User"},
	}
	for name, value := range more {
		whole[name] = value
	}
	body, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func pull(head, changes object, more object) object {
	pr := object{
		"number": 3, "state": "open", "draft": false, "merged": false, "user": object{"login": "hubot[bot]", "id": 2, "type": "Bot"},
		"head": object{"sha": shaA, "ref": "topic", "repo": object{"id": 7}}, "base": object{"sha": shaB, "ref": "main"},
	}
	if head != nil {
		pr["head"] = head
	}
	for name, value := range more {
		pr[name] = value
	}
	return object{"action": "edited", "pull_request": pr, "changes": changes}
}

func normaliseTest(kind string, body []byte) (flow.Event, string, error) {
	return normalise(delivery{id: testID, kind: kind, received: time.Unix(1, 0).UTC()}, ownApp, body)
}

// mustNormalise is for payloads that become events.
func mustNormalise(t *testing.T, kind string, more object) flow.Event {
	t.Helper()
	e, reason, err := normaliseTest(kind, payload(t, more))
	if err != nil || reason != "" {
		t.Fatalf("%s: %v, %q", kind, err, reason)
	}
	return e
}

func TestForks(t *testing.T) {
	for name, c := range map[string]struct {
		repo any
		want bool
		id   int64
	}{
		"the same repository":         {object{"id": 7}, false, 7},
		"another repository":          {object{"id": 8}, true, 8},
		"a fork that was deleted":     {nil, true, 0},
		"a repository without an id":  {object{}, true, 0},
		"an id beyond 32 and 53 bits": {object{"id": int64(1)<<53 + 1}, true, 1<<53 + 1},
	} {
		e := mustNormalise(t, "pull_request", pull(object{"sha": shaA, "ref": "topic", "repo": c.repo}, nil, nil))
		if e.PullRequest.Fork != c.want || e.PullRequest.HeadRepo != c.id {
			t.Errorf("%s: fork %v, head repo %d", name, e.PullRequest.Fork, e.PullRequest.HeadRepo)
		}
	}
}

func TestPullRequestState(t *testing.T) {
	e := mustNormalise(t, "pull_request", pull(nil, nil, object{"draft": true, "user": nil}))
	if p := e.PullRequest; !p.Open || !p.Draft || p.Merged || p.BaseChanged || p.Author != (flow.User{}) {
		t.Errorf("%+v", p)
	}
	e = mustNormalise(t, "pull_request", pull(nil, object{"title": object{"from": "x"}}, nil))
	if e.PullRequest.BaseChanged {
		t.Error("a new title is a new base")
	}
	e = mustNormalise(t, "pull_request", pull(nil, object{"base": object{"ref": object{"from": "old"}}}, object{"state": "closed", "merged": true}))
	if p := e.PullRequest; !p.BaseChanged || p.Open || !p.Merged {
		t.Errorf("%+v", p)
	}
	if want := (flow.User{Login: "hubot[bot]", ID: 2, Type: "Bot"}); e.PullRequest.Author != want {
		t.Errorf("author %+v", e.PullRequest.Author)
	}
}

func TestPushes(t *testing.T) {
	for name, c := range map[string]struct {
		push object
		want flow.Push
		sha  string
	}{
		"an annotated tag is its commit": {
			object{"ref": "refs/tags/v1", "before": zero, "after": shaB, "created": true, "head_commit": object{"id": shaA, "message": "m"}},
			flow.Push{Ref: "refs/tags/v1", Before: zero, After: shaB, Created: true, Head: shaA, Message: "m"},
			shaA,
		},
		"a deleted branch": {
			object{"ref": "refs/heads/x", "before": shaA, "after": zero, "deleted": true, "head_commit": nil},
			flow.Push{Ref: "refs/heads/x", Before: shaA, After: zero, Deleted: true},
			zero,
		},
		"a forced one without commits": {
			object{"ref": "refs/heads/x", "before": shaA, "after": shaB, "forced": true, "commits": []any{}, "head_commit": object{"id": shaB}},
			flow.Push{Ref: "refs/heads/x", Before: shaA, After: shaB, Forced: true, Head: shaB},
			shaB,
		},
		"timestamps as numbers": {
			object{"ref": "refs/heads/x", "after": shaB, "created_at": 1557933565, "pusher": object{"date": 1}},
			flow.Push{Ref: "refs/heads/x", After: shaB},
			shaB,
		},
	} {
		e := mustNormalise(t, "push", c.push)
		if *e.Push != c.want || e.SHA() != c.sha {
			t.Errorf("%s: %+v, sha %s", name, *e.Push, e.SHA())
		}
	}
	// Some push payloads name the owner by name alone.
	e := mustNormalise(t, "push", object{"ref": "refs/heads/x", "after": shaB, "repository": object{"id": 7, "name": "hello", "owner": object{"name": "octo"}}})
	if e.Repo.FullName() != "octo/hello" {
		t.Errorf("repo %+v", e.Repo)
	}
}

func TestNewsOfOwnCheckRuns(t *testing.T) {
	for _, c := range []struct {
		action string
		app    any
		reason string
	}{
		{"created", object{"id": ownApp}, reasonOwnNews},
		{"completed", object{"id": ownApp}, reasonOwnNews},
		{"rerequested", object{"id": ownApp}, ""},
		{"requested_action", object{"id": ownApp}, ""},
		{"completed", object{"id": 1}, ""},
		{"completed", nil, ""},
	} {
		body := payload(t, object{"action": c.action, "check_run": object{"id": 5, "name": "n", "head_sha": shaA, "app": c.app}})
		e, reason, err := normaliseTest("check_run", body)
		if err != nil || reason != c.reason || (reason == "") != (e.CheckRun != nil) {
			t.Errorf("%s by %v: %q, %v", c.action, c.app, reason, err)
		}
		if _, reason, err := normalise(delivery{id: testID, kind: "check_run"}, 0, body); reason != "" || err != nil {
			t.Errorf("%s by %v, own app unknown: %q, %v", c.action, c.app, reason, err)
		}
	}
}

func TestNewsOfOwnComments(t *testing.T) {
	for _, c := range []struct {
		app    any
		reason string
	}{
		{object{"id": ownApp}, reasonOwnNews},
		{object{"id": 1}, ""},
		{nil, ""},
	} {
		for _, action := range []string{"created", "edited"} {
			body := payload(t, object{"action": action, "issue": object{"number": 3}, "comment": object{"id": 5, "performed_via_github_app": c.app}})
			if _, reason, err := normaliseTest("issue_comment", body); err != nil || reason != c.reason {
				t.Errorf("%s by %v: %q, %v", action, c.app, reason, err)
			}
		}
	}
}

func TestNullsThatGitHubSends(t *testing.T) {
	e := mustNormalise(t, "check_suite", object{
		"action": "rerequested", "sender": nil,
		"check_suite": object{"id": 5, "head_sha": shaA, "head_branch": nil, "app": nil, "pull_requests": []any{}},
	})
	if *e.CheckSuite != (flow.CheckSuite{ID: 5, HeadSHA: shaA}) || e.Sender != (flow.User{}) {
		t.Errorf("%+v", e)
	}
	e = mustNormalise(t, "pull_request_review", object{
		"action": "submitted", "pull_request": object{"number": 3},
		"review": object{"id": 5, "state": "APPROVED", "commit_id": nil, "user": nil, "body": nil},
	})
	if *e.Review != (flow.Review{ID: 5, PullRequest: 3, State: "approved"}) {
		t.Errorf("%+v", e.Review)
	}
	e = mustNormalise(t, "issue_comment", object{
		"action": "created", "issue": object{"number": 3, "pull_request": nil},
		"comment": object{"id": 5, "body": nil, "user": nil, "performed_via_github_app": nil},
	})
	if *e.Comment != (flow.Comment{ID: 5, Issue: 3}) {
		t.Errorf("%+v", e.Comment)
	}
	e = mustNormalise(t, "installation", object{"action": "deleted", "repository": nil})
	if e.Installation != 9 || e.Repo != (flow.Repo{}) || e.Action != "deleted" {
		t.Errorf("%+v", e)
	}
}

func TestEveryKindThatLitciActsOn(t *testing.T) {
	for kind, more := range map[string]object{
		"pull_request":        pull(nil, nil, nil),
		"push":                {"ref": "refs/heads/x", "after": shaB},
		"check_run":           {"check_run": object{"id": 5, "head_sha": shaA}},
		"check_suite":         {"check_suite": object{"id": 5, "head_sha": shaA}},
		"issue_comment":       {"issue": object{"number": 3}, "comment": object{"id": 5}},
		"pull_request_review": {"review": object{"id": 5}, "pull_request": object{"number": 3}},
		"merge_group":         {"merge_group": object{"head_sha": shaA, "head_ref": "refs/heads/q", "base_sha": shaB, "base_ref": "refs/heads/main"}},
		"installation":        {}, "installation_repositories": {}, "installation_target": {},
	} {
		more["action"] = "an_action_of_next_year"
		if e := mustNormalise(t, kind, more); e.Kind != kind || e.Action != "an_action_of_next_year" || e.Delivery != testID {
			t.Errorf("%s: %+v", kind, e)
		}
	}
}

func TestMalformedFields(t *testing.T) {
	long := strings.Repeat("a", 2000)
	for _, c := range []struct {
		kind, want string
		more       object
	}{
		{"push", "ref is missing", object{"after": shaA}},
		{"push", "ref is not fully formed", object{"ref": "main", "after": shaA}},
		{"push", "ref is too long for a ref", object{"ref": "refs/heads/" + long, "after": shaA}},
		{"push", "ref holds characters that no ref has", object{"ref": "refs/heads/a\nb", "after": shaA}},
		{"push", "ref is a JSON number, which it never is", object{"ref": 12, "after": shaA}},
		{"push", "after is not 40 hex digits", object{"ref": "refs/heads/a"}},
		{"push", "after is not 40 hex digits", object{"ref": "refs/heads/a", "after": strings.ToUpper(shaA)}},
		{"push", "after is not 40 hex digits", object{"ref": "refs/heads/a", "after": "../" + shaA[3:]}},
		{"push", "head_commit.id is not 40 hex digits", object{"ref": "refs/heads/a", "after": shaA, "head_commit": object{"id": "HEAD"}}},
		{"push", "repository.id is missing or not positive", object{"repository": nil}},
		{"push", "repository.name is not a name of GitHub's", object{"repository": object{"id": 1, "name": "..", "owner": object{"login": "o"}}}},
		{"push", "repository.owner.login is not a name of GitHub's", object{"repository": object{"id": 1, "name": "a", "owner": object{"login": "o/p"}}}},
		{"push", "sender.login is not a name of GitHub's", object{"ref": "refs/heads/a", "after": shaA, "sender": object{"login": "a b"}}},
		{"push", "sender.type is not a word of GitHub's", object{"ref": "refs/heads/a", "after": shaA, "sender": object{"type": long}}},
		{"push", "installation.id is missing or not positive", object{"installation": object{"id": -1}}},
		{"push", "installation is a JSON string, which it never is", object{"installation": "9"}},
		{"push", "installation.id is a JSON number, which it never is", object{"installation": object{"id": 1.5}}},
		{"pull_request", "pull_request.number is missing or not positive", object{"action": "opened"}},
		{"pull_request", "pull_request.head is a JSON array, which it never is", object{"pull_request": object{"head": []any{}}}},
		{"pull_request", "action is not a word of GitHub's", object{"action": "opened\r\nX: y"}},
		{"check_run", "check_run.id is missing or not positive", object{}},
		{"check_suite", "check_suite.head_sha is not 40 hex digits", object{"check_suite": object{"id": 1}}},
		{"issue_comment", "comment.id is missing or not positive", object{"issue": object{"number": 1}}},
		{"pull_request_review", "review.id is missing or not positive", object{}},
		{"merge_group", "merge_group.head_sha is not 40 hex digits", object{}},
	} {
		_, reason, err := normaliseTest(c.kind, payload(t, c.more))
		if err == nil || err.Error() != c.want || reason != "" {
			t.Errorf("%s: %v (%q), want %q", c.kind, err, reason, c.want)
		}
	}
}

// maxEvent is the most that an Event may take on the bus.
const maxEvent = 256 << 10

func TestLongTexts(t *testing.T) {
	for name, text := range map[string]string{
		"letters":            strings.Repeat("a", 256<<10),
		"two-byte letters":   strings.Repeat("é", 128<<10),
		"shifted by one":     "a" + strings.Repeat("é", 128<<10),
		"emoji":              strings.Repeat("🙂", 64<<10),
		"control characters": strings.Repeat("\x01", 256<<10),
		"angle brackets":     strings.Repeat("<", 256<<10),
		"line separators":    strings.Repeat("\u2028", 128<<10),
		"quotes":             strings.Repeat(`"`, 256<<10),
		"lone surrogates":    strings.Repeat("\xed\xa0\x80", 64<<10),
	} {
		e := mustNormalise(t, "issue_comment", object{"action": "created", "issue": object{"number": 1}, "comment": object{"id": 1, "body": text}})
		p := mustNormalise(t, "push", object{"ref": "refs/heads/" + strings.Repeat("<", refLimit-11), "after": shaA, "head_commit": object{"id": shaA, "message": text}})
		c := mustNormalise(t, "check_run", object{
			"check_run":        object{"id": 1, "head_sha": shaA, "name": text, "external_id": text},
			"requested_action": object{"identifier": text},
		})
		for field, cutText := range map[string]struct {
			text  string
			limit int
		}{
			"body": {e.Comment.Body, 64 << 10}, "message": {p.Push.Message, 4 << 10}, "name": {c.CheckRun.Name, 1 << 10},
			"external id": {c.CheckRun.ExternalID, 1 << 10}, "identifier": {c.CheckRun.Identifier, 1 << 10},
		} {
			if len(cutText.text) > cutText.limit || len(cutText.text) < cutText.limit/3 || !utf8.ValidString(cutText.text) {
				t.Errorf("%s, %s: %d bytes, limit %d", name, field, len(cutText.text), cutText.limit)
			}
		}
		for _, e := range []flow.Event{e, p, c} {
			if n := encodedLength(t, e); n > maxEvent {
				t.Errorf("%s: a %s of %d bytes", name, e.Kind, n)
			}
		}
	}
	if got := cut("short", 5); got != "short" {
		t.Errorf("cut to %q", got)
	}
	if got := cut("aé", 2); got != "a" {
		t.Errorf("cut to %q", got)
	}
}

func encodedLength(t testing.TB, e flow.Event) int {
	t.Helper()
	encoded, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return len(encoded)
}

// FuzzNormalise holds normalise to its promise: an event, a reason or an error,
// and an event is small, whole and the same for the same input.
func FuzzNormalise(f *testing.F) {
	for _, example := range examples(f) {
		f.Add(example.kind, example.body)
	}
	for _, body := range []string{"", "null", "{}", "[]", "{", `{"installation":{"id":1}}`, `{"installation":{"id":1},"repository":{"id":1e3}}`, validPush} {
		f.Add("push", []byte(body))
	}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		e, reason, err := normaliseTest(kind, body)
		again, reasonAgain, errAgain := normaliseTest(kind, body)
		if fmt.Sprint(e, reason, err) == "" || reason != reasonAgain || (err == nil) != (errAgain == nil) || e.SHA() != again.SHA() {
			t.Error("another outcome the second time")
		}
		switch {
		case err != nil || reason != "":
			if err != nil && reason != "" {
				t.Errorf("both %v and %q", err, reason)
			}
			if e.Kind != "" && err != nil {
				t.Error("an event beside an error")
			}
		default:
			if e.Installation <= 0 || e.Kind != kind || e.Delivery != testID {
				t.Errorf("half an event: %+v", e)
			}
			if n := encodedLength(t, e); n > maxEvent {
				t.Errorf("an event of %d bytes", n)
			}
			for name, value := range e.Headers() {
				if strings.ContainsAny(value, "\r\n") && name != "Litci-Event" {
					t.Errorf("header %s: %q", name, value)
				}
			}
		}
	})
}
