// Command litci is the whole of litci in one binary: all five services and the
// command line around them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/daemon"
)

// The exit codes of every command.
const (
	exitDone   = 0 // it did what was asked
	exitFailed = 1 // the thing that was checked or run failed
	exitUsage  = 2 // wrong use, or settings that cannot work
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := daemon.Signals(context.Background())
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var status statusError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &status):
		return int(status)
	}
	fmt.Fprintln(os.Stderr, err)
	var settings *config.Error
	var usage usageError
	if errors.As(err, &settings) || errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// usageError is a wrong call.
type usageError struct{ error }

// statusError ends with an exit code after everything has been said.
type statusError int

// Error is not printed.
func (s statusError) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "litci",
		Short: "Self-hosted CI for GitHub pull requests",
		Long: `litci is a GitHub App that tests every pull request and push on your own machines.

Start with "litci demo": it shows the whole system at work without an account.`,
		Version:       daemon.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("%q is not a command of litci; see litci --help", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("litci {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageErrorOf(cmd, plainFlagError(err))
	})
	root.AddCommand(newDemo(), newUp(), newLint(), newSchema(), newPlan(), newExplain(), newRun(),
		newJobs(), newLogs(), newCancel(), newRerun(), newDLQ(), newReplay(), newLimits(), newTail(), newTop(), newDoctor(),
		newFakeGitHub(), newBench(), newChaos(), newHealth(), newProvision(), newNATSServer(), newSupervise(), newShim())
	return root
}

// plainFlagError says in plain words which values a flag takes.
func plainFlagError(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	why := errors.Unwrap(err).Error() // a value of our own says it plainly itself
	var number *strconv.NumError
	switch kind := invalid.GetFlag().Value.Type(); {
	case kind == "duration":
		why = "want a time such as 90s, 10m or 2h"
	case !errors.As(err, &number):
	case kind == "bool":
		why = "want true or false"
	case kind == "float64":
		why = "want a number"
	default:
		why = "want a whole number"
	}
	return fmt.Errorf("--%s %s: %s", invalid.GetFlag().Name, invalid.GetValue(), why)
}

// noArgs refuses arguments as wrong use.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, it was given %q; see %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())}
	}
	return nil
}
