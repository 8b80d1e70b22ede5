package reporter

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/flow"
)

// site is the report pages over HTTP, with a run of one job known.
type site struct {
	t    *testing.T
	bus  *bus.Bus
	base string
	*Pages
	job flow.Job
}

func newSite(t *testing.T) *site {
	t.Helper()
	b := bustest.New(t)
	pages, err := NewPages(b, "127.0.0.1:0", "", []byte("key"), zaptest.NewLogger(t, zaptest.Level(zapLevel)))
	if err != nil {
		t.Fatal(err)
	}
	pages.poll, pages.beat = 10*time.Millisecond, 50*time.Millisecond
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pages.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		http.DefaultClient.CloseIdleConnections()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	s := &site{t: t, bus: b, base: "http://" + pages.Addr().String(), Pages: pages, job: job(1)}
	plan := flow.Plan{Identity: identity(), PlannedAt: epoch, Jobs: []flow.PlannedJob{{Job: s.job.Job, Check: s.job.Check}}}
	s.change(runKey(plan.Run), func() any { return runState{Plan: &plan} })
	return s
}

func (s *site) change(key string, value func() any) {
	s.t.Helper()
	data, err := json.Marshal(value())
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := bus.Change(s.t.Context(), s.bus.Runs(), key, func(v *json.RawMessage) bool { *v = data; return true }); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) state(messages ...any) {
	s.t.Helper()
	s.change(jobKey(s.job.Run, 0), func() any { return stateOf(messages...) })
}

