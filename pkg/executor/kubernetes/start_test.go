package kubernetes

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/executor/internal/rest"
	"github.com/litci/litci/pkg/executor/kubernetes/fakekubernetes"
	"github.com/litci/litci/pkg/executor/kubernetes/machine"
)

// sourceServer serves an archive by addresses that are good for one fetch.
type sourceServer struct {
	url     string
	content []byte

	mu      sync.Mutex
	signed  int
	fetched map[string]bool
}

func newSource(t *testing.T) *sourceServer {
	t.Helper()
	content, err := executortest.Archive(
		executortest.Entry{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "0123"}}},
		executortest.Dir("acme-app-0123/"),
		executortest.File("acme-app-0123/docs/deep/page", "page\n", 0o644),
		executortest.File("acme-app-0123/.hidden", "hidden\n", 0o644),
		executortest.File("acme-app-0123/tool", "#!/bin/sh\necho tool\n", 0o775),
		executortest.Link("acme-app-0123/link", ".hidden"),
	)
	if err != nil {
		t.Fatal(err)
	}
	s := &sourceServer{content: content, fetched: map[string]bool{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *sourceServer) sign(_ context.Context, job executor.Spec) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signed++
	return fmt.Sprintf("%s/%s/%d?signature=%s", s.url, job.ID, s.signed, canary), nil
}

func (s *sourceServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetched[r.URL.Path] || r.URL.Query().Get("signature") != canary {
		http.Error(w, "gone", http.StatusGone)
		return
	}
	s.fetched[r.URL.Path] = true
	_, _ = w.Write(s.content)
}

// sourceImage is a PATH with a curl that the test binary cannot be without.
func sourceImage(t *testing.T) string {
	t.Helper()
	usual := fakekubernetes.New(fakekubernetes.Options{}).Options().Path
	if _, err := exec.LookPath("curl"); err == nil {
		return usual
	}
	dir := t.TempDir()
	// bash speaks HTTP well enough for a test.
	const curl = `#!/bin/bash
url=$(sed -n 's/^url = "\(.*\)"$/\1/p'); url=${url#http://}; host=${url%%/*}
exec 3<>"/dev/tcp/${host%:*}/${host#*:}"
printf 'GET /%s HTTP/1.0\r\n\r\n' "${url#*/}" >&3
read -r _ code _ <&3; [ "$code" = 200 ] || exit 22
while read -r line <&3 && [ "$line" != $'\r' ]; do :; done
cat <&3 >"${@: -1}"
`
	if err := os.WriteFile(filepath.Join(dir, "curl"), []byte(curl), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir + ":" + usual
}

func withSource(job executor.Spec) executor.Spec {
	job.Source = func(context.Context) (io.ReadCloser, error) { return nil, errors.New("is not opened here") }
	return job
}

func TestSourceIsFetchedByThePod(t *testing.T) {
	t.Parallel()
	w, source := newWorld(t, fakekubernetes.Options{Path: sourceImage(t)}), newSource(t)
	e := w.executor(t, func(c *Config) { c.SourceURL = source.sign })
	job := withSource(spec("source", "none", "./tool\ncat docs/deep/page link\ntest \"$PWD\" -ef \"$LITCI_WORKSPACE\"\n"+
		"grep -lsa 'canary-[s]ignature' /proc/self/environ \"$LITCI_WORKSPACE\"/../[!p]* || :\n"))
	h := executortest.Start(t, e, job)
	executortest.Start(t, e, job)
	state := executortest.Until(t, e, h, executor.Ended)
	if log := executortest.Output(t, e, h); log != "tool\npage\nhidden\n" || state.ExitCode == nil || *state.ExitCode != 0 {
		t.Errorf("log is %q, state %+v", log, state)
	}
	if source.signed != 1 {
		t.Errorf("%d addresses were made", source.signed)
	}
	// The link is in a Secret that the job's container does not mount.
	for _, r := range w.Requests() {
		if r.Method != http.MethodPost || !strings.HasSuffix(r.Path, "/jobs") {
			continue
		}
		var made madeJob
		if err := json.Unmarshal([]byte(r.Body), &made); err != nil {
			t.Fatal(err)
		}
		for _, c := range made.Spec.Template.Spec.Containers {
			for _, m := range c.Mounts {
				if m.Name == "parts" {
					t.Error("the job's container mounts the Secret")
				}
			}
		}
	}
}

// madeJob is a Job, where a local name hides the type.
type madeJob = job

// A source that is gone ends the job as the machine's fault, before its script.
func TestSourceThatIsGone(t *testing.T) {
	t.Parallel()
	w, source := newWorld(t, fakekubernetes.Options{Path: sourceImage(t)}), newSource(t)
	source.fetched["/litci-gone/1"] = true
	e := w.executor(t, func(c *Config) { c.SourceURL = source.sign })
	h := executortest.Start(t, e, withSource(spec("gone", "none", "echo never\n")))
	state := executortest.Until(t, e, h, executor.Ended)
	if state.Reason != executor.ReasonInfrastructure || !strings.Contains(state.Message, "could not be fetched") || state.ExitCode != nil {
		t.Errorf("state is %+v", state)
	}
	if log := executortest.Output(t, e, h); log != "" {
		t.Errorf("log is %q", log)
	}
}

// A launcher dies between any two steps of a start; the next one finishes it.
func TestStartAfterACrash(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string][]fakekubernetes.Fault{
		"before the job":               {{Method: http.MethodPost, Path: "/jobs", Times: rest.Tries}},
		"after the job, unanswered":    {{Method: http.MethodPost, Path: "/jobs", Lost: true}, {Method: http.MethodPost, Path: "/jobs", Times: rest.Tries}},
		"between job and secret":       {{Method: http.MethodPost, Path: "/secrets", Times: rest.Tries}},
		"after the secret, unanswered": {{Method: http.MethodPost, Path: "/secrets", Lost: true}, {Method: http.MethodPost, Path: "/secrets", Status: 403}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, source := newWorld(t, fakekubernetes.Options{Path: sourceImage(t)}), newSource(t)
			for _, f := range faults {
				w.Fail(f)
			}
			sign := func(c *Config) { c.SourceURL = source.sign }
			job := withSource(spec("crash", "none", "ls -A\n"))
			_, err := w.executor(t, sign).Start(t.Context(), job)
			if _, final := errors.AsType[*executor.StartError](err); final {
				t.Errorf("start gives up: %v", err)
			}
			e := w.executor(t, sign)
			h := executortest.Start(t, e, job)
			executortest.Until(t, e, h, executor.Ended)
			if log := executortest.Output(t, e, h); log != ".hidden\ndocs\nlink\ntool\n" {
				t.Errorf("log is %q", log)
			}
			if n := w.Pods(); n != 1 {
				t.Errorf("there are %d pods", n)
			}
		})
	}
}

