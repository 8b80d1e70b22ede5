package chaos

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// journal is the log of what the harness itself does, to be read beside those of the
// services.
type journal struct {
	began time.Time
	mu    sync.Mutex
	file  *os.File
}

func newJournal(path string) (*journal, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("chaos: %w", err)
	}
	return &journal{began: time.Now(), file: file}, nil
}

func (j *journal) say(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now().UTC()
	// The log of a test tool: what cannot be written is not worth ending for.
	_, _ = fmt.Fprintf(j.file, "%s %7.2fs %s\n", now.Format("15:04:05.000"), now.Sub(j.began).Seconds(), fmt.Sprintf(format, args...))
}

// show says it on the progress too.
func (j *journal) show(out io.Writer, format string, args ...any) {
	j.say(format, args...)
	fmt.Fprintf(out, "%6.1fs  %s\n", time.Since(j.began).Seconds(), fmt.Sprintf(format, args...))
}

func (j *journal) close() error { return j.file.Close() }
