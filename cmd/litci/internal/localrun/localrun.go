// Package localrun runs the workflows of a working tree on this machine, without
// GitHub: the planner's own code plans, NATS runs in the process, and launcher and
// watcher take the jobs from the very same subjects as everywhere else.
//
// What GitHub would say is read from the folder instead: the files as they are now,
// and from git which of them are ignored, the branch and the commit.
package localrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/cmd/litci/internal/board"
	"github.com/litci/litci/cmd/litci/internal/mesh"
	"github.com/litci/litci/cmd/litci/internal/worktree"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/workflow"
	"github.com/litci/litci/services/planner"
)

// Options are what a user can choose.
type Options struct {
	// Dir is the root of the working tree.
	Dir string
	// Workflows are the files to run, by base name, path, or a workflow's name in
	// .litci.yaml; empty runs all.
	Workflows []string
	// Only are KEY=VALUE pairs that the matrix parameters of a job must have.
	Only []string
	// Event lets the triggers decide as for this event; empty runs whatever they say.
	// Branch is the pushed branch, or the base branch of the other events.
	Event, Branch string
	// EnvFile holds variables for the jobs, whose values no log shows.
	EnvFile string
	// Slots is how many jobs run at once, Executor where, and Image in what if they do
	// not say.
	Slots           int
	Executor, Image string
	// LogDir gets a file with each job's log; empty keeps none.
	LogDir string
	// Log hears the services.
	Log *zap.Logger
	// Board says where and how progress is shown.
	Board board.Options
}

// Signals end a run: Gentle is done when jobs are to be stopped with their grace,
// Hard when they are to end at once.
type Signals struct{ Gentle, Hard context.Context }

// Run runs the jobs and returns how they ended. Jobs that fail, or were stopped, are
// no error; a wrong use is a *UseError or a *config.Error.
func Run(signals Signals, o Options) (*Report, error) {
	began := time.Now()
	if err := mesh.Alone(o.Executor); err != nil {
		return nil, err
	}
	if err := o.config("data").Validate("nats", "launcher", "watcher"); err != nil {
		return nil, err
	}
	show := board.New(o.Board)
	t, planned, jobs, why, err := plan(signals.Gentle, o)
	if err != nil {
		return nil, err
	}
	values, err := readEnv(o.EnvFile)
	if err != nil {
		return nil, err
	}
	for i := range jobs {
		addEnv(&jobs[i], values)
	}
	if len(jobs) > 0 {
		if err := prepareLogDir(o.LogDir); err != nil {
			return nil, err
		}
	}
	report := newReport(planned, jobs, why)
	for _, text := range append(slices.Clone(t.notices), planned.Notices...) {
		show.Note("note: " + text)
	}
	for _, p := range planned.Problems {
		show.Note(problemText(p))
	}
	if len(jobs) > 0 {
		for _, s := range planned.Skipped {
			show.Note("skipped: " + s.Check + ": " + s.Reason)
		}
		show.Note(fmt.Sprintf("%s of %s", count(len(t.files), "file"), t.dir))
		err = perform(signals, o, &t, show, planned, jobs, masks(values), report)
	}
	report.finish(time.Since(began))
	return report, err
}

// plan reads the tree and lets the planner plan what is asked for. Where that is no
// job, it says why.
func plan(ctx context.Context, o Options) (t tree, planned flow.Plan, jobs []flow.Job, why []string, err error) {
	if t, err = readTree(ctx, o.Dir); err != nil {
		return t, planned, nil, nil, err
	}
	read, err := worktree.Files(t.dir)
	if err != nil {
		return t, planned, nil, nil, err
	}
	for _, p := range read.Problems {
		t.unread = append(t.unread, p.File)
	}
	files, set := read.Paths(), read.Set()
	if err := narrow(&set, t.dir, files, o.Workflows); err != nil {
		return t, planned, nil, nil, err
	}
	asked, at, err := asked(ctx, o, &t, &set)
	if err != nil {
		return t, planned, nil, nil, err
	}
	planned, jobs = planner.Offline(asked, set)
	if jobs, err = only(jobs, o.Only); err != nil {
		return t, planned, nil, nil, err
	}
	planned.Jobs = slices.DeleteFunc(planned.Jobs, func(p flow.PlannedJob) bool {
		return !slices.ContainsFunc(jobs, func(job flow.Job) bool { return job.Job == p.Job })
	})
	for i := range planned.Jobs {
		planned.Jobs[i].Pool = ""
	}
	elsewhere := map[string]bool{}
	for i := range jobs {
		// They wait for each other alone, and for no machine but this one.
		if pool := jobs[i].Pool; pool != "" && !elsewhere[pool] {
			elsewhere[pool] = true
			planned.Notices = append(planned.Notices, fmt.Sprintf("the pool %s is ignored: all jobs run on this machine", pool))
		}
		jobs[i].QueueTimeoutMinutes, jobs[i].Pool = 0, ""
		if asked.Event == workflow.EventPullRequest {
			jobs[i].HeadRef, jobs[i].BaseRef = at.branch, at.base
		}
	}
	if len(jobs) == 0 {
		why = t.nothing(ctx, files, set, asked.Facts)
	}
	return t, planned, jobs, why, nil
}

