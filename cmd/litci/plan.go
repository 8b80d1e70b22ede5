package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/litci/litci/cmd/litci/internal/forecast"
	"github.com/litci/litci/cmd/litci/internal/worktree"
	"github.com/litci/litci/pkg/workflow"
)

func newPlan() *cobra.Command {
	var (
		event   workflow.Event
		changed changedFiles
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "plan [DIR]",
		Short: "Show which jobs an event would start",
		Long: `Reads the workflow files of DIR (default: the repository around the current folder),
decides on the event that the flags describe, and shows the jobs that it would start, by
the same code as the planner. Nothing is started.

Exit status: 0, also where nothing would start; 1 if a workflow file has an error; 2 for wrong use.`,
		Example: `  litci plan
  litci plan --event push --branch main --changed docs/index.md
  git diff --name-only main...HEAD | litci plan --changed - --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := changed.split(args)
			if err != nil {
				return usageErrorOf(cmd, err)
			}
			if err := describe(&event, cmd.Flags()); err != nil {
				return usageErrorOf(cmd, err)
			}
			if event.Changed, err = changed.read(cmd.InOrStdin()); err != nil {
				return err
			}
			event.ChangedKnown, event.TrustedAuthor = changed.given(), true
			set, err := loadTree(dir)
			if err != nil {
				return err
			}
			r := forecast.Of(set, event)
			if set.NeedsChanged(event) && !event.ChangedKnown {
				r.Notices = append(r.Notices, unknownChanges)
			}
			return show(cmd, forecast.Title(event), r, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&event.Kind, "event", workflow.EventPullRequest, "what happens: pull_request, push or merge_group")
	flags.StringVar(&event.Action, "action", "", "the pull request's action, such as opened or labeled (default: any that a workflow lists)")
	flags.StringVar(&event.Branch, "branch", "main", "the base branch of a pull request or merge group, the pushed branch of a push")
	flags.StringVar(&event.Tag, "tag", "", "the pushed tag, instead of a branch")
	flags.BoolVar(&event.Draft, "draft", false, "the pull request is a draft")
	addFacts(cmd, &event, &changed, &asJSON)
	return cmd
}

const unknownChanges = "The changed files are not known, so path filters let workflows run; --changed names them, --changed - reads the names from standard input."

// addFacts adds the flags of what no payload holds.
func addFacts(cmd *cobra.Command, event *workflow.Event, changed *changedFiles, asJSON *bool) {
	flags := cmd.Flags()
	changed.before = flags.NArg
	flags.Var(changed, "changed", "changed `FILE`, repeatable; - reads names from standard input, one a line (default: not known)")
	flags.StringVar(&event.Message, "message", "", "message of the head commit, for skip words")
	flags.BoolVar(&event.OpenPullRequest, "open-pull-request", false, "the pushed branch has an open pull request")
	flags.BoolVar(asJSON, "json", false, "print one JSON object on standard output")
}

// describe checks that the flags of an event go together.
func describe(e *workflow.Event, flags *pflag.FlagSet) error {
	if !slices.Contains([]string{workflow.EventPullRequest, workflow.EventPush, workflow.EventMergeGroup}, e.Kind) {
		return fmt.Errorf("--event %s is not known; the events are pull_request, push, merge_group", e.Kind)
	}
	for name, kind := range map[string]string{
		"tag": workflow.EventPush, "open-pull-request": workflow.EventPush,
		"draft": workflow.EventPullRequest, "action": workflow.EventPullRequest,
	} {
		if flags.Changed(name) && e.Kind != kind {
			return fmt.Errorf("--%s goes with --event %s, not with %s", name, kind, e.Kind)
		}
	}
	if actions := workflow.PullRequestActions(); e.Action != "" && !slices.Contains(actions, e.Action) {
		return fmt.Errorf("--action %s is no action of pull requests%s", e.Action, workflow.Suggestion(e.Action, actions))
	}
	if short, ok := strings.CutPrefix(e.Branch, "refs/heads/"); ok {
		return fmt.Errorf("--branch %s: a branch is named without refs/heads/; write --branch %s", e.Branch, short)
	}
	if short, ok := strings.CutPrefix(e.Tag, "refs/tags/"); ok {
		return fmt.Errorf("--tag %s: a tag is named without refs/tags/; write --tag %s", e.Tag, short)
	}
	switch {
	case flags.Changed("tag") && flags.Changed("branch"):
		return errors.New("--tag and --branch exclude each other: a push is of one of them")
	case flags.Changed("tag") && e.Tag == "":
		return errors.New("--tag is empty")
	case e.Tag == "" && e.Branch == "":
		return errors.New("--branch is empty")
	case e.Tag != "":
		e.Branch = ""
	}
	return nil
}

// loadTree reads the workflow files of dir, or of the repository around the
// current folder.
func loadTree(dir string) (workflow.Set, error) {
	if dir == "" {
		dir = worktree.Root(".")
	}
	set, err := worktree.LoadAny(dir)
	if err != nil {
		return set, usageError{err}
	}
	if len(set.Workflows) == 0 && len(set.Problems) == 0 {
		set.Notices = append(set.Notices, fmt.Sprintf("%s holds no workflow files: neither %s nor %s.", dir, workflow.Folder, workflow.SingleFile))
	}
	return set, nil
}

// show prints a report under the name of the event; where a file is broken the exit
// status says so.
func show(cmd *cobra.Command, title string, r forecast.Report, asJSON bool) error {
	out, words := cmd.OutOrStdout(), cmd.ErrOrStderr()
	if asJSON {
		if err := printJSON(out, r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(out, "%s\n\n", title)
		r.Print(out)
		for _, p := range r.Problems {
			fmt.Fprintln(words, problemLine(p))
		}
	}
	for _, n := range r.Notices {
		fmt.Fprintln(words, n)
	}
	if r.Broken() {
		return statusError(exitFailed)
	}
	return nil
}

// printJSON writes one line of JSON as people write it: < and > as they are.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

// usageErrorOf is a wrong call with the way out of it.
func usageErrorOf(cmd *cobra.Command, err error) error {
	return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
}

// changedFiles is the value of --changed. Words behind it are names of files too,
// so that a shell's list of files can follow it; words before it are not.
type changedFiles struct {
	names []string
	// before counts the plain words so far, and words is that count at the first --changed.
	before func() int
	words  int
	stdin  bool
}

func (c *changedFiles) Set(name string) error {
	if !c.given() {
		c.words = c.before()
	}
	if name == "-" {
		c.stdin = true
		return nil
	}
	c.names = append(c.names, name)
	return nil
}

// Type names the value in help.
func (c *changedFiles) Type() string { return "FILE" }

func (c *changedFiles) String() string { return strings.Join(c.names, " ") }

func (c *changedFiles) given() bool { return len(c.names) > 0 || c.stdin }

// split takes DIR out of a command's plain words. Behind --changed they are names
// of changed files, except one that is a folder: no change is.
func (c *changedFiles) split(args []string) (dir string, err error) {
	for i, word := range args {
		isFolder := func() bool {
			info, err := os.Stat(word)
			return err == nil && info.IsDir()
		}
		switch {
		case dir == "" && (!c.given() || i < c.words || isFolder()):
			dir = word
		case c.given() && i >= c.words:
			c.names = append(c.names, word)
		default:
			return "", fmt.Errorf("it takes one folder, it was given %q and %q", dir, word)
		}
	}
	return dir, nil
}

// read returns the names as patterns see them: slashes, relative to the root.
func (c *changedFiles) read(stdin io.Reader) ([]string, error) {
	names := slices.Clone(c.names)
	if c.stdin {
		lines := bufio.NewScanner(stdin)
		for lines.Scan() {
			if line := strings.TrimSuffix(lines.Text(), "\r"); line != "" {
				names = append(names, line)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("changed files on standard input: %w", err)
		}
	}
	for i, name := range names {
		if name = filepath.ToSlash(name); name != "" {
			names[i] = path.Clean(name)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "" }), nil
}
