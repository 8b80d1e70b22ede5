package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/litci/litci/cmd/litci/internal/bench"
)

func newBench() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure litci on this machine",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBenchIngest())
	return cmd
}

func newBenchIngest() *cobra.Command {
	var options bench.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ingest",
		Short: "Webhooks accepted durably per second, against bare JetStream publishes",
		Long: `Sends signed webhooks over loopback to an ingress of its own and publishes the same
normalised bytes to the same kind of server directly, by turns in one run, at concurrency
1, 16 and 64, with and without syncing every message to the disk.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if options.Requests < 1 || options.Rounds < 1 {
				return usageError{fmt.Errorf("--requests and --rounds are at least 1")}
			}
			out := cmd.OutOrStdout()
			encoder := json.NewEncoder(out)
			if !asJSON {
				fmt.Fprintf(out, "%-8s %11s  %22s  %22s  %5s\n", "sync", "concurrency", "webhooks/s (p50, p99)", "raw/s (p50, p99)", "ratio")
			}
			return bench.RunIngest(cmd.Context(), options, func(l bench.Ingest) {
				if asJSON {
					_ = encoder.Encode(l) // a closed pipe ends the process by SIGPIPE
					return
				}
				fmt.Fprintf(out, "%-8s %11d  %7.0f (%.1f, %.1f ms)  %7.0f (%.1f, %.1f ms)  %5.2f\n", l.Sync, l.Concurrency,
					l.Webhooks.PerSecond, l.Webhooks.P50, l.Webhooks.P99, l.Raw.PerSecond, l.Raw.P50, l.Raw.P99, l.Ratio)
			})
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&options.Requests, "requests", 3000, "requests a round")
	flags.IntVar(&options.Rounds, "rounds", 5, "rounds of each side; the median counts")
	flags.StringVar(&options.Dir, "dir", os.TempDir(), "where the streams lie; its disk is what is measured")
	flags.BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}
