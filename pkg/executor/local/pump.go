package local

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pipeSize is the most that an ordinary user may ask for; it lets a job that
	// prints run ahead of the disk.
	pipeSize = 1 << 20
	// pumpBuffer is what one read takes.
	pumpBuffer = 256 << 10
)

// pump carries what the job prints from a pipe into its log.
type pump struct {
	reader  *os.File
	writeFD int
	log     *logWriter
	done    chan struct{}
}

func newPump(log *logWriter) (*pump, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("output pipe: %w", err)
	}
	// Only our end may be non-blocking: the job's programs do not expect it.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, fmt.Errorf("output pipe: %w", err)
	}
	// Refused where the user has too many pipes; the usual size does as well.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	p := &pump{reader: os.NewFile(uintptr(fds[0]), "output"), writeFD: fds[1], log: log, done: make(chan struct{})}
	go p.carry()
	return p, nil
}

func (p *pump) closeWriter() { unix.Close(p.writeFD) }

func (p *pump) carry() {
	defer close(p.done)
	buffer := make([]byte, pumpBuffer)
	for {
		n, err := p.reader.Read(buffer)
		p.log.append(buffer[:n])
		if err == nil {
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.drain(buffer)
		}
		return
	}
}

// drain takes what is in the pipe without waiting for more.
func (p *pump) drain(buffer []byte) {
	raw, err := p.reader.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		for left := pipeSize; left > 0; {
			n, err := unix.Read(int(fd), buffer)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if n <= 0 {
				return
			}
			p.log.append(buffer[:n])
			left -= n
		}
	})
}

// finish is called when the job's processes are gone. What they printed is in the
// pipe then; a stranger who was handed its end does not keep us.
func (p *pump) finish() {
	_ = p.reader.SetReadDeadline(time.Now())
	<-p.done
	p.reader.Close()
}
