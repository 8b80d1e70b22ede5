package fakekubernetes

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// marker is in the environment of a container's processes and of no other.
const marker = "FAKE_KUBERNETES_CONTAINER"

const (
	// killLimit bounds how long processes are killed that fork meanwhile.
	killLimit = time.Minute
	// drainLimit bounds how long what they printed is read, should a stranger hold the pipe.
	drainLimit = 30 * time.Second
)

// box stands for a container: a process, and all that come from it.
type box struct {
	id    string
	cmd   *exec.Cmd
	final string
	read  chan struct{}
	pipe  *os.File
	timer *time.Timer
}

// boot starts a container's command.
func (p *podState) boot(c *container) (*box, error) {
	s := p.server
	home := filepath.Join(p.dir, "root-"+c.Name)
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, fmt.Errorf("container: %w", err)
	}
	b := &box{id: p.pod.Metadata.UID + "-" + c.Name, final: filepath.Join(p.dir, "final-"+c.Name), read: make(chan struct{})}
	if err := os.WriteFile(b.final, nil, 0o666); err != nil {
		return nil, fmt.Errorf("container: %w", err)
	}
	final := c.TerminationPath
	if final == "" {
		final = "/dev/termination-log"
	}
	pairs := []string{final, b.final}
	for _, m := range c.Mounts {
		pairs = append(pairs, m.Path, filepath.Join(p.dir, m.Name))
	}
	replace := strings.NewReplacer(pairs...)
	var args []string
	for _, arg := range c.Command {
		args = append(args, replace.Replace(expanded(arg)))
	}
	if len(args) == 0 {
		return nil, errors.New("container: no command specified")
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("container: %w", err)
	}
	defer writer.Close()
	b.pipe = reader
	b.cmd = exec.Command(args[0], args[1:]...)
	b.cmd.Dir, b.cmd.Stdout, b.cmd.Stderr = home, writer, writer
	b.cmd.Env = []string{
		"PATH=" + s.options.Path, "HOME=" + home, "HOSTNAME=" + p.pod.Metadata.Name, marker + "=" + b.id,
		"KUBERNETES_SERVICE_HOST=10.0.0.1", "KUBERNETES_SERVICE_PORT=443",
	}
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := b.cmd.Start(); err != nil {
		reader.Close()
		return nil, fmt.Errorf("container: %w", err)
	}
	main := c.Name == p.pod.Spec.Containers[0].Name
	go func() {
		defer close(b.read)
		if main {
			p.follow(reader)
			return
		}
		_, _ = new(bytes.Buffer).ReadFrom(reader) // nobody asks for it
	}()
	return b, nil
}

// expanded is a word of a container's command as its node reads it: two dollars are
// one, and a reference to a variable that is not there stays.
func expanded(arg string) string { return strings.ReplaceAll(arg, "$$", "$") }

// wait waits for the container's first process, with which all others end.
func (b *box) wait() int {
	err := b.cmd.Wait()
	b.sweep()
	_ = b.pipe.SetReadDeadline(time.Now().Add(drainLimit))
	<-b.read
	b.pipe.Close()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		return 255
	}
	status, ok := b.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return b.cmd.ProcessState.ExitCode()
}

// terminate asks the first process, and ends all when the time is over. The server's
// lock is held.
func (b *box) terminate(grace time.Duration) {
	_ = b.cmd.Process.Signal(syscall.SIGTERM) // gone is as good
	if b.timer == nil {
		b.timer = time.AfterFunc(grace, b.kill)
	}
}

// kill ends the first process; the rest is swept.
func (b *box) kill() { _ = b.cmd.Process.Kill() }

// sweep ends every process of the container.
func (b *box) sweep() {
	for end := time.Now().Add(killLimit); time.Now().Before(end); {
		found := b.processes()
		if len(found) == 0 {
			return
		}
		for _, pid := range found {
			_ = syscall.Kill(pid, syscall.SIGKILL) // gone is as good
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// processes are the living processes that have the container's marker.
func (b *box) processes() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var list []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environ, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if err != nil || !slices.ContainsFunc(bytes.Split(environ, []byte{0}), func(v []byte) bool { return string(v) == marker+"="+b.id }) {
			continue
		}
		list = append(list, pid)
	}
	return list
}
