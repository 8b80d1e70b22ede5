// Package chaos proves that nothing is lost and nothing happens twice: it runs the
// mesh as separate processes against the GitHub emulator, kills them at random, and
// compares what should have come with what came.
//
// What should have come it knows from its own schedule. What came it asks of three
// sources that do not know of each other: litci's streams, GitHub's check runs and
// comments, and marks that the jobs' scripts leave outside of litci.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/litci/litci/pkg/bus"
)

// Options are what a user can choose.
type Options struct {
	Events, JobsPerEvent int
	Kills                int
	Replicas             int // of each service
	Slots                int // of each launcher
	Seed                 int64
	// NATSOutage is how long NATS stays away once in the middle; 0 leaves it out.
	NATSOutage time.Duration
	// GitHubFaults makes GitHub answer wrongly, slowly or not at all; DeliveryFaults
	// makes webhooks late, doubled or lost.
	GitHubFaults, DeliveryFaults bool
	// Installations is how many there are, each with a repository; 0 computes it.
	Installations int
	// GitHubLimits switches GitHub's real limits on.
	GitHubLimits bool
	// Executor is where jobs run, Image in what.
	Executor, Image string
	// Duration is how long events happen and processes are killed, without the outage;
	// 0 computes it.
	Duration time.Duration
	// Timeout bounds everything; 0 computes it.
	Timeout time.Duration
	// Keep leaves the folder with all logs also when all is well.
	Keep     bool
	Progress io.Writer
}

// length is how long events happen and processes are killed.
func (o Options) length() time.Duration {
	if o.Duration > 0 {
		return o.Duration
	}
	return max(5*time.Second, time.Duration(o.Events)*600*time.Millisecond, time.Duration(o.Kills)*800*time.Millisecond)
}

// timeout bounds everything: the events and kills, and behind them the work that
// they left, at a few seconds a job.
func (o Options) timeout() time.Duration {
	if o.Timeout > 0 {
		return o.Timeout
	}
	jobs := o.Events * o.JobsPerEvent
	return o.length() + o.NATSOutage + 3*time.Minute + time.Duration(jobs/o.Slots)*3*time.Second
}

// perInstallation is how many check runs and comments an installation gets: GitHub
// allows 80 in a minute.
const perInstallation = 60

// installations are as many as it takes to be done in a minute or two.
func (o Options) installations() int {
	if o.Installations > 0 {
		return o.Installations
	}
	content := o.Events * (o.JobsPerEvent + 2) // with the aggregate and the comment
	return (content + perInstallation - 1) / perInstallation
}

func (o Options) limits() string {
	if o.GitHubLimits {
		return "on"
	}
	return "off"
}

// Run plays the schedule of the seed and reports what came of it. An error says that
// the run itself failed, and nothing of litci.
func Run(ctx context.Context, o Options) (report Report, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout(), fmt.Errorf("the run took longer than its %s", o.timeout()))
	defer cancel()
	dir, err := os.MkdirTemp("", "litci-chaos-")
	if err != nil {
		return report, fmt.Errorf("chaos: %w", err)
	}
	p := &play{options: o, schedule: Draw(o), dir: dir}
	err = p.run(ctx)
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause // all other errors follow from it
	}
	// What the processes do when they are asked to stop is part of the report.
	err = errors.Join(err, p.end(err != nil))
	report = p.report()
	if err == nil && report.OK() && !o.Keep {
		return report, os.RemoveAll(dir)
	}
	report.Dir = dir
	return report, err
}

// play is one run.
type play struct {
	options  Options
	schedule Schedule
	dir      string
	scene    *scene
	journal  *journal
	fleet    *fleet
	bus      *bus.Bus

	began time.Time
	took  time.Duration

	outageWrong []string
	missed      int // webhooks that failed at first
	findings    Findings
	compared    bool
}

