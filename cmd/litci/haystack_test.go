package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// haystack is everything that litci wrote, said or handed on, by where it went.
type haystack struct {
	t     *testing.T
	straw []straw
}

type straw struct {
	// surface is the kind of place, where the very one.
	surface, where string
	data           []byte
}

// add takes what stands in one place, also what is packed in it.
func (h *haystack) add(surface, where string, data []byte) {
	h.straw = append(h.straw, straw{surface, where, data})
	h.unpack(surface, where, data, 4)
}

var (
	packed = regexp.MustCompile(`[A-Za-z0-9+/_-]{24,}={0,2}`)
	zipped = []byte{0x1f, 0x8b, 8}
)

// unpack takes apart what hides a text from a plain search: gzip and base64, in each
// other to a depth.
func (h *haystack) unpack(surface, where string, data []byte, depth int) {
	if depth == 0 {
		return
	}
	add := func(how string, data []byte) {
		h.straw = append(h.straw, straw{surface, where + how, data})
		h.unpack(surface, where+how, data, depth-1)
	}
	if bytes.HasPrefix(data, zipped) {
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		plain, _ := io.ReadAll(r) // what was cut off is no less of a find
		add(" (gzip)", plain)
		return
	}
	for _, run := range packed.FindAll(data, -1) {
		text := strings.TrimRight(string(run), "=")
		for _, coding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			if plain, err := coding.DecodeString(text); err == nil {
				add(" (base64)", plain)
				break
			}
		}
	}
}

// folder adds every file below a directory, and the names of all.
func (h *haystack) folder(surface, dir string) {
	h.t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != dir {
			return nil // it was there for a moment only: those that use the folder go on
		}
		if err != nil {
			return err
		}
		h.add(surface, "name of "+path, []byte(strings.TrimPrefix(path, dir)))
		if !entry.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		h.add(surface, path, data)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		h.t.Error(err)
	}
}

// find returns where a text stands, as it is or coded.
func (h *haystack) find(needle string) []straw {
	forms := [][]byte{[]byte(needle), []byte(hex.EncodeToString([]byte(needle)))}
	// Within other bytes base64 has three forms; its ends depend on what is beside.
	for shift := range 3 {
		coded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + needle))
		begin, end := (shift*8+5)/6, len(strings.TrimRight(coded, "="))-1
		forms = append(forms, []byte(coded[begin:end]), []byte(strings.NewReplacer("+", "-", "/", "_").Replace(coded[begin:end])))
	}
	var found []straw
	for _, s := range h.straw {
		if slices.ContainsFunc(forms, func(form []byte) bool { return bytes.Contains(s.data, form) }) {
			found = append(found, s)
		}
	}
	return found
}

func TestHaystackFindsWhatIsCoded(t *testing.T) {
	t.Parallel()
	const needle = "needle-of-some-length"
	var squeezed bytes.Buffer
	w := gzip.NewWriter(&squeezed)
	if _, err := io.WriteString(w, "a "+needle+" b"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	within := base64.StdEncoding.EncodeToString([]byte("some text before the " + needle + " and behind it"))
	for name, data := range map[string]string{
		"plain": "x" + needle + "x", "hex": hex.EncodeToString([]byte(needle)), "gzip": squeezed.String(),
		"base64": `{"a":"` + within + `"}`, "base64 of an unknown beginning": within[3:], "base64 of another": within[2:],
		"gzip in base64": `{"a":"` + base64.StdEncoding.EncodeToString(squeezed.Bytes()) + `"}`,
	} {
		h := &haystack{t: t}
		h.add("test", name, []byte(data))
		if len(h.find(needle)) == 0 {
			t.Errorf("not found: %s", name)
		}
		if len(h.find("needle-of-another-kind")) > 0 {
			t.Errorf("found what is not there: %s", name)
		}
	}
}
