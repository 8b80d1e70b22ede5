package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/litci/litci/cmd/litci/internal/doctor"
	"github.com/litci/litci/cmd/litci/internal/mesh"
	"github.com/litci/litci/pkg/config"
)

func newDoctor() *cobra.Command {
	var (
		names  []string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check what litci depends on, and say what to do",
		Long: `Looks at the settings, NATS, the GitHub App with its webhook, the executor and the address of
the report pages, and says for each how it is and what to do. It changes nothing.

It takes the settings as litci up does, .env included; with --service it looks at what these
services need alone. To look at NATS it finds the litci up that runs with its data in --data,
or the server of --nats-url.

Exit status: 0 if nothing fails, also with warnings; 1 if something fails; 2 for wrong use.`,
		Example: `  litci doctor
  litci doctor --service launcher --service watcher --executor lightning --nats-url nats://nats:4222
  litci doctor --json | jq -r '.findings[] | select(.state == "fail") | .remedy'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			services, _, err := mesh.Choose(names)
			if err != nil {
				return usageError{err}
			}
			cfg, err := config.Load(cmd.Flags(), config.Options{DotEnv: ".env"})
			if err != nil {
				return err
			}
			if len(names) == 0 {
				services = append([]string{"nats"}, services...)
			}
			report := doctor.Examine(cmd.Context(), cfg, services...)
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				err = report.Print(cmd.OutOrStdout())
			}
			if err != nil {
				return err
			}
			if report.Failed > 0 {
				return statusError(exitFailed)
			}
			return nil
		},
	}
	config.AddFlags(cmd.Flags(), append(mesh.Services(), "nats")...)
	cmd.Flags().StringArrayVar(&names, "service", nil, "look only at what this service needs; repeatable: "+strings.Join(mesh.Services(), ", "))
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object on standard output")
	return cmd
}
