package wrapper

import (
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	d := NewDecoder("litci-a")
	var b strings.Builder
	for _, line := range []string{
		"+ lightning", "pulling", d.mark + "begin 1700000000000", "plain", "  spaces  ", "", `back\slash \101`,
		d.mark + `= a\015b\\\377`, d.mark + "+ no end", d.mark + "# ////", d.mark + "= ", d.mark + "odd word", "##litci-000000000000 = other",
		d.mark + `= cut \7`, d.mark + "exit exit 3 77 1700000000000 1700000001500 some words", "platform",
	} {
		data, jump := d.Line(line)
		if jump {
			t.Errorf("jump at %q", line)
		}
		b.Write(data)
	}
	const want = "plain\n  spaces  \n\nback\\slash \\101\na\rb\\\xff\nno end\xff\xff\xff\n##litci-000000000000 = other\ncut \\7\n"
	if b.String() != want {
		t.Errorf("log is %q, want %q", b.String(), want)
	}
	if d.Offset != int64(len(want)) {
		t.Errorf("offset is %d, want %d", d.Offset, len(want))
	}
	if e := d.Exit; e == nil || e.Reason != "exit" || e.Code != 3 || e.Size != 77 || e.Ended.Sub(e.Began).Milliseconds() != 1500 || e.Message != "some words" {
		t.Errorf("exit is %+v", e)
	}
	if _, jump := d.Line(d.mark + "@ 5000"); !jump || d.Offset != 5000 {
		t.Errorf("offset is %d", d.Offset)
	}
	for _, text := range []string{"", "exit", "exit x 0 0 0", "exit 0 0 0"} {
		if _, ok := ParseExit(text); ok {
			t.Errorf("%q is an end", text)
		}
	}
}

// A reader that begins in the middle passes over what it cannot place.
func TestDecodeFromTheMiddle(t *testing.T) {
	t.Parallel()
	d := NewDecoder("litci-a")
	d.Lost = true
	for _, line := range []string{"half a line", d.mark + "+ x", d.mark + "= y", d.mark + "@ x"} {
		if data, jump := d.Line(line); len(data) > 0 || jump || d.Offset != 0 {
			t.Errorf("%q gives %q, offset %d", line, data, d.Offset)
		}
	}
	if _, jump := d.Line(d.mark + "@ 700 1700000000"); !jump || d.Offset != 700 || d.Lost || !d.Begun {
		t.Errorf("decoder is %+v", d)
	}
	if d.Place.Offset != 700 || d.Place.At.Unix() != 1700000000 {
		t.Errorf("place is %+v", d.Place)
	}
	if data, _ := d.Line("text"); string(data) != "text\n" || d.Offset != 705 {
		t.Errorf("data is %q, offset %d", data, d.Offset)
	}
	if _, jump := d.Line(d.mark + "@ 705 1700000001"); jump {
		t.Error("the present place is no jump")
	}
}

func FuzzDecode(f *testing.F) {
	d := NewDecoder("litci-a")
	for _, seed := range []string{"x", d.mark, d.mark + "= \\", d.mark + "@ -1", d.mark + "@ 7 x", d.mark + "exit exit 0 0 0 0", d.mark + "# x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		d := NewDecoder("litci-a")
		d.Begun = true
		data, jump := d.Line(line)
		if !jump && d.Offset != int64(len(data)) || jump && len(data) > 0 {
			t.Errorf("offset is %d after %q", d.Offset, data)
		}
	})
}
