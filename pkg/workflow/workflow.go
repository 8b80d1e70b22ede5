// Package workflow is the language of litci's workflow files: it parses and
// checks them, decides which of them an event triggers, and expands their
// matrix into jobs. It is pure: no I/O, no clock, no goroutine. The planner and
// the command line use the same functions, so what lint and plan say is what runs.
//
// A commit's files become a Set by Load; a Workflow's Decide names the rule that
// decides on an Event, and its Jobs are the matrix combinations in order.
// Where the original bot was silent or accidental, GitHub Actions' rules hold.
package workflow

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/litci/litci/pkg/flow"
)

// Folder holds one workflow a file; SingleFile is the alternative, read only
// when the folder holds no workflow file.
const (
	Folder     = ".lightning/workflows"
	SingleFile = ".litci.yaml"
)

// MaxFiles is how many workflow files a commit may have. One that has more starts
// nothing: which of them count would be a guess.
const MaxFiles = 100

// TooManyFiles is the problem of a commit with more than MaxFiles workflow files. It
// belongs to no file of them.
func TooManyFiles(count int) flow.Problem {
	return flow.Problem{
		Severity: severityError, Message: fmt.Sprintf("there are %d workflow files; a commit may have at most %d, so none of them is read and nothing starts", count, MaxFiles),
	}
}

// File is one workflow file as it stands in a commit.
type File struct {
	// Path is relative to the repository: ".lightning/workflows/ci.yml" or ".litci.yaml".
	Path string
	Data []byte
}

// Set is what the files of a commit mean.
type Set struct {
	// Workflows are the sound ones, in the order of the files.
	Workflows []Workflow
	// Problems are the errors and warnings of all files, by file and position.
	// A file with an error contributes the workflows that are sound all the same.
	Problems []flow.Problem
	// Notices are one sentence each, for people. Load has none of its own; who selected
	// the files adds those of Select.
	Notices []string
}

// Workflow is one checked workflow with defaults filled in.
type Workflow struct {
	// File is the base name with its extension, as checks show it: "ci.yml".
	File string
	// Path is the file's path in the repository.
	Path string
	// Name is the key name; the file's base name without extension where there is none.
	Name string
	// Line is where the workflow begins in its file, from 1.
	Line int

	// Triggers are the events that the workflow listens to, at most one a kind.
	Triggers []Trigger

	Image, Machine string
	Interruptible  bool
	// TimeoutMinutes bounds the run; QueueTimeoutMinutes the wait for a slot, 0 being
	// the launcher's own default.
	TimeoutMinutes, QueueTimeoutMinutes int
	// Mode is "info" or "debug".
	Mode string
	// Pool is the named pool of machines, empty for the unnamed one.
	Pool string
	// Env holds the values as they are written in the file.
	Env map[string]string
	// Script is at most MaxScript bytes.
	Script  string
	Options flow.Options

	// combinations are the expanded matrix; nil when it came out empty.
	combinations []combination
	// needLines are the positions of Options.Needs, for the errors of the whole set.
	needLines []position
}

// ID names the workflow among its commit's workflows, as needs does: the file,
// or the name where one file holds several.
func (w Workflow) ID() string {
	if w.File == SingleFile {
		return w.Name
	}
	return w.File
}

// Select tells which paths of a commit's tree are workflow files, sorted. The
// folder wins over the single file, with a notice.
func Select(paths []string) (files []string, notices []string) {
	single, misnamed := false, false
	for _, p := range paths {
		switch {
		case p == SingleFile:
			single = true
		case p == ".litci.yml":
			misnamed = true
		case path.Dir(p) == Folder && (path.Ext(p) == ".yml" || path.Ext(p) == ".yaml"):
			files = append(files, p)
		}
	}
	slices.Sort(files)
	files = slices.Compact(files)
	switch {
	case single && len(files) > 0:
		notices = append(notices, fmt.Sprintf("%s is not read, because %s holds workflow files.", SingleFile, Folder))
	case single:
		files = []string{SingleFile}
	}
	if misnamed {
		notices = append(notices, fmt.Sprintf(".litci.yml is not read: the file's name is %s.", SingleFile))
	}
	return files, notices
}

