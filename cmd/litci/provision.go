package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/serverconfig"
	"github.com/litci/litci/pkg/config"
)

func newProvision() *cobra.Command {
	var pools []string
	var check, force bool
	var server serverconfig.Config
	cmd := &cobra.Command{
		Use:   "provision",
		Short: "Create litci's streams and consumers on a NATS server",
		Long: `Creates what is missing of litci's streams, consumers, buckets and object stores, and
leaves what exists as an operator has tuned it, unless this litci knows a newer topology.
Services create nothing: they wait until it is there.

--check tells what is missing or different and changes nothing; --force gives all of it
litci's settings. Both compare with the sizes that --nats-max-bytes and --nats-replicas
give.

A named pool of machines (--pool of launchers and watchers) has consumers of its own;
--pool makes them; it is repeatable, and takes names separated by commas. Those of the pools of --config are made too.

--nats-config writes instead a configuration for nats-server in which every service is
a user with a key of its own and may do what it must, and nothing else. It makes keys
that are missing and never overwrites one.`,
		Example: `  litci provision --nats-url nats://nats:4222 --nats-nkey keys/provision/nkey
  litci provision --nats-url nats://nats:4222 --nats-nkey keys/provision/nkey --pool gpu
  litci provision --nats-url nats://nats:4222 --nats-nkey keys/provision/nkey --check
  litci provision --nats-config /etc/nats/litci --keys /keys --pool gpu`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, pool := range pools {
				if !config.IsPool(pool) {
					return usageErrorOf(cmd, fmt.Errorf("--pool %q: a pool is a name of letters, digits, - and _, at most 64", pool))
				}
			}
			if check && force {
				return usageErrorOf(cmd, errors.New("--check changes nothing and --force does; give one"))
			}
			if server.Dir != "" {
				server.Pools = slices.Compact(slices.Sorted(slices.Values(pools)))
				return writeServerConfig(cmd, server)
			}
			cfg, err := config.Load(cmd.Flags(), config.Options{DotEnv: ".env"}, "provision")
			if err != nil {
				return err
			}
			log, err := cfg.Logger()
			if err != nil {
				return err
			}
			bc := cfg.Bus(bus.Provisioner)
			bc.Once = check // who provisions may come before the server
			b, err := bus.Connect(bc, log, nil)
			if err != nil {
				return err
			}
			defer b.Close()
			p := bus.Provision{Replicas: cfg.NATS.Replicas, Bytes: cfg.NATS.MaxBytes, Pools: slices.Compact(slices.Sorted(slices.Values(append(cfg.Named(), pools...)))), Force: force}
			if check {
				return checkTopology(cmd, b, p)
			}
			return b.Provision(cmd.Context(), p)
		},
	}
	config.AddFlags(cmd.Flags(), "nats")
	f := cmd.Flags()
	f.BoolVar(&check, "check", false, "change nothing; say what is missing or different, and exit with 1 if something is")
	f.BoolVar(&force, "force", false, "put litci's settings in the place of what an operator has tuned")
	f.StringSliceVar(&pools, "pool", nil, "named pools to make consumers, or with --nats-config users, for; separated by commas")
	f.StringVar(&server.Dir, "nats-config", "", "write the configuration of a server with one user a service into this directory")
	f.StringVar(&server.Keys, "keys", "", "with --nats-config: directory of the keys, one folder a user (default keys in the configuration's)")
	f.StringVar(&server.Store, "server-store", "/data/jetstream", "with --nats-config: the server's directory for streams")
	f.StringVar(&server.Listen, "server-listen", "0.0.0.0:4222", "with --nats-config: the server's address for clients")
	f.StringVar(&server.Monitor, "server-monitor", "0.0.0.0:8222", "with --nats-config: the server's address for health and figures")
	f.StringVar(&server.Cert, "tls-cert", "", "with --nats-config: the server's certificate, PEM, as the server finds it")
	f.StringVar(&server.Key, "tls-key", "", "with --nats-config: key of the certificate, PEM")
	f.StringVar(&server.CA, "tls-ca", "", "with --nats-config: authority whose certificate every client must show, PEM")
	return cmd
}

// checkTopology writes what is missing or different to the command's output.
func checkTopology(cmd *cobra.Command, b *bus.Bus, p bus.Provision) error {
	found, err := b.Compare(cmd.Context(), p)
	if err != nil {
		return err
	}
	for _, d := range found {
		fmt.Fprintln(cmd.OutOrStdout(), d)
	}
	if len(found) > 0 {
		return statusError(exitFailed)
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "Everything is there, as litci makes it.")
	return nil
}

func writeServerConfig(cmd *cobra.Command, server serverconfig.Config) error {
	switch {
	case (server.Cert == "") != (server.Key == ""):
		return usageErrorOf(cmd, errors.New("--tls-cert and --tls-key go together"))
	case server.CA != "" && server.Cert == "":
		return usageErrorOf(cmd, errors.New("--tls-ca needs --tls-cert and --tls-key"))
	}
	if server.Keys == "" {
		server.Keys = filepath.Join(server.Dir, "keys")
	}
	done, err := serverconfig.Write(server)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%s\n", done.File)
	if len(done.Made) > 0 {
		fmt.Fprintf(out, "new keys:  %s (%s)\n", strings.Join(done.Made, ", "), filepath.Join(server.Keys, "<user>", serverconfig.KeyName))
	}
	if len(done.Kept) > 0 {
		fmt.Fprintf(out, "kept keys: %s\n", strings.Join(done.Kept, ", "))
	}
	return nil
}
