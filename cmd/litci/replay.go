package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/litci/litci/cmd/litci/internal/console"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/services/planner"
)

func newReplay() *cobra.Command {
	var (
		pick   console.Pick
		asJSON bool
		dryRun bool
		wait   waiting
	)
	cmd := &cobra.Command{
		Use:   "replay --delivery GUID | --seq N | --since DURATION",
		Short: "Plan stored deliveries again",
		Long: `Publishes stored webhook deliveries again, each as another run: what was planned from it
before stays as it is. The planner decides on them as they stand now, so the delivery of a
head that is no longer the pull request's is ignored. Deliveries are kept for 7 days.

With --dry-run nothing is published: it prints what planning them now would come to. This
asks GitHub as the App, so it needs --app-id and the App's private key.

Exit status: 0; 1 if there is no such delivery, if one was given up, or if what became of one
is not known in time; 2 for wrong use.`,
		Example: `  litci replay --delivery 4af8ff42-127a-41a4-a998-446d91dab3d5
  litci replay --since 2h --json
  litci replay --seq 17 --dry-run --app-id 1234 --private-key-file app.pem`,
		Args: noArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&pick.Delivery, "delivery", "", "the delivery of this `GUID`, as GitHub shows it")
	flags.Uint64Var(&pick.Sequence, "seq", 0, "the delivery of this `NUMBER` in the stream EVENTS")
	flags.DurationVar(&pick.Since, "since", 0, "all deliveries of this `TIME`, such as 2h")
	flags.BoolVar(&dryRun, "dry-run", false, "publish nothing, and print what would be planned")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object on standard output")
	wait.add(cmd, "what becomes of them", 30*time.Second)
	check := func([]string) error {
		if dryRun && wait.none {
			return errors.New("--dry-run and --no-wait exclude each other")
		}
		return errors.Join(pick.Check(), wait.check(nil))
	}
	return operate(cmd, check, func(cmd *cobra.Command, b *bus.Bus, _ []string) (bool, error) {
		deliveries, err := console.Deliveries(cmd.Context(), b, pick, time.Now())
		if err != nil {
			return false, err
		}
		if dryRun {
			return true, foresee(cmd, b, deliveries, asJSON)
		}
		done := []console.Replayed{}
		if len(deliveries) > 0 {
			if done, err = wait.order(cmd, b).Replay(cmd.Context(), deliveries); err != nil {
				return false, err
			}
		}
		ok := wait.none || console.Settled(done)
		switch {
		case asJSON:
			return ok, printJSON(cmd.OutOrStdout(), struct {
				Replayed []console.Replayed `json:"replayed"`
			}{done})
		case len(done) == 0:
			fmt.Fprintf(cmd.ErrOrStderr(), "No delivery was stored within %s.\n", pick.Since)
			return true, nil
		}
		return ok, console.PrintReplayed(done, cmd.OutOrStdout(), screenOf(cmd))
	}, config.Preview)
}

// foresee prints what planning deliveries now would come to.
func foresee(cmd *cobra.Command, b *bus.Bus, deliveries []console.Stored, asJSON bool) error {
	cfg, err := config.Load(cmd.Flags(), config.Options{}, config.Operator, config.Preview)
	if err != nil {
		return err
	}
	made, err := planner.Wire(&daemon.Env{Config: cfg, Bus: b, Log: zap.NewNop(), Metrics: daemon.NewRegistry()})
	if err != nil {
		return err
	}
	p, ok := made.(console.Planner)
	if !ok {
		return fmt.Errorf("a planner cannot foresee: it is a %T", made)
	}
	foreseen, err := console.Foresee(cmd.Context(), p, deliveries)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), struct {
			Foreseen []console.Foreseen `json:"foreseen"`
		}{foreseen})
	}
	return console.PrintForeseen(foreseen, cmd.OutOrStdout(), screenOf(cmd))
}
