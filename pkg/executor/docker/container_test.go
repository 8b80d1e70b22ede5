package docker

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/litci/litci/pkg/executor"
)

// inspected is everything that the engine tells about a job's container.
func inspected(t *testing.T, e *Executor, h executor.Handle) client.ContainerInspectResult {
	t.Helper()
	found, err := e.engine.ContainerInspect(t.Context(), h.ID, client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What an engine's user could do to a container by hand does not run a job twice.
func TestEngineRestartedContainer(t *testing.T) {
	t.Parallel()
	e := newEngine(t, nil)
	h := begin(t, e, job("echo run >>../home/runs\nwc -l <../home/runs\nexit 3\n"))
	before := until(t, e, h, executor.Ended)
	for _, prepare := range []func() error{
		func() error { return nil },
		func() error { // a launcher that comes late and saw the container before its start
			s := &start{executor: e, job: job("echo twice\n")}
			s.job.ID = h.ID
			c, err := e.find(t.Context(), h.ID)
			if err != nil {
				return err
			}
			return s.fill(t.Context(), c)
		},
	} {
		if err := prepare(); err != nil {
			t.Fatal(err)
		}
		// The engine may refuse, since the entrypoint has moved.
		_, err := e.engine.ContainerStart(t.Context(), h.ID, client.ContainerStartOptions{})
		t.Logf("second start: %v", err)
		wait(t, "container to end again", func() bool { return !inspected(t, e, h).Container.State.Running })
		e.memory.forget(h.Ref)
		after := until(t, e, h, executor.Ended)
		if after.Reason != executor.ReasonExit || *after.ExitCode != 3 || !after.FinishedAt.Equal(before.FinishedAt) {
			t.Errorf("state was %+v, is %+v", before, after)
		}
		if log := output(t, e, h); log != "1\n" {
			t.Errorf("log is %q", log)
		}
	}
}

func TestEngineEndings(t *testing.T) {
	t.Parallel()
	e := newEngine(t, func(o *Options) { o.Limits.Memory = 64 << 20 })
	const linger = "echo ready\nwhile :; do sleep 0.02 || :; done\n"
	// dd needs its whole block in memory.
	const hog = "dd if=/dev/zero of=/dev/null bs=256M count=1"
	for name, test := range map[string]struct {
		script string
		act    func(h executor.Handle) error
		reason executor.Reason
		code   int
		says   string
	}{
		"out of memory":           {script: hog + "\n", reason: executor.ReasonMemory, code: 137, says: "64 MiB"},
		"a child's memory only":   {script: hog + " || true\n", reason: executor.ReasonExit, code: 0},
		"an exit that looks like": {script: "exit 137\n", reason: executor.ReasonExit, code: 137},
		"container killed": {script: linger, reason: executor.ReasonLost, code: -1, says: "from outside", act: func(h executor.Handle) error {
			_, err := e.engine.ContainerKill(t.Context(), h.ID, client.ContainerKillOptions{Signal: "SIGKILL"})
			return err
		}},
		"docker stop": {script: linger, reason: executor.ReasonInfrastructure, code: 143, says: "terminated", act: func(h executor.Handle) error {
			_, err := e.engine.ContainerStop(t.Context(), h.ID, client.ContainerStopOptions{})
			return err
		}},
		"docker rm": {script: linger, reason: "", act: func(h executor.Handle) error {
			_, err := e.engine.ContainerRemove(t.Context(), h.ID, client.ContainerRemoveOptions{Force: true})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := begin(t, e, job(test.script))
			if test.act != nil {
				wait(t, "script to begin", func() bool { return output(t, e, h) == "ready\n" })
				if err := test.act(h); err != nil {
					t.Fatal(err)
				}
			}
			if test.reason == "" {
				until(t, e, h, executor.Absent)
				return
			}
			state := until(t, e, h, executor.Ended)
			code := -1
			if state.ExitCode != nil {
				code = *state.ExitCode
			}
			if state.Reason != test.reason || code != test.code || !strings.Contains(state.Message, test.says) {
				t.Errorf("state is %+v, exit code %d", state, code)
			}
			if state.FinishedAt.IsZero() || state.StartedAt.IsZero() {
				t.Errorf("times are %v and %v", state.StartedAt, state.FinishedAt)
			}
		})
	}
}

// A request to stop counts as the reason even where the supervisor could not obey.
func TestEngineStopOfAHangingSupervisor(t *testing.T) {
	t.Parallel()
	e := newEngine(t, nil)
	h := begin(t, e, job("trap '' TERM\necho ready\nwhile :; do sleep 0.02 || :; done\n"))
	wait(t, "script to begin", func() bool { return output(t, e, h) == "ready\n" })
	if err := e.Stop(t.Context(), h, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := e.signal(t.Context(), h.ID, "SIGKILL"); err != nil {
		t.Fatal(err)
	}
	if state := until(t, e, h, executor.Ended); state.Reason != executor.ReasonStopped || state.ExitCode != nil {
		t.Errorf("state is %+v", state)
	}
}

// The job has what the limits allow and nothing else.
func TestEngineIsolation(t *testing.T) {
	t.Parallel()
	const secret = "canary-4a1f0c"
	e := newEngine(t, func(o *Options) {
		o.Limits = Limits{CPUs: 0.5, Memory: 128 << 20, PIDs: 50, Shm: 8 << 20, Files: 512}
		o.Credentials = map[string]Credential{"registry.test": {Username: "u", Password: secret}}
	})
	spec := job("grep -E 'Cap(Eff|Prm|Bnd)|NoNewPrivs' /proc/self/status | tr '\\t\\n' '  '\necho\nulimit -n -c\ndf -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2\n" +
		"ls /sys/class/net | tr '\\n' ' '\ncat /proc/mounts | grep -c docker.sock || :\n")
	spec.Env = map[string]string{"PRIVATE": "value-of-the-job"}
	h := begin(t, e, spec)
	until(t, e, h, executor.Ended)
	want := []string{
		"CapPrm: 0000000000000000 CapEff: 0000000000000000 CapBnd: 0000000000000000 NoNewPrivs: 1",
		"512", "8192", "eth0 lo 0\n",
	}
	log := output(t, e, h)
	for _, w := range want {
		if !strings.Contains(log, w) {
			t.Errorf("log lacks %q:\n%s", w, log)
		}
	}
	found := inspected(t, e, h)
	host := found.Container.HostConfig
	if host.NanoCPUs != 5e8 || host.Memory != 128<<20 || host.MemorySwap != host.Memory || *host.PidsLimit != 50 || host.Privileged ||
		len(host.Binds) != 0 || len(host.Mounts) != 0 || len(found.Container.Mounts) != 0 {
		t.Errorf("host configuration is %+v", host)
	}
	all, err := json.Marshal(found.Container)
	if err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{secret, "value-of-the-job"} {
		if strings.Contains(string(all), hidden) {
			t.Errorf("%q is in the container's configuration", hidden)
		}
	}
}

func TestEngineNetworks(t *testing.T) {
	t.Parallel()
	none := newEngine(t, func(o *Options) { o.Network = NetworkNone })
	if _, log := run(t, none, job("ls /sys/class/net\n")); log != "lo\n" {
		t.Errorf("devices without a network: %q", log)
	}
	e := newEngine(t, nil)
	server := begin(t, e, job("echo ready\nnc -l -p 8000 -e echo hello\n"))
	wait(t, "server to begin", func() bool { return output(t, e, server) == "ready\n" })
	var address string
	for _, n := range inspected(t, e, server).Container.NetworkSettings.Networks {
		address = n.IPAddress.String()
	}
	if _, log := run(t, e, job("nc -w 2 "+address+" 8000 </dev/null || echo unreachable\n")); !strings.HasSuffix(log, "unreachable\n") {
		t.Errorf("another job's port gives %q", log)
	}
	if err := e.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestEngineUsers(t *testing.T) {
	t.Parallel()
	for user, want := range map[string]string{
		"someone":        "1234 5678 /home/someone\n",
		"1234":           "1234 5678 /home/someone\n",
		"someone:others": "1234 4321 /home/someone\n",
		"4444:5555":      "4444 5555 /litci/job/home\n",
	} {
		e := newEngine(t, func(o *Options) { o.User = user })
		spec := job("echo \"$(id -u) $(id -g) $HOME\"\necho more >>file\ntouch \"$RUNNER_TEMP/x\" \"$GITHUB_STEP_SUMMARY\"\n")
		spec.Source = sourceOfTest
		state, log := run(t, e, spec)
		if log != want || state.ExitCode == nil || *state.ExitCode != 0 {
			t.Errorf("user %s: log is %q, state %+v", user, log, state)
		}
	}
	e := newEngine(t, func(o *Options) { o.User = "nobody-there" })
	_, err := e.Start(t.Context(), job("true\n"))
	if _, refused := errors.AsType[*executor.StartError](err); !refused {
		t.Errorf("unknown user: %v", err)
	}
	if list, err := e.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("left are %v, %v", list, err)
	}
}

// An installation that ends leaves nothing, and takes nothing of another.
func TestEngineClear(t *testing.T) {
	t.Parallel()
	e, other := newEngine(t, nil), newEngine(t, nil)
	removed, running := begin(t, e, job("true\n")), begin(t, e, job("sleep 1000\n"))
	theirs := begin(t, other, job("true\n"))
	until(t, e, removed, executor.Ended)
	if err := e.Remove(t.Context(), removed); err != nil {
		t.Fatal(err)
	}
	until(t, e, running, executor.Running)
	if err := e.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	network, err := e.oldestNetwork(t.Context())
	if err != nil || network != "" {
		t.Errorf("left is network %q, %v", network, err)
	}
	for _, h := range []executor.Handle{removed, running} {
		if state, err := e.Observe(t.Context(), h); err != nil || state.Phase != executor.Absent {
			t.Errorf("left is %+v, %v", state, err)
		}
	}
	if state := until(t, other, theirs, executor.Ended); state.Reason != executor.ReasonExit {
		t.Errorf("the other's job is %+v", state)
	}
}
