package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/litci/litci/cmd/litci/internal/mesh"
	"github.com/litci/litci/pkg/bus"
)

// kindNATS and kindGitHub are the processes beside the services.
const (
	kindNATS   = "nats"
	kindGitHub = "fakegithub"
)

func services() []string { return mesh.Services() }

// poll is how often processes are looked at.
const poll = 50 * time.Millisecond

// fleet is the mesh as processes of their own, with GitHub.
type fleet struct {
	scene  *scene
	github *process
	nats   *process
	// services are all replicas of all five.
	services []*process
	journal  *journal

	// away counts the beginnings and ends of the outage: what spans one is not measured.
	away atomic.Int64

	mu       sync.Mutex
	failed   []string // what processes did that none should
	recovery map[string][]time.Duration
}

// newFleet lays out the processes without starting any.
func newFleet(s *scene, j *journal) *fleet {
	f := &fleet{scene: s, journal: j, recovery: map[string][]time.Duration{}}
	f.github = f.process(kindGitHub, kindGitHub, "fakegithub", "--listen", s.githubAddress, "--app-key", s.keyFile, "--app-id", appID, "--webhook-url", s.forwarder.url(), "--webhook-secret", s.secret, "--limits", s.options.limits())
	for home, dir := range s.repo.dirs {
		f.github.args = append(f.github.args, "--repo", fullName(home)+"="+dir)
	}
	f.nats = f.process(kindNATS, kindNATS, "nats-server", "--nats-listen", s.natsAddress, "--data", s.natsDir())
	for _, service := range services() {
		for n := range s.options.Replicas {
			p := f.process(service, replica(service, n+1), "up", "--service", service, "--admin-listen", s.admins[service][n])
			p.admin = s.admins[service][n]
			switch service {
			case "ingress":
				p.args = append(p.args, "--listen", s.forwarder.backends[n])
			case "reporter":
				p.args = append(p.args, "--pages-listen", s.pages[n])
			}
			f.services = append(f.services, p)
		}
	}
	return f
}

func (f *fleet) process(kind, name string, args ...string) *process {
	return &process{
		name: name, kind: kind, program: f.scene.program, args: args, env: f.scene.environ(kind), dir: f.scene.dir,
		log: filepath.Join(f.scene.logs(), name+".log"), ended: f.endedItself,
	}
}

// endedItself notes a process that nobody asked to end.
func (f *fleet) endedItself(p *process, state string) {
	f.fail("%s ended by itself: %s", p.name, state)
}

// fail notes what a process did that none should.
func (f *fleet) fail(format string, args ...any) {
	f.journal.say(format, args...)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = append(f.failed, fmt.Sprintf(format, args...))
}

// all are the processes in the order in which they start.
func (f *fleet) all() []*process { return append([]*process{f.nats, f.github}, f.services...) }

// victim finds the process of a kill.
func (f *fleet) victim(name string) *process {
	at := slices.IndexFunc(f.all(), func(p *process) bool { return p.name == name })
	return f.all()[at]
}

