package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/litci/litci/cmd/litci/internal/console"
	"github.com/litci/litci/pkg/bus"
)

func newJobs() *cobra.Command {
	var (
		filter console.Filter
		asJSON bool
		wide   bool
	)
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "List the jobs of a running mesh",
		Long: `Lists jobs, the newest first: those that are open, and those that ended within the last
hour. With --run or --sha, how long ago they ended does not matter. The start of an id
names a job to the other commands as the whole of it does.

The mesh is that of litci up with its data in --data, or of the server of --nats-url.

Exit status: 0, also where there are no jobs; 1 if the mesh cannot be asked; 2 for wrong use.`,
		Example: `  litci jobs
  litci jobs --repo octo/hello --pr 7 --all
  litci jobs --state failed --json | jq -r '.jobs[].job'`,
		Args: noArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&filter.Repo, "repo", "", "only of the repository `OWNER/NAME`")
	flags.IntVar(&filter.PR, "pr", 0, "only of the pull request `N`")
	flags.StringVar(&filter.Run, "run", "", "only of the run, or of those whose ids begin so")
	flags.StringVar(&filter.SHA, "sha", "", "only of the commit, or of those that begin so")
	flags.StringSliceVar(&filter.States, "state", nil, "only in a state, repeatable: "+strings.Join(console.States(), ", "))
	flags.BoolVar(&filter.All, "all", false, "also what ended more than an hour ago, for the 14 days that are kept")
	flags.BoolVar(&wide, "wide", false, "show the addresses of the jobs' pages too")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object on standard output")
	return operate(cmd, func([]string) error { return filter.Check() }, func(cmd *cobra.Command, b *bus.Bus, _ []string) (bool, error) {
		list, err := console.List(cmd.Context(), b, filter, time.Now())
		if err != nil {
			return false, err
		}
		if asJSON {
			return true, printJSON(cmd.OutOrStdout(), list)
		}
		return true, list.Print(cmd.OutOrStdout(), cmd.ErrOrStderr(), screenOf(cmd), wide)
	})
}
