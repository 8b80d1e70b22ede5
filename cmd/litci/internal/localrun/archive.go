package localrun

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
)

// maxArchive is the size of the largest archive in bytes, packed: that of the
// planner, so that what runs here runs there.
const maxArchive = 512 << 20

// maxWhole is the size of the largest file that is held in memory, in bytes.
const maxWhole = 1 << 20

// top is the folder that the archive's files stand in, as in GitHub's.
const top = "tree/"

// archive packs the tree. Reading it fails where a file cannot be read; what is
// gone by now is left out. The caller closes it.
func (t *tree) archive(ctx context.Context) io.ReadCloser {
	r, w := io.Pipe()
	go func() { // the end of the reader ends it
		w.CloseWithError(t.pack(ctx, &bounded{to: w, left: maxArchive}))
	}()
	return r
}

// bounded writes up to a limit and fails beyond it.
type bounded struct {
	to   io.Writer
	left int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, fmt.Errorf("the files are larger than %d MiB when packed; ignore what jobs do not need in .gitignore", maxArchive>>20)
	}
	return b.to.Write(p)
}

func (t *tree) pack(ctx context.Context, w io.Writer) error {
	packed, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	archive := tar.NewWriter(packed)
	// The folder itself: a tree without files is no broken archive.
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: top, Mode: 0o755}); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	links := map[string]bool{}
	for _, name := range t.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if below(links, name) {
			continue
		}
		link, err := t.add(archive, name)
		if link {
			links[name] = true
		}
		known := errors.Is(err, fs.ErrPermission) && slices.Contains(t.unread, name)
		if err != nil && !known && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return fmt.Errorf("archive of %s: %w", name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	if err := packed.Close(); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	return nil
}

// below tells whether a link stands now where git knows a folder with this file.
func below(links map[string]bool, name string) bool {
	for dir := path.Dir(name); len(links) > 0 && dir != "."; dir = path.Dir(dir) {
		if links[dir] {
			return true
		}
	}
	return false
}

// add packs one file or link; what is neither, as a socket, is passed over.
func (t *tree) add(archive *tar.Writer, name string) (link bool, err error) {
	info, err := os.Lstat(t.at(name))
	if err != nil {
		return false, err
	}
	header := &tar.Header{Name: top + name, Mode: int64(info.Mode().Perm())}
	switch {
	case info.Mode().IsRegular():
	case info.Mode()&fs.ModeSymlink != 0:
		header.Typeflag = tar.TypeSymlink
		if header.Linkname, err = os.Readlink(t.at(name)); err != nil {
			return true, err
		}
		return true, archive.WriteHeader(header)
	default:
		return false, nil
	}
	file, err := os.Open(t.at(name))
	if err != nil {
		return false, err
	}
	defer file.Close()
	// What is small is read whole, so that a file that is being written has the size
	// that its header says.
	var content io.Reader = file
	if header.Size = info.Size(); header.Size <= maxWhole {
		data, err := io.ReadAll(io.LimitReader(file, maxWhole))
		if err != nil {
			return false, err
		}
		content, header.Size = bytes.NewReader(data), int64(len(data))
	}
	header.Typeflag = tar.TypeReg
	if err := archive.WriteHeader(header); err != nil {
		return false, err
	}
	if _, err := io.CopyN(archive, content, header.Size); err != nil {
		return false, fmt.Errorf("the file changed while it was read: %w", err)
	}
	return false, nil
}