// Load parses and checks files. One broken file never stops the others, and
// nothing in a file makes Load panic or use unbounded memory. More than MaxFiles
// files are a Set of one problem.
func Load(files []File) Set {
	if len(files) > MaxFiles {
		return Set{Problems: []flow.Problem{TooManyFiles(len(files))}}
	}
	var set Set
	names := make(map[string]bool)
	for _, file := range files {
		workflows, declared, problems := loadFile(file)
		set.Workflows = append(set.Workflows, workflows...)
		set.Problems = append(set.Problems, problems...)
		for _, name := range declared {
			names[name] = true
		}
	}
	set.checkNeeds(names)
	slices.SortStableFunc(set.Problems, compareProblems)
	set.Problems = slices.Compact(set.Problems)
	return set
}

// Broken tells whether any of the problems is an error.
func (s Set) Broken() bool {
	return slices.ContainsFunc(s.Problems, func(p flow.Problem) bool { return p.Severity == severityError })
}

func compareProblems(a, b flow.Problem) int {
	if c := strings.Compare(a.File, b.File); c != 0 {
		return c
	}
	if a.Line != b.Line {
		return a.Line - b.Line
	}
	if a.Column != b.Column {
		return a.Column - b.Column
	}
	if c := strings.Compare(a.Severity, b.Severity); c != 0 {
		return c
	}
	return strings.Compare(a.Message, b.Message)
}

// loadFile reads one file. declared are the names by which others may need its
// workflows, the broken ones among them, so that one mistake is reported once.
func loadFile(file File) (workflows []Workflow, declared []string, problems []flow.Problem) {
	base := path.Base(file.Path)
	if base != SingleFile {
		declared = append(declared, base)
	}
	r := &reader{path: file.Path}
	root := r.parse(file.Data)
	if root == nil {
		return nil, declared, r.problems
	}
	if root.kind != mapKind {
		r.errorf(root.at, "a workflow file is a mapping of keys such as name, trigger and run, not %s", root.describe())
		return nil, declared, r.problems
	}
	if root.find("workflows") == nil && root.find("defaults") == nil {
		if w, ok := r.workflow(root, file.Path); ok {
			workflows = append(workflows, w)
		}
		if base == SingleFile {
			declared = append(declared, declaredName(root, base))
		}
		return workflows, declared, r.problems
	}
	if base != SingleFile {
		for _, key := range []string{"workflows", "defaults"} {
			if e := root.find(key); e != nil {
				r.errorf(e.at, "%q belongs into %s; a file of %s holds one workflow", key, SingleFile, Folder)
			}
		}
		return nil, declared, r.problems
	}
	workflows, declared = r.several(root, file.Path)
	return workflows, declared, r.problems
}

// several reads a file with a list of workflows and their common defaults.
func (r *reader) several(root *node, file string) (workflows []Workflow, declared []string) {
	var list, defaults *node
	r.object(root, "a file with a list of workflows", []field{
		{name: "workflows", read: func(n *node) { list = n }},
		{name: "defaults", read: func(n *node) { defaults = n }},
	})
	if list == nil {
		r.errorf(root.at, "\"defaults\" stands beside a list \"workflows\"; a single workflow needs none")
		return nil, nil
	}
	if list.kind != listKind || len(list.items) == 0 {
		r.errorf(list.at, "\"workflows\" must be a list of workflows, not %s", list.describe())
		return nil, nil
	}
	if defaults != nil && defaults.kind != nullKind && !r.checkDefaults(defaults) {
		defaults = nil
	}
	lines := make(map[string]int)
	for _, item := range list.items {
		if item.kind != mapKind {
			r.errorf(item.at, "a workflow is a mapping of keys such as name, trigger and run, not %s", item.describe())
			continue
		}
		if item.find("name") == nil {
			r.errorf(item.at, "a workflow in a list needs a \"name\"")
			continue
		}
		name := declaredName(item, SingleFile)
		declared = append(declared, name)
		if line, ok := lines[name]; ok {
			r.errorf(item.find("name").value.at, "the name %q is taken by the workflow at line %d", name, line)
			continue
		}
		lines[name] = item.at.line
		if w, ok := r.workflow(withDefaults(item, defaults), file); ok {
			workflows = append(workflows, w)
		}
	}
	return workflows, declared
}

// declaredName is the name that a workflow will have, read before it is checked.
func declaredName(n *node, base string) string {
	if e := n.find("name"); e != nil && e.value.scalar() && strings.TrimSpace(e.value.text) != "" {
		return cleanName(e.value.text)
	}
	return defaultName(base)
}

// defaultName names a workflow after its file.
func defaultName(base string) string {
	name := strings.TrimPrefix(strings.TrimSuffix(base, path.Ext(base)), ".")
	if name == "" {
		return "workflow"
	}
	return name
}
