package local

import (
	"archive/tar"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/litci/litci/pkg/executor"
)

// limits bound what an archive may become.
type limits struct {
	// bytes bounds the uncompressed archive, headers included.
	bytes int64
	// entries bounds files, directories and links together.
	entries int
	// names bounds the length of all names together, which are held in memory.
	names int64
	// ratio bounds uncompressed to compressed, beyond the first free bytes.
	ratio int64
	free  int64
}

// sourceLimits fit any repository that people test, and no bomb.
func sourceLimits() limits {
	return limits{bytes: 4 << 30, entries: 500_000, names: 64 << 20, ratio: 200, free: 256 << 20}
}

// maxName is the kernel's limit for a path (PATH_MAX with its final zero byte).
const maxName = 4095

// kind is what an archive has put at a name.
type kind byte

const (
	isDir kind = iota + 1
	isFile
	isLink
)

// target takes what an archive holds. Names are clean and relative, the folders
// above them were made before, and none of them is a link.
type target interface {
	mkdir(name string) error
	// file takes a regular file; again says that one of that name was taken before.
	file(name string, mode os.FileMode, size int64, content io.Reader, again bool) error
	link(name, to string) error
}

// unpacker takes one archive apart.
type unpacker struct {
	into   target
	limits limits

	top   string
	kinds map[string]kind
	links map[string]string
	names int64
}

// unpack writes a gzip-compressed tar below root without its single top folder.
// The archive is not trusted: what could write outside root or fill the disk is a
// StartError that names the entry. Links that lead out of root are common in
// repositories and harmless in archives that write through none: they are left
// out, and left says so, a line for each. Every file and folder is passed to own
// when it is complete. After any error root holds a part that is to be thrown away.
func unpack(ctx context.Context, source io.Reader, root *os.Root, lim limits, own func(*os.Root, string) error) (left []string, err error) {
	return takeApart(ctx, source, rootTarget{root, own}, lim)
}

// takeApart is unpack for any target.
func takeApart(ctx context.Context, source io.Reader, into target, lim limits) (left []string, err error) {
	packed := &counter{Reader: source}
	unzipped, err := gzip.NewReader(packed)
	if err != nil {
		return nil, archiveError(err)
	}
	plain := &limited{Reader: unzipped, packed: packed, limits: lim, ctx: ctx}
	u := &unpacker{into: into, limits: lim, kinds: map[string]kind{}, links: map[string]string{}}
	archive := tar.NewReader(plain)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, archiveError(err)
		}
		if err := u.entry(header, archive); err != nil {
			return nil, err
		}
	}
	// The checksum stands at the end of the compressed stream.
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return nil, archiveError(err)
	}
	return u.finish()
}

// rootTarget is a directory.
type rootTarget struct {
	root *os.Root
	own  func(root *os.Root, name string) error
}

func (t rootTarget) mkdir(name string) error {
	if err := t.root.Mkdir(name, 0o755); err != nil {
		return err
	}
	return t.own(t.root, name)
}

func (t rootTarget) file(name string, mode os.FileMode, _ int64, content io.Reader, again bool) error {
	if again {
		if err := t.root.Remove(name); err != nil {
			return err
		}
	}
	file, err := t.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return t.own(t.root, name)
}

func (t rootTarget) link(name, to string) error {
	if err := t.root.Symlink(to, name); err != nil {
		return err
	}
	return t.own(t.root, name)
}

// entry takes one entry; links wait for the end.
func (u *unpacker) entry(header *tar.Header, content io.Reader) error {
	if header.Typeflag == tar.TypeXGlobalHeader {
		return nil // git puts the commit there
	}
	name, err := u.name(header.Name)
	if err != nil {
		return err
	}
	if name == "." {
		if header.Typeflag != tar.TypeDir {
			return refuse(header.Name, "it is not in the archive's top folder")
		}
		return nil
	}
	if err := u.parents(header.Name, name); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeDir:
		return u.mkdir(header.Name, name)
	case tar.TypeReg:
		return u.file(header, name, content)
	case tar.TypeSymlink:
		return u.link(header, name)
	case tar.TypeLink:
		return refuse(header.Name, "hard links are not allowed")
	default:
		return refuse(header.Name, fmt.Sprintf("entries of type %q are not allowed", header.Typeflag))
	}
}

// name takes the top folder off; "." is the top folder itself.
func (u *unpacker) name(full string) (string, error) {
	switch {
	case len(full) > maxName:
		return "", refuse(full[:64]+"…", "its name is too long")
	case strings.HasPrefix(full, "/"):
		return "", refuse(full, "its name is absolute")
	case slices.Contains(strings.Split(full, "/"), ".."):
		return "", refuse(full, "its name leads out of the workspace")
	case strings.Contains(full, "\x00"):
		return "", refuse(full, "its name contains a zero byte")
	}
	top, rest, _ := strings.Cut(path.Clean(full), "/")
	if u.top == "" && top != "." {
		u.top = top
	}
	switch {
	case top == ".": // "./" before the top folder
		return ".", nil
	case top != u.top:
		return "", refuse(full, fmt.Sprintf("the archive has a second top folder beside %q", u.top))
	case rest == "":
		return ".", nil
	}
	return rest, nil
}

