package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/litci/litci/cmd/litci/internal/mesh"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/serverconfig"
)

// private is a mesh on a server that litci provision --nats-config has set up: each
// process signs in with the key of its own user.
type private struct {
	*world
	binary  string
	config  string // of the server
	keys    string
	address string
	stop    func() // the server
	heard   *eavesdropper
}

// privateMesh starts the server and provisions it, under the user whose right it is.
func privateMesh(t *testing.T, workflows map[string]string, pools ...string) *private {
	t.Helper()
	p := emptyMesh(t, workflows, pools...)
	p.provision(pools...)
	return p
}

// emptyMesh starts the server, without streams.
func emptyMesh(t *testing.T, workflows map[string]string, pools ...string) *private {
	t.Helper()
	p := &private{world: newWorld(t, workflows), binary: "litci", address: freeAddress(t), heard: &eavesdropper{published: map[string]bool{}}}
	p.keys = filepath.Join(p.dir, "keys")
	args := []string{
		"provision", "--nats-config", filepath.Join(p.dir, "nats"), "--keys", p.keys,
		"--server-listen", p.address, "--server-monitor", freeAddress(t), "--server-store", filepath.Join(p.dir, "store"),
	}
	for _, pool := range pools {
		args = append(args, "--pool", pool)
	}
	out, code := p.litci("", args...)
	p.config, _, _ = strings.Cut(out, "\n")
	if code != 0 {
		t.Fatalf("litci %v: exit code %d", args, code)
	}
	p.serve()
	return p
}

// provision makes the streams.
func (p *private) provision(pools ...string) {
	p.t.Helper()
	args := []string{"provision"}
	for _, pool := range pools {
		args = append(args, "--pool", pool)
	}
	if out, code := p.litci("provision", args...); code != 0 {
		p.t.Fatalf("litci %v: exit code %d\n%s", args, code, out)
	}
}

// serve runs the server of the configuration, until the test ends or stop is called.
func (p *private) serve() {
	p.t.Helper()
	o, err := server.ProcessConfigFile(p.config)
	if err != nil {
		p.t.Fatal(err)
	}
	o.NoSigs = true
	s, err := server.NewServer(o)
	if err != nil {
		p.t.Fatal(err)
	}
	s.SetLoggerV2(p.heard, false, true, false)
	go s.Start()
	p.stop = sync.OnceFunc(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	p.t.Cleanup(p.stop)
	if !s.ReadyForConnections(patience) {
		p.t.Fatal("the nats server does not listen")
	}
}

func (p *private) key(user string) string { return filepath.Join(p.keys, user, "nkey") }

// as is the environment of a process that signs in as a user.
func (p *private) as(user string) []string {
	env := append(slices.Clone(p.env), "LITCI_NATS_URL=nats://"+p.address)
	if user != "" {
		env = append(env, "LITCI_NATS_NKEY="+p.key(user))
	}
	return env
}

// litci runs a command to its end as a user.
func (p *private) litci(user string, args ...string) (out string, code int) {
	p.t.Helper()
	cmd := exec.Command(p.binary, args...)
	cmd.Env, cmd.Dir = p.as(user), p.dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		p.t.Fatal(err)
	}
	if code = cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Logf("litci %v as %s: exit code %d\n%s%s", args, user, code, stdout.String(), stderr.String())
	}
	return stdout.String() + stderr.String(), code
}

// up starts services in one process as a user, and waits until it is ready.
func (p *private) up(user string, more []string, services ...string) *process {
	p.t.Helper()
	admin := freeAddress(p.t)
	args := append([]string{"up", "--admin-listen", admin, "--listen", p.hook, "--pages-listen", "127.0.0.1:0"}, more...)
	for _, s := range services {
		args = append(args, "--service", s)
	}
	own := *p.world
	own.env = p.as(user)
	one := own.start(p.binary, args...)
	one.name = "litci up as " + user
	own.ready(one, admin)
	return one
}

// eavesdropper hears what the server's trace tells: who publishes where, and who is
// refused.
type eavesdropper struct {
	mu        sync.Mutex
	refused   []string
	published map[string]bool // subjects
}

var publishLine = regexp.MustCompile(`<<- \[H?PUB (\S+)`)

