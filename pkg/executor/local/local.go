// Package local runs jobs on this machine: each under a supervisor process of
// its own, which outlives the process that started it and writes the exit status
// and the log to disk. It is for Linux, and for code that is trusted.
//
// # What a job is on disk
//
// A job is a folder below Config.Dir, named by its id:
//
//	launch      lock: who holds it prepares, removes or collects the job
//	lock        lock: the supervisor holds it as long as it lives
//	job.json    what was asked for; the last thing that preparing writes
//	script.sh   the script, and env, its environment until it has begun
//	state.json  written by the supervisor, before the script begins and at its end
//	stop.json   a request to stop
//	log/        the output, in segments
//	workspace/  the source; also home/, tmp/ and summary.md
//
// Nothing else is remembered anywhere, so any process with the same Config.Dir
// carries on after any crash. The lock says whether a supervisor lives (the
// kernel drops it with the process) and state.json says what it did: a state
// that says started while nobody holds the lock is a lost job. No state means
// that the script has never been begun, so that it may be.
//
// # Limits
//
// A job that runs as the user of the bot can read what the bot can read, and can
// forge its own state. Config.User parts job and bot, but not two jobs that run
// at the same time under that user. A process that both leaves the process tree
// of a job whose supervisor was killed and clears its environment is not found
// again.
//
// A supervisor dies with its container or its systemd unit: run the bot on the
// bare host, or in a unit with KillMode=process.
package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/executor"
)

// Kind is the executor's name in handles and logs.
const Kind = "local"

// Config says where and how jobs run.
type Config struct {
	// Dir holds the jobs. It is made when it is missing, with mode 0700; a
	// directory that others own or can enter is refused. It must be on a local disk.
	Dir string
	// Command is the argument list that runs Supervise, to which the job's folder is
	// added: normally this program and "supervise".
	Command []string
	// User, a name or a numeric id, runs the jobs; only root can ask for it. Empty
	// means the bot's own user.
	User string
	// AllowForks runs code from forks too. Without it they are refused.
	AllowForks bool
	// Host names this machine in handles; empty means os.Hostname.
	Host string
	// Log tells about jobs that were started, lost or removed. Nil is silent.
	Log *zap.Logger
}

// Executor runs jobs on this machine.
type Executor struct {
	dir     string
	command []string
	bash    string
	path    string
	user    *identity
	forks   bool
	host    string
	boot    string
	log     *zap.Logger

	// step is called between the steps of Start. Tests end the process there.
	step func(string)

	mu       sync.Mutex
	children map[int]struct{}
}

var (
	_ executor.Executor = (*Executor)(nil)
	_ executor.Placed   = (*Executor)(nil)
)

// New checks the machine and the state directory and returns an Executor.
//
// Jobs see the PATH that this process has now, because the tools of a machine
// are where its operator put them; Spec.Env may set another.
func New(config Config) (*Executor, error) {
	if len(config.Command) == 0 {
		return nil, errors.New("local executor: no command to run the supervisor")
	}
	program, err := exec.LookPath(config.Command[0])
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return nil, fmt.Errorf("local executor: supervisor: %w", err)
	}
	bash, err := exec.LookPath("bash")
	if err == nil {
		bash, err = filepath.Abs(bash)
	}
	if err != nil {
		return nil, fmt.Errorf("local executor needs bash: %w", err)
	}
	boot, err := bootID()
	if err != nil {
		return nil, fmt.Errorf("local executor: %w", err)
	}
	host := config.Host
	if host == "" {
		if host, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("local executor: name of this machine: %w", err)
		}
	}
	log := config.Log
	if log == nil {
		log = zap.NewNop()
	}
	var who *identity
	if config.User != "" {
		if os.Geteuid() != 0 {
			return nil, fmt.Errorf("local executor: jobs can run as user %q only when litci runs as root; start it as root or leave the job user out", config.User)
		}
		if who, err = lookupIdentity(config.User); err != nil {
			return nil, fmt.Errorf("local executor: %w", err)
		}
	} else {
		log.Warn("jobs share the bot's user", zap.Int("uid", os.Geteuid()))
	}
	dir, err := openDir(config.Dir, who)
	if err != nil {
		return nil, fmt.Errorf("local executor: %w", err)
	}
	return &Executor{
		dir:      dir,
		command:  append([]string{program}, config.Command[1:]...),
		bash:     bash,
		path:     searchPath(os.Getenv("PATH")),
		user:     who,
		forks:    config.AllowForks,
		host:     host,
		boot:     boot,
		log:      log,
		step:     func(string) {},
		children: map[int]struct{}{},
	}, nil
}

// Name is "local".
func (e *Executor) Name() string { return Kind }

// Place names this machine and the state directory, with links resolved.
func (e *Executor) Place() (host, folder string) { return e.host, e.dir }

func (e *Executor) handle(id string) executor.Handle {
	return executor.Handle{Executor: Kind, ID: id, Host: e.host}
}

// find gives the folder that a handle means. A handle of another machine is an
// error and not an absent job: absent would be taken for lost.
func (e *Executor) find(h executor.Handle) (folder, error) {
	switch {
	case h.Executor != Kind:
		return folder{}, fmt.Errorf("job %q belongs to executor %q, not %q", h.ID, h.Executor, Kind)
	case h.Host != "" && h.Host != e.host:
		return folder{}, fmt.Errorf("job %s runs on machine %q; this is %q", h.ID, h.Host, e.host)
	case !ValidID(h.ID):
		return folder{}, fmt.Errorf("job id %q is malformed", h.ID)
	}
	return folder{filepath.Join(e.dir, h.ID)}, nil
}

// openDir makes the state directory, or checks the one that is there. A job user
// may pass through it, which needs the group's execute permission and no more.
func openDir(path string, who *identity) (string, error) {
	if path == "" {
		return "", errors.New("no state directory")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	allowed := os.FileMode(0o700)
	if who != nil {
		allowed = 0o710
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return "", fmt.Errorf("state directory %s belongs to user %d, not to user %d", path, owner, os.Geteuid())
	}
	if mode := info.Mode().Perm(); mode&^allowed != 0 {
		return "", fmt.Errorf("state directory %s has mode %04o and is open to others: chmod 700 %s", path, mode, path)
	}
	if who == nil {
		return path, nil
	}
	if err := os.Chown(path, -1, who.GID); err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	if err := os.Chmod(path, 0o710); err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	return path, who.canReach(path)
}

// remember notes a supervisor that this process has to reap.
func (e *Executor) remember(pid int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.children[pid] = struct{}{}
}

// reap collects supervisors that have ended since the last call, so that none
// stays a zombie longer than until the next question about any job.
func (e *Executor) reap() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for pid := range e.children {
		if got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); got == pid || errors.Is(err, syscall.ECHILD) {
			delete(e.children, pid)
		}
	}
}
