package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/cmd/litci/internal/top"
	"github.com/litci/litci/pkg/bus"
)

func newTop() *cobra.Command {
	var once, asJSON bool
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show how a running mesh is: services, lag, jobs",
		Long: `Shows the processes of a mesh with their version and whether they are ready, how full
the launchers are, how far behind each consumer is, and the jobs that run and wait with what they wait
for; on a terminal every second until q or Ctrl-C, elsewhere once.

A process says that it lives every ten seconds; one that was killed is shown for 30 seconds more.
Unprocessed is the backlog. Asking is how many processes wait for a message: with 0, and a backlog, nobody
takes it, or who does is full.

Exit status: 0; 1 if the mesh cannot be asked; 2 for wrong use.`,
		Example: `  litci top
  litci top --once
  litci top --json | jq '.jobs | length'`,
		Args: noArgs,
	}
	cmd.Flags().BoolVar(&once, "once", false, "show it once")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object on standard output")
	return operate(cmd, nil, func(cmd *cobra.Command, b *bus.Bus, _ []string) (bool, error) {
		ctx, out := cmd.Context(), cmd.OutOrStdout()
		if f, ok := out.(*os.File); ok && isTerminal(out) && !once && !asJSON {
			live, restore, err := top.Terminal(os.Stdin, f)
			if err != nil {
				return false, err
			}
			defer restore()
			live.Look, live.Color = func(ctx context.Context) (top.Mesh, error) { return top.Look(ctx, b) }, screenOf(cmd).Color
			return true, live.Run(ctx)
		}
		mesh, err := top.Look(ctx, b)
		if err != nil {
			return false, err
		}
		if asJSON {
			return true, printJSON(out, mesh)
		}
		for _, line := range mesh.Draw(screenOf(cmd), 0) {
			if err := terminal.Write(out, line+"\n"); err != nil {
				return false, err
			}
		}
		return true, nil
	})
}
