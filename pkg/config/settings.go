package config

import (
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// setting is one line of the table of settings.
type setting struct {
	// key is the flag's name, and the key in the configuration file.
	key   string
	value string
	usage string
	// aliases are environment variables that users of older bots have; LITCI_<KEY> is
	// always understood and stronger.
	aliases []string
	// secret settings have no flag: an argument shows in the list of processes.
	secret bool
	// services limits the flag to those services; empty means all.
	services []string
}

func (s setting) names() []string {
	return append([]string{"LITCI_" + strings.ToUpper(strings.ReplaceAll(s.key, "-", "_"))}, s.aliases...)
}

var settings = []setting{
	{key: "listen", value: ":8080", usage: "address for webhooks", services: []string{"ingress"}},
	{key: "webhook-secret", secret: true, aliases: []string{"WEBHOOK_SECRET", "GH_WEBHOOK_SECRET"}, services: []string{"ingress"}},
	{key: "webhook-secret-file", usage: "file with the webhook secret, one a line while it is changed", services: []string{"ingress"}},
	{key: "github-url", usage: "GitHub Enterprise or emulator address (default github.com)", services: []string{"planner", "reporter"}},
	{key: "app-id", value: "0", usage: "id of the GitHub App", aliases: []string{"GITHUB_APP_ID", "GH_APP_ID"}, services: []string{"ingress", "planner", "reporter"}},
	{key: "private-key", secret: true, aliases: []string{"GITHUB_PRIVATE_KEY", "GH_PRIVATE_KEY", "PRIVATE_KEY"}, services: []string{"planner", "reporter"}},
	{key: "private-key-file", usage: "file with the App's private key, PEM", aliases: []string{"PRIVATE_KEY_PATH"}, services: []string{"planner", "reporter"}},
	{key: "pages-listen", value: ":8081", usage: "address for report pages", services: []string{"reporter"}},
	{key: "public-url", usage: "address of the report pages as people reach it", services: []string{"reporter"}},
	{key: "data", value: ".litci", usage: "directory of everything kept on this machine", services: []string{"launcher", "watcher"}},
	{key: "executor", value: "local", usage: "where jobs run", services: []string{"launcher", "watcher"}},
	{key: "pool", usage: "named pool of machines to serve", services: []string{"launcher", "watcher"}},
	{key: "slots", value: strconv.Itoa(runtime.NumCPU()), usage: "jobs at once on this executor", services: []string{"launcher"}},
	{key: "queue-timeout", value: "60m", usage: "end of a job that waits for a slot", aliases: []string{"JOB_QUEUE_TIMEOUT"}, services: []string{"launcher", "reporter"}},
	{key: "job-user", usage: "account to run jobs under, when litci is root", services: []string{"launcher", "watcher"}},
	{key: "allow-forks", value: "false", usage: "let the local executor run code of forks", services: []string{"launcher"}},
	{key: "retention", value: "24h", usage: "how long ended jobs stay on the executor", services: []string{"launcher"}},
	{key: "nats-url", usage: "NATS servers, separated by commas", aliases: []string{"NATS_URL"}},
	{key: "nats-creds", usage: "NATS credentials file"},
	{key: "nats-nkey", usage: "NATS nkey seed file"},
	{key: "nats-user", usage: "NATS user; its password is LITCI_NATS_PASSWORD"},
	{key: "nats-password", secret: true},
	{key: "nats-ca", usage: "certificate authority of the NATS server, PEM"},
	{key: "nats-cert", usage: "client certificate for NATS, PEM"},
	{key: "nats-key", usage: "key of the client certificate, PEM"},
	{key: "nats-listen", value: "127.0.0.1:4222", usage: "address of the NATS server in the process", services: []string{"nats"}},
	{key: "nats-sync-always", value: "true", usage: "write to the disk before answering, in the process's server", services: []string{"nats"}},
	{key: "nats-max-bytes", value: "0", usage: "storage for all streams together, in bytes (default 33 GiB, or what the disk allows)", services: []string{"nats"}},
	{key: "nats-replicas", value: "1", usage: "copies of everything, in a NATS cluster", services: []string{"nats"}},
	{key: "ack-wait", value: "0s", usage: "how long a crash goes unnoticed (default by consumer)"},
	{key: "admin-listen", value: "127.0.0.1:9090", usage: "address for health and metrics"},
	{key: "log-level", value: "info", usage: "debug, info, warn or error"},
	{key: "log-format", value: "console", usage: "console or json"},
}

func find(key string) (setting, bool) {
	for _, s := range settings {
		if s.key == key {
			return s, true
		}
	}
	return setting{}, false
}

// describe names a setting by all the ways to give it.
func describe(key string) string {
	s, _ := find(key)
	if s.secret {
		return strings.Join(s.names(), " or ")
	}
	return "--" + s.key + " (" + strings.Join(s.names(), ", ") + ")"
}

// AddFlags adds the flags of the named services: ingress, planner, launcher,
// watcher, reporter, and nats for the server in the process and the topology.
func AddFlags(flags *pflag.FlagSet, services ...string) {
	flags.String("config", "", "configuration file (YAML); its keys are the names of these flags")
	for _, s := range settings {
		if s.secret || !s.concerns(services) {
			continue
		}
		if s.value == "true" || s.value == "false" {
			flags.Bool(s.key, s.value == "true", s.usage)
			continue
		}
		shown := s.value
		if shown == "0" || shown == "0s" {
			shown = "" // the usage says what stands for it
		}
		flags.String(s.key, shown, s.usage)
	}
}

func (s setting) concerns(services []string) bool {
	if len(s.services) == 0 {
		return true
	}
	for _, own := range s.services {
		for _, name := range services {
			if own == name {
				return true
			}
		}
	}
	return false
}
