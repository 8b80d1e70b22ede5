// Package config reads litci's settings from flags, the environment, a .env file
// and a configuration file, strongest first, and sets up logging from them.
package config

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
	"github.com/subosito/gotenv"

	"github.com/litci/litci/pkg/bus"
)

// Config is every setting of every service. A service reads the few that it
// needs.
type Config struct {
	// Listen is where webhooks come in, PagesListen where report pages are served,
	// AdminListen where health and metrics are.
	Listen      string
	PagesListen string
	AdminListen string
	// PublicURL is the address of the report pages as people reach it, without a
	// trailing slash. Jobs on other machines fetch their source there.
	PublicURL string

	// GitHubURL is a GitHub Enterprise server or the emulator; empty is github.com.
	GitHubURL string
	// GitHubPace keeps under GitHub's limits before they are met.
	GitHubPace bool
	AppID      int64
	// PrivateKey is the App's key, PEM.
	PrivateKey []byte
	// SweepInterval is the time between two looks at GitHub's log of deliveries,
	// PullsInterval that between two looks at the open pull requests; 0 is never.
	SweepInterval time.Duration
	PullsInterval time.Duration
	// WebhookSecrets are all accepted: two while a secret is changed.
	WebhookSecrets []string

	NATS NATS

	// Data is the directory of everything that litci keeps on this machine.
	Data string
	// Executor is the kind of the place where jobs run, one of Executors.
	Executor   string
	Docker     Docker
	Lightning  Lightning
	Kubernetes Kubernetes
	// Pool is the named pool of machines that this launcher and watcher serve.
	Pool string
	// Pools are the pools of the configuration file, each with settings of its own; see
	// Served.
	Pools []*Config
	// Slots is how many jobs run at once on this executor.
	Slots int
	// RepositoryJobs and InstallationJobs bound the jobs at once of one repository and
	// of one installation over all executors; 0 is no limit.
	RepositoryJobs   int
	InstallationJobs int
	// InfraRetries is how often a job is tried again whose machine failed.
	InfraRetries int
	// QueueTimeout ends a job that no slot became free for.
	QueueTimeout time.Duration
	// JobUser is the account that jobs run under when litci is root.
	JobUser string
	// AllowForks lets the local executor run the code of forks.
	AllowForks bool
	// Retention is how long ended jobs stay on the executor.
	Retention time.Duration

	LogLevel  string
	LogFormat string
}

// NATS is how to reach the server, or how to run one.
type NATS struct {
	// URL is a list of servers, separated by commas; empty runs a server in the process.
	URL      string
	Creds    string
	NKey     string
	User     string
	Password string
	CA       string
	Cert     string
	Key      string
	// Listen is where the server in the process listens.
	Listen string
	// SyncAlways makes the server in the process write to the disk before it answers.
	SyncAlways bool
	// MaxBytes and Replicas size the streams when they are created.
	MaxBytes int64
	Replicas int
	// AckWait is how long a crash goes unnoticed; 0 is the default of each consumer.
	AckWait time.Duration
}

// Error lists everything that is wrong with the settings.
type Error struct{ Problems []string }

// Error is one message that lists them all.
func (e *Error) Error() string {
	return "settings:\n  " + strings.Join(e.Problems, "\n  ")
}

// Options say where settings come from beside flags and the environment.
type Options struct {
	// DotEnv is the path of a .env file that need not exist; empty reads none.
	DotEnv string
	// Environ is the environment; nil is the process's.
	Environ []string
}

