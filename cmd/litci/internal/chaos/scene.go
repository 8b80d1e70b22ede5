package chaos

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/cmd/litci/internal/loopback"
	"github.com/litci/litci/cmd/litci/internal/mesh"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/executor/local"
	"github.com/litci/litci/pkg/executor/open"
	"github.com/litci/litci/pkg/fakegithub"
)

// appID is the App that the emulator knows.
const appID = "1"

// The settings that make a run short: a crash is noticed after ackWait, a missed
// webhook within sweepInterval.
const (
	ackWait       = 2 * time.Second
	sweepInterval = 2 * time.Second
	storage       = 4 << 30
)

// scene is everything around the processes: folders, addresses, keys, the
// repository and the network before litci.
type scene struct {
	options Options
	dir     string
	// config are the executor's settings.
	config    *config.Config
	marks     marks
	program   string
	keyFile   string
	secret    string
	repo      *repository
	forwarder *forwarder
	hub       *hub

	githubAddress, natsAddress string
	// admins are the addresses of the replicas by service, pages those of reporters.
	admins map[string][]string
	pages  []string
}

func (s *scene) logs() string    { return filepath.Join(s.dir, "logs") }
func (s *scene) data() string    { return filepath.Join(s.dir, "data") }
func (s *scene) natsDir() string { return filepath.Join(s.dir, "server") }
func (s *scene) natsURL() string { return "nats://" + s.natsAddress }
func (s *scene) natsKey() string { return filepath.Join(s.natsDir(), "nats", "litci.nk") }

// newScene makes everything below dir. Close ends it, also when it failed.
func newScene(ctx context.Context, o Options, dir string, events []Event) (*scene, error) {
	s := &scene{options: o, dir: dir, keyFile: filepath.Join(dir, "app.pem"), secret: rand.Text(), admins: map[string][]string{}}
	var err error
	if s.program, err = os.Executable(); err != nil {
		return s, fmt.Errorf("path of this program: %w", err)
	}
	// The account that jobs run under passes through to its job and to the marks.
	if err := os.Chmod(dir, 0o711); err != nil {
		return s, fmt.Errorf("chaos: %w", err)
	}
	if err := os.Mkdir(s.logs(), 0o700); err != nil {
		return s, fmt.Errorf("chaos: %w", err)
	}
	if err := os.Mkdir(s.data(), 0o700); err != nil {
		return s, fmt.Errorf("chaos: %w", err)
	}
	if err := os.Chmod(s.data(), 0o711); err != nil {
		return s, fmt.Errorf("chaos: %w", err)
	}
	s.config = &config.Config{Executor: o.Executor, Data: s.data(), Docker: config.Docker{Host: os.Getenv("DOCKER_HOST"), Image: o.Image}}
	if err := mesh.Private(ctx, s.config, dir); err != nil {
		return s, err
	}
	if s.marks, err = newMarks(s.config, dir); err != nil {
		return s, err
	}
	if s.repo, err = newRepository(ctx, filepath.Join(dir, "repositories"), s.marks.folder(), o.installations(), events); err != nil {
		return s, err
	}
	key, err := fakegithub.NewKey()
	if err != nil {
		return s, err
	}
	if err := os.WriteFile(s.keyFile, fakegithub.EncodeKey(key), 0o600); err != nil {
		return s, fmt.Errorf("chaos: %w", err)
	}
	return s, s.takeAddresses()
}

func (s *scene) takeAddresses() error {
	ports := loopback.New()
	var failed error
	take := func() string {
		address, err := ports.Take()
		failed = errors.Join(failed, err)
		return address
	}
	s.githubAddress, s.natsAddress = take(), take()
	s.hub = newHub(s.githubAddress)
	var hooks []string
	for range s.options.Replicas {
		for _, service := range services() {
			s.admins[service] = append(s.admins[service], take())
		}
		hooks, s.pages = append(hooks, take()), append(s.pages, take())
	}
	if failed != nil {
		return failed
	}
	var err error
	s.forwarder, err = newForwarder(hooks)
	return err
}

// environ is a process's whole environment: nothing that the user has set for a mesh
// of their own, and for each kind only the secrets that it needs.
func (s *scene) environ(kind string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir(),
		"LITCI_LOG_FORMAT=json", "LITCI_ACK_WAIT=" + ackWait.String(),
	}
	if kind == kindNATS {
		return append(env, "LITCI_NATS_MAX_BYTES="+strconv.Itoa(storage))
	}
	env = append(env, "LITCI_NATS_URL="+s.natsURL(), "LITCI_NATS_NKEY="+s.natsKey())
	switch kind {
	case "launcher", "watcher":
		env = append(env, "LITCI_DATA="+s.data(), "LITCI_EXECUTOR="+s.options.Executor, "LITCI_SLOTS="+strconv.Itoa(s.options.Slots))
		env = append(env, s.docker()...)
	case "ingress":
		env = append(env, "LITCI_WEBHOOK_SECRET="+s.secret, "LITCI_SWEEP_INTERVAL="+sweepInterval.String())
	case "reporter":
		env = append(env, "LITCI_PUBLIC_URL=http://"+s.pages[0])
	}
	if kind == "ingress" || kind == "planner" || kind == "reporter" {
		env = append(env, "LITCI_GITHUB_URL=http://"+s.githubAddress, "LITCI_APP_ID="+appID, "LITCI_PRIVATE_KEY_FILE="+s.keyFile,
			"LITCI_GITHUB_PACE="+strconv.FormatBool(s.options.GitHubLimits))
	}
	return env
}

// docker are the settings of a process that reaches the engine.
func (s *scene) docker() []string {
	d := s.config.Docker
	env := []string{"LITCI_DOCKER_INSTANCE=" + d.Instance, "LITCI_DOCKER_SHIM=" + d.Shim, "LITCI_DOCKER_IMAGE=" + d.Image, "LITCI_DOCKER_HOST=" + d.Host}
	for _, name := range []string{"DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION"} {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// connect reaches the streams as a service does.
func (s *scene) connect() (*bus.Bus, error) {
	return bus.Connect(bus.Config{Name: "chaos", URL: s.natsURL(), NKey: s.natsKey()}, zap.NewNop(), nil)
}

// jobsWithin bounds how long jobs may take to end when the run does.
const jobsWithin = 2 * time.Minute

// endJobs ends what still runs, and removes all jobs when they are not kept. Those on
// an engine go with a failed run too: others use it, and their logs are in the streams.
func (s *scene) endJobs(keep bool) error {
	if s.marks == nil {
		return nil // no launcher came so far
	}
	jobs, err := open.Executor(s.config, nil, zap.NewNop())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), jobsWithin)
	defer cancel()
	err = mesh.EndJobs(ctx, jobs, time.Second, nil)
	if keep && (s.options.Keep || s.config.Executor == local.Kind) {
		return err
	}
	return errors.Join(err, mesh.RemoveJobs(ctx, jobs))
}
