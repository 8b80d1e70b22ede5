package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/kubernetes"
	"github.com/litci/litci/pkg/executor/lightning"
	"github.com/litci/litci/pkg/executor/lightning/fakelightning"
	"github.com/litci/litci/pkg/executor/local"
	"github.com/litci/litci/pkg/executor/open"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/services/launcher"
)

// place is an executor, and the bare way to run a script in the same place.
type place struct {
	executor executor.Executor
	// image is empty where a place has none.
	image string
	// bare runs a script whose first line is a time, and returns the line.
	bare func(b *testing.B, script string) string
}

// firstLine prints the time at once.
const firstLine = "echo $EPOCHREALTIME\n"

// BenchmarkFirstLine says how long a job takes from its message in jobs.start, through
// the launcher, to its script's first line, as a multiple of the bare way in the same
// place: bash, docker run (with LITCI_TEST_DOCKER=on), the creation of a Job or of a
// machine by one request.
//
//	go test -run - -bench FirstLine -benchtime 10x ./cmd/litci
func BenchmarkFirstLine(b *testing.B) {
	for name, at := range places(b) {
		b.Run(name, func(b *testing.B) {
			from := launching(b, at)
			from(b, at) // what is made once for all jobs
			var ours, bare time.Duration
			for b.Loop() {
				began := time.Now()
				bare += timeOf(b, at.bare(b, firstLine)).Sub(began)
				ours += from(b, at)
			}
			n := float64(b.N)
			b.ReportMetric(ours.Seconds()*1000/n, "ms/job")
			b.ReportMetric(bare.Seconds()*1000/n, "ms/bare")
			b.ReportMetric(float64(ours)/float64(bare), "ratio")
			b.ReportMetric(0, "ns/op") // of both together, it says nothing
		})
	}
}

// timeOf is the time that a script printed.
func timeOf(b *testing.B, line string) time.Time {
	b.Helper()
	d, err := time.ParseDuration(strings.TrimSpace(line) + "s")
	if err != nil {
		b.Fatal(err)
	}
	return time.Unix(0, int64(d))
}

// launching runs a launcher on a bus of its own. What it returns publishes a job and
// tells how long it took to its first line.
func launching(b *testing.B, at place) func(*testing.B, place) time.Duration {
	b.Helper()
	mesh := bustest.New(b)
	ctx, stop := context.WithCancel(context.Background())
	l := launcher.New(mesh, at.executor, launcher.Options{Slots: 4, Lag: time.Nanosecond}, zap.NewNop())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	number := 0
	return func(b *testing.B, at place) time.Duration {
		b.Helper()
		number++
		job := flow.Job{
			Identity: flow.Identity{Delivery: "d", Installation: 1, Repo: flow.Repo{ID: 7, Owner: testOwner, Name: testRepo}, Event: "push", Run: flow.RunID(1, 7, "push", "", rand.Text(), "")},
			Attempt:  1, Check: "first line", Image: at.image, TimeoutMinutes: 5, Script: firstLine,
		}
		job.Job = flow.JobID(job.Run, 0)
		began := time.Now()
		if err := bus.Publish(ctx, mesh, flow.Jobs, job); err != nil {
			b.Fatal(err)
		}
		var handle executor.Handle
		err := bus.Tail(ctx, mesh, flow.States, func(s flow.Status) bool {
			return s.Job != job.Job || s.State != flow.Started || json.Unmarshal(s.Handle, &handle) != nil
		})
		if err != nil {
			b.Fatal(err)
		}
		return timeOf(b, logOf(b, at.executor, handle)).Sub(began)
	}
}

// logOf is a job's log once it has ended.
func logOf(b *testing.B, e executor.Executor, h executor.Handle) string {
	b.Helper()
	b.StopTimer()
	defer b.StartTimer()
	poll(b, "end of "+h.ID, func() bool {
		state, err := e.Observe(b.Context(), h)
		if err != nil {
			b.Fatal(err)
		}
		return state.Phase == executor.Ended
	})
	r, err := e.Logs(b.Context(), h, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

// poll asks again and again, as launchers do at first.
func poll(b testing.TB, what string, done func() bool) {
	b.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	give := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-give:
			b.Fatalf("%s: not within %s", what, patience)
		}
	}
}

func places(b *testing.B) map[string]place {
	all := map[string]place{"local": localPlace(b), "kubernetes": kubernetesPlace(b), "lightning": lightningPlace(b)}
	if withDocker() {
		all["docker"] = dockerPlace(b)
	}
	return all
}

