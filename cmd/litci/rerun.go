package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/litci/litci/pkg/bus"
)

func newRerun() *cobra.Command {
	var (
		failed bool
		wait   waiting
	)
	cmd := &cobra.Command{
		Use:   "rerun RUN|JOB...",
		Short: "Run jobs again",
		Long: `Asks for another attempt of every job of a run that is over, or of one job that has ended,
and waits until the attempts are there. The run and its commit stay the same.

Exit status: 0 when the attempts are there; 1 if something still runs, has not failed
(--failed), or did not begin; 2 for wrong use.`,
		Example: `  litci rerun ceb3sev --failed
  litci rerun ceb3sev-0 && litci logs -f ceb3sev-0`,
		Args: someArgs("runs or jobs"),
	}
	cmd.Flags().BoolVar(&failed, "failed", false, "only what did not pass")
	wait.add(cmd, "the new attempts", time.Minute)
	return operate(cmd, wait.check, func(cmd *cobra.Command, b *bus.Bus, args []string) (bool, error) {
		return wait.order(cmd, b).Rerun(cmd.Context(), args, failed)
	})
}
