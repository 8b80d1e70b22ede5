package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/litci/litci/cmd/litci/internal/forecast"
	"github.com/litci/litci/pkg/workflow"
)

// maxPayload is the size of a webhook's body that GitHub promises not to exceed.
const maxPayload = 25 << 20

func newExplain() *cobra.Command {
	var (
		file    string
		facts   workflow.Event
		changed changedFiles
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "explain --payload FILE [DIR]",
		Short: "Say why a webhook starts a workflow, or not",
		Long: `Reads the body of a pull_request, push or merge_group webhook, as GitHub shows it under
Recent Deliveries, and says for every workflow file of DIR (default: the repository around
the current folder) the rule that decides.

The workflow files are those of the folder, not of the payload's commit. What the payload
does not hold can be given by flags; what stays unknown is said.

Exit status: 0, also where nothing would start; 1 if a workflow file has an error; 2 for wrong use.`,
		Example: `  litci explain --payload delivery.json
  litci explain --payload - --changed src/main.go < delivery.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := changed.split(args)
			if err != nil {
				return usageErrorOf(cmd, err)
			}
			switch {
			case file == "":
				return usageErrorOf(cmd, errors.New("--payload is missing: the file with the webhook's body"))
			case file == "-" && changed.stdin:
				return usageErrorOf(cmd, errors.New("--payload - and --changed - cannot both be standard input"))
			}
			payload, err := readPayload(file, cmd.InOrStdin())
			if err != nil {
				return usageError{err}
			}
			event := payload.Event
			if event.Changed, err = changed.read(cmd.InOrStdin()); err != nil {
				return err
			}
			event.ChangedKnown = changed.given()
			event.OpenPullRequest = facts.OpenPullRequest
			if cmd.Flags().Changed("message") {
				event.Message, event.TrustedAuthor = facts.Message, true
			}
			set, err := loadTree(dir)
			if err != nil {
				return err
			}
			r := forecast.Of(set, event)
			if payload.Nothing != "" {
				r = forecast.Silence(set, payload.Nothing)
			} else {
				r.Notices = append(r.Notices, payload.Open(event)...)
				if set.NeedsChanged(event) && !event.ChangedKnown {
					r.Notices = append(r.Notices, unknownChanges)
				}
			}
			return show(cmd, payload.Title, r, asJSON)
		},
	}
	cmd.Flags().StringVar(&file, "payload", "", "`FILE` with the webhook's body; - is standard input")
	addFacts(cmd, &facts, &changed, &asJSON)
	return cmd
}

func readPayload(name string, stdin io.Reader) (forecast.Payload, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return forecast.Payload{}, fmt.Errorf("payload %s: %w", name, errors.Unwrap(err))
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxPayload+1))
	if err != nil {
		return forecast.Payload{}, fmt.Errorf("payload %s: %w", name, err)
	}
	if len(data) > maxPayload {
		return forecast.Payload{}, fmt.Errorf("payload %s: larger than %d MiB, which no webhook is", name, maxPayload>>20)
	}
	payload, err := forecast.ReadPayload(data)
	if err != nil {
		return payload, fmt.Errorf("payload %s: %w", name, err)
	}
	return payload, nil
}