func (p *play) run(ctx context.Context) (err error) {
	if p.scene, err = newScene(ctx, p.options, p.dir, p.schedule.Events); err != nil {
		return err
	}
	if p.journal, err = newJournal(filepath.Join(p.scene.logs(), "chaos.log")); err != nil {
		return err
	}
	if err := p.scene.marks.begin(ctx); err != nil {
		return err
	}
	p.fleet = newFleet(p.scene, p.journal)
	p.show("starting %d processes in %s", len(p.fleet.all()), p.dir)
	if err := p.fleet.start(ctx); err != nil {
		return err
	}
	if p.bus, err = p.scene.connect(); err != nil {
		return err
	}
	p.show("%d events and %d kills within %s, seed %d", len(p.schedule.Events), len(p.schedule.Kills), p.schedule.Length.Round(time.Second), p.options.Seed)
	if err := p.perform(ctx); err != nil {
		return err
	}
	if err := p.scene.hub.clearFaults(ctx); err != nil {
		return err
	}
	if err := p.fleet.allReady(ctx); err != nil {
		return err
	}
	p.show("no more kills; waiting until the work is done")
	if err := p.settle(ctx); err != nil {
		return err
	}
	return p.compare(ctx)
}

func (p *play) show(format string, args ...any) {
	p.journal.show(p.options.Progress, format, args...)
}

// perform lets everything happen that is scheduled, and returns when it has.
func (p *play) perform(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.began = time.Now()
	var all sync.WaitGroup
	var done counter
	at := func(moment time.Duration, do func() error) {
		all.Go(func() {
			if !pause(ctx, time.Until(p.began.Add(moment))) {
				return
			}
			if err := do(); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	for _, k := range p.schedule.Kills {
		at(k.At, func() error {
			defer done.kills.Add(1)
			return p.fleet.kill(ctx, k, p.bus)
		})
	}
	for _, f := range p.schedule.Faults {
		at(f.At, func() error {
			p.journal.say("fault of GitHub: %+v", f.Fault)
			return p.scene.hub.addFault(ctx, f.Fault)
		})
	}
	if p.options.NATSOutage > 0 {
		at(p.schedule.Outage, func() (err error) {
			p.outageWrong, err = p.fleet.outage(ctx, p.options.NATSOutage)
			return err
		})
	}
	p.happen(ctx, at, &done)
	ended := make(chan struct{})
	go func() {
		all.Wait()
		close(ended)
	}()
	p.tell(ended, &done)
	return context.Cause(ctx)
}

// happen lets the events happen at their time. Of one branch each waits until GitHub
// has told of the one before, so that heads follow each other as planned.
func (p *play) happen(ctx context.Context, at func(time.Duration, func() error), done *counter) {
	type branch struct {
		home int
		name string
	}
	told := map[branch]<-chan struct{}{}
	for _, e := range p.schedule.Events {
		where := branch{e.Home, e.Branch}
		before := told[where]
		commit := p.scene.repo.commits[e.Number]
		sent := p.scene.forwarder.expect(commit, e.Delivery)
		told[where] = sent
		at(e.At, func() error {
			if before != nil {
				select {
				case <-before:
				case <-ctx.Done():
					return nil
				}
			}
			defer done.events.Add(1)
			p.journal.say("%s: commit %s", e, commit)
			if err := p.scene.repo.move(ctx, e); err != nil {
				return err
			}
			return p.scene.hub.happen(ctx, e, commit)
		})
	}
}

// end ends everything that the run started, at once when the run failed.
func (p *play) end(failed bool) error {
	if p.scene == nil {
		return nil
	}
	var err error
	if p.fleet != nil {
		err = p.fleet.stop(failed)
	}
	if p.bus != nil {
		p.bus.Close()
	}
	if p.scene.forwarder != nil {
		err = errors.Join(err, p.scene.forwarder.Close())
	}
	if p.scene.marks != nil {
		err = errors.Join(err, p.scene.marks.end())
	}
	err = errors.Join(err, p.scene.endJobs(failed || p.options.Keep || !p.report().OK()))
	if p.journal != nil {
		err = errors.Join(err, p.journal.close())
	}
	return err
}
