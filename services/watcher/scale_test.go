package watcher

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/bus/embedded"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
)

const (
	// manyJobs are held by one watcher at once.
	manyJobs = 10_000
	// holdSpan is how long they are held while CPU time is counted.
	holdSpan = 20 * time.Second
)

// order is what the watcher's process is told, as its argument.
type order struct {
	URL, Key string
	// Lines is how long the log of each job is.
	Lines int
}

// usage is what that process says of itself, each time it is asked.
type usage struct {
	Heap, Stack uint64
	Goroutines  int
	// Looks is how often jobs were looked at since it was asked before; Gap the longest
	// time between two looks at one job.
	Looks int64
	Gap   time.Duration
}

// idle is an executor whose jobs run for ever and do nothing, until they are stopped.
type idle struct {
	log     []byte
	looks   atomic.Int64
	gap     atomic.Int64
	last    [manyJobs]atomic.Int64
	stopped [manyJobs]atomic.Bool
	since   time.Time
}

func (*idle) Name() string { return "idle" }

func (*idle) Start(context.Context, executor.Spec) (executor.Handle, error) {
	return executor.Handle{}, &executor.StartError{Message: "idle jobs run already"}
}

func (e *idle) Observe(_ context.Context, h executor.Handle) (executor.State, error) {
	i, err := strconv.Atoi(h.ID)
	if err != nil {
		return executor.State{}, err
	}
	now := time.Now()
	if before := e.last[i].Swap(int64(now.Sub(e.since))); before > 0 {
		for gap := int64(now.Sub(e.since)) - before; ; {
			most := e.gap.Load()
			if gap <= most || e.gap.CompareAndSwap(most, gap) {
				break
			}
		}
	}
	e.looks.Add(1)
	state := executor.State{Phase: executor.Running, StartedAt: e.since, LogSize: int64(len(e.log))}
	if e.stopped[i].Load() {
		state.Phase, state.Reason, state.FinishedAt = executor.Ended, executor.ReasonStopped, now.UTC()
	}
	return state, nil
}

func (e *idle) Logs(_ context.Context, _ executor.Handle, from int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(e.log[min(from, int64(len(e.log))):])), nil
}

func (e *idle) Stop(_ context.Context, h executor.Handle, _ time.Duration) error {
	i, err := strconv.Atoi(h.ID)
	if err == nil {
		e.stopped[i].Store(true)
	}
	return err
}

func (*idle) Remove(context.Context, executor.Handle) error { return nil }

// hold is the watcher's process: it says on stdout what it uses whenever a line
// comes on stdin, and ends with stdin.
func hold(argument string) int {
	var o order
	if err := json.Unmarshal([]byte(argument), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	b, err := bus.Connect(bus.Config{Name: "watcher", URL: o.URL, NKey: o.Key}, zap.NewNop(), nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer b.Close()
	e := &idle{log: []byte(strings.Repeat(floodLine, o.Lines)), since: time.Now().Add(-time.Second)}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- New(b, e, Options{}, zap.NewNop()).Run(ctx) }()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		u := usage{Heap: m.HeapAlloc, Stack: m.StackInuse, Goroutines: runtime.NumGoroutine(), Looks: e.looks.Swap(0), Gap: time.Duration(e.gap.Swap(0))}
		if err := json.NewEncoder(os.Stdout).Encode(u); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	cancel()
	if err := <-ended; err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// holder is the watcher's process as the benchmark sees it.
type holder struct {
	b      *testing.B
	cmd    *exec.Cmd
	ask    io.WriteCloser
	answer *json.Decoder
}

func newHolder(b *testing.B, server *embedded.Server, lines int) *holder {
	b.Helper()
	argument, err := json.Marshal(order{server.URL(), server.KeyFile, lines})
	if err != nil {
		b.Fatal(err)
	}
	h := &holder{b: b, cmd: exec.Command(os.Args[0], "hold", string(argument))}
	h.cmd.Stderr = os.Stderr
	if h.ask, err = h.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	h.answer = json.NewDecoder(out)
	if err := h.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return h
}

func (h *holder) usage() (u usage) {
	h.b.Helper()
	if _, err := fmt.Fprintln(h.ask); err != nil {
		h.b.Fatal(err)
	}
	if err := h.answer.Decode(&u); err != nil {
		h.b.Fatal(err)
	}
	return u
}

func (h *holder) end() {
	h.b.Helper()
	if err := h.ask.Close(); err != nil {
		h.b.Error(err)
	}
	if err := h.cmd.Wait(); err != nil {
		h.b.Error(err)
	}
}

// cpuOf is the CPU time that a process has used (proc_pid_stat(5), in hundredths of
// a second), and memoryOf its resident memory in bytes.
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		b.Fatal(err)
	}
	system, err := strconv.Atoi(fields[12])
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

func memoryOf(b *testing.B, pid int) int64 {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// One watcher, in a process of its own, holds ten thousand jobs of an executor that
// does nothing, against a real server in this process.
func BenchmarkTenThousandJobs(b *testing.B) {
	for name, lines := range map[string]int{"silent": 0, "100 lines each": 100} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				holdMany(b, lines)
			}
		})
	}
}