// Load reads the settings and checks them for the named services, as Validate
// does. Everything that is wrong is listed in one *Error.
func Load(flags *pflag.FlagSet, opt Options, services ...string) (*Config, error) {
	environ := opt.Environ
	if environ == nil {
		environ = os.Environ()
	}
	env := map[string]string{}
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok {
			env[name] = value
		}
	}
	r := newReader()
	pools := r.file(flags, env["LITCI_CONFIG"])
	if opt.DotEnv != "" {
		r.dotEnv(opt.DotEnv)
	}
	r.named(env)
	r.flags(flags)
	cfg := r.config()
	cfg.Pools = r.pools(pools, cfg.Pool, flags)
	for _, p := range cfg.problems(services) {
		// What could not be read is also missing or wrong: once is enough.
		if !slices.ContainsFunc(r.problems, func(said problem) bool { return p.key != "" && said.key == p.key }) {
			r.problems = append(r.problems, p)
		}
	}
	if slices.Contains(services, Operator) {
		// Whoever looks at a mesh need not be able to read its secrets.
		r.problems = slices.DeleteFunc(r.problems, func(p problem) bool {
			s, known := find(p.key)
			return known && !s.concerns(services)
		})
	}
	if err := listed(r.problems); err != nil {
		return nil, err
	}
	return cfg, nil
}

// problem is what is wrong with a setting.
type problem struct{ key, text string }

func listed(problems []problem) error {
	if len(problems) == 0 {
		return nil
	}
	e := &Error{}
	for _, p := range problems {
		e.Problems = append(e.Problems, p.text)
	}
	return e
}

type reader struct {
	v *viper.Viper
	// parts are the values that stand in the configuration file alone.
	parts    section
	problems []problem
}

func newReader() *reader {
	r := &reader{v: viper.New(), parts: section{}}
	for _, s := range settings {
		r.v.SetDefault(s.key, s.value)
	}
	return r
}

// problem says what is wrong with a setting, behind its names.
func (r *reader) problem(key, format string, args ...any) {
	r.problems = append(r.problems, problem{key, describe(key) + ": " + fmt.Sprintf(format, args...)})
}

// wrong says what is wrong with a source of settings.
func (r *reader) wrong(format string, args ...any) {
	r.problems = append(r.problems, problem{text: fmt.Sprintf(format, args...)})
}

func (r *reader) merge(key string, value any) {
	if err := r.v.MergeConfigMap(map[string]any{key: value}); err != nil {
		r.problem(key, "%v", err)
	}
}

func (r *reader) dotEnv(path string) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		r.wrong(".env: %v", err)
		return
	}
	defer file.Close()
	values, err := gotenv.StrictParse(file)
	if err != nil {
		r.wrong("%s: %v", path, err)
		return
	}
	r.named(values)
}

// named takes values by the names of environment variables; a setting's own name
// is stronger than one that users of older bots have.
func (r *reader) named(values map[string]string) {
	for _, s := range settings {
		for _, name := range s.names() {
			if value := values[name]; value != "" {
				r.merge(s.key, value)
				break
			}
		}
	}
}

func (r *reader) flags(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if _, known := find(f.Name); known && f.Changed {
			r.v.Set(f.Name, f.Value.String())
		}
	})
}

func (r *reader) config() *Config {
	return &Config{
		Listen: r.text("listen"), PagesListen: r.text("pages-listen"), AdminListen: r.text("admin-listen"),
		PublicURL: strings.TrimRight(r.url("public-url"), "/"),
		GitHubURL: strings.TrimRight(r.url("github-url"), "/"), GitHubPace: r.flag("github-pace"), AppID: r.number("app-id"),
		PrivateKey: r.privateKey(), WebhookSecrets: r.secrets(),
		NATS: NATS{
			URL: r.text("nats-url"), Creds: r.text("nats-creds"), NKey: r.text("nats-nkey"),
			User: r.text("nats-user"), Password: r.text("nats-password"),
			CA: r.text("nats-ca"), Cert: r.text("nats-cert"), Key: r.text("nats-key"),
			Listen: r.text("nats-listen"), SyncAlways: r.flag("nats-sync-always"),
			MaxBytes: r.number("nats-max-bytes"), Replicas: int(r.number("nats-replicas")), AckWait: r.duration("ack-wait"),
		},
		Data: r.text("data"), Executor: r.text("executor"), Docker: r.docker(), Lightning: r.lightning(), Kubernetes: r.kubernetes(), Pool: r.text("pool"), Slots: int(r.number("slots")),
		SweepInterval: r.duration("sweep-interval"), PullsInterval: r.duration("pulls-interval"),
		RepositoryJobs: int(r.number("repository-jobs")), InstallationJobs: int(r.number("installation-jobs")),
		InfraRetries: int(r.number("infra-retries")),
		QueueTimeout: r.duration("queue-timeout"), JobUser: r.text("job-user"), AllowForks: r.flag("allow-forks"),
		Retention: r.duration("retention"), LogLevel: r.text("log-level"), LogFormat: r.text("log-format"),
	}
}

