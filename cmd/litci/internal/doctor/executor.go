package doctor

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"syscall"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/local"
	"github.com/litci/litci/pkg/executor/open"
)

// executor looks at the executor of one pool.
func (r *Report) executor(ctx context.Context, cfg *config.Config) {
	what := ofPool(cfg) + "executor " + cfg.Executor
	// Opening it would make its folders, perhaps as another user than litci's.
	if cfg.Executor == local.Kind {
		r.local(cfg, what)
		return
	}
	e, err := open.Executor(cfg, nil, zap.NewNop())
	if err != nil {
		r.add(what, Fail, err.Error(), "see Executors in docs/operations.md")
		return
	}
	checker, ok := e.(executor.Checker)
	if !ok {
		r.add(what, OK, "its settings are well-formed", "")
		return
	}
	if err := checker.Check(ctx); err != nil {
		r.add(what, Fail, err.Error(), "correct what it names; the launcher asks again by itself")
		return
	}
	r.add(what, OK, "it answers and would take jobs", "")
}

// ofPool begins a finding about a named pool.
func ofPool(cfg *config.Config) string {
	if cfg.Pool == "" {
		return ""
	}
	return "pool " + cfg.Pool + ": "
}

func (r *Report) local(cfg *config.Config, what string) {
	r.program(what+": bash", "bash", Fail, "jobs are bash scripts")
	r.program(what+": git", "git", Warn, "most jobs use it")
	r.jobUser(cfg, what+": job user")
	r.disk(cfg, what+": disk")
	r.supervisor(what + ": supervisor")
}

func (r *Report) program(what, name string, state State, why string) {
	if path, err := exec.LookPath(name); err == nil {
		r.add(what, OK, path, "")
		return
	}
	r.add(what, state, "it is not in PATH: "+why, "install "+name)
}

func (r *Report) jobUser(cfg *config.Config, what string) {
	root := os.Geteuid() == 0
	switch {
	case cfg.JobUser == "" && root:
		r.add(what, Warn, "jobs would run as root", "make an account for jobs and name it by --job-user")
	case cfg.JobUser == "":
		r.add(what, Warn, "jobs share litci's user and can read its files", "run litci as root with --job-user, where the code is not trusted as litci is")
	case !root:
		r.add(what, Fail, fmt.Sprintf("jobs can run as user %q only when litci runs as root", cfg.JobUser), "start it (and litci doctor) as root, or leave --job-user out")
	default:
		_, err := user.Lookup(cfg.JobUser)
		if err != nil {
			_, err = user.LookupId(cfg.JobUser)
		}
		if err != nil {
			r.add(what, Fail, fmt.Sprintf("there is no user %q", cfg.JobUser), "make it: useradd --system "+cfg.JobUser)
			return
		}
		r.add(what, OK, "jobs run as "+cfg.JobUser, "")
	}
}

// The room for jobs on a disk below which there is a warning, or a failure, in bytes.
const (
	littleRoom = 5 << 30
	noRoom     = 512 << 20
)

func (r *Report) disk(cfg *config.Config, what string) {
	const remedy = "free some, or name another directory by --data"
	dir, err := filepath.Abs(cfg.Data)
	if err != nil {
		r.add(what, Fail, err.Error(), remedy)
		return
	}
	for { // what is not there yet is made below what is
		if _, err = os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		r.add(what, Fail, dir+": "+err.Error(), remedy)
		return
	}
	free := uint64(stat.Bavail) * uint64(stat.Bsize)
	text := fmt.Sprintf("%.1f GiB are free at %s", float64(free)/(1<<30), dir)
	switch {
	case free < noRoom:
		r.add(what, Fail, text, remedy)
	case free < littleRoom:
		r.add(what, Warn, text, remedy)
	default:
		r.add(what, OK, text, "")
	}
}

func (r *Report) supervisor(what string) {
	path, err := os.Executable()
	if err != nil {
		r.add(what, Fail, err.Error(), "start litci by its path")
		return
	}
	static, err := isStatic(path)
	switch {
	case err != nil:
		r.add(what, Warn, path+" is no ELF program: "+err.Error(), "use a build for this system")
	case static:
		r.add(what, OK, path+" is a static build, which runs in containers too", "")
	default:
		r.add(what, OK, path+" is a dynamic build: good here, and not inside containers (CGO_ENABLED=0 go build makes a static one)", "")
	}
}

// isStatic says that a program needs nothing of the system that it runs on.
func isStatic(path string) (bool, error) {
	program, err := elf.Open(path)
	if err != nil {
		return false, err
	}
	defer program.Close()
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP {
			return false, nil
		}
	}
	return true, nil
}
