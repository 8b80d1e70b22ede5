package console

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

// PrintLetters writes dead letters as a table to out.
func PrintLetters(letters []bus.Letter, out, words io.Writer, screen terminal.Screen) error {
	if len(letters) == 0 {
		fmt.Fprintln(words, "There are no dead letters.")
		return nil
	}
	t := terminal.Table{Narrow: []int{5, 4}}
	t.Head("SEQ", "STORED", "SERVICE", "SUBJECT", "ABOUT", "REASON")
	for _, l := range letters {
		t.Add(terminal.Cell{Text: strconv.FormatUint(l.Sequence, 10)}, terminal.Cell{Text: stamp(l.Stored)}, terminal.Cell{Text: terminal.Plain(l.Service)},
			terminal.Cell{Text: terminal.Plain(l.Subject)}, terminal.Cell{Text: terminal.Plain(matter(l))}, terminal.Cell{Text: terminal.Plain(l.Reason)})
	}
	return t.Print(out, screen)
}

// matter is what a letter is about: its job, its run, or its delivery.
func matter(l bus.Letter) string {
	return cmp.Or(l.Headers[flow.HeaderJob], l.Headers[flow.HeaderRun], l.Headers[flow.HeaderDelivery], "-")
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// ShowLetter writes all that is known of a dead letter.
func ShowLetter(ctx context.Context, b *bus.Bus, seq uint64, out io.Writer) error {
	l, err := b.Letter(ctx, seq)
	if err != nil {
		return noLetter(seq, err)
	}
	var text strings.Builder
	line := func(name, value string) { fmt.Fprintf(&text, "%s: %s\n", name, terminal.Plain(value)) }
	line("Dead letter", strconv.FormatUint(l.Sequence, 10))
	line("Stored", l.Stored.UTC().Format(time.RFC3339))
	line("Given up by", l.Service)
	line("Reason", l.Reason)
	line("Was", fmt.Sprintf("message %d of %s, on %s", l.StreamSequence, l.Stream, l.Subject))
	for _, name := range slices.Sorted(maps.Keys(l.Headers)) {
		line(name, l.Headers[name])
	}
	text.WriteString("\n" + body(l.Body))
	return terminal.Write(out, text.String())
}

// body is a message's payload for people; what is no JSON is quoted.
func body(data []byte) string {
	var indented bytes.Buffer
	if json.Indent(&indented, data, "", "  ") != nil {
		return strconv.Quote(string(data)) + "\n"
	}
	lines := strings.Split(indented.String(), "\n")
	for i, l := range lines {
		lines[i] = terminal.Plain(l)
	}
	return strings.Join(lines, "\n") + "\n"
}

func noLetter(seq uint64, err error) error {
	if errors.Is(err, bus.ErrNotFound) {
		return fmt.Errorf("there is no dead letter %d; litci dlq ls lists them", seq)
	}
	return err
}

// ReplayLetters gives dead letters back to the services that gave them up.
func ReplayLetters(ctx context.Context, b *bus.Bus, seqs []uint64, out io.Writer) error {
	for _, seq := range seqs {
		l, err := b.ReplayLetter(ctx, seq)
		if err != nil {
			return noLetter(seq, err)
		}
		if err := terminal.Write(out, fmt.Sprintf("%d  %s  back on %s\n", seq, terminal.Plain(matter(l)), terminal.Plain(l.Subject))); err != nil {
			return err
		}
	}
	return nil
}

// DropLetters deletes dead letters; nil stands for all.
func DropLetters(ctx context.Context, b *bus.Bus, seqs []uint64, out, words io.Writer) error {
	if seqs == nil {
		letters, err := b.Letters(ctx)
		if err != nil {
			return err
		}
		for _, l := range letters {
			seqs = append(seqs, l.Sequence)
		}
		if len(seqs) == 0 {
			fmt.Fprintln(words, "There are no dead letters.")
		}
	}
	for _, seq := range seqs {
		if err := b.DropLetter(ctx, seq); err != nil {
			return noLetter(seq, err)
		}
		if err := terminal.Write(out, fmt.Sprintf("%d  dropped\n", seq)); err != nil {
			return err
		}
	}
	return nil
}
