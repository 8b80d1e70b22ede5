package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/litci/litci/cmd/litci/internal/console"
	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/config"
)

// operate makes a command one that works on a running mesh: it adds the settings by
// which the mesh is found and runs fn on it. fn returns false for what failed and
// was said.
//
// What can be told without a mesh is told before: by check, which may be nil. services
// are those whose settings it takes too.
func operate(cmd *cobra.Command, check func(args []string) error, fn func(cmd *cobra.Command, b *bus.Bus, args []string) (bool, error), services ...string) *cobra.Command {
	return operateBy(console.Connect, cmd, check, fn, services...)
}

// connecting reaches the mesh that the settings name.
type connecting func(context.Context, *config.Config) (*bus.Bus, error)

func operateBy(connect connecting, cmd *cobra.Command, check func(args []string) error, fn func(cmd *cobra.Command, b *bus.Bus, args []string) (bool, error), services ...string) *cobra.Command {
	config.AddFlags(cmd.Flags(), append(services, config.Operator)...)
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if check == nil {
			return nil
		}
		if err := check(args); err != nil {
			return usageErrorOf(cmd, err)
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := config.Load(cmd.Flags(), config.Options{}, config.Operator)
		if err != nil {
			return err
		}
		b, err := connect(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		defer b.Close()
		ok, err := fn(cmd, b, args)
		switch {
		case cmd.Context().Err() != nil && errors.Is(err, context.Canceled):
			return statusError(exitFailed) // interrupted, as asked
		case err != nil:
			return b.Refusal(err)
		case !ok:
			return statusError(exitFailed)
		}
		return nil
	}
	return cmd
}

// someArgs refuses a call without arguments as wrong use.
func someArgs(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageErrorOf(cmd, fmt.Errorf("%s takes %s", cmd.CommandPath(), what))
		}
		return nil
	}
}

// oneArg refuses all but one argument as wrong use.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageErrorOf(cmd, fmt.Errorf("%s takes %s", cmd.CommandPath(), what))
		}
		return nil
	}
}

// screenOf is what a command's results are shown on.
func screenOf(cmd *cobra.Command) terminal.Screen {
	out := cmd.OutOrStdout()
	if !isTerminal(out) {
		return terminal.Screen{}
	}
	s := terminal.Screen{Color: os.Getenv("NO_COLOR") == ""}
	if f, ok := out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			s.Width = width
		}
	}
	return s
}

// operatorName is who gives orders.
func operatorName() string {
	if name := os.Getenv("USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "the operator"
}

// waiting are the flags of orders whose effect is waited for.
type waiting struct {
	none    bool
	timeout time.Duration
}

func (w *waiting) add(cmd *cobra.Command, what string, timeout time.Duration) {
	cmd.Flags().BoolVar(&w.none, "no-wait", false, "do not wait for "+what)
	cmd.Flags().DurationVar(&w.timeout, "timeout", timeout, "how long to wait")
}

// check tells what is wrong with the flags, and with arguments that are ids.
func (w *waiting) check(args []string) error {
	if !w.none && w.timeout <= 0 {
		return fmt.Errorf("--timeout %s: more than 0; --no-wait does not wait", w.timeout)
	}
	return console.CheckIDs(args)
}

// order is what an order needs beside its arguments.
func (w *waiting) order(cmd *cobra.Command, b *bus.Bus) console.Order {
	o := console.Order{Bus: b, By: operatorName(), Patience: w.timeout, Out: cmd.OutOrStdout(), Words: cmd.ErrOrStderr()}
	if w.none {
		o.Patience = 0
	}
	return o
}
