package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/litci/litci/pkg/bus"
)

func newCancel() *cobra.Command {
	var (
		reason string
		wait   waiting
	)
	cmd := &cobra.Command{
		Use:   "cancel RUN|JOB...",
		Short: "End runs or jobs",
		Long: `Asks for the end of all that a run has not ended, or of one job, and waits for the
verdicts. A job that waits ends at once; one that runs is given 10 seconds to end by itself.
What ended by itself before it was stopped keeps its own verdict. Pull requests show who
asked, and the reason.

Exit status: 0 when everything has its verdict; 1 if something had ended already, or a
verdict is missing; 2 for wrong use.`,
		Example: `  litci cancel ceb3sev
  litci cancel ceb3sev-0 --reason "The GPU is needed for the release."`,
		Args: someArgs("runs or jobs"),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "a sentence for those who read the check (default \"Cancelled by USER.\")")
	wait.add(cmd, "the verdicts", 2*time.Minute)
	return operate(cmd, wait.check, func(cmd *cobra.Command, b *bus.Bus, args []string) (bool, error) {
		return wait.order(cmd, b).Cancel(cmd.Context(), args, reason)
	})
}