func (s *site) block(offset int64, text string) {
	s.t.Helper()
	if err := bus.Publish(s.t.Context(), s.bus, flow.LogOf(s.job.Job), flow.LogBlock{Job: s.job.Job, Attempt: 1, Offset: offset, Text: text}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) archive(text string) {
	s.t.Helper()
	if err := s.bus.Logs().Put(s.t.Context(), flow.LogName(s.job.Job, 1), strings.NewReader(text)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) get(method, path string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.base+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, string(body)
}

// ended is the job's result with its log in the archive.
func ended(c flow.Conclusion) flow.Result {
	r := result(1, c, 1)
	r.Log = flow.LogName(r.Job, 1)
	return r
}

func TestPagesAreClosedToWhoHasNoSignature(t *testing.T) {
	s := newSite(t)
	s.state(job(1))
	right := s.links.jobPath(s.job.Run, 0)
	signature := s.links.sign(s.job.Run)
	other := strings.Repeat("b", 20)
	for path, want := range map[string]int{
		s.links.runPath(s.job.Run): 200,
		right:                      200,
		right + "/log":             200,
		strings.Replace(right, signature, strings.Repeat("0", 32), 1):            404,
		strings.Replace(right, signature, strings.Repeat("0", 32), 1) + "/log":   404,
		strings.Replace(right, signature, signature[:31], 1) + "/events":         404,
		strings.Replace(s.links.runPath(s.job.Run), signature, s.sign(other), 1): 404,
		s.links.runPath(other):                  404,
		s.links.jobPath(s.job.Run, 1):           404,
		s.links.runPath(s.job.Run) + "/jobs/00": 404,
		"/":                                     404,
	} {
		if resp, _ := s.get("GET", path); resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		if resp, _ := s.get(method, right); resp.StatusCode != 405 {
			t.Errorf("%s: %d", method, resp.StatusCode)
		}
	}
	if resp, body := s.get("HEAD", right); resp.StatusCode != 200 || body != "" {
		t.Errorf("HEAD: %d %q", resp.StatusCode, body)
	}
}

func (s *site) sign(run string) string { return s.links.sign(run) }

func TestPagesKeepLogsPrivate(t *testing.T) {
	s := newSite(t)
	s.state(job(1))
	resp, body := s.get("GET", s.links.jobPath(s.job.Run, 0))
	for name, want := range map[string]string{
		"Cache-Control": "private, no-cache", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow",
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Content-Type": "text/html; charset=utf-8",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	policy := resp.Header.Get("Content-Security-Policy")
	nonce := regexp.MustCompile(`script-src 'nonce-([A-Z2-7]{26})'`).FindStringSubmatch(policy)
	if nonce == nil || !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Fatalf("policy %q", policy)
	}
	if strings.Count(body, "<script nonce=\""+nonce[1]+"\">") != 1 || strings.Count(body, "<script") != 1 || strings.Count(body, "<style nonce=\""+nonce[1]+"\">") != 1 {
		t.Error("the page's script and style are not the policy's")
	}
	if regexp.MustCompile(`(src|href)="(https?:)?//`).MatchString(body) {
		t.Error("the page loads something from elsewhere")
	}
	if _, again := s.get("GET", s.links.jobPath(s.job.Run, 0)); strings.Contains(again, nonce[1]) {
		t.Error("the nonce is used twice")
	}
}

func TestRunPage(t *testing.T) {
	s := newSite(t)
	_, body := s.get("GET", s.links.runPath(s.job.Run))
	for _, want := range []string{"1 still to come", "queued", `http-equiv="refresh"`, "14 days", identity().SHA, "#3"} {
		if !strings.Contains(body, want) {
			t.Errorf("lacks %q", want)
		}
	}
	s.state(ended(flow.Failure))
	_, body = s.get("GET", s.links.runPath(s.job.Run))
	if !strings.Contains(body, "❌ failed") || strings.Contains(body, `http-equiv="refresh"`) {
		t.Errorf("%s", body)
	}
}

// Links hold wherever a proxy puts the pages.
func TestLinksBetweenPages(t *testing.T) {
	s := newSite(t)
	s.state(job(1), ended(flow.Success))
	s.archive("hello\n")
	follow := func(from, pattern string) string {
		t.Helper()
		_, body := s.get("GET", from)
		link := regexp.MustCompile(pattern).FindStringSubmatch(body)
		if link == nil || strings.HasPrefix(link[1], "/") {
			t.Fatalf("%s: link %q", from, link)
		}
		at, err := url.Parse(from)
		if err != nil {
			t.Fatal(err)
		}
		to, err := at.Parse(link[1])
		if err != nil {
			t.Fatal(err)
		}
		return to.Path
	}
	run := s.links.runPath(s.job.Run)
	page := follow(run, `<th scope="row"><a href="([^"]*)"`)
	if page != s.links.jobPath(s.job.Run, 0) {
		t.Errorf("job page %s", page)
	}
	if back := follow(page, `<nav aria-label="Breadcrumb"><a href="([^"]*)"`); back != run {
		t.Errorf("back to %s", back)
	}
	if _, log := s.get("GET", follow(page, `<a href="([^"]*/log)"`)); log != "hello\n" {
		t.Errorf("log %q", log)
	}
}

func TestJobPageOfAnEndedJob(t *testing.T) {
	s := newSite(t)
	s.state(job(1), ended(flow.Failure))
	_, body := s.get("GET", s.links.jobPath(s.job.Run, 0))
	if !strings.Contains(body, "no longer kept") {
		t.Errorf("a log that is gone: %s", body)
	}
	var log strings.Builder
	for i := range 3 * pageLines {
		fmt.Fprintf(&log, "line %d\n", i)
	}
	s.archive(log.String())
	_, body = s.get("GET", s.links.jobPath(s.job.Run, 0))
	if !strings.Contains(body, fmt.Sprintf("line %d\n</pre>", 3*pageLines-1)) || strings.Contains(body, "line 3999\n") || !strings.Contains(body, "its last lines") {
		t.Error("the page does not show the last lines alone")
	}
	if strings.Contains(body, "<script") || !strings.Contains(body, "<dt>Exit code</dt><dd>1</dd>") {
		t.Error("an ended job's page needs no script and shows the exit code")
	}
	resp, text := s.get("GET", s.links.jobPath(s.job.Run, 0)+"/log")
	if text != log.String() || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%d bytes of %d, %s", len(text), log.Len(), resp.Header.Get("Content-Type"))
	}
	if got := resp.Header.Get("Content-Disposition"); got != `attachment; filename="aaaaaaaaaaaaaaaaaaaa-0-a1.log"` {
		t.Errorf("%s", got)
	}
}

// The logs of attempts that gave way stay readable beside the newest one's.
func TestPagesOfEarlierAttempts(t *testing.T) {
	s := newSite(t)
	second := after(job(1), flow.CausePreempted)
	second.Earlier[0].Message = "<b>gone</b>"
	s.state(status(1, flow.Running, ""), second)
	s.archive("what the first one said\n")
	page := s.links.jobPath(s.job.Run, 0)
	_, body := s.get("GET", page)
	if !strings.Contains(body, `<a href="0/attempts/1">Attempt 1</a>: Preempted after 3m — &lt;b&gt;gone&lt;/b&gt;`) {
		t.Errorf("%s", body)
	}
	_, body = s.get("GET", page+"/attempts/1")
	for _, want := range []string{
		"what the first one said\n</pre>", "Preempted after 3m", `href="1/log"`, `href="../../0"`, `href="../../../../` + s.sign(s.job.Run) + `"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("lacks %q: %s", want, body)
		}
	}
	if resp, text := s.get("GET", page+"/attempts/1/log"); text != "what the first one said\n" || !strings.Contains(resp.Header.Get("Content-Disposition"), "-a1.log") {
		t.Errorf("%q, %v", text, resp.Header)
	}
	// The newest attempt's page is the job's.
	if resp, body := s.get("GET", page+"/attempts/2"); resp.Request.URL.Path != page || !strings.Contains(body, "Earlier attempts") {
		t.Errorf("%s", resp.Request.URL)
	}
	for _, wrong := range []string{"/attempts/3", "/attempts/0", "/attempts/01", "/attempts/x", "/attempts/3/log"} {
		if resp, _ := s.get("GET", page+wrong); resp.StatusCode != 404 {
			t.Errorf("%s: %d", wrong, resp.StatusCode)
		}
	}
}

func TestReasonsToWaitAreLive(t *testing.T) {
	s := newSite(t)
	s.state(job(1), waits(1, 1, "no free slot"))
	v := s.watch(t.Context(), "", "")
	if e := v.next(); !strings.Contains(e.data, "Queued: no free slot") {
		t.Errorf("%+v", e)
	}
	s.state(job(1), waits(1, 1, "no free slot"), waits(1, 2, "pool gpu is busy"))
	if e := v.next(); e.event != "state" || !strings.Contains(e.data, "Queued: pool gpu is busy") {
		t.Errorf("%+v", e)
	}
	if _, body := s.get("GET", s.links.runPath(s.job.Run)); !strings.Contains(body, "Queued: pool gpu is busy") {
		t.Errorf("%s", body)
	}
}

func TestStrangersTextIsShownAndNeverRun(t *testing.T) {
	s := newSite(t)
	evil := `</pre><script>alert("x")</script><img src=x onerror=alert(1)>`
	j := job(1)
	j.Check, j.Machine = evil, evil
	r := ended(flow.Failure)
	r.FirstError, r.Message, r.Notes, r.Check = evil, evil, []string{evil}, evil
	s.state(j, r)
	s.archive(evil + "\x1b[31m\x00\n")
	plan := flow.Plan{Identity: identity(), PlannedAt: epoch, Actor: evil, HeadRef: evil, Jobs: []flow.PlannedJob{{Job: j.Job, Check: evil}}}
	plan.Notices, plan.Problems = []string{evil}, []flow.Problem{{File: evil, Line: 1, Message: evil}}
	s.change(runKey(plan.Run), func() any { return runState{Plan: &plan} })
	for _, path := range []string{s.links.runPath(j.Run), s.links.jobPath(j.Run, 0)} {
		_, body := s.get("GET", path)
		if strings.Contains(body, "<script>") || strings.Contains(body, "<img") || !strings.Contains(body, "&lt;script&gt;alert(") {
			t.Errorf("%s lets markup through", path)
		}
		if strings.ContainsAny(body, "\x1b\x00") {
			t.Errorf("%s holds control characters", path)
		}
	}
}

func TestRunningJobShowsItsLogWithoutScripts(t *testing.T) {
	s := newSite(t)
	s.state(job(1), status(1, flow.Running, ""))
	s.block(0, "one\ntwo\n")
	s.block(4, "two\nthree") // another watcher took over
	_, body := s.get("GET", s.links.jobPath(s.job.Run, 0))
	if !strings.Contains(body, ">\none\ntwo\nthree\n</pre>") || !strings.Contains(body, "data-events=\"0/events?from=13\"") || !strings.Contains(body, "<noscript><meta http-equiv=\"refresh\"") {
		t.Errorf("%s", body)
	}
	if _, text := s.get("GET", s.links.jobPath(s.job.Run, 0)+"/log"); text != "one\ntwo\nthree" {
		t.Errorf("%q", text)
	}
}

// viewer reads server-sent events.
type viewer struct {
	t    *testing.T
	scan *bufio.Scanner
	resp *http.Response
}

type sent struct{ id, event, data string }

func (s *site) watch(ctx context.Context, query, lastEventID string) *viewer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", s.base+s.links.jobPath(s.job.Run, 0)+"/events"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if lastEventID != "" {
		req.Header.Set("Last-Event-ID", lastEventID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = resp.Body.Close() })
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		s.t.Fatalf("%s %s", resp.Status, got)
	}
	return &viewer{s.t, bufio.NewScanner(resp.Body), resp}
}

// next is the next event; the zero event at the end of the stream.
func (v *viewer) next() (e sent) {
	v.t.Helper()
	for v.scan.Scan() {
		name, value, _ := strings.Cut(v.scan.Text(), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.event = value
		case "data":
			e.data = value
		case "":
			if e.event != "" {
				return e
			}
		}
	}
	return sent{}
}

func TestLiveTail(t *testing.T) {
	s := newSite(t)
	s.state(job(1), status(1, flow.Running, ""))
	s.block(0, "one\n")
	v := s.watch(t.Context(), "?from=0", "")
	if e := v.next(); e.event != "state" || !strings.Contains(e.data, `"word":"running"`) {
		t.Errorf("%+v", e)
	}
	if e := v.next(); e != (sent{"1.4", "log", `{"text":"one\n"}`}) {
		t.Errorf("%+v", e)
	}
	s.block(2, "e\ntwo\n") // overlaps what was seen
	if e := v.next(); e != (sent{"1.8", "log", `{"text":"two\n"}`}) {
		t.Errorf("%+v", e)
	}
	s.block(20, "late\n")
	if e := v.next(); e != (sent{"1.25", "log", `{"text":"late\n","gap":12}`}) {
		t.Errorf("%+v", e)
	}
	s.state(job(1), ended(flow.Success))
	if e := v.next(); e.event != "state" || !strings.Contains(e.data, `"ended":true`) {
		t.Errorf("%+v", e)
	}
	if e := v.next(); e != (sent{}) {
		t.Errorf("after the end: %+v", e)
	}
}

func TestLiveTailResumes(t *testing.T) {
	s := newSite(t)
	s.state(job(1), status(1, flow.Running, ""))
	s.block(0, "one\n")
	s.block(4, "two\n")
	for _, test := range []struct{ query, last, want string }{
		{"?from=4", "", `{"text":"two\n"}`},
		{"?from=0", "1.4", `{"text":"two\n"}`},      // the header is newer than the page
		{"?from=4", "2.4", `{"text":"one\n"}`},      // of another attempt
		{"?from=x", "nonsense", `{"text":"one\n"}`}, // begins anew
		{"?from=-5", "1.-3", `{"text":"one\n"}`},    // so does this
		{"", "1.2", `{"text":"e\n"}`},               // inside a block
	} {
		ctx, stop := context.WithCancel(t.Context())
		v := s.watch(ctx, test.query, test.last)
		v.next() // the state
		if e := v.next(); e.data != test.want {
			t.Errorf("%+v: %s", test, e.data)
		}
		stop()
	}
}

func TestLiveTailTellsOfANewAttempt(t *testing.T) {
	s := newSite(t)
	s.state(job(1), status(1, flow.Running, ""))
	v := s.watch(t.Context(), "", "")
	v.next()
	s.state(job(2))
	if e := v.next(); e.event != "again" {
		t.Errorf("%+v", e)
	}
}

func TestLiveTailGivesSignsOfLife(t *testing.T) {
	s := newSite(t)
	s.state(job(1), status(1, flow.Running, ""))
	v := s.watch(t.Context(), "", "")
	for v.scan.Scan() {
		if v.scan.Text() == ": still here" {
			return
		}
	}
	t.Error("none came")
}

func TestLiveTailsAreBounded(t *testing.T) {
	s := newSite(t)
	s.state(job(1), status(1, flow.Running, ""))
	for range maxViewers {
		s.viewers <- struct{}{}
	}
	if resp, _ := s.get("GET", s.links.jobPath(s.job.Run, 0)+"/events"); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d", resp.StatusCode)
	}
}

// A 64 MiB log, a part of it in one line, costs a page and no memory to speak of.
func TestLineRingIsBounded(t *testing.T) {
	var ring lineRing
	chunk := []byte(strings.Repeat("x", 64<<10))
	for i := range 1 << 10 {
		if _, err := ring.Write(chunk); err != nil {
			t.Fatal(err)
		}
		if i%4 == 0 {
			_, _ = ring.Write([]byte("\r\n"))
		}
		if ring.size > pageBytes || ring.pending.Len() > pageLine {
			t.Fatalf("%d bytes, %d pending", ring.size, ring.pending.Len())
		}
	}
	lines, cut := ring.lines()
	if !cut || len(lines) == 0 || !strings.HasSuffix(lines[0], "x…") {
		t.Errorf("%d lines, cut %v", len(lines), cut)
	}
}
