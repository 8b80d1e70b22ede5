package doctor

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// Print writes the report as a table.
func (r *Report) Print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WHAT\tSTATE\tFINDING")
	for _, f := range r.Findings {
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.What, f.State, plain(f.Text))
		if f.Remedy != "" {
			fmt.Fprintf(table, "\t\t→ %s\n", plain(f.Remedy))
		}
	}
	return table.Flush()
}

// plain is one line without what a terminal would obey instead of show: parts of it
// are others' answers.
func plain(text string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) && c != ' ' {
			return -1
		}
		return c
	}, strings.Join(strings.Fields(text), " "))
}
