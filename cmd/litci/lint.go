package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/litci/litci/cmd/litci/internal/worktree"
	"github.com/litci/litci/pkg/flow"
)

// findings are what litci lint says; the JSON is a public interface.
type findings struct {
	Files    []string       `json:"files"`
	Problems []flow.Problem `json:"problems"`
	notices  []string
	// lines are the texts of the files, for excerpts.
	lines map[string][]string
}

func newLint() *cobra.Command {
	var (
		format string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "lint [PATH...]",
		Short: "Check workflow files",
		Long: `Checks workflow files and prints all errors and warnings of all of them. A PATH is a file,
a repository, or a folder with repositories in it; default is the repository around the
current folder. Nothing is sent anywhere.

Exit status: 0 without errors (warnings do not count), 1 with errors, 2 for wrong use.`,
		Example: `  litci lint
  litci lint .lightning/workflows/ci.yml
  litci lint --format github examples`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON {
				if cmd.Flags().Changed("format") && format != "json" {
					return usageErrorOf(cmd, fmt.Errorf("--json and --format %s exclude each other", format))
				}
				format = "json"
			}
			if !slices.Contains([]string{"text", "json", "github"}, format) {
				return usageErrorOf(cmd, fmt.Errorf("--format %s is not known; the formats are text, json, github", format))
			}
			if len(args) == 0 {
				args = []string{worktree.Root(".")}
			}
			units, err := worktree.Find(args)
			if err != nil {
				return usageError{err}
			}
			return check(units).print(cmd.OutOrStdout(), cmd.ErrOrStderr(), format)
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text, json, or github for annotations in a job of GitHub Actions")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object on standard output, as --format json")
	return cmd
}

// check parses the files of all units.
func check(units []worktree.Unit) findings {
	f := findings{Files: []string{}, Problems: []flow.Problem{}, lines: make(map[string][]string)}
	for _, u := range units {
		root := filepath.ToSlash(u.Root)
		f.notices = append(f.notices, u.Notices...)
		for _, name := range u.Paths() {
			if u.Wants(name) {
				f.Files = append(f.Files, path.Join(root, name))
			}
		}
		for _, file := range u.Files {
			if u.Wants(file.Path) {
				f.lines[path.Join(root, file.Path)] = strings.Split(strings.ReplaceAll(strings.TrimPrefix(string(file.Data), "\uFEFF"), "\r\n", "\n"), "\n")
			}
		}
		for _, p := range u.Set().Problems {
			if u.Wants(p.File) {
				p.File = path.Join(root, p.File)
				f.Problems = append(f.Problems, p)
			}
		}
	}
	slices.Sort(f.Files)
	slices.SortStableFunc(f.Problems, func(a, b flow.Problem) int { return cmp.Compare(a.File, b.File) })
	return f
}

// print writes the problems to out and what people read beside them to words.
func (f findings) print(out, words io.Writer, format string) error {
	var text bytes.Buffer // which takes everything; only out can fail
	switch format {
	case "json":
		if err := printJSON(&text, f); err != nil {
			return err
		}
	case "github":
		for _, p := range f.Problems {
			p.File = worktree.FromRoot(p.File) // whatever folder the step works in
			fmt.Fprintln(&text, annotation(p))
		}
	default:
		for _, p := range f.Problems {
			fmt.Fprintln(&text, problemLine(p))
			f.excerpt(&text, p)
		}
	}
	if _, err := text.WriteTo(out); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	for _, n := range f.notices {
		fmt.Fprintln(words, n)
	}
	errors := f.count("error")
	if format != "json" {
		fmt.Fprintf(words, "%s checked: %s, %s.\n", counted(len(f.Files), "file"), counted(errors, "error"), counted(f.count("warning"), "warning"))
	}
	if errors > 0 {
		return statusError(exitFailed)
	}
	return nil
}

func (f findings) count(severity string) (n int) {
	for _, p := range f.Problems {
		if p.Severity == severity {
			n++
		}
	}
	return n
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// excerpt shows the line of a problem with a mark under its place.
func (f findings) excerpt(out io.Writer, p flow.Problem) {
	const widest = 160
	lines := f.lines[p.File]
	if p.Line < 1 || p.Line > len(lines) || p.Column < 1 {
		return
	}
	line := strings.ReplaceAll(lines[p.Line-1], "\t", " ")
	if length := utf8.RuneCountInString(line); !utf8.ValidString(line) || length > widest || p.Column > length+1 ||
		strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c == 0x7F }) {
		return
	}
	fmt.Fprintf(out, "%5d | %s\n      | %s^\n", p.Line, line, strings.Repeat(" ", p.Column-1))
}

// problemLine is a problem as compilers write theirs, so that editors find its place.
func problemLine(p flow.Problem) string {
	place := worktree.Printable(p.File)
	if p.Line > 0 {
		place += fmt.Sprintf(":%d:%d", p.Line, p.Column)
	}
	if place != "" {
		place += ": "
	}
	return fmt.Sprintf("%s%s: %s", place, p.Severity, p.Message)
}

// annotation is a problem as a workflow command of GitHub Actions.
func annotation(p flow.Problem) string {
	message := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	place := "file=" + property.Replace(p.File)
	if p.Line > 0 {
		place += fmt.Sprintf(",line=%d,col=%d", p.Line, p.Column)
	}
	return fmt.Sprintf("::%s %s,title=litci lint::%s", p.Severity, place, message.Replace(p.Message))
}
