package main

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/litci/litci/cmd/litci/internal/mesh"
	"github.com/litci/litci/pkg/tracing"
	"github.com/litci/litci/pkg/tracing/tracingtest"
)

// traced is the trace of the pull request's delivery, as the collector has it.
type traced struct {
	t     *testing.T
	spans map[string]tracingtest.Span // by id
}

// traceOf waits until the collector has what ends the chain, and returns the trace.
func (w *world) traceOf(c *tracingtest.Collector) traced {
	w.t.Helper()
	of := ""
	for _, d := range w.github.State().Deliveries {
		if d.Event == "pull_request" {
			of = tracing.TraceOf(d.GUID).String()
		}
	}
	tr := traced{w.t, map[string]tracingtest.Span{}}
	w.until("trace "+of, func() bool {
		for _, s := range c.Spans() {
			if s.Trace == of {
				tr.spans[s.ID] = s
			}
		}
		return len(tr.find("reporter", "process results")) > 0 && len(tr.find("ingress", "POST /webhook")) > 0
	})
	return tr
}

func (tr traced) find(service, name string) (found []tracingtest.Span) {
	for _, s := range tr.spans {
		if s.Service == "litci-"+service && s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

// chain is what leads from the trace's root to a span.
func (tr traced) chain(s tracingtest.Span) (names []string) {
	for {
		names = append(names, s.Service+": "+s.Name)
		parent, known := tr.spans[s.Parent]
		if !known {
			slices.Reverse(names)
			return names
		}
		s = parent
	}
}

// leadsTo expects a span of a service at the end of a chain.
func (tr traced) leadsTo(chain ...string) {
	tr.t.Helper()
	var have [][]string
	for _, s := range tr.spans {
		if c := tr.chain(s); slices.Equal(c, chain) {
			return
		} else if c[len(c)-1] == chain[len(chain)-1] {
			have = append(have, c)
		}
	}
	tr.t.Errorf("nothing at the end of\n%q\nbut\n%q", chain, have)
}

// The hops of a delivery, as the trace has them.
var (
	toPlanner  = []string{"litci-ingress: POST /webhook", "litci-ingress: publish events.pr", "litci-planner: process events.pr"}
	toPlan     = append(slices.Clip(toPlanner), "litci-planner: publish jobs.plan")
	toLauncher = append(slices.Clip(toPlan), "litci-launcher: process jobs.start")
	toWatcher  = append(slices.Clip(toLauncher), "litci-launcher: publish jobs.status", "litci-watcher: process jobs.status")
	toReporter = append(slices.Clip(toWatcher), "litci-watcher: publish results", "litci-reporter: process results")
)

// expect holds a trace against what every delivery goes through.
func (tr traced) expect() {
	tr.t.Helper()
	below := func(hops []string, more ...string) []string { return append(slices.Clip(hops), more...) }
	for _, chain := range [][]string{
		below(toPlanner, "litci-planner: GitHub GET /repos/{}/{}/pulls/{}"),
		below(toPlan, "litci-reporter: process jobs.plan"),
		below(toPlan, "litci-reporter: process jobs.start"),
		below(toLauncher, "litci-launcher: wait for a slot"),
		below(toLauncher, "litci-launcher: start local"),
		below(toLauncher, "litci-launcher: publish jobs.status", "litci-reporter: process jobs.status"),
		below(toWatcher, "litci-watcher: job"),
		toReporter,
	} {
		tr.leadsTo(chain...)
	}
	roots := 0
	for _, s := range tr.spans {
		if s.Parent == "" {
			roots++
		}
		if s.Service == "litci-reporter" && s.Name == "GitHub POST /repos/{}/{}/check-runs" && s.Attributes["http.response.status_code"] != "201" {
			tr.t.Errorf("creation of a check: %+v", s)
		}
	}
	if roots != 1 {
		tr.t.Errorf("%d spans have no parent; all but the webhook's have", roots)
	}
	if len(tr.find("reporter", "GitHub POST /repos/{}/{}/check-runs")) == 0 {
		tr.t.Error("no check run was created in the trace")
	}
	for _, s := range tr.find("watcher", "job") {
		if s.Attributes["litci.conclusion"] != "success" || s.Attributes["process.exit.code"] != "0" || s.Attributes["litci.executor"] != "local" {
			tr.t.Errorf("job is %+v", s)
		}
	}
}

// Five processes, one pull request, one trace; the watcher is killed while it holds
// the job, and who takes the job up points at the try that was lost.
func TestOneTraceThroughFiveProcessesAndAKill(t *testing.T) {
	t.Parallel()
	c := tracingtest.Start(t)
	bin := binaries(t)
	outside := t.TempDir()
	w := newWorld(t, map[string]string{"held.yml": held(outside)})
	w.env = append(w.env, "LITCI_ACK_WAIT=5s") // a pause of the machine is no second try
	url, data := w.natsServer()
	w.env = append(w.env, "LITCI_NATS_URL="+url, "LITCI_NATS_NKEY="+filepath.Join(data, "nats", "litci.nk"),
		"OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_BSP_SCHEDULE_DELAY=50")
	var running []*process
	run := func(service string, args ...string) *process {
		admin := freeAddress(t)
		p := w.start(filepath.Join(bin, "litci-"+service), append(args, "--admin-listen", admin)...)
		w.ready(p, admin)
		running = append(running, p)
		return p
	}
	run("ingress", "--listen", w.hook)
	run("planner")
	run("launcher")
	watcher := run("watcher")
	run("reporter", "--pages-listen", "127.0.0.1:0")
	w.openPull()
	w.untilFile(filepath.Join(outside, "began"))
	told := func(s tracingtest.Span) bool { return s.Service == "litci-watcher" && s.Name == "publish jobs.status" }
	w.until("the watcher's word that the job runs", func() bool { return slices.ContainsFunc(c.Spans(), told) })
	watcher.kill(t)
	running = slices.DeleteFunc(running, func(p *process) bool { return p == watcher })
	run("watcher")
	w.write(filepath.Join(outside, "release"), "")
	if verdict := w.untilVerdict(); verdict != "success" {
		t.Errorf("verdict is %s", verdict)
	}
	w.expectOnce("success", heldCheck)
	for _, p := range running { // who stops exports what is left
		if code := p.terminate(t); code != 0 {
			t.Errorf("%s: exit code %d after SIGTERM", p.name, code)
		}
	}
	tr := w.traceOf(c)
	tr.expect()

	again := tr.find("watcher", "process jobs.status")
	again = slices.DeleteFunc(again, func(s tracingtest.Span) bool { return s.Attributes["litci.delivered"] == "1" || s.Links == nil })
	var lost []string
	for _, s := range tr.spans {
		if _, exported := tr.spans[s.Parent]; told(s) && !exported {
			lost = append(lost, s.Parent) // what the killed watcher did, below a span that it never ended
		}
	}
	pointsBack := func(s tracingtest.Span) bool { return len(s.Links) == 1 && slices.Contains(lost, s.Links[0]) }
	if !slices.ContainsFunc(again, pointsBack) {
		t.Errorf("second tries are %+v; one must point at a lost one of %q", again, lost)
	}
}

// In one process the five services are told apart all the same.
func TestOneTraceThroughOneProcess(t *testing.T) {
	t.Parallel()
	c := tracingtest.Start(t)
	w := newWorld(t, map[string]string{"tests.yml": "name: Tests\nrun: echo hello\n"})
	w.env = append(w.env, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_BSP_SCHEDULE_DELAY=50")
	p := w.up()
	w.openPull()
	if verdict := w.untilVerdict(); verdict != "success" {
		t.Errorf("verdict is %s", verdict)
	}
	if code := p.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	tr := w.traceOf(c)
	tr.expect()
	for _, s := range mesh.Services() {
		if !slices.ContainsFunc(c.Spans(), func(span tracingtest.Span) bool { return span.Service == "litci-"+s }) {
			t.Errorf("no span of %s", s)
		}
	}
}