func (e *eavesdropper) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	e.mu.Lock()
	defer e.mu.Unlock()
	if strings.Contains(text, "Violation") || strings.Contains(text, "authentication error") {
		e.refused = append(e.refused, text)
	}
	if m := publishLine.FindStringSubmatch(text); m != nil {
		e.published[m[1]] = true
	}
}

func (e *eavesdropper) refusals() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.refused)
}

// The server's logger.
func (e *eavesdropper) Noticef(format string, args ...any) {}
func (e *eavesdropper) Warnf(format string, args ...any)   { e.line(format, args...) }
func (e *eavesdropper) Fatalf(format string, args ...any)  { e.line(format, args...) }
func (e *eavesdropper) Errorf(format string, args ...any)  { e.line(format, args...) }
func (e *eavesdropper) Debugf(format string, args ...any)  {}
func (e *eavesdropper) Tracef(format string, args ...any)  { e.line(format, args...) }

// The whole of a pull request's life, in which each process may do only what it must:
// two pools, a crash of every service, an end that was asked for, attempts again, dead
// letters, and a server that was away. The server refuses nothing of it.
func TestMeshUnderLeastPrivilege(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	p := privateMesh(t, map[string]string{
		"tests.yml": "name: Tests\nparametrize:\n  matrix:\n    word: [one, two]\nrun: echo \"$word\"\n",
		"far.yml":   "name: Far\npool: gpu\nneeds: tests.yml\nrun: echo far\n",
		"held.yml":  strings.Replace(held(outside), "timeout: 5", "timeout: 5\nconcurrency: one", 1),
	}, "gpu")
	release := func() { p.write(filepath.Join(outside, "release"), "") }
	t.Cleanup(release) // no job outlives its test
	users := map[string][]string{"pool-gpu": {"launcher", "watcher"}}
	more := map[string][]string{"pool-gpu": {"--pool", "gpu", "--data", filepath.Join(p.dir, "far")}, "launcher": {"--repository-jobs", "3"}, "reporter": {"--pages-listen", freeAddress(t)}}
	for _, s := range mesh.Services() {
		users[s] = []string{s}
	}
	running := map[string]*process{}
	for user, services := range users {
		running[user] = p.up(user, more[user], services...)
	}
	p.openPull()
	p.untilFile(filepath.Join(outside, "began"))
	for user, one := range running {
		one.kill(t)
		running[user] = p.up(user, more[user], users[user]...)
	}
	// The reporter, which was killed too, may be behind.
	var jobs map[string]string
	p.until("four jobs that are known", func() bool {
		jobs = p.jobs()
		return len(jobs) == 4
	})
	order := func(user string, want int, args ...string) string {
		t.Helper()
		out, code := p.litci(user, args...)
		if code != want {
			t.Errorf("litci %v as %s: exit code %d, want %d", args, user, code, want)
		}
		return out
	}
	order("operator", 0, "limits", "set", "--repository", "octo/hello=2")
	order("operator", 0, "logs", jobs["held.yml / Held"])
	p.look()
	release()
	if verdict := p.untilVerdict(); verdict != "success" {
		t.Errorf("verdict is %s", verdict)
	}
	p.expectOnce("success", "tests.yml / Tests (one)", "tests.yml / Tests (two)", "far.yml / Far", "held.yml / Held")
	for name, text := range map[string]string{"far.yml / Far": "far", "held.yml / Held": "released"} {
		if out := order("operator", 0, "logs", jobs[name]); !strings.Contains(out, text) {
			t.Errorf("log of %s is %q", name, out)
		}
	}

	p.look()

	// Once more, by launcher and watcher in one process, and not to its end.
	for _, user := range []string{"launcher", "watcher"} {
		if code := running[user].terminate(t); code != 0 {
			t.Errorf("%s: exit code %d after SIGTERM", user, code)
		}
		delete(running, user)
	}
	running["runner"] = p.up("runner", nil, "launcher", "watcher")
	if err := os.Remove(filepath.Join(outside, "release")); err != nil {
		t.Fatal(err)
	}
	order("operator", 0, "rerun", "--timeout", "4m", jobs["held.yml / Held"])
	p.until("the job runs again", func() bool { return marks(t, outside) > 1 })
	order("operator", 0, "cancel", "--timeout", "4m", jobs["held.yml / Held"])
	order("operator", 0, "rerun", "--timeout", "4m", jobs["far.yml / Far"])
	order("operator", 0, "logs", "-f", jobs["far.yml / Far"])

	// What no service can read.
	p.publish("ingress", "events.pr", `{"delivery":"123","kind":"gollum","repo":{"name":"hello"}}`)
	p.until("a dead letter", func() bool { return strings.Contains(order("operator", 0, "dlq", "ls"), "gollum") })
	order("operator", 0, "dlq", "show", "1")
	order("operator", 0, "dlq", "replay", "1")
	p.until("the dead letter again", func() bool { return strings.Contains(order("operator", 0, "dlq", "ls"), "\n2 ") })
	order("operator", 0, "dlq", "drop", "2")

	p.stop()
	p.serve()
	release() // what is planned anew must not outlive the test
	order("operator", 0, "replay", "--seq", "1", "--timeout", "4m")
	order("operator", 0, "jobs", "--all")
	order("operator", 0, "doctor", "--service", "watcher")
	order("provision", 1, "provision", "--check", "--pool", "gpu", "--nats-max-bytes", "2147483648")
	order("provision", 0, "provision", "--force", "--pool", "gpu", "--nats-max-bytes", "2147483648")
	order("provision", 0, "provision", "--check", "--pool", "gpu", "--nats-max-bytes", "2147483648")
	order("operator", 0, "top")
	if out := order("tail", 0, "tail", "--all", "--no-follow", "--pr", "1", ">"); !strings.Contains(out, "jobs.log.") || !strings.Contains(out, "far.yml / Far: exit 0") {
		t.Errorf("a tail shows %q", out)
	}
	for user, one := range running {
		if code := one.terminate(t); code != 0 {
			t.Errorf("%s: exit code %d after SIGTERM", user, code)
		}
		if strings.Contains(one.logged(), "nats refuses") {
			t.Errorf("%s was refused something:\n%s", user, one.logged())
		}
	}
	p.stop()
	if refused := p.heard.refusals(); len(refused) > 0 {
		t.Errorf("refused:\n%s", strings.Join(refused, "\n"))
	}
	p.expectNoIdleRights("gpu")
}

