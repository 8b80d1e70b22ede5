// Package kubernetes runs jobs as batch/v1 Jobs, through the cluster's REST API.
//
// A job is one Job of one pod, named by its Spec.ID; the name is the guard against a
// second run, and an ended Job is its tombstone. An init container fetches the source
// by a one-time link. Script, environment and link are in a Secret that the Job owns,
// mounted in the init container alone.
//
// In the job's container runs the program of package wrapper. It enforces the deadline
// with every service of litci down, tells the end in the container's termination
// message, and writes places into the log, so that offsets stay exact where the node
// has rotated the log. A request to stop reaches it as an annotation of the pod, and
// not by the pod's deletion, which would take log and exit code away.
//
// Pods are of the restricted profile. Config.Profile chooses baseline, for images that
// need root. What pods may reach is the affair of the cluster's network policies.
package kubernetes

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/internal/keyed"
	"github.com/litci/litci/pkg/executor/kubernetes/machine"
)

// Kind is the executor's name in handles, configuration and logs.
const Kind = "kubernetes"

// DefaultSourceImage fetches sources: it has sh, curl, tar, gzip and certificates.
const DefaultSourceImage = "docker.io/curlimages/curl:8.11.1"

// Profile is how much a pod may do, by the names of the Pod Security Standards.
type Profile string

// The profiles.
const (
	// Restricted pods run as a user other than root and without capabilities.
	Restricted Profile = "restricted"
	// Baseline pods run as root, with a container's usual capabilities.
	Baseline Profile = "baseline"
)

// Config says where and how jobs run.
type Config struct {
	// Cluster is the API server with the credentials for it.
	Cluster Cluster
	// Namespace is where Jobs are made; empty means the one that Cluster names.
	Namespace string
	// Instance tells the jobs of several installations in one namespace apart.
	Instance string
	// Machines are the kinds of machines that workflows may name. Without an entry for
	// the default, machine.Default, there is a small one.
	Machines map[string]machine.Kind
	// Profile is empty for Restricted.
	Profile Profile
	// User is the user's number of restricted pods; zero means 1000.
	User int64
	// PullSecrets name the Secrets with registries' credentials.
	PullSecrets []string
	// ServiceAccount names the pods' account; empty means the namespace's default. Its
	// token is not mounted.
	ServiceAccount string
	// Labels and Annotations are added to each Job and its pod: for queues, for meshes.
	Labels, Annotations map[string]string
	// SourceImage is the init container's image; empty means DefaultSourceImage.
	SourceImage string
	// StartDeadline bounds the wait for a job's start, for whatever reason; zero means
	// 30 minutes. TroubleDeadline bounds it where an image cannot be pulled or the cluster
	// refuses the pod; zero means 5 minutes.
	StartDeadline, TroubleDeadline time.Duration
	// Retention is when the cluster deletes ended Jobs by itself; zero means 48 hours. It
	// must be longer than a message that starts a job can live.
	Retention time.Duration
	// LogHead and LogTail bound what is kept of a log's beginning and end, in bytes; zero
	// means 2 and 6 MiB. Together they fit into one log file of a node (10 MiB by default),
	// and so survive when nobody reads them for a while.
	LogHead, LogTail int64

	// SourceURL gives the address from which the pod fetches the commit's archive, without
	// credentials. It is asked before a Job is made, and again when a crash may have kept
	// the answer from the cluster. The address must outlast the wait for a node, and serve
	// one attempt once.
	SourceURL func(ctx context.Context, job executor.Spec) (string, error)

	// Client makes the requests; nil means one for Cluster's certificates.
	Client *http.Client
	// Log is told of what an operator may want to know; nil means nobody is.
	Log *zap.Logger
	// Pace is how patient the executor is; the zero value is meant for real clusters.
	Pace Pace
}

// Pace is how long to wait for what.
type Pace struct {
	// Call bounds one request; 0 means 30 s.
	Call time.Duration
	// Retry is the first wait before a repeated request, doubled each time; 0 means
	// 250 ms.
	Retry time.Duration
	// Fresh is how long one look at all jobs serves; 0 means 2 s.
	Fresh time.Duration
	// Events is how long to wait before asking why a Job has no pod, and again; 0 means
	// 10 s.
	Events time.Duration
	// Deletion bounds the wait for what is being deleted; 0 means 20 s.
	Deletion time.Duration
	// Unheeded is how long a request to stop may go unheeded, beyond its grace, before
	// the pod is deleted; 0 means 2 minutes.
	Unheeded time.Duration
}

