package console

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/pkg/flow"
)

// splice writes a log of which parts come again, cut in other places, and of which
// parts may be missing: it goes by the offsets.
type splice struct {
	out io.Writer
	// note says how many bytes were passed over.
	note func(gap int64)
	next int64
}

// block writes what is new of a live block.
func (s *splice) block(b flow.LogBlock) error {
	end := b.Offset + int64(len(b.Text))
	if end <= s.next {
		return nil
	}
	text := b.Text
	if b.Offset < s.next {
		text = text[s.next-b.Offset:]
	}
	if b.Offset > s.next {
		s.note(b.Offset - s.next)
	}
	s.next = end
	return terminal.Write(s.out, text)
}

// leftOut is the line in an archive that stands for what it leaves out; the watcher
// writes it.
var leftOut = regexp.MustCompile(`^\[litci: (\d+) bytes of the log are left out here\]\n$`)

// archive writes what is new of an archived log. dropped says that a line in it
// stands for bytes that it leaves out.
func (s *splice) archive(r io.Reader, dropped bool) error {
	if s.next == 0 {
		if _, err := io.Copy(s.out, r); err != nil {
			return fmt.Errorf("log: %w", err)
		}
		return nil
	}
	lines := bufio.NewReaderSize(r, 64<<10)
	at := int64(0)
	for {
		part, err := lines.ReadSlice('\n') // a longer line comes in parts
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
			return fmt.Errorf("log: %w", err)
		}
		if match := leftOut.FindSubmatch(part); dropped && match != nil {
			gap, parsed := strconv.ParseInt(string(match[1]), 10, 64)
			if parsed != nil {
				return fmt.Errorf("log: %w", parsed)
			}
			at += gap
			if at > s.next {
				s.note(at - s.next)
				s.next = at
			}
			dropped = false // there is one such line
			continue
		}
		end := at + int64(len(part))
		if end > s.next {
			if err := terminal.Write(s.out, string(part[max(0, s.next-at):])); err != nil {
				return err
			}
			s.next = end
		}
		at = end
		if errors.Is(err, io.EOF) {
			return nil
		}
	}
}