// A service with the key of another server says so once, and stays unready.
func TestWrongKeyIsOneLineAndNoReadiness(t *testing.T) {
	t.Parallel()
	p := emptyMesh(t, map[string]string{"tests.yml": "name: Tests\nrun: echo one\n"})
	if err := os.Remove(p.key("watcher")); err != nil {
		t.Fatal(err)
	}
	if _, err := serverconfig.Write(serverconfig.Config{Dir: t.TempDir(), Keys: p.keys}); err != nil {
		t.Fatal(err)
	}
	own := *p.world
	own.env = p.as("watcher")
	admin := freeAddress(t)
	one := own.start(p.binary, "up", "--service", "watcher", "--admin-listen", admin)
	p.until("a refusal, and some attempts", func() bool {
		return len(p.heard.refusals()) > 3 && strings.Contains(one.logged(), "nats refuses") && strings.Contains(one.logged(), "health and metrics")
	})
	if lines := strings.Count(one.logged(), "nats refuses"); lines != 1 || !strings.Contains(one.logged(), p.key("watcher")) {
		t.Errorf("%d lines:\n%s", lines, one.logged())
	}
	res, err := http.Get("http://" + admin + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "sign-in of watcher") {
		t.Errorf("readiness is %s: %s, %v", res.Status, body, err)
	}
}

// Services that come before the streams wait for them, and say so in a line.
func TestServicesWaitForTheStreams(t *testing.T) {
	t.Parallel()
	p := emptyMesh(t, map[string]string{"tests.yml": "name: Tests\nrun: echo one\n"})
	var waiting []*process
	var admins []string
	for _, s := range mesh.Services() {
		own := *p.world
		own.env = p.as(s)
		admin := freeAddress(t)
		waiting = append(waiting, own.start(p.binary, "up", "--service", s, "--admin-listen", admin, "--listen", p.hook, "--pages-listen", "127.0.0.1:0"))
		admins = append(admins, admin)
	}
	for i, one := range waiting {
		p.until("a service that waits", func() bool { return strings.Contains(one.logged(), "litci provision makes them") })
		res, err := http.Get("http://" + admins[i] + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("readiness of %s is %s", one.name, res.Status)
		}
	}
	p.provision()
	for i, one := range waiting {
		p.ready(one, admins[i])
		if n := strings.Count(one.logged(), "litci provision makes them"); n != 1 {
			t.Errorf("%s says %d times that it waits:\n%s", one.name, n, one.logged())
		}
	}
	p.openPull()
	if verdict := p.untilVerdict(); verdict != "success" {
		t.Errorf("verdict is %s", verdict)
	}
}

