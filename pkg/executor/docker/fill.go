package docker

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/docker/shim"
	"github.com/litci/litci/pkg/executor/local"
)

// Paths inside a container; the package comment says what is there.
const (
	root      = shim.Root
	readyPath = shim.ReadyPath
	jobPath   = shim.JobPath
	stopPath  = root + "/stop.json"
	shimName  = "litci"
	shimPath  = readyPath + "/" + shimName
)

// fill copies a preparation into the container. Its link comes last and makes it
// count, so a copy that breaks off is as good as none; and several, by launchers that
// do not know of each other, do not touch one another.
func (s *start) fill(ctx context.Context, c *container.InspectResponse) error {
	e := s.executor
	if err := e.needBash(ctx, c); err != nil {
		return err
	}
	who, err := e.identify(ctx, c.ID, c.Config.User)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, e.options.Copy)
	defer cancel()
	reader, writer := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := s.pack(ctx, writer, who)
		writer.CloseWithError(err)
		packed <- err
	}()
	_, err = e.engine.CopyToContainer(ctx, c.ID, client.CopyToContainerOptions{DestinationPath: "/", Content: reader})
	reader.Close()
	packErr := <-packed
	if errors.Is(packErr, io.ErrClosedPipe) {
		packErr = nil // the engine stopped listening, and says why
	}
	if packErr != nil {
		return fmt.Errorf("job %s: %w", s.job.ID, packErr)
	}
	if isMissing(err) {
		return fmt.Errorf("job %s: %w", s.job.ID, errMoved)
	}
	if err != nil {
		return fmt.Errorf("files of job %s: %w", s.job.ID, err)
	}
	return nil
}

// pack writes the preparation as a tar.
func (s *start) pack(ctx context.Context, w io.Writer, who identity) error {
	e := s.executor
	archive := tar.NewWriter(w)
	name := shim.Preparation + strings.ToLower(rand.Text())
	top := strings.TrimPrefix(root, "/")
	now := time.Now().Truncate(time.Second)
	entry := func(header tar.Header) error {
		header.Uid, header.Gid, header.ModTime = who.uid, who.gid, now
		return archive.WriteHeader(&header)
	}
	if err := entry(tar.Header{Typeflag: tar.TypeDir, Name: top + "/", Mode: 0o755}); err != nil {
		return err
	}
	p := local.Packer{Tar: archive, Folder: path.Join(top, name), UID: who.uid, GID: who.gid}
	if err := p.Pack(s.job, e.environ(s.job.Env), s.source.left()); err != nil {
		return err
	}
	if err := s.source.packInto(ctx, p); err != nil {
		return err
	}
	// The request to stop is found wherever the preparation is.
	if err := entry(tar.Header{Typeflag: tar.TypeSymlink, Name: path.Join(top, name, local.StopFile), Linkname: "../" + path.Base(stopPath), Mode: 0o777}); err != nil {
		return err
	}
	if err := entry(tar.Header{Typeflag: tar.TypeReg, Name: path.Join(top, name, shimName), Size: e.shim.size, Mode: 0o755}); err != nil {
		return err
	}
	if err := e.shim.writeTo(archive); err != nil {
		return err
	}
	if err := entry(tar.Header{Typeflag: tar.TypeSymlink, Name: path.Join(top, path.Base(readyPath)), Linkname: name, Mode: 0o777}); err != nil {
		return err
	}
	return archive.Close()
}

// environ is what is set beside the image's own environment: what the workflow asks
// for, and where the job is.
func (e *Executor) environ(env map[string]string) map[string]string {
	all := maps.Clone(env)
	if all == nil {
		all = map[string]string{}
	}
	at := func(name string) string { return path.Join(jobPath, name) }
	maps.Copy(all, map[string]string{
		"GITHUB_WORKSPACE":    at(local.WorkspaceDir),
		"LITCI_WORKSPACE":     at(local.WorkspaceDir),
		"GITHUB_STEP_SUMMARY": at(local.SummaryFile),
		"LITCI_STEP_SUMMARY":  at(local.SummaryFile),
		"RUNNER_TEMP":         at(local.TempDir),
		"RUNNER_NAME":         e.info().name,
		"RUNNER_OS":           "Linux",
		"RUNNER_ARCH":         runnerArch(e.info().arch),
	})
	return all
}

// runnerArch uses the words of GitHub's variables reference.
func runnerArch(arch string) string {
	switch arch {
	case "x86_64", "amd64":
		return "X64"
	case "aarch64", "arm64":
		return "ARM64"
	}
	return strings.ToUpper(arch)
}

// needBash refuses an image without bash: to its supervisor that would be a failure
// of the machine, and to the people an unclear one.
func (e *Executor) needBash(ctx context.Context, c *container.InspectResponse) error {
	if e.images.get(c.Image).bash {
		return nil
	}
	for _, dir := range searchPath(c.Config.Env) {
		_, found, err := e.stat(ctx, c.ID, path.Join(dir, "bash"))
		if err != nil {
			return err
		}
		if found {
			e.images.change(c.Image, func(f *imageFacts) { f.bash = true })
			return nil
		}
	}
	return &executor.StartError{Message: fmt.Sprintf("image %s has no bash, which runs the scripts: choose an image with bash in its PATH", c.Config.Image)}
}

// defaultPath is what the engine sets for images without a PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// searchPath is where an image's programs are, the likely place first.
func searchPath(env []string) []string {
	list := defaultPath
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok && value != "" {
			list = value
		}
	}
	dirs := slices.DeleteFunc(strings.Split(list, ":"), func(dir string) bool { return !path.IsAbs(dir) })
	for i, dir := range dirs {
		if dir == "/bin" {
			dirs[0], dirs[i] = dirs[i], dirs[0]
		}
	}
	return dirs
}

// source is a commit's archive on this machine's disk, looked through.
type source struct {
	file    *os.File
	without []string
}

// fetchSource copies the archive and looks whether it may be unpacked, so that one
// that may not be has left nothing anywhere.
func fetchSource(ctx context.Context, job executor.Spec, dir string) (*source, error) {
	opened, err := job.Source(ctx)
	if err != nil {
		return nil, fmt.Errorf("source of job %s: %w", job.ID, err)
	}
	defer opened.Close()
	file, err := os.CreateTemp(dir, "litci-source-*")
	if err != nil {
		return nil, fmt.Errorf("source of job %s: %w", job.ID, err)
	}
	s := &source{file: file}
	// Without a name it goes with the process, however that ends.
	err = os.Remove(file.Name())
	if err == nil {
		_, err = io.Copy(file, opened)
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("source of job %s: %w", job.ID, err)
	}
	if s.without, err = (local.Packer{}).PackSource(ctx, file); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *source) close() {
	if s != nil {
		s.file.Close()
	}
}

// left are the links that the workspace lacks, in words.
func (s *source) left() []string {
	if s == nil {
		return nil
	}
	return s.without
}

func (s *source) packInto(ctx context.Context, p local.Packer) error {
	if s == nil {
		return nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("source archive: %w", err)
	}
	_, err := p.PackSource(ctx, s.file)
	return err
}
