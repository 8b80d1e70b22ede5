package config

import (
	"os"
	"slices"
	"strings"
)

// executors are the kinds of places where jobs run. Package open makes each.
var executors = []string{"local", "docker", "kubernetes", "lightning"}

// Executors are the kinds of places where jobs run.
func Executors() []string { return slices.Clone(executors) }

// Lightning says where on Lightning AI jobs run.
type Lightning struct {
	// URL is empty for Lightning AI itself.
	URL string
	// UserID and APIKey are the account's; a key that belongs to one teamspace needs no
	// user.
	UserID, APIKey string
	// Teamspace is "owner/name".
	Teamspace string
	// Cluster is the cloud account that machines come from.
	Cluster string
	// Machines are the service's machines by the workflows' names.
	Machines map[string]string
	// ImageSecret names a registry credential that the service stores.
	ImageSecret string
	// Instance tells installations in one teamspace apart.
	Instance string
}

func (r *reader) lightning() Lightning {
	return Lightning{
		URL: strings.TrimRight(r.url("lightning-url"), "/"), UserID: r.text("lightning-user-id"), APIKey: r.lightningKey(),
		Teamspace: r.text("lightning-teamspace"), Cluster: r.text("lightning-cluster"), Machines: r.pairs("lightning-machines", "A100=lit-a100-80gb-1"),
		ImageSecret: r.text("lightning-image-secret"), Instance: r.text("lightning-instance"),
	}
}

// lightningKey takes the key itself from the environment, or the file that holds it.
func (r *reader) lightningKey() string {
	inline, path := r.text("lightning-api-key"), r.text("lightning-api-key-file")
	if path == "" {
		return inline
	}
	if inline != "" {
		r.problem("lightning-api-key-file", "%s is set too; keep one", describe("lightning-api-key"))
		return ""
	}
	key, err := os.ReadFile(path)
	if err != nil {
		r.problem("lightning-api-key-file", "%v", err)
	}
	return strings.TrimSpace(string(key))
}

// pairs takes NAME=VALUE, separated by commas. example is one.
func (r *reader) pairs(key, example string) map[string]string {
	text := r.text(key)
	if text == "" {
		return nil
	}
	pairs := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(pair, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if name == "" || value == "" {
			r.problem(key, "%q is not a pair such as %s", strings.TrimSpace(pair), example)
			continue
		}
		if _, twice := pairs[name]; twice {
			r.problem(key, "%s is there twice", name)
		}
		pairs[name] = value
	}
	return pairs
}

// checkExecutor tells what the chosen executor lacks, with where to get it.
func (c *Config) checkExecutor(starts bool, wrong func(bad bool, key, format string, args ...any)) {
	switch c.Executor {
	case "local":
	case "docker":
		c.checkDocker(wrong)
	case "lightning":
		l := c.Lightning
		wrong(l.APIKey == "", "lightning-api-key", " is missing: it stands in the Lightning AI account's settings, under Keys; --lightning-api-key-file takes it from a file")
		wrong(l.UserID != "" && l.Teamspace == "", "lightning-teamspace", ` is missing: "owner/name", as in the address of the teamspace's page`)
		wrong(l.UserID == "" && l.Teamspace != "" && l.APIKey == "", "lightning-user-id", " is missing: it stands beside the key; only a key that belongs to one teamspace needs none")
		wrong(starts && c.PublicURL == "", "public-url", " is missing: jobs on Lightning AI fetch their source from the report pages' address, which they must reach")
	case "kubernetes":
		c.checkKubernetes(starts, wrong)
	default:
		wrong(true, "executor", ": %q is not known; the executor is %s", c.Executor, strings.Join(executors, " or "))
	}
}
