package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/litci/litci/cmd/litci/internal/console"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/services/launcher"
)

func newLimits() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "limits",
		Short: "Show or change how many jobs run at once",
		Long: `Shows the limits that were set for the whole mesh. They are stronger than the settings of
launchers (--slots, --repository-jobs, --installation-jobs), and hold at once for what waits;
what runs goes on.

Exit status: 0; 1 if the mesh cannot be asked; 2 for wrong use.`,
		Example: `  litci limits
  litci limits set --repository octo/hello=2 --repository default=8
  litci limits set --pool gpu-desk --slots 0
  litci limits unset --repository octo/hello`,
		Args: noArgs,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object on standard output")
	operate(cmd, nil, func(cmd *cobra.Command, b *bus.Bus, _ []string) (bool, error) {
		limits, err := launcher.ReadLimits(cmd.Context(), b)
		if err != nil {
			return false, err
		}
		return true, showLimits(cmd, limits, asJSON)
	})
	cmd.AddCommand(newLimitsSet(), newLimitsUnset())
	return cmd
}

func showLimits(cmd *cobra.Command, limits launcher.Limits, asJSON bool) error {
	if asJSON {
		return printJSON(cmd.OutOrStdout(), limits)
	}
	return console.PrintLimits(limits, cmd.OutOrStdout(), cmd.ErrOrStderr(), screenOf(cmd))
}

// sayAll writes lines beside the results.
func sayAll(cmd *cobra.Command, lines []string) {
	for _, line := range lines {
		fmt.Fprintln(cmd.ErrOrStderr(), line)
	}
}

// limitFlags are those by which limits are named.
type limitFlags struct {
	pool                        string
	repositories, installations []string
	asJSON                      bool
}

func (f *limitFlags) add(cmd *cobra.Command, repository, installation string) {
	flags := cmd.Flags()
	flags.StringVar(&f.pool, "pool", "", "the pool whose --slots are meant (default the unnamed one)")
	flags.StringArrayVar(&f.repositories, "repository", nil, "a repository, or default for each other, repeatable: `"+repository+"`")
	flags.StringArrayVar(&f.installations, "installation", nil, "an installation of the App, or default for each other, repeatable: `"+installation+"`")
	flags.BoolVar(&f.asJSON, "json", false, "print the limits as one JSON object on standard output")
}

// changes reads the flags; slots is nil where those of the pool stay.
func (f *limitFlags) changes(cmd *cobra.Command, slots *int, parse func(flag string, values []string) (map[string]int, error)) (console.Changes, error) {
	var c console.Changes
	var err error
	if slots != nil {
		c.Slots = map[string]int{f.pool: *slots}
	} else if cmd.Flags().Changed("pool") {
		return c, errors.New("--pool goes with --slots")
	}
	if c.Repositories, err = parse("repository", f.repositories); err != nil {
		return c, err
	}
	if c.Installations, err = parse("installation", f.installations); err != nil {
		return c, err
	}
	if c.Empty() {
		return c, errors.New("it takes --slots, --repository or --installation")
	}
	return c, nil
}

func newLimitsSet() *cobra.Command {
	var (
		named   limitFlags
		slots   int
		changes console.Changes
	)
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Set limits, and show those that hold then",
		Long: `Sets the limits that the flags name and leaves all others as they are. With 0 slots a
launcher starts nothing more; of repositories and installations 0, or none, is no limit.`,
		Example: `  litci limits set --slots 8
  litci limits set --repository octo/hello=2 --installation default=20`,
		Args: noArgs,
	}
	named.add(cmd, "OWNER/NAME=N", "ID=N")
	cmd.Flags().IntVar(&slots, "slots", 0, "jobs at once on each launcher of the pool")
	check := func([]string) (err error) {
		var given *int
		if cmd.Flags().Changed("slots") {
			given = &slots
		}
		if slots < 0 {
			return errors.New("--slots: 0 or more")
		}
		changes, err = named.changes(cmd, given, console.ParseLimits)
		return err
	}
	return operate(cmd, check, func(cmd *cobra.Command, b *bus.Bus, _ []string) (bool, error) {
		limits, err := launcher.ChangeLimits(cmd.Context(), b, changes.Set)
		if err != nil {
			return false, err
		}
		hints, err := changes.Unknown(cmd.Context(), b)
		if err != nil {
			return false, err
		}
		sayAll(cmd, hints)
		return true, showLimits(cmd, limits, named.asJSON)
	})
}

func newLimitsUnset() *cobra.Command {
	var (
		named   limitFlags
		slots   bool
		changes console.Changes
	)
	cmd := &cobra.Command{
		Use:   "unset",
		Short: "Take limits back, and show those that hold then",
		Long: `Takes the limits back that the flags name: the settings of launchers hold again. What is
not set is said, and is no failure.`,
		Example: `  litci limits unset --slots --pool gpu-desk
  litci limits unset --repository octo/hello --repository default`,
		Args: noArgs,
	}
	named.add(cmd, "OWNER/NAME", "ID")
	cmd.Flags().BoolVar(&slots, "slots", false, "the slots of the pool's launchers")
	check := func([]string) (err error) {
		var given *int
		if slots {
			given = new(int)
		}
		changes, err = named.changes(cmd, given, console.ParseNames)
		return err
	}
	return operate(cmd, check, func(cmd *cobra.Command, b *bus.Bus, _ []string) (bool, error) {
		var hints []string
		limits, err := launcher.ChangeLimits(cmd.Context(), b, func(l *launcher.Limits) {
			hints = changes.NotSet(*l)
			changes.Unset(l)
		})
		if err != nil {
			return false, err
		}
		sayAll(cmd, hints)
		return true, showLimits(cmd, limits, named.asJSON)
	})
}
