package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/litci/litci/cmd/litci/internal/mesh"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/executor/docker/shim"
	"github.com/litci/litci/pkg/executor/local"
)

func newUp() *cobra.Command {
	var names []string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run all five services in one process",
		Long: `Runs ingress, planner, launcher, watcher and reporter in one process, with a NATS
server of its own or against --nats-url.

Secrets come from the environment, from .env, or from files, never from flags:
LITCI_WEBHOOK_SECRET and LITCI_PRIVATE_KEY, or --webhook-secret-file and --private-key-file.
Every flag can be given as an environment variable: --nats-url is LITCI_NATS_URL.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			services, wires, err := mesh.Choose(names)
			if err != nil {
				return usageError{err}
			}
			checked := services
			if len(names) == 0 {
				checked = append([]string{"nats"}, services...)
			}
			cfg, err := config.Load(cmd.Flags(), config.Options{DotEnv: ".env"}, checked...)
			if err != nil {
				return err
			}
			log, err := cfg.Logger()
			if err != nil {
				return err
			}
			defer func() { _ = log.Sync() }()
			m, err := mesh.Open(cmd.Context(), cfg, log, services)
			if err != nil {
				return err
			}
			defer m.Close()
			return m.Run(cmd.Context(), wires...)
		},
	}
	config.AddFlags(cmd.Flags(), append(mesh.Services(), "nats")...)
	cmd.Flags().StringArrayVar(&names, "service", nil, "run only this service; repeatable: "+strings.Join(mesh.Services(), ", "))
	return cmd
}

// newNATSServer is the server of litci up as a process of its own: tests and the
// chaos harness kill it apart from the services.
func newNATSServer() *cobra.Command {
	cmd := &cobra.Command{
		Use:    "nats-server",
		Short:  "Run only the NATS server, provisioned",
		Args:   noArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(cmd.Flags(), config.Options{}, "nats")
			if err != nil {
				return err
			}
			log, err := cfg.Logger()
			if err != nil {
				return err
			}
			cfg.NATS.URL = "" // this is the server
			m, err := mesh.Open(cmd.Context(), cfg, log, nil)
			if err != nil {
				return err
			}
			defer m.Close()
			log.Info("provisioned")
			<-cmd.Context().Done()
			return nil
		},
	}
	config.AddFlags(cmd.Flags(), "nats", "launcher")
	return cmd
}

// newSupervise is the process that stands over one job of the local executor and
// outlives the launcher.
func newSupervise() *cobra.Command {
	return &cobra.Command{
		Use:    "supervise DIR",
		Short:  "Run one job of the local executor",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if code := local.Supervise(args[0]); code != 0 {
				return statusError(code)
			}
			return nil
		},
	}
}

// newShim is the entrypoint of the Docker executor's containers, into which this
// program is copied.
func newShim() *cobra.Command {
	return &cobra.Command{
		Use:    "shim",
		Short:  "Run the job of the container that this is in",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			if code := shim.Run(); code != 0 {
				return statusError(code)
			}
			return nil
		},
	}
}
