package fakelightning

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// marker is in the environment of a job's processes and of no other.
const marker = "FAKE_LIGHTNING_MACHINE"

const (
	// killLimit bounds how long processes are killed that fork meanwhile.
	killLimit = time.Minute
	// drainLimit bounds how long what they printed is read, should a stranger hold the pipe.
	drainLimit = 30 * time.Second
)

// machine stands for a container: a process, and all that come from it.
type machine struct {
	id      string
	process *os.Process
	timer   *time.Timer
}

// boot starts the job's command.
func (j *job) boot() error {
	s := j.server
	m := &machine{id: j.id + "-" + strconv.Itoa(j.restarts)}
	dir := filepath.Join(s.options.Dir, m.id)
	bin := filepath.Join(dir, "bin")
	for _, name := range []string{"home", "tmp", "bin"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return fmt.Errorf("machine: %w", err)
		}
	}
	if strings.HasPrefix(j.spec.InstanceName, "lit-") {
		listing := "#!/bin/sh\necho 'GPU 0: Fake'\n"
		if j.script.NoGPU {
			listing = "#!/bin/sh\nexit 9\n"
		}
		if err := os.WriteFile(filepath.Join(bin, "nvidia-smi"), []byte(listing), 0o755); err != nil {
			return fmt.Errorf("machine: %w", err)
		}
	}
	entrypoint := strings.Fields(j.spec.Entrypoint)
	if len(entrypoint) == 0 {
		entrypoint = []string{"sh", "-c"}
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("machine: %w", err)
	}
	defer writer.Close()
	cmd := exec.Command(entrypoint[0], append(entrypoint[1:], j.spec.Command)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, writer, writer
	cmd.Env = []string{
		"PATH=" + bin + ":" + s.options.Path, "HOME=" + filepath.Join(dir, "home"), "TMPDIR=" + filepath.Join(dir, "tmp"),
		"LIGHTNING_CLOUD_URL=https://lightning.invalid", "LIGHTNING_CLOUD_PROJECT_ID=" + projectID,
		"LIGHTNING_USERNAME=" + s.options.Username, marker + "=" + m.id,
	}
	for _, v := range j.spec.Env {
		cmd.Env = append(cmd.Env, v.Name+"="+v.Value)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		reader.Close()
		return fmt.Errorf("machine: %w", err)
	}
	m.process = cmd.Process
	j.machine, j.logsBegan = m, s.now()
	if j.restarts == 0 {
		j.lines = append(j.lines, line{"+ lightning", s.now()})
	}
	s.running.Go(func() {
		read := make(chan struct{})
		go func() {
			defer close(read)
			s.follow(j, reader)
		}()
		err := cmd.Wait()
		// A container ends with its first process.
		m.sweep()
		_ = reader.SetReadDeadline(time.Now().Add(drainLimit))
		<-read
		reader.Close()
		_ = os.RemoveAll(dir) // what is left is in the test's own folder
		s.mu.Lock()
		defer s.mu.Unlock()
		if m.timer != nil {
			m.timer.Stop()
		}
		j.ended(exitCode(cmd, err))
	})
	return nil
}

func exitCode(cmd *exec.Cmd, err error) int {
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		return 255
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

// follow takes what the job prints, line by line; as JSON has no other bytes, what is
// not UTF-8 is lost.
func (s *Server) follow(j *job, from io.Reader) {
	lines := bufio.NewReaderSize(from, 64<<10)
	for {
		text, err := lines.ReadString('\n')
		if text != "" {
			s.mu.Lock()
			j.lines = append(j.lines, line{strings.ToValidUTF8(strings.TrimSuffix(text, "\n"), "\uFFFD"), s.now()})
			s.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// printed says that the script itself has printed something.
func (j *job) printed() bool { return len(j.lines) > 2 }

// terminate asks the first process, and ends all when the time is over.
func (m *machine) terminate(grace time.Duration) {
	if grace <= 0 {
		grace = 30 * time.Second
	}
	_ = m.process.Signal(syscall.SIGTERM) // gone is as good
	m.timer = time.AfterFunc(grace, m.kill)
}

// kill takes the machine away; its first process is enough, the rest is swept.
func (m *machine) kill() { _ = m.process.Kill() }

// sweep ends every process of the machine.
func (m *machine) sweep() {
	for end := time.Now().Add(killLimit); time.Now().Before(end); {
		found := m.processes()
		if len(found) == 0 {
			return
		}
		for _, pid := range found {
			_ = syscall.Kill(pid, syscall.SIGKILL) // gone is as good
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// processes are the living processes that have the machine's marker.
func (m *machine) processes() []int {
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
		if err != nil || !bytes.Contains(environ, []byte(marker+"="+m.id+"\x00")) {
			continue
		}
		list = append(list, pid)
	}
	return list
}
