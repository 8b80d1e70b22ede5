package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/litci/litci/pkg/workflow"
)

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of workflow files",
		Long: `Prints the JSON Schema (draft 7) of the workflow language, for editors that complete and
check YAML by one. litci lint checks more: what one key says of another.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := cmd.OutOrStdout().Write(workflow.Schema()); err != nil {
				return fmt.Errorf("output: %w", err)
			}
			return nil
		},
	}
}