// Answers that are lost cost a request and nothing else.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	e := w.executor(t, nil)
	for _, path := range []string{"/jobs", "/secrets"} {
		w.Fail(fakekubernetes.Fault{Method: http.MethodPost, Path: path, Lost: true})
	}
	for _, status := range []int{500, 503, 429} {
		w.Fail(fakekubernetes.Fault{Method: http.MethodGet, Status: status})
	}
	h := executortest.Start(t, e, spec("lost", "none", "echo ready\n"))
	w.Fail(fakekubernetes.Fault{Method: http.MethodGet, Times: 3})
	if state := executortest.Until(t, e, h, executor.Ended); state.Reason != executor.ReasonExit || executortest.Output(t, e, h) != "ready\n" {
		t.Errorf("state is %+v", state)
	}
	w.Fail(fakekubernetes.Fault{Method: http.MethodPatch, Lost: true})
	w.Fail(fakekubernetes.Fault{Method: http.MethodDelete, Lost: true, Times: 2})
	if err := e.Remove(t.Context(), h); err != nil {
		t.Error(err)
	}
	if w.Pods() != 0 || len(w.Secrets()) != 0 {
		t.Errorf("%d pods and secrets %q are left", w.Pods(), w.Secrets())
	}
}

// A server that does not answer is an error in time, and not the job's end.
func TestServerThatHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	e := w.executor(t, nil)
	h := executortest.Start(t, e, spec("hang", "none", linger))
	impatient := w.executor(t, func(c *Config) { c.Pace.Call = 100 * time.Millisecond })
	w.Fail(fakekubernetes.Fault{Hang: true, Times: rest.Tries})
	if state, err := impatient.Observe(t.Context(), h); err == nil || !strings.Contains(err.Error(), "reaches the API server") {
		t.Errorf("state is %+v, %v", state, err)
	}
	w.Heal() // of a request that was given up before it came
	executortest.Until(t, e, h, executor.Running)
}

