package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/litci/litci/cmd/litci/internal/localrun"
	"github.com/litci/litci/pkg/config"
)

func newRun() *cobra.Command {
	var (
		options  localrun.Options
		asJSON   bool
		junit    string
		logLevel string
	)
	cmd := &cobra.Command{
		Use:   "run [DIR]",
		Short: "Run the workflows of a working tree here, without GitHub",
		Long: `Runs the jobs of the workflow files in DIR (default: this folder) on this machine, by
the code that runs them for a commit: planner, launcher, watcher, with NATS in the
process. Nothing has to be started before, and GitHub is not asked.

The jobs see the files as they are now: uncommitted changes and new files included,
files that git ignores not. Outside a git repository they see all files.

Every workflow runs, whatever it is triggered by. With --event the triggers decide, as
they would for a push of the branch that is checked out, or a pull request of it.

Ctrl-C stops the jobs, within ten seconds; a second one ends them at once.

Exit status: 0 all jobs passed or there was nothing to run, 1 a job failed, a workflow
file has an error, the run was interrupted, or its result could not be written, 2 wrong
use.`,
		Example: `  litci run
  litci run --workflow tests.yml --only python=3.12
  litci run --event push --branch main --junit report.xml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("%s takes one folder, it was given %d; see %s --help", cmd.CommandPath(), len(args), cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			options.Dir = "."
			if len(args) == 1 {
				options.Dir = args[0]
			}
			log, err := (&config.Config{LogLevel: logLevel, LogFormat: "console"}).Logger()
			if err != nil {
				return usageError{fmt.Errorf("--log-level: %w", err)}
			}
			options.Log, options.Board.Out = log, cmd.ErrOrStderr()
			options.Board.Live = isTerminal(options.Board.Out)
			options.Board.Color = options.Board.Live && os.Getenv("NO_COLOR") == ""
			return runHere(cmd, options, asJSON, junit)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&options.Workflows, "workflow", nil, "run this workflow file alone, by name or path; repeatable")
	flags.StringArrayVar(&options.Only, "only", nil, "run the jobs whose matrix parameter KEY is VALUE; repeatable")
	flags.StringVar(&options.Event, "event", "", "let the triggers decide: push, pull_request or merge_group (default: run every workflow, as pull_request)")
	flags.StringVar(&options.Branch, "branch", "", "with --event, the pushed branch, or the base branch (default: the branch that is checked out, or the default branch)")
	flags.StringVar(&options.EnvFile, "env-file", "", "file with NAME=value lines for the jobs, whose values are masked in logs")
	options.Slots = runtime.NumCPU()
	flags.Var((*slotCount)(&options.Slots), "slots", "jobs at once")
	flags.StringVar(&options.Executor, "executor", "local", "where jobs run: local or docker")
	flags.StringVar(&options.Image, "image", "", imageUsage)
	flags.BoolVarP(&options.Board.Output, "verbose", "v", false, "show what the jobs write")
	flags.StringVar(&options.LogDir, "log-dir", "", "folder that gets a file with each job's log")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object on standard output")
	flags.StringVar(&junit, "junit", "", "write the results as JUnit XML to this file")
	flags.StringVar(&logLevel, "log-level", "error", "what the services say: debug, info, warn or error")
	return cmd
}

// slotCount is the value of --slots.
type slotCount int

func (s *slotCount) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return errors.New("the number of jobs at once is a whole number, at least 1")
	}
	*s = slotCount(n)
	return nil
}

// Type names the value in help.
func (s *slotCount) Type() string { return "int" }

func (s *slotCount) String() string { return strconv.Itoa(int(*s)) }

func runHere(cmd *cobra.Command, options localrun.Options, asJSON bool, junit string) error {
	if options.Branch != "" && options.Event == "" {
		return usageError{errors.New("--branch has a meaning only with --event")}
	}
	if err := checkWritable(junit); err != nil {
		return usageError{fmt.Errorf("--junit %s: %w", junit, err)}
	}
	signals, stop := twice(cmd.Context())
	defer stop()
	report, err := localrun.Run(signals, options)
	var use *localrun.UseError
	switch {
	case errors.As(err, &use):
		return usageError{err}
	case report == nil && signals.Gentle.Err() != nil:
		return errors.New("interrupted before anything was run")
	case report == nil:
		return err
	}
	// What is known is said, even where something went wrong on the way.
	if asJSON {
		err = errors.Join(err, printJSON(cmd.OutOrStdout(), report))
	} else {
		out := cmd.OutOrStdout()
		err = errors.Join(err, report.Print(out, isTerminal(out) && os.Getenv("NO_COLOR") == ""))
	}
	if junit != "" {
		err = errors.Join(err, writeJUnit(junit, report))
	}
	if err == nil && !report.Passed() {
		err = statusError(exitFailed)
	}
	return err
}

// checkWritable finds out whether a file can be written later, and leaves it as it
// is. What is neither a file nor a folder, as a pipe, is not opened before its time.
func checkWritable(name string) error {
	if name == "" {
		return nil
	}
	info, err := os.Stat(name)
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil
	}
	isNew := errors.Is(err, fs.ErrNotExist)
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o666)
	if err == nil {
		err = file.Close()
	}
	if err == nil && isNew {
		err = os.Remove(name)
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err // the name stands before it
	}
	return err
}

func writeJUnit(name string, report *localrun.Report) error {
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("--junit: %w", err)
	}
	if err := errors.Join(report.JUnit(file), file.Close()); err != nil {
		return fmt.Errorf("--junit: %w", err)
	}
	return nil
}

// twice ends the first context at the first signal that asks for an end, and the
// second at the second. No signal ends this process before its jobs have ended, which
// would run on without it: not that of a closed terminal either, nor that of a closed
// pipe, which comes again with every write and counts once.
func twice(parent context.Context) (signals localrun.Signals, stop func()) {
	caught := make(chan os.Signal, 2)
	signal.Notify(caught, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	gentle, first := context.WithCancel(context.WithoutCancel(parent))
	hard, second := context.WithCancel(context.WithoutCancel(parent))
	go func() {
		for hard.Err() == nil {
			select {
			case sig := <-caught:
				switch {
				case gentle.Err() == nil:
					first()
				case sig != syscall.SIGPIPE:
					second()
				}
			case <-hard.Done():
			}
		}
		signal.Stop(caught) // from now on they end the process as usual
	}()
	return localrun.Signals{Gentle: gentle, Hard: hard}, func() {
		first()
		second()
	}
}
