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
	// file settings stand in the configuration file alone: there they have a form that
	// a flag could not hold, or few ever need them.
	file bool
	// services limits the flag to those services; empty means all.
	services []string
}

func (s setting) names() []string {
	if s.file {
		return nil
	}
	return append([]string{"LITCI_" + strings.ToUpper(strings.ReplaceAll(s.key, "-", "_"))}, s.aliases...)
}

// Beside the services, these read settings: Operator is a command that reaches a
// running mesh, Preview one that plans as the planner would.
const (
	Operator = "operator"
	Preview  = "preview"
)

// daemons are those that run on, and what is made for them.
var daemons = []string{"ingress", "planner", "launcher", "watcher", "reporter", "nats", "provision"}

var settings = []setting{
	{key: "listen", value: ":8080", usage: "address for webhooks", services: []string{"ingress"}},
	{key: "webhook-secret", secret: true, aliases: []string{"WEBHOOK_SECRET", "GH_WEBHOOK_SECRET"}, services: []string{"ingress"}},
	{key: "webhook-secret-file", usage: "file with the webhook secret, one a line while it is changed", services: []string{"ingress"}},
	{key: "github-url", usage: "GitHub Enterprise or emulator address (default github.com)", services: []string{"ingress", "planner", "reporter", Preview}},
	{key: "github-pace", value: "true", usage: "keep a pace that meets no limit of GitHub; false where the server has none", services: []string{"planner", "reporter"}},
	{key: "app-id", value: "0", usage: "id of the GitHub App", aliases: []string{"GITHUB_APP_ID", "GH_APP_ID"}, services: []string{"ingress", "planner", "reporter", Preview}},
	{key: "private-key", secret: true, aliases: []string{"GITHUB_PRIVATE_KEY", "GH_PRIVATE_KEY", "PRIVATE_KEY"}, services: []string{"ingress", "planner", "reporter", Preview}},
	{key: "private-key-file", usage: "file with the App's private key, PEM", aliases: []string{"PRIVATE_KEY_PATH"}, services: []string{"ingress", "planner", "reporter", Preview}},
	{key: "sweep-interval", value: "5m", usage: "time between two looks for webhooks that were missed; 0 for none", services: []string{"ingress"}},
	{key: "pulls-interval", value: "1h", usage: "time between two looks for open pull requests that were never planned; 0 for none", services: []string{"planner"}},
	{key: "pages-listen", value: ":8081", usage: "address for report pages", services: []string{"reporter"}},
	{key: "public-url", usage: "address of the report pages as people reach it, and as jobs on other machines fetch their source", services: []string{"reporter", "launcher"}},
	{key: "data", value: ".litci", usage: "directory of everything kept on this machine", services: []string{"launcher", "watcher", Operator}},
	{key: "executor", value: "local", usage: "where jobs run: " + strings.Join(executors, " or "), services: []string{"launcher", "watcher"}},
	{key: "docker-host", usage: "address of the Docker engine (default this machine's)", aliases: []string{"DOCKER_HOST"}, services: []string{"launcher", "watcher"}},
	{key: "docker-instance", usage: "name of this installation, where several share a Docker engine (default litci)", services: []string{"launcher", "watcher"}},
	{key: "docker-shim", usage: "static build of litci that is copied into containers (default litci-shim beside this program, or this program)", services: []string{"launcher", "watcher"}},
	{key: "docker-image", usage: "container image for jobs whose workflow names none (default ubuntu:22.04)", services: []string{"launcher"}},
	{key: "docker-pull", value: "missing", usage: "when images are pulled: " + strings.Join(pulls, ", "), services: []string{"launcher"}},
	{key: "docker-config", usage: "file like ~/.docker/config.json with the credentials of registries", services: []string{"launcher"}},
	{key: "docker-network", usage: "network of the containers, or none (default one of their own)", services: []string{"launcher"}},
	{key: "docker-limits", usage: "what a job may use, such as 'cpus:2 memory:4GiB pids:4096 shm:1GiB files:65536'", services: []string{"launcher"}},
	{key: "docker-machines", usage: "limits by the workflows' machines, NAME='gpus:1 memory:64GiB' separated by commas; * is for all others", services: []string{"launcher"}},
	{key: "docker-user", usage: "user that jobs run as, as in docker run --user (default the image's)", services: []string{"launcher"}},
	{key: "docker-capabilities", usage: "Linux capabilities that jobs keep, separated by commas (default none)", services: []string{"launcher"}},
	{key: "lightning-user-id", usage: "id of the Lightning AI account; a key that belongs to one teamspace needs none", aliases: []string{"LIGHTNING_USER_ID"}, services: []string{"launcher", "watcher"}},
	{key: "lightning-api-key", secret: true, aliases: []string{"LIGHTNING_API_KEY"}, services: []string{"launcher", "watcher"}},
	{key: "lightning-api-key-file", usage: "file with the Lightning AI key; an empty one is none", services: []string{"launcher", "watcher"}},
	{key: "lightning-teamspace", usage: "Lightning AI teamspace that jobs run in, owner/name", aliases: []string{"LIGHTNING_TEAMSPACE"}, services: []string{"launcher", "watcher"}},
	{key: "lightning-url", usage: "address of Lightning AI (default https://lightning.ai)", aliases: []string{"LIGHTNING_CLOUD_URL"}, services: []string{"launcher", "watcher"}},
	{key: "lightning-cluster", usage: "cloud account that Lightning AI's machines come from (default the teamspace's)", services: []string{"launcher"}},
	{key: "lightning-machines", usage: "machines by the workflows' names before the built-in ones, NAME=MACHINE separated by commas", services: []string{"launcher"}},
	{key: "lightning-image-secret", usage: "registry credential stored at Lightning AI, for private images", services: []string{"launcher"}},
	{key: "lightning-instance", usage: "name of this installation, where several share a teamspace", services: []string{"launcher", "watcher"}},
	{key: "kubernetes-kubeconfig", usage: "kubeconfig file of the Kubernetes cluster (default the cluster that litci runs in)", aliases: []string{"KUBECONFIG"}, services: []string{"launcher", "watcher"}},
	{key: "kubernetes-context", usage: "context of the kubeconfig file (default its current one)", services: []string{"launcher", "watcher"}},
	{key: "kubernetes-namespace", usage: "Kubernetes namespace that jobs run in (default that of the context, or of litci's own pod)", services: []string{"launcher", "watcher"}},
	{key: "kubernetes-instance", usage: "name of this installation, where several share a namespace", services: []string{"launcher", "watcher"}},
	{key: "kubernetes-profile", value: "restricted", usage: "what pods may do: restricted, or baseline for images that need root", services: []string{"launcher"}},
	{key: "kubernetes-user", value: "1000", usage: "user number of restricted pods", services: []string{"launcher"}},
	{key: "kubernetes-pull-secrets", usage: "Secrets with registry credentials for images, separated by commas", services: []string{"launcher"}},
	{key: "kubernetes-service-account", usage: "service account of pods, whose token is not mounted (default the namespace's)", services: []string{"launcher"}},
	{key: "kubernetes-source-image", usage: "image that fetches the source in a pod (default " + kubernetesSourceImage + ")", services: []string{"launcher"}},
	{key: "kubernetes-start-deadline", value: "30m", usage: "end of a pod that has not begun, for whatever reason", services: []string{"launcher", "watcher"}},
	{key: "kubernetes-trouble-deadline", value: "5m", usage: "end of a pod whose image cannot be pulled, or that the cluster refuses", services: []string{"launcher", "watcher"}},
	{key: "kubernetes-machines", file: true, services: []string{"launcher"}},
	{key: "kubernetes-labels", file: true, services: []string{"launcher"}},
	{key: "kubernetes-annotations", file: true, services: []string{"launcher"}},
	{key: "kubernetes-log-head", value: "0", file: true, services: []string{"launcher"}},
	{key: "kubernetes-log-tail", value: "0", file: true, services: []string{"launcher"}},
	{key: "pool", usage: "named pool of machines to serve", services: []string{"launcher", "watcher"}},
	{key: "slots", value: strconv.Itoa(runtime.NumCPU()), usage: "jobs at once on this executor", services: []string{"launcher"}},
	{key: "repository-jobs", value: "0", usage: "jobs at once of one repository, over all executors (default no limit)", services: []string{"launcher"}},
	{key: "installation-jobs", value: "0", usage: "jobs at once of one installation, over all executors (default no limit)", services: []string{"launcher"}},
	{key: "infra-retries", value: "2", usage: "how often a job is tried again whose machine failed", services: []string{"launcher", "watcher", "reporter"}},
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
	{key: "ack-wait", value: "0s", usage: "how long a crash goes unnoticed (default by consumer)", services: daemons},
	{key: "admin-listen", value: "127.0.0.1:9090", usage: "address for health and metrics", services: daemons},
	{key: "log-level", value: "info", usage: "debug, info, warn or error", services: daemons},
	{key: "log-format", value: "console", usage: "console or json", services: daemons},
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
	switch {
	case s.file:
		return key + " (in the configuration file)"
	case s.secret:
		return strings.Join(s.names(), " or ")
	}
	return "--" + s.key + " (" + strings.Join(s.names(), ", ") + ")"
}

// AddFlags adds the flags of the named services: ingress, planner, launcher,
// watcher, reporter, and nats for the server in the process and the topology.
func AddFlags(flags *pflag.FlagSet, services ...string) {
	flags.String("config", "", "configuration file (YAML); its keys are the names of these flags")
	for _, s := range settings {
		if s.secret || s.file || !s.concerns(services) {
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
