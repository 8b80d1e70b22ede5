package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/litci/litci/cmd/litci/internal/chaos"
)

func newChaos() *cobra.Command {
	var options chaos.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Kill litci's processes at random, and prove that nothing is lost",
		Long: `Starts NATS, the five services and a GitHub emulator as processes of their own on this
machine, opens pull requests and pushes, kills processes with SIGKILL at random moments
and starts them again. In the end it compares what should have come with what came: the
jobs in litci's streams, the check runs and comments on GitHub, and the marks that the
jobs' scripts left outside of litci, one for each time they ran.

Recovery is the time from the start of a killed process until it is ready (/readyz); of
NATS until a client that was connected before can read the streams again.

The work is spread over as many installations, each with a repository, as GitHub's limit
of 80 check runs and comments a minute asks for; the limits themselves are off, and so is
litci's own pace, unless --github-limits is given.

It ends with 0 when nothing was lost, doubled, missing, stuck or wrong, with 1 when
something was, and leaves the folder with all logs then.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags := cmd.Flags()
			if !flags.Changed("seed") {
				options.Seed = rand.Int64N(1_000_000)
			}
			if !flags.Changed("delivery-faults") {
				options.DeliveryFaults = options.GitHubFaults
			}
			if err := checkChaos(options); err != nil {
				return usageError{err}
			}
			options.Progress = cmd.ErrOrStderr()
			return runChaos(cmd, options, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&options.Events, "events", 20, "pull requests, new heads of them, and pushes, together")
	flags.IntVar(&options.JobsPerEvent, "jobs-per-event", 3, "jobs of each")
	flags.IntVar(&options.Kills, "kills", 20, "processes to kill")
	flags.IntVar(&options.Replicas, "replicas", 1, "processes of each service")
	flags.IntVar(&options.Slots, "slots", runtime.NumCPU(), "jobs at once for each launcher")
	flags.Int64Var(&options.Seed, "seed", 0, "what all chance comes from (default: another one each time; it is printed)")
	flags.BoolVar(&options.GitHubFaults, "github-faults", false, "GitHub answers with 429, 403, 5xx, late, or not at all")
	flags.BoolVar(&options.DeliveryFaults, "delivery-faults", false, "webhooks come late, twice, out of order, or not at all (default: as --github-faults)")
	flags.IntVar(&options.Installations, "installations", 0, "repositories, each in an installation of its own (default: by the number of jobs)")
	flags.BoolVar(&options.GitHubLimits, "github-limits", false, "GitHub has its real limits")
	flags.DurationVar(&options.NATSOutage, "nats-outage", 0, "NATS is away for this long once")
	flags.StringVar(&options.Executor, "executor", "local", "where jobs run: local or docker")
	flags.StringVar(&options.Image, "image", "", imageUsage)
	flags.DurationVar(&options.Duration, "duration", 0, "how long events happen and processes are killed (default: by their number)")
	flags.DurationVar(&options.Timeout, "timeout", 0, "bound of the whole run (default: by the number of events, jobs and kills)")
	flags.BoolVar(&options.Keep, "keep", false, "leave the folder with all logs also when all is well")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object on standard output")
	return cmd
}

// maxJobsPerEvent is what a workflow's matrix may hold.
const maxJobsPerEvent = 256

func checkChaos(o chaos.Options) error {
	switch {
	case o.Events < 1 || o.Replicas < 1 || o.Slots < 1:
		return errors.New("--events, --replicas and --slots are at least 1")
	case o.JobsPerEvent < 1 || o.JobsPerEvent > maxJobsPerEvent:
		return fmt.Errorf("--jobs-per-event is 1 to %d", maxJobsPerEvent)
	case o.Kills < 0 || o.Installations < 0 || o.NATSOutage < 0 || o.Duration < 0 || o.Timeout < 0:
		return errors.New("--kills, --installations, --nats-outage, --duration and --timeout are not negative")
	case o.Executor != "local" && o.Executor != "docker":
		return fmt.Errorf("--executor %q is not known; the executor is local or docker", o.Executor)
	}
	return nil
}

func runChaos(cmd *cobra.Command, options chaos.Options, asJSON bool) error {
	report, err := chaos.Run(cmd.Context(), options)
	if err != nil {
		return fmt.Errorf("chaos with seed %d: %w (logs: %s)", options.Seed, err, report.Dir)
	}
	out := cmd.OutOrStdout()
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(report); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	} else {
		report.Print(out)
	}
	if !report.OK() {
		return statusError(exitFailed)
	}
	return nil
}
