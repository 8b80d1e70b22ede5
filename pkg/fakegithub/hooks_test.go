package fakegithub_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-github/v62/github"

	"github.com/litci/litci/pkg/fakegithub"
)

// signature is what X-Hub-Signature-256 must be.
func signature(key string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func TestDeliveryIsSigned(t *testing.T) {
	w := setup(t, nil)
	// GitHub's own test vector.
	d, err := w.server.Deliver(t.Context(), "ping", []byte("Hello, World!"))
	if err != nil || d.Status != "OK" || d.StatusCode != http.StatusAccepted || *d.Response.Payload != "noted" {
		t.Fatalf("delivery = %+v, %v", d, err)
	}
	got := w.last()
	if want := "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"; got.header.Get("X-Hub-Signature-256") != want {
		t.Errorf("signature = %s, want %s", got.header.Get("X-Hub-Signature-256"), want)
	}
	for name, want := range map[string]string{
		"X-GitHub-Event": "ping", "X-GitHub-Delivery": d.GUID, "Content-Type": "application/json",
		"X-GitHub-Hook-Installation-Target-ID": "4711", "X-GitHub-Hook-Installation-Target-Type": "integration",
	} {
		if got.header.Get(name) != want {
			t.Errorf("%s = %q, want %q", name, got.header.Get(name), want)
		}
	}
	if !strings.HasPrefix(got.header.Get("User-Agent"), "GitHub-Hookshot/") || got.header.Get("X-Hub-Signature") == "" || got.header.Get("X-GitHub-Hook-ID") == "" {
		t.Errorf("headers = %v", got.header)
	}
}

func TestEventsOfAPICalls(t *testing.T) {
	w := setup(t, nil)
	c, ctx := w.client(), t.Context()
	n := w.openPull(nil)
	run := w.newRun(c, "a")
	if _, _, err := c.Checks.UpdateCheckRun(ctx, owner, repoName, run.GetID(), github.UpdateCheckRunOptions{Name: "a", Conclusion: github.String("success")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Checks.ReRequestCheckRun(ctx, owner, repoName, run.GetID()); err != nil {
		t.Fatal(err)
	}
	made, _, err := c.Issues.CreateComment(ctx, owner, repoName, n, &github.IssueComment{Body: github.String("one")})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Issues.EditComment(ctx, owner, repoName, made.GetID(), &github.IssueComment{Body: github.String("two")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Issues.DeleteComment(ctx, owner, repoName, made.GetID()); err != nil {
		t.Fatal(err)
	}
	var events []string
	for _, got := range w.received() {
		if want := signature(secret, got.body); got.header.Get("X-Hub-Signature-256") != want {
			t.Errorf("%s: signature does not verify", got.event())
		}
		if got.field(t, "installation.id") != float64(w.installation()) || got.field(t, "repository.id") != float64(repoID) {
			t.Errorf("%s names no installation or repository", got.event())
		}
		events = append(events, got.event()+"."+got.field(t, "action").(string))
	}
	slices.Sort(events) // their order is not promised
	want := []string{
		"check_run.completed", "check_run.created", "check_run.rerequested",
		"issue_comment.created", "issue_comment.deleted", "issue_comment.edited", "pull_request.opened",
	}
	if !slices.Equal(events, want) {
		t.Errorf("events = %q, want %q", events, want)
	}
}

func TestDeliveryLog(t *testing.T) {
	w := setup(t, nil)
	app, ctx := w.app(), t.Context()
	payload := []byte(`{"action":"opened","installation":{"id":5},"repository":{"id":6}}`)
	deliver := func(status int) fakegithub.Delivery {
		t.Helper()
		w.hooks.answer(status)
		d, err := w.server.Deliver(ctx, "pull_request", payload)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	failed := deliver(http.StatusServiceUnavailable)
	if failed.Status != "Invalid HTTP Response: 503" {
		t.Errorf("status = %s", failed.Status)
	}
	for range 3 {
		deliver(http.StatusOK)
	}
	var ids []int64
	options := &github.ListCursorOptions{PerPage: 3}
	for {
		page, resp, err := app.Apps.ListHookDeliveries(ctx, options)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page {
			ids = append(ids, d.GetID())
			if d.GetAction() != "opened" || d.GetInstallationID() != 5 || d.GetRepositoryID() != 6 || d.GetEvent() != "pull_request" {
				t.Errorf("delivery = %v", d)
			}
		}
		if options.Cursor = resp.Cursor; options.Cursor == "" {
			break
		}
	}
	if len(ids) != 4 || !slices.IsSortedFunc(ids, func(a, b int64) int { return int(b - a) }) || ids[3] != failed.ID {
		t.Errorf("ids = %v, want four, newest first", ids)
	}
	one, _, err := app.Apps.GetHookDelivery(ctx, failed.ID)
	if err != nil || one.GetStatusCode() != 503 || one.Request.Headers["X-GitHub-Delivery"] != failed.GUID || string(one.Request.GetRawPayload()) != string(payload) {
		t.Errorf("delivery = %v, %v", one, err)
	}
	onlyFailed := w.send(http.MethodGet, "/app/hook/deliveries?status=failure", w.jwt(nil), nil)
	if strings.Count(onlyFailed.body, `"guid"`) != 1 {
		t.Errorf("failures = %s", onlyFailed.body)
	}

	if _, resp, err := app.Apps.RedeliverHookDelivery(ctx, failed.ID); resp == nil || resp.StatusCode != http.StatusAccepted {
		t.Fatalf("redelivery: %v", err)
	}
	got := w.last()
	if got.header.Get("X-GitHub-Delivery") != failed.GUID || string(got.body) != string(payload) {
		t.Errorf("redelivered %s %s, want the same again", got.header.Get("X-GitHub-Delivery"), got.body)
	}
	st := w.server.State().Deliveries
	last := st[len(st)-1]
	if !last.Redelivery || last.GUID != failed.GUID || last.ID == failed.ID || last.Status != "OK" {
		t.Errorf("attempt = %+v", last)
	}
	if _, resp, err := app.Apps.RedeliverHookDelivery(ctx, 1); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("redelivery of nothing: %v, want 404", err)
	}
	w.clock.Advance(73 * 3600e9)
	old, _, err := app.Apps.ListHookDeliveries(ctx, nil)
	if err != nil || len(old) != 0 {
		t.Errorf("after three days = %v, %v", old, err)
	}
}

func TestDeliveryToNobody(t *testing.T) {
	w := setup(t, nil)
	w.server.SetWebhookURL("http://127.0.0.1:1/")
	d, err := w.server.Deliver(t.Context(), "ping", []byte("{}"))
	if err != nil || d.StatusCode != 0 || d.Status != "failed to connect to host" {
		t.Errorf("delivery = %+v, %v", d, err)
	}
	w.server.SetWebhookURL("")
	w.newRun(w.client(), "quiet")
	if got := w.received(); len(got) != 0 {
		t.Errorf("without an address %d webhooks arrived", len(got))
	}
}

func TestSecretRotation(t *testing.T) {
	w := setup(t, nil)
	app, ctx := w.app(), t.Context()
	config, _, err := app.Apps.GetHookConfig(ctx)
	if err != nil || config.GetSecret() != "********" || config.GetURL() != w.hooks.url {
		t.Errorf("config = %v, %v", config, err)
	}
	if _, _, err := app.Apps.UpdateHookConfig(ctx, &github.HookConfig{Secret: github.String("new")}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.server.Deliver(ctx, "ping", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if got := w.last(); got.header.Get("X-Hub-Signature-256") != signature("new", got.body) {
		t.Error("the delivery is not signed with the new secret")
	}
}
