package main

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/litci/litci/cmd/litci/internal/demo"
	"github.com/litci/litci/pkg/fakegithub"
)

func newFakeGitHub() *cobra.Command {
	var (
		listen, keyFile, webhookURL, secret, limits string
		appID                                       int64
		repos                                       []string
		example                                     bool
	)
	cmd := &cobra.Command{
		Use:   "fakegithub",
		Short: "Run the GitHub emulator alone",
		Long: `Emulates the part of GitHub that litci uses, over local git repositories, for trying
litci and for tests. It is no GitHub: no pages, no users that sign in, nothing is kept.

What people do on GitHub's pages is done by these paths, which take JSON:

` + controlHelp(),
		Example: `  litci fakegithub --repo octo/hello=. --webhook-secret try
  curl -d '{"head":"BRANCH"}' http://127.0.0.1:8090/_fake/repos/octo/hello/pulls
  curl http://127.0.0.1:8090/_fake/state`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(repos) == 0 && !example {
				return usageErrorOf(cmd, errors.New("--repo OWNER/NAME=DIR is missing"))
			}
			if limits != "on" && limits != "off" {
				return usageErrorOf(cmd, fmt.Errorf("--limits %q is neither on nor off", limits))
			}
			offered := make([]fakegithub.Repo, len(repos))
			for i, r := range repos {
				repo, err := parseRepo(r)
				if err != nil {
					return usageErrorOf(cmd, err)
				}
				offered[i] = repo
			}
			cfg := fakegithub.Config{AppID: appID, WebhookURL: webhookURL, WebhookSecret: secret, Log: zap.NewNop()}
			cfg.Limits.Off = limits == "off"
			key, made, err := keyIn(keyFile)
			if err != nil {
				return usageError{fmt.Errorf("--app-key %s: %w", keyFile, err)}
			}
			if made {
				fmt.Fprintf(cmd.ErrOrStderr(), "fakegithub wrote a new private key of App %d to %s\n", appID, keyFile)
			}
			cfg.PrivateKey = key
			github, err := fakegithub.New(cfg)
			if err != nil {
				return usageError{err}
			}
			for i, repo := range offered {
				if err := github.AddRepo(repo); err != nil {
					return usageError{fmt.Errorf("--repo %s: %w", repos[i], err)}
				}
			}
			if example {
				dir, err := os.MkdirTemp("", "litci-example-")
				if err != nil {
					return fmt.Errorf("--example: %w", err)
				}
				defer os.RemoveAll(dir)
				if err := addExample(cmd.Context(), github, dir); err != nil {
					return err
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
	flags.BoolVar(&example, "example", false, "offer the example of the documentation as "+exampleName+", for litci demo --github-url")
	flags.Int64Var(&appID, "app-id", 1, "id of the App")
	flags.StringVar(&keyFile, "app-key", ".litci/fakegithub.pem", "file with the App's private key, PEM; it is made where there is none")
	flags.StringVar(&webhookURL, "webhook-url", "http://127.0.0.1:8080/webhook", "where to send webhooks, such as to litci up; empty for nowhere")
	flags.StringVar(&limits, "limits", "on", "GitHub's rate limits: on or off")
	flags.StringVar(&secret, "webhook-secret", "", "secret to sign webhooks with; of the emulator only, it shows in the list of processes")
	return cmd
}

// addExample offers the example of the documentation.
func addExample(ctx context.Context, github *fakegithub.Server, dir string) error {
	repository, err := demo.Example(ctx, dir)
	if err != nil {
		return fmt.Errorf("--example: %w", err)
	}
	owner, name, _ := strings.Cut(exampleName, "/")
	if err := github.AddRepo(fakegithub.Repo{Owner: owner, Name: name, Dir: repository, DefaultBranch: "main"}); err != nil {
		return fmt.Errorf("--example: %w", err)
	}
	return nil
}

// controlHelp lists the control paths, what they take below each.
func controlHelp() string {
	var b strings.Builder
	for _, p := range fakegithub.ControlPaths() {
		fmt.Fprintf(&b, "  %-6s %s\n", p.Method, p.Path)
		if p.Takes != "" {
			fmt.Fprintf(&b, "         %s\n", p.Takes)
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// keyIn reads the private key in a file, or makes one there that only its owner reads.
func keyIn(file string) (key *rsa.PrivateKey, made bool, err error) {
	text, err := os.ReadFile(file)
	if err == nil {
		key, err = fakegithub.ParseKey(text)
		return key, false, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, false, err
	}
	if key, err = fakegithub.NewKey(); err != nil {
		return nil, false, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, false, err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, false, err
	}
	_, err = f.Write(fakegithub.EncodeKey(key))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, false, errors.Join(err, os.Remove(file))
	}
	return key, true, nil
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