func dockerPlace(b *testing.B) place {
	b.Helper()
	e, err := open.Executor(&config.Config{Executor: "docker", Docker: engine(b), Data: b.TempDir()}, nil, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	return place{executor: e, image: standIn, bare: func(b *testing.B, script string) string {
		return command(b, "docker", "run", "--rm", standIn, "bash", "-c", script)
	}}
}

func localPlace(b *testing.B) place {
	b.Helper()
	program, err := exec.LookPath("litci")
	if err != nil {
		b.Fatal(err)
	}
	e, err := local.New(local.Config{Dir: filepath.Join(b.TempDir(), "jobs"), Command: []string{program, "supervise"}})
	if err != nil {
		b.Fatal(err)
	}
	return place{executor: e, bare: func(b *testing.B, script string) string {
		out, err := exec.CommandContext(b.Context(), "bash", "-c", script).Output()
		if err != nil {
			b.Fatal(err)
		}
		return string(out)
	}}
}

// request makes a request of an emulator, without any client.
func request(b *testing.B, method, address, authorization string, sent, answer any) {
	b.Helper()
	body, err := json.Marshal(sent)
	if err != nil {
		b.Fatal(err)
	}
	r, err := http.NewRequestWithContext(b.Context(), method, address, bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Authorization", authorization)
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode/100 != 2 {
		b.Fatalf("%s %s: %d %s, %v", method, address, res.StatusCode, text, err)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		b.Fatal(err)
	}
}

// written waits for a script's output in a file of this machine, asking the place
// meanwhile.
func written(b *testing.B, file string, ask func()) string {
	b.Helper()
	var line []byte
	poll(b, file, func() bool {
		if ask != nil {
			ask()
		}
		line, _ = os.ReadFile(file) // it may not be there yet
		return bytes.HasSuffix(line, []byte("\n"))
	})
	return string(line)
}

func kubernetesPlace(b *testing.B) place {
	b.Helper()
	c := newCluster(b, b.TempDir(), "token")
	cluster, err := kubernetes.Kubeconfig(c.kubeconfig, "")
	if err != nil {
		b.Fatal(err)
	}
	e, err := kubernetes.New(kubernetes.Config{Cluster: cluster})
	if err != nil {
		b.Fatal(err)
	}
	return place{executor: e, image: "debian:12", bare: func(b *testing.B, script string) string {
		file := filepath.Join(b.TempDir(), "line")
		job := fmt.Sprintf(`{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "bare-%s"}, "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 0, "template": {"spec": {
			"restartPolicy": "Never", "automountServiceAccountToken": false, "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
			"containers": [{"name": "bare", "image": "debian:12", "command": ["bash", "-c", %q],
				"securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}}}}`,
			strings.ToLower(rand.Text()), strings.TrimSpace(script)+" >"+file)
		var made any
		request(b, http.MethodPost, cluster.Server+"/apis/batch/v1/namespaces/"+cluster.Namespace+"/jobs", "Bearer token", json.RawMessage(job), &made)
		return written(b, file, nil)
	}}
}

func lightningPlace(b *testing.B) place {
	b.Helper()
	service := fakelightning.New(fakelightning.Options{Dir: b.TempDir(), APIKey: "key"})
	b.Cleanup(service.Close)
	web := httptest.NewServer(service)
	b.Cleanup(web.Close)
	user := service.Options().UserID
	e, err := lightning.New(lightning.Config{
		URL: web.URL, UserID: user, APIKey: "key", Teamspace: "acme/ci",
		// The emulator's machines go on when they are looked at: so as often as below.
		Pace: lightning.Pace{Rate: 1000, Fresh: 20 * time.Millisecond},
	})
	if err != nil {
		b.Fatal(err)
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":key"))
	return place{executor: e, image: "debian:12", bare: func(b *testing.B, script string) string {
		jobs := ""
		for _, r := range service.Requests() {
			if r.Method == http.MethodPost && strings.HasSuffix(r.Path, "/jobs") {
				jobs = web.URL + r.Path
			}
		}
		file := filepath.Join(b.TempDir(), "line")
		var made struct {
			ID string `json:"id"`
		}
		request(b, http.MethodPost, jobs, basic, map[string]any{"name": "bare-" + rand.Text(), "spec": map[string]any{
			"instanceName": "cpu-4", "image": "debian:12", "entrypoint": "sh -c", "command": "exec bash -c '" + strings.TrimSpace(script) + " >" + file + "'", "env": []any{},
		}}, &made)
		return written(b, file, func() { request(b, http.MethodGet, jobs+"/"+made.ID, basic, nil, new(any)) })
	}}
}