func holdMany(b *testing.B, lines int) {
	server := bustest.Server(b)
	source := bustest.Connect(b, server, bus.Config{Name: "test", AckWait: time.Minute})
	run := flow.RunID(1, 7, "push", b.Name(), "", "")
	publishMany(b, source, run)
	h := newHolder(b, server, lines)
	defer h.end()
	began := time.Now()
	awaitMany(b, source)
	taken := time.Since(began)

	h.usage()
	mine, theirs := cpuOf(b, os.Getpid()), cpuOf(b, h.cmd.Process.Pid)
	span := time.NewTimer(holdSpan)
	<-span.C
	theirs, mine = cpuOf(b, h.cmd.Process.Pid)-theirs, cpuOf(b, os.Getpid())-mine
	resident := memoryOf(b, h.cmd.Process.Pid)
	u := h.usage()
	if u.Goroutines < manyJobs {
		b.Fatalf("%d goroutines hold %d jobs", u.Goroutines, manyJobs)
	}

	asked := time.Now()
	if err := cancellation.Job(b.Context(), source, run, manyJobs/2, 1, cancellation.Request{ID: "x", At: asked}); err != nil {
		b.Fatal(err)
	}
	if err := bus.Tail(b.Context(), source, flow.Results, func(r flow.Result) bool {
		if r.Index != manyJobs/2 || r.Conclusion != flow.Cancelled {
			b.Errorf("result %+v", r)
		}
		return false
	}); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(time.Since(asked).Milliseconds()), "ms-to-cancel")
	b.ReportMetric(float64(resident)/(1<<20), "MiB-resident")
	b.ReportMetric(float64(u.Heap)/(1<<20), "MiB-heap")
	b.ReportMetric(float64(u.Heap+u.Stack)/manyJobs, "bytes/job")
	b.ReportMetric(100*theirs.Seconds()/holdSpan.Seconds(), "%cpu")
	b.ReportMetric(100*mine.Seconds()/holdSpan.Seconds(), "%cpu-nats")
	b.ReportMetric(float64(u.Looks)/holdSpan.Seconds(), "looks/s")
	b.ReportMetric(u.Gap.Seconds(), "s-between-looks")
	b.ReportMetric(taken.Seconds(), "s-to-take")
	b.ReportMetric(0, "ns/op")
}

func publishMany(b *testing.B, source *bus.Bus, run string) {
	b.Helper()
	var all sync.WaitGroup
	defer all.Wait()
	const hands = 16
	for hand := range hands {
		all.Go(func() {
			for i := hand; i < manyJobs; i += hands {
				s := flow.Status{
					Identity: flow.Identity{
						Delivery: "72d3162e-cc78-11e3-81ab-4c9367dc0958", Installation: 1, Repo: flow.Repo{ID: 7, Owner: "octo", Name: "hello", DefaultBranch: "main"},
						Event: "push", SHA: strings.Repeat("a", 40), Ref: "refs/heads/main", Run: run,
					},
					Job: flow.JobID(run, i), Index: i, Attempt: 1, Check: "ci.yml / test (" + strconv.Itoa(i) + ")", State: flow.Started, At: time.Now().UTC(),
					TimeoutMinutes: 60, Handle: json.RawMessage(fmt.Sprintf(`{"executor":"idle","id":"%d"}`, i)),
				}
				if err := bus.Publish(b.Context(), source, flow.States, s); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
}

// awaitMany returns when the watcher holds all jobs and has said so of each.
func awaitMany(b *testing.B, source *bus.Bus) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	running := 0
	if err := bus.Tail(ctx, source, flow.States, func(s flow.Status) bool {
		if s.State == flow.Running {
			running++
		}
		return running < manyJobs
	}); err != nil || running < manyJobs {
		b.Fatalf("%d of %d jobs are held: %v", running, manyJobs, err)
	}
}
