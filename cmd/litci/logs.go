package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/litci/litci/cmd/litci/internal/console"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

func newLogs() *cobra.Command {
	var (
		attempt int
		follow  bool
	)
	cmd := &cobra.Command{
		Use:   "logs JOB",
		Short: "Show the log of a job, while it runs too",
		Long: `Prints the log of a job's newest attempt: the archive, or what has come so far while it
runs. JOB is the id of a job or of an attempt, with as much of the run's as names it; a
run of one job names that job.

With -f it goes on to the end, through the attempts that litci itself makes after a machine
failed; Ctrl-C leaves the job alone.

Exit status: 0; with -f 1 unless the job passed or was skipped; 1 if there is no such job;
2 for wrong use.`,
		Example: `  litci logs ceb3sev-0
  litci logs -f ceb3sev-0
  litci logs ceb3sev-0 --attempt 1 > first.log`,
		Args: oneArg("one JOB"),
	}
	cmd.Flags().IntVar(&attempt, "attempt", 0, "the attempt `N`, counted from 1 (default the newest)")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the job has ended")
	check := func(args []string) error {
		if cmd.Flags().Changed("attempt") && attempt < 1 {
			return errors.New("--attempt counts from 1")
		}
		return console.CheckIDs(args)
	}
	return operate(cmd, check, func(cmd *cobra.Command, b *bus.Bus, args []string) (bool, error) {
		ctx := cmd.Context()
		target, job, err := console.FindJob(ctx, b, args[0])
		switch {
		case err != nil:
			return false, err
		case attempt > 0 && target.Attempt > 0 && target.Attempt != attempt:
			return false, usageErrorOf(cmd, fmt.Errorf("--attempt %d contradicts %s", attempt, args[0]))
		case attempt > job.Newest():
			return false, fmt.Errorf("job %s has no attempt %d; its newest is %d", job.Job.Job, attempt, job.Newest())
		case attempt > 0:
			target.Attempt = attempt
		}
		log := console.Log{Bus: b, Attempt: target.Attempt, Follow: follow, Out: cmd.OutOrStdout(), Words: cmd.ErrOrStderr()}
		conclusion, err := log.Show(ctx, job)
		return !follow || conclusion == flow.Success || conclusion == flow.Skip, err
	})
}