// A Job on its way out is waited for; its name is not used before its pod has ended.
func TestStartWaitsForADeletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	e := w.executor(t, nil)
	job := spec("leaving", "none", "trap 'sleep 0.3; exit 0' TERM\n"+linger)
	h := executortest.Start(t, e, job)
	executortest.Until(t, e, h, executor.Running)
	w.Hold(h.ID, true)
	if _, err := e.Start(t.Context(), job); err == nil || !strings.Contains(err.Error(), "being deleted") {
		t.Errorf("start: %v", err)
	}
	w.Hold(h.ID, false)
	if again := executortest.Start(t, e, job); again != h {
		t.Errorf("handle is %+v, want %+v", again, h)
	}
	executortest.Follow(t, e, h, func(executor.State) bool { return executortest.Output(t, e, h) == "ready\n" })
	w.DeleteJob(h.ID)
	if other := follow2(t, e, job); other == h {
		t.Error("the deleted job was found")
	}
	if n := w.Pods(); n != 1 {
		t.Errorf("%d pods run at once", n)
	}
}

// Launchers that start one job at once, in processes of their own.
func TestStartByManyProcesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	job := spec("many", "none", "echo once\n")
	handles := make([]executor.Handle, 10)
	errs := make([]error, len(handles))
	var wg sync.WaitGroup
	for i := range handles {
		e := w.executor(t, nil)
		wg.Go(func() { handles[i], errs[i] = e.Start(t.Context(), job) })
	}
	wg.Wait()
	for i, h := range handles {
		if errs[i] != nil || h != handles[0] {
			t.Errorf("start %d: %+v, %v", i, h, errs[i])
		}
	}
	e := w.executor(t, nil)
	executortest.Until(t, e, handles[0], executor.Ended)
	if log := executortest.Output(t, e, handles[0]); log != "once\n" || w.Pods() != 1 {
		t.Errorf("log is %q, pods are %d", log, w.Pods())
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	e := w.executor(t, func(c *Config) { c.Machines = map[string]machine.Kind{"L4": {CPU: "4"}} })
	var noise strings.Builder
	for i := range 300_000 {
		fmt.Fprintf(&noise, "# %x\n", uint64(i)*0x9E3779B97F4A7C15)
	}
	for name, test := range map[string]struct {
		change func(*executor.Spec)
		says   string
	}{
		"no image":        {func(s *executor.Spec) { s.Image = "" }, "names none"},
		"unknown machine": {func(s *executor.Spec) { s.Machine = "H200" }, `no machine "H200"; it has CPU, L4`},
		"no link":         {func(s *executor.Spec) { *s = withSource(*s) }, "fetch their source by a link"},
		"large script":    {func(s *executor.Spec) { s.Script = []byte(noise.String()) }, "larger than 1024 KiB"},
		"bad image":       {func(s *executor.Spec) { s.Image = " x" }, "the cluster refuses the job"},
	} {
		job := spec("refused", "none", "true\n")
		test.change(&job)
		_, err := e.Start(t.Context(), job)
		if _, final := errors.AsType[*executor.StartError](err); !final || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.Pods() != 0 {
		t.Errorf("there are %d pods", w.Pods())
	}
	job := spec("Upper", "none", "true\n")
	if _, err := e.Start(t.Context(), job); err == nil {
		t.Error("a malformed id is taken")
	}
}

// Errors do not show the link or the token, even when the server repeats them.
func TestErrorsShowNoSecrets(t *testing.T) {
	t.Parallel()
	w, source := newWorld(t, fakekubernetes.Options{}), newSource(t)
	e := w.executor(t, func(c *Config) { c.SourceURL = source.sign })
	for _, path := range []string{"/secrets", "/jobs"} {
		w.Fail(fakekubernetes.Fault{Method: http.MethodPost, Path: path, Status: 403, Echo: true})
		_, err := e.Start(t.Context(), withSource(spec("echo-"+path[1:], "none", "true\n")))
		if err == nil || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), w.Options().Token) {
			t.Errorf("start: %v", err)
		}
	}
}