// start starts everything and waits until all of it is ready.
func (f *fleet) start(ctx context.Context) error {
	for _, p := range []*process{f.nats, f.github} {
		if err := launch(p); err != nil {
			return err
		}
	}
	if err := f.untilReady(ctx, f.nats, func() bool { return logged(f.nats.log, "provisioned") }); err != nil {
		return err
	}
	if err := f.untilReady(ctx, f.github, func() bool {
		_, err := f.scene.hub.state(ctx)
		return err == nil
	}); err != nil {
		return err
	}
	for _, p := range f.services {
		if err := launch(p); err != nil {
			return err
		}
	}
	for _, p := range f.services {
		if err := f.untilReady(ctx, p, func() bool { return p.ready(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

func launch(p *process) error {
	p.turn.Lock()
	defer p.turn.Unlock()
	return p.start()
}

// errGone and errLate say why a process is not ready.
var (
	errGone = errors.New("it ended")
	errLate = fmt.Errorf("it took longer than %s", startWithin)
)

// startWithin bounds the time until a process is ready, beside the outage of NATS.
const startWithin = 3 * time.Minute

// untilReady waits until a process is ready or has ended.
func (f *fleet) untilReady(ctx context.Context, p *process, ready func() bool) error {
	late := time.NewTimer(startWithin + f.scene.options.NATSOutage)
	defer late.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	gone := p.gone()
	for !ready() {
		select {
		case <-tick.C:
		case <-gone:
			return fmt.Errorf("%s is not ready: %w; its log is %s", p.name, errGone, p.log)
		case <-late.C:
			return fmt.Errorf("%s is not ready: %w; its log is %s", p.name, errLate, p.log)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", p.name, ctx.Err())
		}
	}
	return nil
}

// kill kills a process, starts it again after a while, and measures how long it then
// takes to be ready. One that is killed again before that is not measured.
func (f *fleet) kill(ctx context.Context, k Kill, b *bus.Bus) error {
	p := f.victim(k.Victim)
	if err := f.restart(ctx, p, k.Down); err != nil {
		return err
	}
	return f.measure(ctx, p, b)
}

// restart holds the process's turn from its end to its next start.
func (f *fleet) restart(ctx context.Context, p *process, down time.Duration) error {
	p.turn.Lock()
	defer p.turn.Unlock()
	if err := p.kill(); err != nil {
		return err
	}
	f.journal.say("killed %s for %s", p.name, down.Round(time.Millisecond))
	if !pause(ctx, down) {
		return ctx.Err()
	}
	f.journal.say("started %s again", p.name)
	return p.start()
}

// pause waits, and returns false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (f *fleet) measure(ctx context.Context, p *process, b *bus.Bus) error {
	began, away := time.Now(), f.away.Load()
	ready := func() bool { return p.ready(ctx) }
	if p.kind == kindNATS {
		ready = func() bool {
			_, err := lags(ctx, b)
			return err == nil
		}
	}
	err := f.untilReady(ctx, p, ready)
	switch {
	case errors.Is(err, errGone):
		return nil // its next start is measured; an end by itself was noted
	case errors.Is(err, errLate):
		f.fail("%v", err)
		return nil
	case err != nil:
		return err
	case away%2 == 1 || away != f.away.Load():
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recovery[p.kind] = append(f.recovery[p.kind], time.Since(began))
	return nil
}

// outage takes NATS away for a while and returns what the services did wrong. Of one
// that is killed meanwhile nothing is asked here: its kill is measured.
func (f *fleet) outage(ctx context.Context, length time.Duration) (wrong []string, err error) {
	f.nats.turn.Lock()
	defer f.nats.turn.Unlock()
	f.away.Add(1)
	defer f.away.Add(1)
	if err := f.nats.kill(); err != nil {
		return nil, err
	}
	f.journal.say("nats is away for %s", length)
	away, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	for _, p := range f.services {
		if err := f.untilReady(away, p, func() bool { return !p.ready(away) && away.Err() == nil }); err != nil && !errors.Is(err, errGone) && ctx.Err() == nil {
			wrong = append(wrong, fmt.Sprintf("%s said that it was ready while nats was away", p.name))
		}
	}
	<-away.Done()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	f.journal.say("nats comes back")
	if err := f.nats.start(); err != nil {
		return nil, err
	}
	for _, p := range f.services {
		if err := f.untilReady(ctx, p, func() bool { return p.ready(ctx) }); err != nil && !errors.Is(err, errGone) && ctx.Err() == nil {
			wrong = append(wrong, fmt.Sprintf("%s was not ready again after nats came back", p.name))
		}
	}
	return wrong, ctx.Err()
}

// allReady waits until every service is ready, or notes that it is not.
func (f *fleet) allReady(ctx context.Context) error {
	for _, p := range f.services {
		err := f.untilReady(ctx, p, func() bool { return p.ready(ctx) })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			f.fail("%v", err)
		}
	}
	return nil
}

// stopWithin is how long processes may take to stop: the services together, and then what
// they need. Each bounds itself to less.
const stopWithin = time.Minute

// stop ends all processes: the services first, then what they need. When it is hard
// none is asked, since nobody looks at what comes of it.
func (f *fleet) stop(hard bool) error {
	var mu sync.Mutex
	var failed error
	stop := func(list ...*process) {
		ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		var wait sync.WaitGroup
		for _, p := range list {
			wait.Go(func() {
				p.turn.Lock()
				defer p.turn.Unlock()
				end := p.kill
				if !hard {
					end = func() error { return f.ask(ctx, p) }
				}
				if err := end(); err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
				}
			})
		}
		wait.Wait()
	}
	stop(f.services...)
	stop(f.nats, f.github)
	return failed
}

// ask stops a process, and notes when it must be killed instead. p.turn is held.
func (f *fleet) ask(ctx context.Context, p *process) error {
	obeyed, err := p.stop(ctx)
	if !obeyed {
		f.fail("%s did not stop within %s of SIGTERM", p.name, stopWithin)
	}
	return err
}

// logged tells whether a log file holds a text.
func logged(path, text string) bool {
	have, err := os.ReadFile(path)
	return err == nil && bytes.Contains(have, []byte(text))
}
