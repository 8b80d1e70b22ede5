package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/litci/litci/cmd/litci/internal/console"
	"github.com/litci/litci/cmd/litci/internal/tail"
	"github.com/litci/litci/pkg/bus"
)

// lastShown is how much of what was before a tail begins with.
const lastShown = 10

func newTail() *cobra.Command {
	var (
		o     tail.Options
		since time.Duration
		stay  bool
	)
	cmd := &cobra.Command{
		Use:   "tail [SUBJECT...]",
		Short: "Show what passes between the services of a running mesh",
		Long: `Prints the messages of the four subjects, those of pools too, a line each: when it was
stored (UTC), its subject, the pull request or ref, the job, what happened. It begins with the last ten
and goes on until Ctrl-C, through restarts of the server, with each message once.

Other subjects are shown on request, with the wildcards of NATS where they are wanted:
` + strings.Join(bus.ViewSubjects(), ", ") + `.

The NATS user "tail", who can change nothing, is enough.

Exit status: 0; 1 if the mesh cannot be asked; 2 for wrong use.`,
		Example: `  litci tail
  litci tail jobs.status results --repo octo/hello --pr 7
  litci tail --run ceb3sev --all --no-follow
  litci tail 'jobs.log.>' 'dlq.>' --since 1h
  litci tail results --json | jq -r 'select(.body.conclusion != "success") | .body.check'`,
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Filter.Repo, "repo", "", "only of the repository `OWNER/NAME`")
	flags.IntVar(&o.Filter.PR, "pr", 0, "only of the pull request `N`")
	flags.StringVar(&o.Filter.Run, "run", "", "only of the run, by as much of its id as names it")
	flags.StringVar(&o.Filter.Job, "job", "", "only of the job or attempt, by its id")
	flags.DurationVar(&since, "since", 0, "begin with what was stored within this time")
	flags.BoolVar(&o.All, "all", false, "begin with all that is stored")
	flags.IntVar(&o.Last, "last", lastShown, "begin with the last `N` messages; 0 for none")
	flags.BoolVar(&stay, "no-follow", false, "end at the present")
	flags.BoolVar(&o.JSON, "json", false, "print each message as it is, one JSON object a line")
	check := func(args []string) error {
		switch {
		case since < 0 || cmd.Flags().Changed("since") && since == 0:
			return fmt.Errorf("--since %s: how long ago, such as 2h", since)
		case o.Last < 0:
			return fmt.Errorf("--last %d: 0 or more", o.Last)
		case since > 0:
			o.Since = time.Now().Add(-since)
		}
		if !cmd.Flags().Changed("last") && (o.All || since > 0) {
			o.Last = 0
		}
		o.Subjects, o.Follow = args, !stay
		return o.Check()
	}
	return operateBy(console.Look, cmd, check, func(cmd *cobra.Command, b *bus.Bus, _ []string) (bool, error) {
		o.Screen, o.Out, o.Words = screenOf(cmd), cmd.OutOrStdout(), cmd.ErrOrStderr()
		return true, tail.Show(cmd.Context(), b, o)
	})
}
