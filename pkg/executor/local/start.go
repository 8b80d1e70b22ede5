package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/executor"
)

// launches is how often Start begins a supervisor that ends without a word
// before it gives up; the caller may call again.
const launches = 3

// Start prepares the job's folder and begins its supervisor, and returns when
// the supervisor has recorded the beginning of the script, or that there was none.
// A job that was removed is not run again: its handle is returned.
func (e *Executor) Start(ctx context.Context, job executor.Spec) (executor.Handle, error) {
	e.reap()
	if job.Fork && !e.forks {
		return executor.Handle{}, &executor.StartError{
			Message: "the code comes from a fork, and this machine runs no code from forks (its operator can allow it)",
		}
	}
	if !ValidID(job.ID) {
		return executor.Handle{}, fmt.Errorf("job id %q is malformed", job.ID)
	}
	if err := executor.CheckEnv(job.Env); err != nil {
		return executor.Handle{}, err
	}
	f := folder{filepath.Join(e.dir, job.ID)}
	l, err := f.claim(ctx)
	if err != nil {
		return executor.Handle{}, fmt.Errorf("job %s: %w", job.ID, err)
	}
	defer l.release()
	e.step("claimed")
	if err := e.ensure(ctx, f, job); err != nil {
		return executor.Handle{}, err
	}
	return e.handle(job.ID), nil
}

// claim makes the folder and takes its launch lock. Whoever collects the folder
// holds that lock too, so a folder that goes away meanwhile is made again.
func (f folder) claim(ctx context.Context) (*lock, error) {
	for {
		if err := os.Mkdir(f.path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		l, err := waitLock(ctx, f.at(launchLock), true)
		if !errors.Is(err, fs.ErrNotExist) {
			return l, err
		}
	}
}

// ensure brings the job from whatever an earlier Start left to begun. It is
// called with the launch lock held.
func (e *Executor) ensure(ctx context.Context, f folder, job executor.Spec) error {
	begun, err := f.status()
	if err != nil {
		return err
	}
	if begun != nil {
		return sameHash(job, begun.Hash)
	}
	prepared, err := f.record()
	if err != nil {
		return err
	}
	if prepared != nil && prepared.Boot == e.boot {
		if err := sameHash(job, prepared.Hash); err != nil {
			return err
		}
	} else if err := e.prepare(ctx, f, job); err != nil {
		// The rest of the folder is of no use, and may be large.
		return errors.Join(err, removeTree(f.path))
	}
	return e.launch(ctx, f)
}

func sameHash(job executor.Spec, hash string) error {
	if job.Hash != hash {
		return fmt.Errorf("job %s: %w", job.ID, executor.ErrConflict)
	}
	return nil
}

// prepare fills the folder from nothing; job.json comes last and makes it count.
func (e *Executor) prepare(ctx context.Context, f folder, job executor.Spec) error {
	// A request to stop counts even when it came before the job was ready.
	if err := f.clear(launchLock, runLock, stopFile); err != nil {
		return err
	}
	e.step("cleared")
	if err := os.Mkdir(f.at(logDir), 0o700); err != nil {
		return fmt.Errorf("job %s: %w", job.ID, err)
	}
	for _, dir := range []string{workspaceDir, homeDir, tempDir} {
		if err := os.Mkdir(f.at(dir), 0o755); err != nil {
			return fmt.Errorf("job %s: %w", job.ID, err)
		}
	}
	e.step("made folders")
	var left []string
	if job.Source != nil {
		var err error
		if left, err = e.unpackSource(ctx, f, job); err != nil {
			return err
		}
	}
	e.step("unpacked")
	if err := e.writeFiles(f, job); err != nil {
		return fmt.Errorf("job %s: %w", job.ID, err)
	}
	e.step("wrote files")
	if err := f.write(jobFile, record{
		ID: job.ID, Hash: job.Hash, Boot: e.boot, Bash: e.bash,
		Timeout: job.Timeout, Grace: job.Grace, User: e.user, Left: left[:min(len(left), maxLeft)],
	}); err != nil {
		return err
	}
	e.step("prepared")
	return nil
}

// maxLeft bounds what a job's log says of links that were left out.
const maxLeft = 20

func (e *Executor) unpackSource(ctx context.Context, f folder, job executor.Spec) (left []string, err error) {
	source, err := job.Source(ctx)
	if err != nil {
		return nil, fmt.Errorf("source of job %s: %w", job.ID, err)
	}
	defer source.Close()
	root, err := os.OpenRoot(f.at(workspaceDir))
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", job.ID, err)
	}
	defer root.Close()
	return unpack(ctx, source, root, sourceLimits(), func(root *os.Root, name string) error {
		if name == "" || e.user == nil {
			return nil
		}
		return root.Lchown(name, e.user.UID, e.user.GID)
	})
}

