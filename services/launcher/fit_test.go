package launcher

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/daemon"
)

// checked is a machine that tells whether it is fit, and counts how often it was
// tidied.
type checked struct {
	*machine
	// asked gets an element at each Check, which returns what comes back on answer.
	asked  chan struct{}
	answer chan error
	tidied chan struct{}
}

func (c *checked) Check(ctx context.Context) error {
	select {
	case c.asked <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-c.answer
}

func (c *checked) Tidy(context.Context) (int, error) {
	select {
	case c.tidied <- struct{}{}:
	default:
	}
	return 1, errors.New("one is left")
}

func newChecked() *checked {
	return &checked{machine: newMachine(), asked: make(chan struct{}), answer: make(chan error), tidied: make(chan struct{}, 1)}
}

// TestWaitsForAnExecutorThatIsFit has an executor with a wrong key: nothing is
// started, nothing ends, and it is said once.
func TestWaitsForAnExecutorThatIsFit(t *testing.T) {
	m := newChecked()
	w := setup(t, m)
	core, logs := observer.New(zapcore.ErrorLevel)
	l := New(w.bus, m, w.options, zap.New(core))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	if err := l.Ready(); err == nil {
		t.Error("ready before the executor was asked")
	}
	j := w.job(7, 0)
	w.publish(j)
	for range 3 {
		<-m.asked
		m.answer <- errors.New("the key is wrong")
	}
	<-m.asked // so the third answer was dealt with
	if err := l.Ready(); err == nil || err.Error() != "executor: the key is wrong" {
		t.Errorf("ready is %v", err)
	}
	if ids, _ := m.begunJobs(); len(ids) != 0 {
		t.Errorf("%v began", ids)
	}
	if n := logs.FilterMessage("executor cannot be used, it is asked again").Len(); n != 1 {
		t.Errorf("it was said %d times: %v", n, logs.All())
	}
	m.answer <- nil
	w.started(j)
	if err := l.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
}

func TestStopsWhileTheExecutorIsUnfit(t *testing.T) {
	m := newChecked()
	w := setup(t, m)
	stop := w.run()
	<-m.asked
	m.answer <- errors.New("the key is wrong")
	stop()
}

func TestTidiesAgainAndAgain(t *testing.T) {
	m := newChecked()
	w := setup(t, m)
	w.options.Tidy = time.Millisecond
	w.run()
	<-m.asked
	m.answer <- nil
	for range 3 {
		<-m.tidied
	}
}

// A pool of an executor that all hosts reach is nobody's own.
func TestWireOfAnotherExecutor(t *testing.T) {
	t.Parallel()
	for range 2 {
		env := &daemon.Env{
			Config: &config.Config{
				Data: filepath.Join(t.TempDir(), "data"), Slots: 1, Executor: "lightning",
				Lightning: config.Lightning{APIKey: "key"}, PublicURL: "https://ci.example.com",
			},
			Bus: bustest.New(t), Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
		}
		r, err := Wire(env)
		if err != nil {
			t.Fatal(err)
		}
		l := r.(*Launcher)
		if l.executor.Name() != "lightning" || l.claimant != nil || l.Ready() == nil {
			t.Errorf("wired on %s, claim %v, ready %v", l.executor.Name(), l.claimant, l.Ready())
		}
	}
}