func TestManifest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	e := w.executor(t, func(c *Config) {
		c.PullSecrets = []string{"registry"}
		c.Labels = map[string]string{"kueue.x-k8s.io/queue-name": "ci"}
		c.Machines = map[string]machine.Kind{"L4": {
			CPU: "4", CPULimit: "8", Memory: "16Gi", Storage: "50Gi", SharedMemory: "8Gi", Resources: map[string]string{"nvidia.com/gpu": "1"},
			Nodes: machine.Nodes{Selector: map[string]string{"gpu": "l4"}, Tolerations: []machine.Toleration{{Key: "gpu", Operator: "Exists"}}},
			Spot:  &machine.Nodes{Selector: map[string]string{"spot": "true"}, Tolerations: []machine.Toleration{{Key: "spot", Operator: "Exists"}}},
		}}
	})
	job := spec("manifest", "none", "true\n")
	job.Machine, job.Interruptible, job.Grace = "L4", true, 5*time.Second
	m, err := e.machine(job)
	if err != nil {
		t.Fatal(err)
	}
	made := e.manifest(job, m)
	p, s := made.Spec.Template.Spec, made.Spec
	c := p.Containers[0]
	for name, ok := range map[string]bool{
		"name":              made.Metadata.Name == job.ID,
		"one try":           s.BackoffLimit == 0 && s.Completions == 1 && s.Parallelism == 1 && p.RestartPolicy == "Never",
		"no replacement":    s.Replacement == "Failed" && s.PodFailurePolicy.Rules[0].Action == "FailJob",
		"deadline":          s.Deadline == int64((30*time.Minute+job.Timeout+job.Grace+time.Minute)/time.Second),
		"retention":         s.TTL == int64(48*time.Hour/time.Second),
		"no token":          p.MountToken != nil && !*p.MountToken,
		"grace":             p.TerminationSeconds == 20,
		"pull secret":       p.PullSecrets[0].Name == "registry",
		"queue":             made.Metadata.Labels["kueue.x-k8s.io/queue-name"] == "ci",
		"gpu":               c.Resources.Limits["nvidia.com/gpu"] == "1" && c.Resources.Requests["nvidia.com/gpu"] == "1",
		"memory":            c.Resources.Limits["memory"] == "16Gi" && c.Resources.Requests["memory"] == "16Gi",
		"cpu":               c.Resources.Limits["cpu"] == "8" && c.Resources.Requests["cpu"] == "4",
		"disk":              c.Resources.Limits["ephemeral-storage"] == "50Gi",
		"shared memory":     slices.ContainsFunc(c.Mounts, func(m mount) bool { return m.Path == "/dev/shm" }),
		"nodes":             p.NodeSelector["gpu"] == "l4" && p.NodeSelector["spot"] == "true" && len(p.Tolerations) == 2,
		"nothing inherited": len(e.config.Machines["L4"].Nodes.Selector) == 1,
	} {
		if !ok {
			t.Errorf("%s: %s", name, text(made))
		}
	}
	job.Interruptible = false
	if m, _ := e.machine(job); m.Nodes.Selector["spot"] != "" {
		t.Error("a job that is not interruptible runs on spot nodes")
	}
	// The API takes it.
	executortest.Start(t, e, spec("manifest", "none", "true\n"))
}

func TestResourcesWithinTheMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	e := w.executor(t, func(c *Config) {
		c.Machines = map[string]machine.Kind{
			"L4":    {CPU: "4", CPULimit: "8", Memory: "16Gi", Resources: map[string]string{"nvidia.com/gpu": "4"}},
			"MI300": {Resources: map[string]string{"amd.com/gpu": "1"}},
		}
	})
	for _, c := range []struct {
		name string
		asks executor.Resources
		want resources
		no   string
	}{
		{"", executor.Resources{MilliCPU: 64_000, Memory: 1 << 40}, resources{
			Requests: map[string]string{"cpu": "64000m", "memory": "1099511627776"}, Limits: map[string]string{"memory": "1099511627776"},
		}, ""},
		{"L4", executor.Resources{MilliCPU: 500, GPUs: 2}, resources{
			Requests: map[string]string{"cpu": "500m", "memory": "16Gi", "nvidia.com/gpu": "2"},
			Limits:   map[string]string{"cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "2"},
		}, ""},
		{"L4", executor.Resources{MilliCPU: 9000}, resources{}, "ask for 9 CPUs, and machine L4 of this pool gives 8"},
		{"L4", executor.Resources{Memory: 17 << 30}, resources{}, "16384 MiB"},
		{"MI300", executor.Resources{GPUs: 2}, resources{}, "ask for 2 GPUs"},
		{"", executor.Resources{GPUs: 1}, resources{}, "machine CPU of this pool gives 0"},
	} {
		job := spec("resources", "none", "true\n")
		job.Machine, job.Resources = c.name, c.asks
		m, err := e.machine(job)
		var refused *executor.StartError
		switch {
		case c.no != "" && (!errors.As(err, &refused) || !strings.Contains(refused.Message, c.no)):
			t.Errorf("%s, %+v: %v", c.name, c.asks, err)
		case c.no == "" && (err != nil || !reflect.DeepEqual(resourcesOf(m), c.want)):
			t.Errorf("%s, %+v: %+v, %v", c.name, c.asks, resourcesOf(m), err)
		}
	}
	if e.config.Machines["L4"].Resources["nvidia.com/gpu"] != "4" {
		t.Error("a job changed what its machine has")
	}
}