func (e *Executor) writeFiles(f folder, job executor.Spec) error {
	if err := os.WriteFile(f.at(scriptFile), job.Script, 0o600); err != nil {
		return err
	}
	if e.user != nil {
		// The job reads its script and cannot change it.
		if err := os.Chown(f.at(scriptFile), -1, e.user.GID); err != nil {
			return err
		}
		if err := os.Chmod(f.at(scriptFile), 0o640); err != nil {
			return err
		}
	}
	if err := os.WriteFile(f.at(envFile), encodeEnv(e.environ(f, job.Env)), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(f.at(summaryFile), nil, 0o600); err != nil {
		return err
	}
	for _, name := range []string{workspaceDir, homeDir, tempDir, summaryFile} {
		if err := e.user.own(f.at(name)); err != nil {
			return err
		}
	}
	return nil
}

// launch begins a supervisor unless one is there, and waits for its record.
// Several may be begun, by a launcher that died and by us: the run lock and the
// record let one of them pass.
func (e *Executor) launch(ctx context.Context, f folder) error {
	said := ""
	for try := 0; ; try++ {
		begun, err := f.awaitRecord(ctx)
		if err != nil {
			return fmt.Errorf("job %s: %w", f.id(), err)
		}
		if begun {
			e.step("recorded")
			return nil
		}
		if try == launches {
			return fmt.Errorf("supervisor of job %s ended without a record: %s", f.id(), said)
		}
		if said, err = e.spawn(ctx, f); err != nil {
			return fmt.Errorf("supervisor of job %s: %w", f.id(), err)
		}
	}
}

// awaitRecord waits while a supervisor is there that has not recorded anything
// yet. False means that there is none.
func (f folder) awaitRecord(ctx context.Context) (bool, error) {
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		// Asked in this order, a supervisor that ends in between has left its record.
		held, err := lockHeld(f.at(runLock))
		if err != nil {
			return false, err
		}
		begun, err := f.status()
		if err != nil || begun != nil {
			return begun != nil, err
		}
		if !held {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-tick.C:
		}
	}
}

// spawn begins a supervisor in a session of its own, without our environment,
// and waits until it has recorded something or ended. It returns what the
// supervisor had to complain about.
func (e *Executor) spawn(ctx context.Context, f folder) (string, error) {
	ready, theirs, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer ready.Close()
	defer theirs.Close()
	complaints, err := os.OpenFile(f.at(supervisorLog), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer complaints.Close()
	cmd := exec.Command(e.command[0], append(e.command[1:len(e.command):len(e.command)], f.path)...)
	cmd.Dir = "/"
	cmd.Env = []string{}
	cmd.Stderr = complaints // a panic's stack; stdin and stdout are /dev/null
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	theirs.Close()
	e.remember(cmd.Process.Pid)
	e.log.Debug("supervisor begun", zap.String("job", f.id()), zap.Int("pid", cmd.Process.Pid))
	if err := cmd.Process.Release(); err != nil {
		return "", err
	}
	e.step("spawned")
	interrupt := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Now()) })
	defer interrupt()
	said, err := io.ReadAll(io.LimitReader(ready, 4<<10))
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return strings.TrimSpace(string(said)), err
}
