// Package terminal lays out what people read on one.
package terminal

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/charmbracelet/x/ansi"

	"github.com/litci/litci/cmd/litci/internal/board"
)

// Cell is a part of a table's row, with its colour, one of package board's.
type Cell struct{ Text, Paint string }

// Table lays rows out in columns. The first row is the head.
type Table struct {
	// Narrow are the columns that give way where lines are longer than the screen,
	// first to last.
	Narrow []int
	rows   [][]Cell
}

// Screen is where results are shown: Width 0 does not bound lines.
type Screen struct {
	Width int
	Color bool
}

// leastWidth is what a column that gives way keeps.
const leastWidth = 12

const between = "  "

// Add adds a row.
func (t *Table) Add(cells ...Cell) { t.rows = append(t.rows, cells) }

// Rows is how many rows there are below the head.
func (t *Table) Rows() int { return max(0, len(t.rows)-1) }

// Head begins the table.
func (t *Table) Head(names ...string) {
	cells := make([]Cell, len(names))
	for i, name := range names {
		cells[i].Text = name
	}
	t.Add(cells...)
}

func (t *Table) widths(screen int) []int {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], ansi.StringWidth(c.Text))
		}
	}
	if screen <= 0 {
		return widths
	}
	total := len(between) * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for _, i := range t.Narrow {
		if over := total - screen; over > 0 {
			less := min(over, max(0, widths[i]-leastWidth))
			widths[i] -= less
			total -= less
		}
	}
	return widths
}

// Print writes the table to out.
func (t *Table) Print(out io.Writer, screen Screen) error { return Write(out, t.Text(screen)) }

// Text is the table as lines.
func (t *Table) Text(screen Screen) string {
	widths := t.widths(screen.Width)
	var text strings.Builder
	for n, row := range t.rows {
		var line strings.Builder
		for i, c := range row {
			shown := ansi.Truncate(c.Text, widths[i], "…")
			pad := strings.Repeat(" ", widths[i]-ansi.StringWidth(shown))
			paint := c.Paint
			if n == 0 {
				paint = board.Bold
			}
			if i > 0 {
				line.WriteString(between)
			}
			line.WriteString(board.Paint(screen.Color, paint, shown) + pad)
		}
		text.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return text.String()
}

// Write writes a text whole.
func Write(out io.Writer, text string) error {
	if _, err := io.WriteString(out, text); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

// Plain drops what a terminal would obey instead of show: names and messages come
// from commits, and so from strangers.
func Plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
}
