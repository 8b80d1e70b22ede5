package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litci/litci/pkg/executor"
)

// Exit statuses of a supervisor. Nobody acts on them: state.json tells what
// happened.
const (
	exitDone    = 0
	exitFailed  = 1
	exitRefused = 76 // another supervisor has the job, or had it
)

// errRefused says that the job is not this supervisor's to run.
var errRefused = errors.New("job has a supervisor, or had one")

// readyFD is the pipe that the launcher waits on: it ends when the supervisor has
// recorded something.
const readyFD = 3

// recordRetry is how long, and how often, a supervisor tries to record an end that
// the disk does not take. Meanwhile the job counts as running.
const (
	recordRetry    = time.Hour
	recordInterval = time.Second
)

// Supervise runs the job that was prepared in dir, at most once ever, and returns
// the exit status for its process. It is the body of a hidden subcommand, must be
// called on the main goroutine, and takes its process over: signals, children and
// descriptors.
func Supervise(dir string) int {
	// Pdeathsig follows the thread that began the script, not the process.
	runtime.LockOSThread()
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1)
	ready := openReady()
	defer ready.Close()
	err := supervise(folder{filepath.Clean(dir)}, signals, ready)
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errRefused):
		return exitRefused
	}
	// Both ends may be closed; then there is nobody to tell.
	_, _ = fmt.Fprintln(ready, err)
	_, _ = fmt.Fprintln(os.Stderr, err)
	return exitFailed
}

// openReady opens the launcher's pipe. Without a launcher, descriptor 3 may be
// anything, even the runtime's own.
func openReady() *os.File {
	var stat unix.Stat_t
	if unix.Fstat(readyFD, &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFIFO {
		return os.NewFile(readyFD, "ready")
	}
	return nil // the methods of a nil file return an error
}

func supervise(f folder, signals <-chan os.Signal, ready *os.File) error {
	if err := closeOnExec(); err != nil {
		return err
	}
	l, err := tryLock(f.at(runLock), true)
	if errors.Is(err, errHeld) {
		return errRefused
	}
	if err != nil {
		return err
	}
	defer l.release()
	if begun, err := f.status(); err != nil || begun != nil {
		return errors.Join(err, errRefused)
	}
	rec, err := f.record()
	if err != nil {
		return err
	}
	if rec == nil {
		return fmt.Errorf("job %s is not prepared", f.id())
	}
	env, err := os.ReadFile(f.at(envFile))
	if err != nil {
		return fmt.Errorf("job %s: %w", f.id(), err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("job %s: subreaper: %w", f.id(), err)
	}
	self, err := inspect(os.Getpid())
	if err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	s := &supervisor{folder: f, record: *rec, env: decodeEnv(env), signals: signals, log: newLogWriter(f.at(logDir))}
	s.status = status{ID: rec.ID, Hash: rec.Hash, Boot: boot, PID: self.pid, Born: self.born}
	if _, asked := s.request(); asked {
		s.finish(executor.ReasonStopped, nil, "stopped before the script began")
		return errors.Join(s.writeEnd(), os.Remove(f.at(envFile)))
	}
	s.status.State = executor.State{Phase: executor.Running, StartedAt: time.Now().UTC()}
	if err := f.write(stateFile, s.status); err != nil {
		return err
	}
	ready.Close()
	s.run()
	return s.writeEnd()
}

// supervisor runs one script.
type supervisor struct {
	folder  folder
	record  record
	env     []string
	signals <-chan os.Signal
	log     *logWriter
	status  status
}

// run runs the script to the end of its last process.
func (s *supervisor) run() {
	// It is read, no other supervisor will need it, and it may hold secrets.
	if err := os.Remove(s.folder.at(envFile)); err != nil {
		s.finish(executor.ReasonInfrastructure, nil, err.Error())
		return
	}
	if err := s.admit(0o710); err != nil {
		s.finish(executor.ReasonInfrastructure, nil, err.Error())
		return
	}
	for _, l := range s.record.Left {
		s.log.append([]byte("litci: link left out: " + l + "\n"))
	}
	output, err := newPump(s.log)
	if err != nil {
		s.finish(executor.ReasonInfrastructure, nil, err.Error())
		return
	}
	script, err := s.exec(output.writeFD)
	output.closeWriter()
	if err != nil {
		output.finish()
		s.finish(executor.ReasonInfrastructure, nil, fmt.Sprintf("the script could not be begun: %v", err))
		return
	}
	t := s.follow(script)
	output.finish()
	message := t.message
	if s.log.failed != nil {
		message = join(message, fmt.Sprintf("a part of the log is missing: %v", s.log.failed))
	}
	if err := s.admit(0o700); err != nil {
		message = join(message, err.Error())
	}
	s.finish(t.reason, t.code, message)
}

// admit lets the job's user pass through the folder while the job runs.
func (s *supervisor) admit(mode os.FileMode) error {
	who := s.record.User
	if who == nil {
		return nil
	}
	if err := os.Chown(s.folder.path, -1, who.GID); err != nil {
		return err
	}
	return os.Chmod(s.folder.path, mode)
}

// exec begins the script with nothing but an empty input and the pipe.
func (s *supervisor) exec(output int) (int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	unix.Umask(0o022)
	return syscall.ForkExec(s.record.Bash, []string{"bash", "-eo", "pipefail", s.folder.at(scriptFile)}, &syscall.ProcAttr{
		Dir:   s.folder.at(workspaceDir),
		Env:   s.env,
		Files: []uintptr{null.Fd(), uintptr(output), uintptr(output)},
		Sys: &syscall.SysProcAttr{
			Setpgid:    true,
			Pdeathsig:  syscall.SIGKILL,
			Credential: s.record.User.credential(),
		},
	})
}

// request reads the request to stop, if there is one.
func (s *supervisor) request() (request, bool) {
	var r request
	ok, err := s.folder.read(stopFile, &r)
	// A request that cannot be read is one all the same.
	return r, ok || err != nil
}

func (s *supervisor) finish(reason executor.Reason, code *int, message string) {
	s.log.close()
	state := &s.status.State
	state.Phase, state.Reason, state.ExitCode, state.Message = executor.Ended, reason, code, message
	state.FinishedAt, state.LogSize = time.Now().UTC(), s.log.size
}

// writeEnd writes the end, however long the disk is full.
func (s *supervisor) writeEnd() error {
	var err error
	for end := time.Now().Add(recordRetry); time.Now().Before(end); time.Sleep(recordInterval) {
		// A folder that is gone has nobody who would read of the end.
		if err = s.folder.write(stateFile, s.status); err == nil || errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
