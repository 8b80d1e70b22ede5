package reporter

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-github/v62/github"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/ghapp"
)

// agreeable is a GitHub that takes everything at once and remembers what the
// aggregate last said.
type agreeable struct {
	ids       atomic.Int64
	aggregate atomic.Value  // string
	passed    chan struct{} // closed when the aggregate is a success
	once      sync.Once
}

func (*agreeable) ID() int64                             { return appID }
func (*agreeable) Login(context.Context) (string, error) { return "litci[bot]", nil }
func (*agreeable) Check(context.Context) error           { return nil }
func (*agreeable) Close()                                {}
func (*agreeable) Reserve(int64, ghapp.Cost, bool) (*ghapp.Reservation, error) {
	return nil, nil
}

func (a *agreeable) Client(int64, int64) (*github.Client, error) {
	return github.NewClient(&http.Client{Transport: a}), nil
}

func (a *agreeable) RoundTrip(req *http.Request) (*http.Response, error) {
	answer := fmt.Sprintf(`{"id": %d}`, a.ids.Add(1))
	if req.Method == http.MethodGet {
		answer = "[]"
	} else {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		if strings.Contains(string(body), `"name":"litci"`) {
			a.aggregate.Store(string(body))
			if strings.Contains(string(body), `"conclusion":"success"`) {
				a.once.Do(func() { close(a.passed) })
			}
		}
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: req,
		Body: io.NopCloser(strings.NewReader(answer)),
	}, nil
}

// crowded is a reporter that holds progress back for an hour, so that what is
// shown sooner was known to decide, with a run of n jobs. Its looks at all jobs
// are counted.
func crowded(t *testing.T, n int) (r *Reporter, hub *agreeable, jobs []flow.Job, looks *atomic.Int64) {
	t.Helper()
	b := bustest.New(t)
	pages, err := NewPages(b, "127.0.0.1:0", "", []byte("key"), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pages.listener.Close() })
	hub = &agreeable{passed: make(chan struct{})}
	r = New(b, hub, hub, pages, zap.NewNop())
	t.Cleanup(r.desk.close)
	t.Cleanup(r.looks.close)
	r.sumEvery, r.commentEvery = time.Hour, time.Hour
	looks = &atomic.Int64{}
	read := r.states
	r.states = func(ctx context.Context, run string) (map[int]jobState, error) {
		looks.Add(1)
		return read(ctx, run)
	}
	plan, jobs := (&world{pull: 1}).plan("a", strings.Repeat("a", 40), n, epoch)
	hand(t, r, plan)
	return r, hub, jobs, looks
}

// All of a large run ends at once. The aggregate passes, so the last one knew that it
// was the last, and none looked at all the others.
func TestManyJobsEndAtOnce(t *testing.T) {
	t.Parallel()
	r, hub, jobs, looks := crowded(t, 999)
	before := looks.Load()
	var wait sync.WaitGroup
	for _, j := range jobs {
		wait.Go(func() {
			if err := r.ended(t.Context(), endOf(j, flow.Success)); err != nil {
				t.Errorf("%s: %v", j.Job, err)
			}
		})
	}
	select {
	case <-hub.passed:
	case <-time.After(5 * time.Minute):
		t.Error("nobody knew that it was the last")
	}
	// Who knew of the last one before, and comes to the desk behind it, brings progress.
	r.desk.rush()
	wait.Wait()
	if said := hub.aggregate.Load().(string); !strings.Contains(said, `"conclusion":"success"`) || !strings.Contains(said, "999 passed") {
		t.Errorf("%.300s", said)
	}
	if n := looks.Load() - before; n > 100 {
		t.Errorf("%d looks at 999 jobs", n)
	}
}

// The jobs of a large run end one after the other, in an order that nobody knows.
func TestFewLooksDecideALongRun(t *testing.T) {
	t.Parallel()
	r, _, jobs, looks := crowded(t, 999)
	last := len(jobs) - 1
	for at, i := range rand.Perm(len(jobs)) {
		result := endOf(jobs[i], flow.Success)
		state, err := bus.Change(t.Context(), r.bus.Runs(), jobKey(result.Run, i), func(s *jobState) bool { return foldResult(s, result) })
		if err != nil {
			t.Fatal(err)
		}
		if decides, err := r.decides(t.Context(), result.Identity, state); err != nil || decides != (at == last) {
			t.Fatalf("result %d decides: %t, %v", at, decides, err)
		}
	}
	if n := looks.Load(); n > 60 { // 8 are to be expected; 60 never happen
		t.Errorf("%d looks", n)
	}
}

func TestWhatDecides(t *testing.T) {
	t.Parallel()
	r, hub, jobs, _ := crowded(t, 4)
	jobs[0].Options.ContinueOnError = true
	decides := func(j flow.Job, c flow.Conclusion) bool {
		t.Helper()
		result := endOf(j, c)
		state, err := bus.Change(t.Context(), r.bus.Runs(), jobKey(j.Run, j.Index), func(s *jobState) bool {
			foldJob(s, j)
			return foldResult(s, result)
		})
		if err != nil {
			t.Fatal(err)
		}
		decides, err := r.decides(t.Context(), j.Identity, state)
		if err != nil {
			t.Fatal(err)
		}
		return decides
	}
	if decides(jobs[0], flow.Failure) {
		t.Error("an optional job's failure decides")
	}
	if !decides(jobs[1], flow.Failure) {
		t.Error("the first failure does not decide")
	}
	hand(t, r, endOf(jobs[1], flow.Failure)) // progress is held back for an hour
	if said := hub.aggregate.Load().(string); !strings.Contains(said, `"conclusion":"failure"`) {
		t.Errorf("%.300s", said)
	}
	if decides(jobs[2], flow.Failure) {
		t.Error("a second failure decides")
	}
	// A newer run of the same commit and names counts in the older one's place.
	r.sumEvery, r.commentEvery = 0, 0
	plan, again := (&world{pull: 1}).plan("b", jobs[0].SHA, 4, epoch.Add(time.Minute))
	hand(t, r, plan)
	for _, j := range again[:3] {
		if decides(j, flow.Success) {
			t.Errorf("%s decides while another is open", j.Job)
		}
	}
	if !decides(again[3], flow.Success) {
		t.Error("the last job does not decide")
	}
}