// jobs are the jobs by the names of their checks.
func (p *private) jobs() map[string]string {
	p.t.Helper()
	cmd := exec.Command(p.binary, "jobs", "--json")
	cmd.Env, cmd.Dir = p.as("operator"), p.dir
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatal(err)
	}
	var list struct {
		Jobs []struct{ Job, Check string }
	}
	if err := json.Unmarshal(out, &list); err != nil {
		p.t.Fatal(err)
	}
	ids := map[string]string{}
	for _, j := range list.Jobs {
		ids[j.Check] = j.Job
	}
	return ids
}

// publish stores a message as a user.
func (p *private) publish(user, subject, text string) {
	p.t.Helper()
	option, err := nats.NkeyOptionFromSeed(p.key(user))
	if err != nil {
		p.t.Fatal(err)
	}
	nc, err := nats.Connect("nats://"+p.address, option, nats.CustomInboxPrefix("_INBOX_"+user))
	if err != nil {
		p.t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request(subject, []byte(text), patience); err != nil {
		p.t.Fatal(err)
	}
}

// rare are rights that the life of a pull request does not use on a good day, and
// what does.
var rare = map[string]string{
	"$JS.ACK.*.*.":          "a server with js_ack_fc_v2",
	"$JS.FC.":               "a server that paces a slow reader",
	".crash.":               "a message that comes again",
	"dlq.":                  "a message that is given up",
	"$JS.API.STREAM.PURGE.": "an object that is stored again",
	"$KV.runs.source.*":     "machines that fetch their source by a link",
	"$KV.runs.pulls":        "the look for missed pull requests",
	"$KV.runs.seen.*":       "the look for missed pull requests",
	"$KV.runs.wait.>":       "the look for overdue jobs",
	"$KV.slots.inst.*.*":    "a limit of an installation",
	"jobs.status.*":         "dead letters of a pool's states",
	"OBJ_sources.*.$O":      "links, again",

	"DIRECT.GET.KV_slots.$KV.slots.alive.*": "a lease whose holder has died",
	"DIRECT.GET.KV_runs.$KV.runs.service.*": "a key that has expired",
	"$JS.API.CONSUMER.CREATE.LOGS.*":        "a log that is followed while its job runs",
	"$JS.API.CONSUMER.MSG.NEXT.LOGS.*":      "a log that is followed while its job runs",
	"$JS.API.CONSUMER.DELETE.LOGS.*":        "a reader of a log that begins anew",
	"$JS.API.STREAM.LIST":                   "the nats command line",
	"$JS.API.STREAM.NAMES":                  "the nats command line",
	"$JS.API.CONSUMER.NAMES.*":              "the nats command line",
	"$JS.API.CONSUMER.PAUSE.*.*":            "the nats command line",
}

// expectNoIdleRights holds the table of rights against what the processes have asked:
// each right must have been used, by whichever user, or be a rare one.
func (p *private) expectNoIdleRights(pools ...string) {
	p.t.Helper()
	p.heard.mu.Lock()
	defer p.heard.mu.Unlock()
	used := slices.Collect(maps.Keys(p.heard.published))
	idle := map[string][]string{}
	for _, u := range bus.Users(pools...) {
		for _, right := range u.Publish {
			isUsed := slices.ContainsFunc(used, func(s string) bool { return server.SubjectsCollide(s, right) })
			isRare := slices.ContainsFunc(slices.Collect(maps.Keys(rare)), func(part string) bool { return strings.Contains(right, part) })
			if !isUsed && !isRare {
				idle[right] = append(idle[right], u.Name)
			}
		}
	}
	for right, users := range idle {
		p.t.Errorf("no process has used %s, which %v may", right, users)
	}
}

// look reads the pages that the checks link to.
func (p *private) look() {
	p.t.Helper()
	for _, c := range p.github.State().CheckRuns {
		if c.DetailsURL == "" {
			p.t.Errorf("check %s has no page", c.Name)
			continue
		}
		res, err := http.Get(c.DetailsURL)
		if err != nil {
			p.t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			p.t.Errorf("page of %s: %s, %v", c.Name, res.Status, err)
		}
	}
}
