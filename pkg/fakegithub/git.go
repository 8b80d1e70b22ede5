package fakegithub

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// errNoObject says that a name leads to no object of the wanted type.
var errNoObject = errors.New("no such object")

// gitDir is the directory of a local git repository's data, such as
// /srv/hello.git or /src/hello/.git. It is read through the git command; names that
// come from requests reach git on its standard input or as full object ids,
// never as arguments, so that none is taken for an option.
type gitDir struct {
	path string
	// merges holds the objects of trial merges, so that the repository stays as it is.
	merges *scratch
}

// scratch is a directory that is made when it is first needed.
type scratch struct {
	mu   sync.Mutex
	path string
}

// dir makes the directory.
func (s *scratch) dir() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path == "" {
		path, err := os.MkdirTemp("", "fakegithub-merges-")
		if err != nil {
			return "", fmt.Errorf("trial merges: %w", err)
		}
		s.path = path
	}
	return s.path, nil
}

// known is the directory where it was made, else empty.
func (s *scratch) known() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.path
}

// remove takes the directory away.
func (s *scratch) remove() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path != "" {
		_ = os.RemoveAll(s.path) // a leftover in the temporary directory harms nobody
		s.path = ""
	}
}

// command prepares git with an environment of its own: nobody's
// configuration, no prompts, no locks, names taken literally.
func (g gitDir) command(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{
		"--git-dir=" + g.path, "-c", "safe.directory=*", "-c", "core.quotePath=false", "-c", "core.fsmonitor=false",
		"-c", "i18n.logOutputEncoding=UTF-8",
	}, args...)
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "GIT_LITERAL_PATHSPECS=1", "GIT_NO_REPLACE_OBJECTS=1",
	}
	if merges := g.merges.known(); merges != "" {
		cmd.Env = append(cmd.Env, "GIT_ALTERNATE_OBJECT_DIRECTORIES="+merges)
	}
	return cmd
}

// openGit finds the repository at dir, which may be its work tree or bare.
func openGit(ctx context.Context, dir string) (gitDir, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return gitDir{}, fmt.Errorf("git directory: %w", err)
	}
	// A directory inside another repository's work tree is not that repository.
	git := gitDir{filepath.Join(absolute, ".git"), &scratch{}}
	if _, err := os.Stat(git.path); err != nil {
		git.path = absolute
	}
	out, err := git.run(ctx, "", "rev-parse", "--show-object-format", "--absolute-git-dir")
	if err != nil {
		return gitDir{}, err
	}
	format, found, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if format != "sha1" {
		return gitDir{}, fmt.Errorf("git in %s: object format %s; GitHub has sha1 only", dir, format)
	}
	git.path = found
	return git, nil
}

// run returns what git prints.
func (g gitDir) run(ctx context.Context, input string, args ...string) ([]byte, error) {
	cmd := g.command(ctx, args...)
	cmd.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("git %s in %s: %w: %s", args[0], g.path, err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}

// gitObject is what a name leads to.
type gitObject struct {
	sha  string
	kind string // commit, tree, blob or tag
	size int64  // bytes
}

// lookup returns the first of the names that leads to an object. Names are in
// git's syntax for revisions; those built from requests pass validName first.
func (g gitDir) lookup(ctx context.Context, names ...string) (gitObject, error) {
	out, err := g.run(ctx, strings.Join(names, "\n")+"\n", "cat-file", "--batch-check")
	if err != nil {
		return gitObject{}, err
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || !isSHA(fields[0]) {
			continue // "NAME missing" or "NAME ambiguous"
		}
		size, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return gitObject{}, fmt.Errorf("git object %s: %w", fields[0], err)
		}
		return gitObject{sha: fields[0], kind: fields[1], size: size}, nil
	}
	return gitObject{}, errNoObject
}

// read returns the content of an object.
func (g gitDir) read(ctx context.Context, sha string) (gitObject, []byte, error) {
	out, err := g.run(ctx, sha+"\n", "cat-file", "--batch")
	if err != nil {
		return gitObject{}, nil, err
	}
	r := bufio.NewReader(bytes.NewReader(out))
	head, err := r.ReadString('\n')
	fields := strings.Fields(head)
	if err != nil || len(fields) != 3 {
		return gitObject{}, nil, errNoObject
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return gitObject{}, nil, fmt.Errorf("git object %s: %w", sha, err)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return gitObject{}, nil, fmt.Errorf("git object %s: %w", sha, err)
	}
	return gitObject{sha: fields[0], kind: fields[1], size: size}, body, nil
}

// commitish lists what a name in a request may mean, strongest first: a full
// id, a branch, a tag, refs/NAME, the checked-out branch, a shortened id.
func commitish(name string) []string {
	var names []string
	if isSHA(name) {
		names = append(names, name)
	}
	if validName(name) {
		names = append(names, "refs/heads/"+name, "refs/tags/"+name, "refs/"+name)
		if strings.HasPrefix(name, "refs/") {
			names = append(names, name)
		}
		if name == "HEAD" {
			names = append(names, name)
		}
	}
	if isShortSHA(name) {
		names = append(names, name)
	}
	return names
}

// resolve finds what a name in a request means, peeled to the kind (commit or
// tree).
func (g gitDir) resolve(ctx context.Context, name, kind string) (gitObject, error) {
	candidates := commitish(name)
	if len(candidates) == 0 {
		return gitObject{}, errNoObject
	}
	for i := range candidates {
		candidates[i] += "^{" + kind + "}"
	}
	return g.lookup(ctx, candidates...)
}

// refs returns all references below prefix and what they point at.
func (g gitDir) refs(ctx context.Context, prefix string) ([]gitRef, error) {
	out, err := g.run(ctx, "", "for-each-ref", "--format=%(refname) %(objectname) %(objecttype)")
	if err != nil {
		return nil, err
	}
	var refs []gitRef
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && strings.HasPrefix(fields[0], prefix) {
			refs = append(refs, gitRef{name: fields[0], object: gitObject{sha: fields[1], kind: fields[2]}})
		}
	}
	return refs, nil
}

// gitRef is a reference by its full name.
type gitRef struct {
	name   string
	object gitObject
}

func isSHA(s string) bool {
	return len(s) == 40 && isHex(s)
}

func isShortSHA(s string) bool {
	return len(s) >= 4 && len(s) < 40 && isHex(s)
}

func isHex(s string) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// badName matches what git's rules for references forbid.
var badName = regexp.MustCompile(`[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|^[-./]|[./]$|\.lock$`)

// validName holds a name from a request to git's rules for references, which
// leave no room for revision syntax or line breaks.
func validName(name string) bool {
	return name != "" && name != "@" && !badName.MatchString(name)
}
