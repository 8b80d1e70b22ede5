package local

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/litci/litci/pkg/executor"
)

// A job's folder can be made elsewhere, a container for instance, where Supervise
// runs the job as it does here. What is needed for that stands in this file.

// Names inside a job's folder, for those who look into one from outside.
const (
	StateFile    = stateFile
	StopFile     = stopFile
	LogDir       = logDir
	WorkspaceDir = workspaceDir
	HomeDir      = homeDir
	TempDir      = tempDir
	SummaryFile  = summaryFile
)

// Exit statuses of Supervise, for those who see nothing else of it.
const (
	ExitFailed  = exitFailed
	ExitRefused = exitRefused
)

// SegmentSize is the distance between the segments of a log, which are files in
// LogDir. SegmentsKept are the first ones, which stay; of the others the last ones do.
const (
	SegmentSize  = segmentSize
	SegmentsKept = headSegments
)

// SegmentName is the name of the segment that begins at an offset.
func SegmentName(start int64) string { return filepath.Base(segmentPath("", start)) }

// SegmentStart is the offset at which the segment of a name begins; false means
// that it is no segment's name.
func SegmentStart(name string) (int64, bool) { return segmentStart(name) }

// Packer writes a job's folder as a tar.
type Packer struct {
	// Tar takes the entries. Folder is where the folder is to be.
	Tar    *tar.Writer
	Folder string
	// UID and GID own all of it.
	UID, GID int
}

// Pack writes everything but the source, which comes before or after. The bash is
// the place's, and so is a part of the environment: Equip adds them there.
func (p Packer) Pack(job executor.Spec, env map[string]string, left []string) error {
	for _, name := range []string{"", logDir} {
		if err := p.dir(name, 0o700); err != nil {
			return err
		}
	}
	for _, name := range []string{workspaceDir, homeDir, tempDir} {
		if err := p.dir(name, 0o755); err != nil {
			return err
		}
	}
	record, err := json.Marshal(record{
		ID: job.ID, Hash: job.Hash, Timeout: job.Timeout, Grace: job.Grace, Left: left[:min(len(left), maxLeft)],
	})
	if err != nil {
		return fmt.Errorf("job %s: %w", job.ID, err)
	}
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{{scriptFile, job.Script}, {envFile, encodeEnv(list)}, {summaryFile, nil}, {jobFile, record}} {
		if err := p.write(f.name, 0o600, int64(len(f.content)), strings.NewReader(string(f.content))); err != nil {
			return err
		}
	}
	return nil
}

// PackSource writes the workspace from a source archive, and says which links it
// left out. An archive that must not be unpacked is a StartError. With a nil Tar it
// only looks.
func (p Packer) PackSource(ctx context.Context, source io.Reader) (left []string, err error) {
	if p.Tar == nil {
		return takeApart(ctx, source, nowhere{}, sourceLimits())
	}
	return takeApart(ctx, source, tarTarget{p}, sourceLimits())
}

func (p Packer) header(kind byte, name string, mode int64) *tar.Header {
	return &tar.Header{
		Typeflag: kind, Name: path.Join(p.Folder, name), Mode: mode, Uid: p.UID, Gid: p.GID, ModTime: time.Now().Truncate(time.Second),
	}
}

func (p Packer) dir(name string, mode int64) error {
	header := p.header(tar.TypeDir, name, mode)
	header.Name += "/"
	return p.Tar.WriteHeader(header)
}

func (p Packer) write(name string, mode, size int64, content io.Reader) error {
	header := p.header(tar.TypeReg, name, mode)
	header.Size = size
	if err := p.Tar.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(p.Tar, content)
	return err
}

// tarTarget is the workspace in a tar.
type tarTarget struct{ packer Packer }

func (t tarTarget) mkdir(name string) error {
	return t.packer.dir(path.Join(workspaceDir, name), 0o755)
}

func (t tarTarget) file(name string, mode os.FileMode, size int64, content io.Reader, _ bool) error {
	return t.packer.write(path.Join(workspaceDir, name), int64(mode.Perm()), size, content)
}

func (t tarTarget) link(name, to string) error {
	header := t.packer.header(tar.TypeSymlink, path.Join(workspaceDir, name), 0o777)
	header.Linkname = to
	return t.packer.Tar.WriteHeader(header)
}

// nowhere is the target of an archive that is only looked at.
type nowhere struct{}

func (nowhere) mkdir(string) error        { return nil }
func (nowhere) link(string, string) error { return nil }

func (nowhere) file(_ string, _ os.FileMode, _ int64, content io.Reader, _ bool) error {
	_, err := io.Copy(io.Discard, content)
	return err
}

// Equip completes a folder that was packed elsewhere, before Supervise runs it:
// with this place's bash, and with base as far as the job does not set the same
// variables.
func Equip(dir, bash string, base []string) error {
	f := folder{filepath.Clean(dir)}
	rec, err := f.record()
	if err != nil {
		return err
	}
	if rec == nil {
		return fmt.Errorf("job in %s is not prepared", dir)
	}
	own, err := os.ReadFile(f.at(envFile))
	if err != nil {
		return fmt.Errorf("job %s: %w", rec.ID, err)
	}
	all := map[string]string{}
	for _, entry := range append(slices.Clone(base), decodeEnv(own)...) {
		name, value, _ := strings.Cut(entry, "=")
		all[name] = value
	}
	list := make([]string, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, name+"="+all[name])
	}
	if err := f.replace(envFile, encodeEnv(list)); err != nil {
		return fmt.Errorf("job %s: %w", rec.ID, err)
	}
	rec.Bash = bash
	return f.write(jobFile, rec)
}

// ParseState reads a state file: what was asked for, and how the job is.
func ParseState(data []byte) (id string, state executor.State, err error) {
	var s status
	if err := json.Unmarshal(data, &s); err != nil {
		return "", executor.State{}, fmt.Errorf("state of a job: %w", err)
	}
	switch s.State.Phase {
	case executor.Running, executor.Ended:
		return s.ID, s.State, nil
	}
	return "", executor.State{}, errors.New("state of a job: it says neither running nor ended")
}

// StopRequest is the content of a stop file.
func StopRequest(grace time.Duration, at time.Time) ([]byte, error) {
	return json.Marshal(request{Grace: max(grace, 0), At: at.UTC()})
}
