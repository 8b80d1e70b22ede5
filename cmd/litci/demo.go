package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/term"

	"github.com/litci/litci/cmd/litci/internal/demo"
	"github.com/litci/litci/pkg/config"
)

func newDemo() *cobra.Command {
	var (
		options  demo.Options
		keep     bool
		asJSON   bool
		logLevel string
		github   string
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole system at work, with no account",
		Long: `Starts NATS, the five services and a GitHub emulator on this machine, sends a signed
pull_request webhook for a real git repository, and shows the jobs, the check runs and
the comment that come of it.

The newest commit of --repo is the pull request; the repository itself is only read.

With --github-url it starts nothing: it opens the example's pull request on the emulator there
(litci fakegithub --example) and shows what the mesh that is its App makes of it. It then exits
with 1 unless every check passes.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if github != "" {
				return playOn(cmd, github, asJSON)
			}
			log, err := (&config.Config{LogLevel: logLevel, LogFormat: "console"}).Logger()
			if err != nil {
				return usageError{fmt.Errorf("--log-level: %w", err)}
			}
			options.Log, options.Progress = log, cmd.ErrOrStderr()
			options.Live = isTerminal(options.Progress)
			options.Color = options.Live && os.Getenv("NO_COLOR") == ""
			return runDemo(cmd, options, keep, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.Repo, "repo", "", "local git repository with workflow files (default: the example of the documentation)")
	flags.StringVar(&options.Payload, "payload", "", "file with a pull_request webhook (default: GitHub's published example)")
	flags.IntVar(&options.Slots, "slots", runtime.NumCPU(), "jobs at once")
	flags.StringVar(&options.Executor, "executor", "local", "where jobs run: local or docker")
	flags.StringVar(&options.Image, "image", "", imageUsage)
	flags.BoolVar(&keep, "keep-running", false, "leave everything up until Ctrl-C, to look at the report page")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object on standard output")
	flags.StringVar(&logLevel, "log-level", "error", "what the services say: debug, info, warn or error")
	flags.StringVar(&github, "github-url", "", "address of an emulator whose App is a mesh that runs already")
	return cmd
}

// exampleName is how the example's repository is called on an emulator elsewhere.
const exampleName = "octocat/hello"

// playOn shows a mesh that runs already at work.
func playOn(cmd *cobra.Command, github string, asJSON bool) error {
	for _, name := range []string{"repo", "payload", "slots", "executor", "keep-running", "log-level"} {
		if cmd.Flags().Changed(name) {
			return usageErrorOf(cmd, fmt.Errorf("--%s is for a mesh that the demo starts, and --github-url names one that runs already; keep one", name))
		}
	}
	report, err := demo.PlayOn(cmd.Context(), github, exampleName, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), report)
	} else {
		report.Print(cmd.OutOrStdout())
		fmt.Fprintf(cmd.OutOrStdout(), "Report page: %s\n", report.Page())
	}
	return errors.Join(err, report.Unexpected())
}

// imageUsage tells about --image, as commands have it that run a mesh of their own.
const imageUsage = "with --executor docker, image of the jobs that name none (default ubuntu:22.04, which is pulled)"

func runDemo(cmd *cobra.Command, options demo.Options, keep, asJSON bool) (failed error) {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	d, err := demo.Open(ctx, options)
	var input demo.InputError
	if errors.As(err, &input) {
		return usageError{err}
	}
	if err != nil {
		return err
	}
	defer func() {
		if err := d.Close(); err != nil {
			options.Log.Error("demo", zap.Error(err))
		}
	}()
	report, err := d.Play(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(report); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	} else {
		report.Print(out)
		if !keep {
			fmt.Fprintf(out, "Report page: %s (gone now; --keep-running leaves it up)\n", report.Page())
		}
	}
	if keep {
		address, key := d.NATS()
		fmt.Fprintf(cmd.ErrOrStderr(), "\nReport page: %s\nTail the subjects: nats --server %s --nkey %s sub 'jobs.>'\nCtrl-C ends it.\n", report.Page(), address, key)
		return d.Wait(ctx)
	}
	return nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}