// nothing says why no job was selected.
func (t *tree) nothing(ctx context.Context, files []string, set workflow.Set, e workflow.Event) []string {
	if len(files) == 0 {
		text := fmt.Sprintf("there are no workflow files in %s: neither %s/*.yml nor %s", t.dir, workflow.Folder, workflow.SingleFile)
		if root := line(ctx, t.dir, "rev-parse", "--show-toplevel"); root != "" && root != t.dir {
			text += "; the repository's root is " + root
		}
		return []string{text}
	}
	var why []string
	for _, w := range set.Workflows {
		reason := "the matrix came out empty"
		if d := w.Decide(e); !d.Triggered {
			reason = d.Reason
		}
		why = append(why, fmt.Sprintf("%s / %s: %s", w.File, w.Name, reason))
	}
	return why
}

// perform runs the jobs on a scene of their own and fills the report.
func perform(signals Signals, o Options, t *tree, show *board.Board, planned flow.Plan, jobs []flow.Job, masks []string, report *Report) (failed error) {
	// What is built up must be taken down whatever the signals say.
	ctx, cancel := context.WithCancel(context.WithoutCancel(signals.Gentle))
	defer cancel()
	s, err := open(ctx, o, masks)
	defer func() { failed = errors.Join(failed, s.close()) }()
	if err != nil {
		return err
	}
	follow := s.follow(ctx, show, len(jobs))
	defer func() { follow.stop(); show.Close() }()
	show.Plan(planned) // before a job can say anything
	err = s.publish(signals.Gentle, t, planned, jobs)
	if err != nil && signals.Gentle.Err() == nil {
		return err
	}
	if err == nil {
		err = follow.wait(signals.Gentle, s)
	}
	if signals.Gentle.Err() != nil && !show.Finished() {
		report.Interrupted = true
		err = s.interrupt(signals.Hard, show, follow)
	}
	if o.Board.Output {
		err = errors.Join(err, s.catchUp(ctx, show))
	}
	report.take(show.Jobs())
	return errors.Join(err, report.readLogs(ctx, s.mesh.Bus.Logs(), o.LogDir))
}

// catchUp shows what ended jobs wrote and the board has not seen: the last live
// blocks may come behind the verdict, or not at all.
func (s *scene) catchUp(ctx context.Context, show *board.Board) error {
	for _, job := range show.Jobs() {
		if job.Result == nil || job.Result.Log == "" || job.Result.LogDropped > 0 {
			continue
		}
		seen := show.Logged(job.ID)
		if seen >= job.Result.LogBytes {
			continue
		}
		archive, err := s.mesh.Bus.Logs().Get(ctx, job.Result.Log)
		if err != nil {
			return fmt.Errorf("log of %s: %w", job.Check, err)
		}
		_, err = io.CopyN(io.Discard, archive, seen)
		var rest []byte
		if err == nil {
			rest, err = io.ReadAll(archive)
		} else if errors.Is(err, io.EOF) {
			err = nil // the board has seen more, of an attempt before
		}
		if err = errors.Join(err, archive.Close()); err != nil {
			return fmt.Errorf("log of %s: %w", job.Check, err)
		}
		show.Log(flow.LogBlock{Job: job.ID, Attempt: job.Result.Attempt, Offset: seen, Text: string(rest)})
	}
	return nil
}

// publish stores the source and the plan with its jobs.
func (s *scene) publish(ctx context.Context, t *tree, planned flow.Plan, jobs []flow.Job) error {
	source := t.archive(ctx)
	err := s.mesh.Bus.Sources().Put(ctx, jobs[0].Source, filled{source})
	if closing := source.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return bus.PublishPlan(ctx, s.mesh.Bus, planned, jobs)
}

// filled fills what it is given, since the object store makes a message of every
// read.
type filled struct{ from io.Reader }

func (f filled) Read(p []byte) (n int, err error) {
	n, err = io.ReadFull(f.from, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // the next read says so
	}
	return n, err
}

func problemText(p flow.Problem) string {
	where := worktree.Printable(p.File)
	if p.Line > 0 {
		where += fmt.Sprintf(":%d:%d", p.Line, p.Column)
	}
	if where == "" {
		return p.Severity + ": " + p.Message
	}
	return where + ": " + p.Severity + ": " + p.Message
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