func (r *reader) text(key string) string { return strings.TrimSpace(r.v.GetString(key)) }

func (r *reader) number(key string) int64 {
	n, err := strconv.ParseInt(r.text(key), 10, 64)
	if err != nil || n < 0 {
		r.problem(key, "%q is not a whole number of 0 or more", r.text(key))
	}
	return n
}

func (r *reader) flag(key string) bool {
	b, err := strconv.ParseBool(r.text(key))
	if err != nil {
		r.problem(key, "%q is neither true nor false", r.text(key))
	}
	return b
}

// duration takes 90s, 60m, 1h; a bare number is seconds, as JOB_QUEUE_TIMEOUT had it.
func (r *reader) duration(key string) time.Duration {
	text := r.text(key)
	if seconds, err := strconv.Atoi(text); err == nil {
		text = strconv.Itoa(seconds) + "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		r.problem(key, "%q is not a duration such as 90s, 60m or 1h", r.text(key))
	}
	return d
}

func (r *reader) url(key string) string {
	text := r.text(key)
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		r.problem(key, "%q is not an address such as https://ci.example.com", text)
	}
	return text
}

// privateKey takes the key itself from the environment, or the file that holds it.
func (r *reader) privateKey() []byte {
	inline, path := r.text("private-key"), r.text("private-key-file")
	if inline == "" && path == "" {
		return nil
	}
	if inline != "" && path != "" {
		r.problem("private-key-file", "%s is set too; keep one", describe("private-key"))
		return nil
	}
	// Environment files often carry the key in one line.
	key := []byte(strings.ReplaceAll(inline, `\n`, "\n"))
	if path != "" {
		var err error
		if key, err = os.ReadFile(path); err != nil {
			r.problem("private-key-file", "%v", err)
			return nil
		}
	}
	if err := checkPrivateKey(key); err != nil {
		r.problem("private-key-file", "the App's private key is %v; download it from the App's settings page on GitHub", err)
	}
	return key
}

func checkPrivateKey(key []byte) error {
	block, _ := pem.Decode(key)
	if block == nil {
		return errors.New("not a PEM file")
	}
	if _, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return nil
	}
	if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		return errors.New("not an RSA key")
	}
	return nil
}

// secrets takes webhook secrets from the environment, separated by commas, or from
// a file with one a line.
func (r *reader) secrets() []string {
	inline, path := r.text("webhook-secret"), r.text("webhook-secret-file")
	if inline != "" && path != "" {
		r.problem("webhook-secret", "%s is set too; keep one", describe("webhook-secret-file"))
		return nil
	}
	list := strings.Split(inline, ",")
	if path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			r.problem("webhook-secret", "%v", err)
			return nil
		}
		list = strings.Split(string(data), "\n")
	}
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

// Validate lists, in one *Error, everything that the named services lack or that
// contradicts itself. The service "nats" stands for a server in the process;
// without it one must be named. nil means that they can start.
func (c *Config) Validate(services ...string) error { return listed(c.problems(services)) }