// parents makes the directories above name.
func (u *unpacker) parents(full, name string) error {
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		if err := u.mkdir(full, name[:i]); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) mkdir(full, name string) error {
	switch u.kinds[name] {
	case isDir:
		return nil
	case isLink:
		return refuse(full, fmt.Sprintf("%q is a link, and nothing is written through links", name))
	case isFile:
		return refuse(full, fmt.Sprintf("%q is a file already", name))
	}
	if err := u.add(full, name, isDir); err != nil {
		return err
	}
	return writeError(full, u.into.mkdir(name))
}

// file writes a regular file. Of two with one name the later one counts, as tar
// does it.
func (u *unpacker) file(header *tar.Header, name string, content io.Reader) error {
	again := false
	switch u.kinds[name] {
	case isDir, isLink:
		return refuse(header.Name, "the archive has something else of the same name")
	case isFile:
		again = true
	}
	if header.Size > u.limits.bytes {
		return refuse(header.Name, fmt.Sprintf("the archive is larger than %d bytes", u.limits.bytes))
	}
	if err := u.add(header.Name, name, isFile); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if header.Mode&0o111 != 0 {
		mode = 0o755
	}
	err := u.into.file(name, mode, header.Size, content, again)
	if _, write := errors.AsType[*fs.PathError](err); write {
		return writeError(header.Name, err)
	}
	if err != nil {
		return archiveError(err)
	}
	return nil
}

func (u *unpacker) link(header *tar.Header, name string) error {
	if was := u.kinds[name]; was != 0 && was != isLink {
		return refuse(header.Name, "the archive has something else of the same name")
	}
	if header.Linkname == "" || len(header.Linkname) > maxName || strings.Contains(header.Linkname, "\x00") {
		return refuse(header.Name, "its target is malformed")
	}
	if err := u.add(header.Name, name, isLink); err != nil {
		return err
	}
	u.names += int64(len(header.Linkname))
	u.links[name] = header.Linkname
	return nil
}

// add counts a new name.
func (u *unpacker) add(full, name string, k kind) error {
	if _, there := u.kinds[name]; !there {
		u.names += int64(len(name))
	}
	u.kinds[name] = k
	if len(u.kinds) > u.limits.entries {
		return refuse(full, fmt.Sprintf("the archive has more than %d entries", u.limits.entries))
	}
	if u.names > u.limits.names {
		return refuse(full, fmt.Sprintf("the names in the archive are longer than %d bytes together", u.limits.names))
	}
	return nil
}

// finish makes the links, once it is known where each leads.
func (u *unpacker) finish() (left []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(u.links)) {
		if leadsOut(u.links, name) {
			left = append(left, fmt.Sprintf("%q leads out of the workspace, to %q", name, u.links[name]))
			continue
		}
		if err := u.into.link(name, u.links[name]); err != nil {
			return nil, writeError(name, err)
		}
	}
	return left, nil
}

// maxHops is how many links the kernel follows before it gives up (path_resolution(7)).
const maxHops = 40

// leadsOut follows the link at name through the other links, as the kernel would,
// and says whether the way ever leaves the directory that all names are in.
// Cleaning the target is not enough: after a link, ".." is elsewhere.
func leadsOut(links map[string]string, name string) bool {
	var at []string
	todo := strings.Split(name, "/")
	for hops := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return true
			}
			at = at[:len(at)-1]
			continue
		}
		target, isLink := links[strings.Join(append(at[:len(at):len(at)], part), "/")]
		if !isLink {
			at = append(at, part)
			continue
		}
		if strings.HasPrefix(target, "/") {
			return true
		}
		if hops++; hops > maxHops {
			return false // the kernel does not follow it anywhere
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return false
}

// refuse is the error for an archive that is not to be unpacked, now or later.
func refuse(name, why string) error {
	return &executor.StartError{Message: fmt.Sprintf("source archive: entry %q: %s", name, why)}
}

// writeError tells a name that no file system takes from a full disk.
func writeError(name string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.ENAMETOOLONG) || errors.Is(err, unix.EILSEQ) || errors.Is(err, unix.EINVAL) {
		return &executor.StartError{Message: fmt.Sprintf("source archive: entry %q", name), Err: err}
	}
	return fmt.Errorf("source archive: entry %q: %w", name, err)
}

// archiveError tells a malformed archive, which stays so, from one that could not
// be read to its end.
func archiveError(err error) error {
	var corrupt flate.CorruptInputError
	if _, known := errors.AsType[*executor.StartError](err); known {
		return err
	}
	switch {
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.Is(err, tar.ErrHeader),
		errors.Is(err, tar.ErrFieldTooLong), errors.As(err, &corrupt):
		return &executor.StartError{Message: "source archive is malformed", Err: err}
	}
	return fmt.Errorf("source archive: %w", err)
}

// counter counts what was read.
type counter struct {
	io.Reader
	read int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read += int64(n)
	return n, err
}

// limited stops bombs: too much in all, or too much for what it was made from.
type limited struct {
	io.Reader
	packed *counter
	limits limits
	ctx    context.Context //nolint:containedctx // a reader's Read takes none
	read   int64
}

func (l *limited) Read(p []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := l.Reader.Read(p)
	l.read += int64(n)
	switch {
	case l.read > l.limits.bytes:
		return n, &executor.StartError{Message: fmt.Sprintf("source archive is larger than %d bytes", l.limits.bytes)}
	case l.read > l.limits.free && l.read > l.limits.ratio*l.packed.read:
		return n, &executor.StartError{Message: fmt.Sprintf("source archive unpacks to more than %d times its size", l.limits.ratio)}
	}
	return n, err
}
