package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/fakegithub"
)

func newFakeGitHub() *cobra.Command {
	var (
		listen, keyFile, webhookURL, secret string
		appID                               int64
		repos                               []string
	)
	cmd := &cobra.Command{
		Use:   "fakegithub",
		Short: "Run the GitHub emulator alone",
		Long: `Emulates the part of GitHub that litci uses, over local git repositories, for trying
litci and for tests. It is no GitHub: no pages, no users that sign in, nothing is kept.

Open a pull request with
  curl -X POST http://ADDR/_fake/repos/OWNER/NAME/pulls -d '{"head":"BRANCH","base":"main"}'
and see everything that litci reported with
  curl http://ADDR/_fake/state`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keyFile == "" || len(repos) == 0 {
				return usageError{errors.New("--app-key and --repo are both needed; see litci fakegithub --help")}
			}
			cfg := fakegithub.Config{AppID: appID, WebhookURL: webhookURL, WebhookSecret: secret, Log: zap.NewNop()}
			text, err := os.ReadFile(keyFile)
			if err != nil {
				return usageError{fmt.Errorf("--app-key: %w", err)}
			}
			if cfg.PrivateKey, err = fakegithub.ParseKey(text); err != nil {
				return usageError{fmt.Errorf("--app-key %s: %w", keyFile, err)}
			}
			github, err := fakegithub.New(cfg)
			if err != nil {
				return usageError{err}
			}
			for _, r := range repos {
				repo, err := parseRepo(r)
				if err != nil {
					return usageError{err}
				}
				if err := github.AddRepo(repo); err != nil {
					return usageError{fmt.Errorf("--repo %s: %w", r, err)}
				}
			}
			listener, err := net.Listen("tcp", listen)
			if err != nil {
				return fmt.Errorf("--listen: %w", err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "fakegithub listens on http://%s\n", listener.Addr())
			return serve(cmd.Context(), listener, github)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&listen, "listen", "127.0.0.1:8090", "address; it asks for no credential on /_fake, so keep it on loopback")
	flags.StringArrayVar(&repos, "repo", nil, "OWNER/NAME=DIR: a local git repository to offer; repeatable")
	flags.Int64Var(&appID, "app-id", 1, "id of the App")
	flags.StringVar(&keyFile, "app-key", "", "file with the App's private key, PEM")
	flags.StringVar(&webhookURL, "webhook-url", "", "where to send webhooks")
	flags.StringVar(&secret, "webhook-secret", "", "secret to sign webhooks with; of the emulator only, it shows in the list of processes")
	return cmd
}

func parseRepo(text string) (fakegithub.Repo, error) {
	name, dir, ok := strings.Cut(text, "=")
	owner, name, both := strings.Cut(name, "/")
	if !ok || !both || owner == "" || name == "" || dir == "" {
		return fakegithub.Repo{}, fmt.Errorf("--repo %q: want OWNER/NAME=DIR", text)
	}
	return fakegithub.Repo{Owner: owner, Name: name, Dir: dir}, nil
}

// serve runs the emulator until ctx ends, and waits for its deliveries.
func serve(ctx context.Context, listener net.Listener, github *fakegithub.Server) error {
	server := &http.Server{Handler: github, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return github.Close()
}