func (c *Config) problems(services []string) []problem {
	var found []problem
	wrong := func(bad bool, key, format string, args ...any) {
		if bad {
			found = append(found, problem{key, describe(key) + fmt.Sprintf(format, args...)})
		}
	}
	runs := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(services, n) })
	}
	if runs("ingress") {
		wrong(len(c.WebhookSecrets) == 0, "webhook-secret", " is missing: without it anyone could start jobs")
	}
	if runs("planner", "reporter", Preview) {
		wrong(c.AppID <= 0, "app-id", " is missing: the number on the App's settings page")
		wrong(len(c.PrivateKey) == 0, "private-key-file", " is missing: litci speaks to GitHub as the App")
	}
	if runs("launcher", "watcher") {
		found = append(found, c.poolProblems(runs("launcher"))...)
	}
	fixed := !strings.HasSuffix(c.Listen, ":0")
	wrong(runs("ingress") && runs("reporter") && fixed && c.Listen == c.PagesListen, "pages-listen", " is the same address as --listen: %s", c.Listen)
	wrong(len(services) > 0 && !runs("nats", Operator) && c.NATS.URL == "", "nats-url", " is missing: services of their own need a server that the others reach too")
	for _, a := range [][2]string{{"listen", c.Listen}, {"pages-listen", c.PagesListen}, {"admin-listen", c.AdminListen}, {"nats-listen", c.NATS.Listen}} {
		s, _ := find(a[0])
		_, _, err := net.SplitHostPort(a[1])
		wrong(s.concerns(services) && err != nil && a[1] != "", a[0], ": %q is not an address such as 127.0.0.1:8080 or :8080", a[1])
	}
	wrong(runs("nats", "provision") && c.NATS.Replicas < 1, "nats-replicas", ": at least 1")
	wrong(runs("nats", "provision") && c.NATS.MaxBytes > 0 && c.NATS.MaxBytes < leastBytes, "nats-max-bytes", ": at least %d, or 0 for the default", leastBytes)
	own, _ := find("nats-listen")
	wrong(runs("nats") && len(services) > 1 && c.NATS.URL != "" && c.NATS.Listen != own.value, "nats-listen", " is for the server in the process, and --nats-url names another; keep one")
	return append(found, c.general()...)
}

// leastBytes is the smallest storage in which every stream has room for a run, in
// bytes.
const leastBytes = 256 << 20

// general are the problems that any process may have: with signing in to NATS, and
// with logging.
func (c *Config) general() []problem {
	var found []problem
	ways := 0
	for _, way := range []string{c.NATS.Creds, c.NATS.NKey, c.NATS.User} {
		if way != "" {
			ways++
		}
	}
	if ways > 1 {
		found = append(found, problem{text: "more than one of --nats-creds, --nats-nkey and --nats-user is set; keep one"})
	}
	if (c.NATS.Cert == "") != (c.NATS.Key == "") {
		found = append(found, problem{text: "--nats-cert and --nats-key go together"})
	}
	if _, err := level(c.LogLevel); err != nil {
		found = append(found, problem{"log-level", describe("log-level") + ": " + err.Error()})
	}
	if c.LogFormat != "console" && c.LogFormat != "json" {
		found = append(found, problem{"log-format", describe("log-format") + fmt.Sprintf(": %q is neither console nor json", c.LogFormat)})
	}
	return found
}

// serving are the problems of the launcher and watcher of one pool.
func (c *Config) serving(starts bool) []problem {
	var found []problem
	wrong := func(bad bool, key, format string, args ...any) {
		if bad {
			found = append(found, problem{key, describe(key) + fmt.Sprintf(format, args...)})
		}
	}
	wrong(c.Data == "", "data", " is missing: jobs are kept there")
	wrong(c.Slots < 1, "slots", ": at least 1")
	wrong(c.InfraRetries > 4, "infra-retries", ": at most 4, since no job is started more than five times")
	wrong(c.Pool != "" && !IsPool(c.Pool), "pool", ": a pool is a name of letters, digits, - and _, at most 64, as in a workflow's pool key, not %q", c.Pool)
	c.checkExecutor(starts, wrong)
	return found
}

// IsPool tells whether a pool can be served. It is the rule of the workflow
// language's pool key; the name becomes part of subjects and of a durable's name.
func IsPool(name string) bool {
	letters := strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
	return letters && len(name) >= 1 && len(name) <= 64
}

// Bus is the bus's part of the settings.
func (c *Config) Bus(name string) bus.Config {
	n, role := c.NATS, ""
	if c.Pool != "" && slices.Contains([]string{"launcher", "watcher", bus.Runner}, name) {
		role = bus.PoolUser(c.Pool)
	}
	return bus.Config{
		Name: name, Role: role, URL: n.URL, Creds: n.Creds, NKey: n.NKey, User: n.User, Password: n.Password,
		CA: n.CA, Cert: n.Cert, Key: n.Key, AckWait: n.AckWait,
	}
}
