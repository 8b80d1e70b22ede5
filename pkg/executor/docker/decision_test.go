package docker

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/jsonstream"

	"github.com/litci/litci/pkg/executor"
)

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*Options)
		engine func(*double)
		want   string
	}{
		"pull policy":      {change: func(o *Options) { o.Pull = "sometimes" }, want: `"sometimes"`},
		"host network":     {change: func(o *Options) { o.Network = "host" }, want: "network of their own"},
		"another's":        {change: func(o *Options) { o.Network = "container:db" }, want: "network of their own"},
		"negative limit":   {change: func(o *Options) { o.Limits.CPUs = -1 }, want: "negative"},
		"tiny memory":      {change: func(o *Options) { o.Machines = map[string]Limits{"S": {Memory: 1000}} }, want: "machine S"},
		"no shim":          {change: func(o *Options) { o.Shim = "/no/such/program" }, want: "/no/such/program"},
		"shim is a script": {change: func(o *Options) { o.Shim = "/etc/passwd" }, want: "not a Linux program"},
		"dynamic shim":     {change: func(o *Options) { o.Shim = "/bin/bash" }, want: "CGO_ENABLED=0 go build"},
		"no credentials":   {change: func(o *Options) { o.DockerConfig = "/no/such/config.json" }, want: "/no/such/config.json"},
		"no engine":        {change: func(o *Options) { o.Host = "unix:///no/such/docker.sock" }, want: "no engine answers"},
		"old engine":       {engine: func(d *double) { d.version = "1.39" }, want: "no engine answers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDouble(t)
			if test.engine != nil {
				test.engine(d)
			}
			e, err := New(d.options(test.change))
			if err == nil {
				defer e.Close()
				err = e.Check(t.Context()) // what only the engine can tell
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// The version is the engine's, up to ours; the address is that of the environment.
func TestEnvironmentAndVersion(t *testing.T) {
	for engine, want := range map[string]string{"1.40": "/v1.40/", "1.41": "/v1.41/", "1.99": "/v1.56/"} {
		d := newDouble(t)
		d.version = engine
		options := d.options(nil)
		t.Setenv("DOCKER_HOST", options.Host)
		options.Host = ""
		e, err := New(options)
		if err != nil {
			t.Fatal(err)
		}
		begin(t, e, plain(""))
		for _, request := range d.requests {
			if !strings.Contains(request, " "+want) {
				t.Errorf("engine of version %s is asked %s", engine, request)
			}
		}
		if err := e.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "network test") {
			t.Errorf("check of a network that is not there: %v", err)
		}
		e.Close()
	}
}

func TestRunsOn(t *testing.T) {
	t.Parallel()
	p, err := openShim(staticProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.runsOn("x86_64"); err != nil {
		t.Error(err)
	}
	if err := p.runsOn("aarch64"); err == nil || !strings.Contains(err.Error(), "GOARCH=arm64") {
		t.Errorf("engine of another architecture: %v", err)
	}
}

func TestMachines(t *testing.T) {
	t.Parallel()
	o := Options{Limits: Limits{CPUs: 2}, Machines: map[string]Limits{"BIG": {CPUs: 8}, "T4": {GPUs: 1, Memory: 1 << 30}}}
	o.fill()
	for machine, want := range map[string]float64{"": 2, "CPU": 2, "CPU_X_4": 2, "DATA_PREP": 2, "BIG": 8, "T4": 2, "A100": -1, "big": -1} {
		l, err := o.limits(machine)
		if (err != nil) != (want < 0) || err == nil && (l.CPUs != want || l.PIDs != 4096) {
			t.Errorf("%q: %+v, %v", machine, l, err)
		}
	}
	l, err := o.limits("T4")
	if err != nil {
		t.Fatal(err)
	}
	host := o.hostConfig(l, "n")
	if len(host.DeviceRequests) != 1 || host.DeviceRequests[0].Count != 1 || host.DeviceRequests[0].Capabilities[0][0] != "gpu" {
		t.Errorf("device requests are %+v", host.DeviceRequests)
	}
	o.Machines[anyMachine] = Limits{CPUs: 1}
	if l, err := o.limits("A100"); err != nil || l.CPUs != 1 {
		t.Errorf("any other machine: %+v, %v", l, err)
	}
}

func TestResourcesWithinTheMachine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		has  Limits
		asks executor.Resources
		want Limits
		no   string
	}{
		{"nothing", Limits{CPUs: 2, GPUs: 1}, executor.Resources{}, Limits{CPUs: 2, GPUs: 1}, ""},
		{"no bound", Limits{}, executor.Resources{MilliCPU: 500, Memory: 1 << 30}, Limits{CPUs: 0.5, Memory: 1 << 30}, ""},
		{"a part", Limits{CPUs: 4, Memory: 8 << 30, GPUs: 4}, executor.Resources{MilliCPU: 1000, GPUs: 2}, Limits{CPUs: 1, Memory: 8 << 30, GPUs: 2}, ""},
		{"some of all GPUs", Limits{GPUs: -1}, executor.Resources{GPUs: 2}, Limits{GPUs: 2}, ""},
		{"some of named GPUs", Limits{Devices: []string{"a", "b"}}, executor.Resources{GPUs: 1}, Limits{Devices: []string{"a"}}, ""},
		{"all of an odd part", Limits{CPUs: 1.001}, executor.Resources{MilliCPU: 1001}, Limits{CPUs: 1.001}, ""},
		{"too much", Limits{CPUs: 1}, executor.Resources{MilliCPU: 1001}, Limits{}, "ask for 1.001 CPUs"},
		{"too many GPUs", Limits{Devices: []string{"a"}}, executor.Resources{GPUs: 2}, Limits{}, "ask for 2 GPUs"},
		{"too little", Limits{}, executor.Resources{Memory: 1}, Limits{}, "not enough for any job"},
	} {
		got, err := c.has.grant("L4", c.asks)
		var refused *executor.StartError
		switch {
		case c.no == "" && (err != nil || !reflect.DeepEqual(got, c.want)):
			t.Errorf("%s: %+v, %v", c.name, got, err)
		case c.no != "" && (!errors.As(err, &refused) || !strings.Contains(refused.Message, c.no)):
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestLayers(t *testing.T) {
	t.Parallel()
	var l layers
	var said []int
	line := func(id, status string, current, total int64) {
		m := jsonstream.Message{ID: id, Status: status}
		if total > 0 {
			m.Progress = &jsonstream.Progress{Current: current, Total: total}
		}
		if percent, news := l.take(m); news {
			said = append(said, percent)
		}
	}
	line("", "Pulling from library/x", 0, 0)
	line("a", "Pulling fs layer", 0, 0)
	line("a", "Downloading", 50, 100)
	line("a", "Downloading", 50, 100)
	line("b", "Downloading", 0, 100) // becomes known late
	line("b", "Downloading", 60, 100)
	line("a", "Download complete", 0, 0)
	line("a", "Extracting", 10, 100)
	line("c", "Already exists", 0, 0)
	line("b", "Download complete", 0, 0)
	if want := []int{50, 55, 80, 100}; !slices.Equal(said, want) {
		t.Errorf("said %v, want %v", said, want)
	}
}

func TestDockerConfig(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.json")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYTpzcw=="},"ghcr.io":{"username":"u","password":"p"},"empty.test":{},
		"token.test:5000":{"auth":"dTo=","identitytoken":"t"}},"credsStore":"desktop"}`)
	all, err := readDockerConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]Credential{
		"docker.io": {"user", "pa:ss", ""}, "ghcr.io": {"u", "p", ""}, "token.test:5000": {"u", "", "t"}, "empty.test": {},
	} {
		if all[host] != want {
			t.Errorf("%s: %+v", host, all[host])
		}
	}
	e := &Executor{options: Options{DockerConfig: path, Credentials: map[string]Credential{"ghcr.io": {Username: "own"}}}}
	for image, want := range map[string]string{"ubuntu": "user", "ghcr.io/a/b:1": "own", "quay.io/a/b": ""} {
		named, err := reference.ParseNormalizedNamed(image)
		if err != nil {
			t.Fatal(err)
		}
		text, err := e.authorization(named)
		if err != nil {
			t.Fatal(err)
		}
		auth, err := authconfig.Decode(text)
		if err != nil || auth.Username != want {
			t.Errorf("%s is pulled by %q, %v", image, auth.Username, err)
		}
	}
	for _, bad := range []string{`{"auths":`, `{"auths":{"x":{"auth":"canary"}}}`} {
		write(bad)
		if _, err := readDockerConfig(path); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestPickDigest(t *testing.T) {
	t.Parallel()
	list := []string{"mirror.test/python@" + digestOf(nil), "python@" + digestOf([]byte("x"))}
	for name, want := range map[string]string{"python:3.12": list[1], "mirror.test/python": list[0], "elsewhere/python": list[0]} {
		if got := pickDigest(list, name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := pickDigest(nil, "python"); got != "" {
		t.Errorf("of none: %s", got)
	}
}

func TestSearchPath(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]string{
		"":                           "/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/usr/local/sbin",
		"PATH=/opt/x:relative:/bin:": "/bin:/opt/x",
		"PATH=/opt/x":                "/opt/x",
	} {
		if got := strings.Join(searchPath([]string{"A=1", env}), ":"); got != want {
			t.Errorf("%s: %s, want %s", env, got, want)
		}
	}
}

func TestHandlesOfOthers(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	e := d.executor(nil)
	h := begin(t, e, plain(""))
	if h.Host != "ENGINE" {
		t.Errorf("handle is %+v", h)
	}
	for _, change := range []func(){func() { h.Host = "ANOTHER" }, func() { h.Host, h.Executor = "", "local" }, func() { h.Executor, h.ID = Kind, "../x" }} {
		change()
		if state, err := e.Observe(t.Context(), h); err == nil {
			t.Errorf("%+v: state is %+v", h, state)
		}
		if err := e.Remove(t.Context(), h); err == nil {
			t.Errorf("%+v was removed", h)
		}
	}
}