func (p *Pace) fill() {
	p.Call = cmp.Or(p.Call, 30*time.Second)
	p.Retry = cmp.Or(p.Retry, 250*time.Millisecond)
	p.Fresh = cmp.Or(p.Fresh, 2*time.Second)
	p.Events = cmp.Or(p.Events, 10*time.Second)
	p.Deletion = cmp.Or(p.Deletion, 20*time.Second)
	p.Unheeded = cmp.Or(p.Unheeded, 2*time.Minute)
}

// Executor runs jobs on a cluster.
type Executor struct {
	config Config
	client *client
	log    *zap.Logger

	starting keyed.Lock
	seen     snapshot
	places   memory[place]
	secrets  memory[bool]
	refusals memory[refusal]
}

var (
	_ executor.Executor  = (*Executor)(nil)
	_ executor.Lister    = (*Executor)(nil)
	_ executor.Collector = (*Executor)(nil)
	_ executor.Checker   = (*Executor)(nil)
)

// New returns an executor. It makes no request; Check does.
func New(config Config) (*Executor, error) {
	config.Namespace = cmp.Or(config.Namespace, config.Cluster.Namespace, "default")
	config.Profile = cmp.Or(config.Profile, Restricted)
	config.User = cmp.Or(config.User, 1000)
	config.SourceImage = cmp.Or(config.SourceImage, DefaultSourceImage)
	config.StartDeadline = cmp.Or(config.StartDeadline, 30*time.Minute)
	config.TroubleDeadline = cmp.Or(config.TroubleDeadline, 5*time.Minute)
	config.Retention = cmp.Or(config.Retention, 48*time.Hour)
	config.LogHead = cmp.Or(config.LogHead, 2<<20)
	config.LogTail = cmp.Or(config.LogTail, 6<<20)
	config.Pace.fill()
	if config.Log == nil {
		config.Log = zap.NewNop()
	}
	switch {
	case config.Profile != Restricted && config.Profile != Baseline:
		return nil, fmt.Errorf("kubernetes: profile %q is neither %q nor %q", config.Profile, Restricted, Baseline)
	case !validName(config.Namespace):
		return nil, fmt.Errorf("kubernetes: namespace %q is malformed", config.Namespace)
	case config.Instance != "" && !validLabel(config.Instance):
		return nil, fmt.Errorf("kubernetes: instance %q must be at most 63 letters, digits, dashes, dots", config.Instance)
	}
	for name, kind := range config.Machines {
		if err := kind.Check(); err != nil {
			return nil, fmt.Errorf("kubernetes: machine %s: %w", name, err)
		}
	}
	c, err := newClient(config.Cluster, config.Client, config.Pace)
	if err != nil {
		return nil, err
	}
	return &Executor{config: config, client: c, log: config.Log}, nil
}

// Name is "kubernetes".
func (e *Executor) Name() string { return Kind }

func (e *Executor) jobs(name string) string {
	return named("/apis/batch/v1/namespaces/"+e.config.Namespace+"/jobs", name)
}

func (e *Executor) pods(name string) string {
	return named("/api/v1/namespaces/"+e.config.Namespace+"/pods", name)
}

func (e *Executor) secretsPath(name string) string {
	return named("/api/v1/namespaces/"+e.config.Namespace+"/secrets", name)
}

func (e *Executor) events() string {
	return "/api/v1/namespaces/" + e.config.Namespace + "/events"
}

func named(path, name string) string {
	if name == "" {
		return path
	}
	return path + "/" + name
}

func (e *Executor) handle(j *job) executor.Handle {
	return executor.Handle{Executor: Kind, ID: j.Metadata.Name, Ref: j.Metadata.UID}
}

// validName says whether a text is a label of DNS, as names of namespaces and Jobs are.
func validName(text string) bool {
	return text != "" && len(text) <= 63 && strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" &&
		text[0] != '-' && text[len(text)-1] != '-'
}

// validLabel says whether a text may be the value of a label.
func validLabel(text string) bool {
	const ends = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return len(text) <= 63 && strings.Trim(text, ends+"-_.") == "" &&
		(text == "" || strings.IndexByte(ends, text[0]) >= 0 && strings.IndexByte(ends, text[len(text)-1]) >= 0)
}

// maxMemory bounds how many jobs are remembered.
const maxMemory = 5000

// memory is what this process has found out of jobs, by their UIDs. None of it is
// needed: another process finds out again.
type memory[T any] struct {
	mu sync.Mutex
	of map[string]T
}

func (m *memory[T]) get(uid string) (T, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, found := m.of[uid]
	return value, found
}

func (m *memory[T]) put(uid string, value T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[string]T{}
	}
	if _, known := m.of[uid]; !known {
		for other := range m.of {
			if len(m.of) < maxMemory {
				break
			}
			delete(m.of, other)
		}
	}
	m.of[uid] = value
}

func (m *memory[T]) drop(uid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.of, uid)
}
