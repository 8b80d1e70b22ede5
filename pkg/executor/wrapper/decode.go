package wrapper

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"
)

// Decoder makes a job's output of the lines of its log.
type Decoder struct {
	// Offset is how much of the output was read.
	Offset int64
	// Begun says that the script has begun, and Exit how it ended.
	Begun bool
	Exit  *Exit
	// Lost says that the lines come from the middle of a log: they are passed over until
	// one tells its place.
	Lost bool
	// Place is the last place that the log told.
	Place Place

	mark string
}

// Place is where something is in a log.
type Place struct {
	Offset int64
	// At is when it was written, by the machine's clock, in whole seconds.
	At time.Time
}

// NewDecoder returns a decoder for the log of the job of an id.
func NewDecoder(id string) Decoder { return Decoder{mark: "##litci-" + Nonce(id) + " "} }

// Line reads one line and moves the offset; jump says that it did so without data.
func (d *Decoder) Line(text string) (data []byte, jump bool) {
	data, jump = d.read(text)
	if d.Lost {
		return nil, false
	}
	d.Offset += int64(len(data))
	return data, jump
}

// read takes a line apart. What comes before the wrapper's first word and behind its
// last one is the platform's.
func (d *Decoder) read(text string) (data []byte, jump bool) {
	text = strings.TrimSuffix(text, "\n")
	rest, own := strings.CutPrefix(text, d.mark)
	if !own {
		if !d.Begun || d.Exit != nil {
			return nil, false
		}
		return append([]byte(text), '\n'), false
	}
	word, rest, _ := strings.Cut(rest, " ")
	switch word {
	case "begin":
		d.Begun, d.Exit, d.Lost = true, nil, false // again, when the platform has restarted it
	case "=":
		return append(unescape(rest), '\n'), false
	case "+":
		return unescape(rest), false
	case "#":
		data, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(rest)) // what is there of a damaged line
		return data, false
	case "@":
		place, ok := parsePlace(rest)
		if !ok {
			break
		}
		d.Begun, d.Place = true, place
		if d.Lost || place.Offset > d.Offset {
			d.Offset, d.Lost = place.Offset, false
			return nil, true
		}
	case "exit":
		if e, ok := ParseExit(rest); ok {
			d.Exit = e
		}
	}
	return nil, false
}

// parsePlace reads "OFFSET [SECONDS]".
func parsePlace(text string) (Place, bool) {
	offset, seconds, timed := strings.Cut(strings.TrimSpace(text), " ")
	at, err := strconv.ParseInt(offset, 10, 64)
	if err != nil || at < 0 {
		return Place{}, false
	}
	place := Place{Offset: at}
	if n, err := strconv.ParseInt(seconds, 10, 64); timed && err == nil {
		place.At = time.Unix(n, 0).UTC()
	}
	return place, true
}

// unescape reads \ooo, \n and \\.
func unescape(text string) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			out = append(out, text[i])
			continue
		}
		if i+3 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		if i+1 < len(text) && text[i+1] == 'n' {
			out = append(out, '\n')
			i++
			continue
		}
		if i+1 < len(text) && text[i+1] == '\\' {
			i++
		}
		out = append(out, '\\')
	}
	return out
}
