package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process is what /proc says about one.
type process struct {
	pid, parent, group int
	// state is the kernel's letter; Z and X are dead.
	state byte
	// born is the start time in clock ticks after boot.
	born uint64
}

// bootID changes with every start of the machine.
func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// inspect reads one process.
func inspect(pid int) (process, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return process{}, err
	}
	return parseStat(pid, data)
}

// parseStat reads proc_pid_stat(5). The command's name may hold anything, so
// fields are counted after its last parenthesis: there are state, parent and
// group, and the start time is field 22 of the line.
func parseStat(pid int, data []byte) (process, error) {
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return process{}, fmt.Errorf("process %d: malformed stat", pid)
	}
	fields := strings.Fields(string(data[end+1:]))
	if len(fields) < 20 {
		return process{}, fmt.Errorf("process %d: short stat", pid)
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return process{}, fmt.Errorf("process %d: parent: %w", pid, err)
	}
	group, err := strconv.Atoi(fields[2])
	if err != nil {
		return process{}, fmt.Errorf("process %d: group: %w", pid, err)
	}
	born, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return process{}, fmt.Errorf("process %d: start time: %w", pid, err)
	}
	return process{pid: pid, parent: parent, group: group, state: fields[0][0], born: born}, nil
}

func (p process) dead() bool { return p.state == 'Z' || p.state == 'X' }

// processes lists all, dead ones included: the first thread of a process may be
// dead while others live, and its children count.
func processes() []process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var list []process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, err := inspect(pid); err == nil {
			list = append(list, p)
		}
	}
	return list
}

// descendants lists the processes below pid.
func descendants(pid int) []process {
	children := map[int][]process{}
	for _, p := range processes() {
		children[p.parent] = append(children[p.parent], p)
	}
	var found []process
	for next := []int{pid}; len(next) > 0; next = next[1:] {
		for _, p := range children[next[0]] {
			found = append(found, p)
			next = append(next, p.pid)
		}
	}
	return found
}

// signal reaches the very process that was seen and never one that took over its
// number: the descriptor is bound to a process before its start time is compared.
func (p process) signal(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ENOSYS) {
		return p.signalByNumber(sig)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if now, err := inspect(p.pid); err != nil || now.born != p.born {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// signalByNumber is for kernels before 5.3.
func (p process) signalByNumber(sig unix.Signal) error {
	if now, err := inspect(p.pid); err != nil || now.born != p.born {
		return unix.ESRCH
	}
	return unix.Kill(p.pid, sig)
}

// killTree kills every process below pid.
func killTree(pid int) {
	for _, p := range descendants(pid) {
		// One that is gone needs no signal; one that may not be signalled is reported
		// by the supervisor when it is still there at the end.
		_ = p.signal(unix.SIGKILL)
	}
}

// termTree sends TERM to every process below pid, once to each, because many
// programs take a second one for impatience. Those of the group get it in one step,
// in which none can fork.
func termTree(pid, group int) {
	_ = unix.Kill(-group, unix.SIGTERM)
	for _, p := range descendants(pid) {
		if p.group != group {
			_ = p.signal(unix.SIGTERM)
		}
	}
}

// marked lists the living processes whose environment at exec held the entry.
func marked(entry string) []process {
	want := []byte(entry)
	var found []process
	for _, p := range processes() {
		if p.dead() {
			continue
		}
		data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "environ"))
		if err != nil {
			continue
		}
		for part := range bytes.SplitSeq(data, []byte{0}) {
			if bytes.Equal(part, want) {
				found = append(found, p)
				break
			}
		}
	}
	return found
}

// closeOnExec keeps every descriptor but the standard ones from the next program,
// those too that this process inherited without asking.
func closeOnExec() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("open descriptors: %w", err)
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
