package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/litci/litci/cmd/litci/internal/console"
	"github.com/litci/litci/pkg/bus"
)

func newDLQ() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "Look after dead letters: messages that a service gave up on",
		Long: `A service that can never handle a message, or could not for a day, puts it aside with the
reason. What it was about has been reported as failed by then.

Exit status: 0; 1 if there is no such letter; 2 for wrong use.`,
		Example: `  litci dlq ls
  litci dlq show 3
  litci dlq replay 3`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageErrorOf(cmd, fmt.Errorf("%q is not a command of litci dlq", args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLettersList(), newLetterShow(), newLettersReplay(), newLettersDrop())
	return cmd
}

func newLettersList() *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{Use: "ls", Short: "List the dead letters, oldest first", Args: noArgs}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object on standard output")
	return operate(cmd, nil, func(cmd *cobra.Command, b *bus.Bus, _ []string) (bool, error) {
		letters, err := b.Letters(cmd.Context())
		if err != nil {
			return false, err
		}
		if asJSON {
			return true, printJSON(cmd.OutOrStdout(), struct {
				Letters []bus.Letter `json:"letters"`
			}{append([]bus.Letter{}, letters...)})
		}
		return true, console.PrintLetters(letters, cmd.OutOrStdout(), cmd.ErrOrStderr(), screenOf(cmd))
	})
}

func newLetterShow() *cobra.Command {
	cmd := &cobra.Command{Use: "show SEQ", Short: "Show a dead letter with its headers and its body", Args: oneArg("one SEQ")}
	return operate(cmd, checkSequences, func(cmd *cobra.Command, b *bus.Bus, args []string) (bool, error) {
		return true, console.ShowLetter(cmd.Context(), b, sequences(args)[0], cmd.OutOrStdout())
	})
}

func newLettersReplay() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay SEQ...",
		Short: "Give dead letters back to the services that gave them up",
		Long: `Publishes each message on its subject again and deletes the dead letter. The verdict that
a job got when its message was given up stays; litci rerun runs it again.`,
		Args: someArgs("the numbers of dead letters"),
	}
	return operate(cmd, checkSequences, func(cmd *cobra.Command, b *bus.Bus, args []string) (bool, error) {
		return true, console.ReplayLetters(cmd.Context(), b, sequences(args), cmd.OutOrStdout())
	})
}

func newLettersDrop() *cobra.Command {
	all := false
	cmd := &cobra.Command{Use: "drop SEQ...|--all", Short: "Delete dead letters"}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if all == (len(args) > 0) {
			return usageErrorOf(cmd, errors.New("litci dlq drop takes the numbers of dead letters, or --all"))
		}
		return nil
	}
	cmd.Flags().BoolVar(&all, "all", false, "delete all of them")
	return operate(cmd, checkSequences, func(cmd *cobra.Command, b *bus.Bus, args []string) (bool, error) {
		return true, console.DropLetters(cmd.Context(), b, sequences(args), cmd.OutOrStdout(), cmd.ErrOrStderr())
	})
}

func checkSequences(args []string) error {
	for _, arg := range args {
		if seq, err := strconv.ParseUint(arg, 10, 64); err != nil || seq == 0 {
			return fmt.Errorf("%q is not the number of a dead letter", arg)
		}
	}
	return nil
}

// sequences are the numbers of dead letters, which were checked; nil for none.
func sequences(args []string) []uint64 {
	var seqs []uint64
	for _, arg := range args {
		if seq, err := strconv.ParseUint(arg, 10, 64); err == nil {
			seqs = append(seqs, seq)
		}
	}
	return seqs
}
