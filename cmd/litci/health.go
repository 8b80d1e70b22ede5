package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/litci/litci/cmd/litci/internal/mesh"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/daemon"
)

func newHealth() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the litci up of this machine whether it is ready",
		Long: `Asks the daemon at --admin-listen whether it is ready: whether NATS answers and the executor can
be used. It takes the settings as litci up does, .env included, and is made for the health check
of a container; litci-ingress and the other services have it too.

Exit status: 0 if it is ready; 1 if it is not, or nothing answers.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(cmd.Flags(), config.Options{DotEnv: ".env"}, config.Operator)
			if err != nil {
				return err
			}
			if err := daemon.Health(cmd.Context(), cfg.AdminListen); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "ready")
			return nil
		},
	}
	config.AddFlags(cmd.Flags(), append(mesh.Services(), "nats")...)
	return cmd
}
