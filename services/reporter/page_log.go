package reporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

// The bounds of the log that a page shows; the whole is one link away.
const (
	pageLines = 2_000
	pageBytes = 1 << 20
	pageLine  = 8 << 10
)

// logPart is the end of a log.
type logPart struct {
	Lines []string
	// Cut says that there is more before the lines.
	Cut bool
	// Next is the offset behind the last line, from where a live tail goes on.
	Next int64
	// Gone says that the archive is there no more.
	Gone bool
	Any  bool
}

// logPart reads the end of a job's log: from the archive once it has its
// verdict, from the live blocks before.
func (p *Pages) logPart(ctx context.Context, job jobState) (logPart, error) {
	if job.concluded() {
		if job.Log == "" {
			return logPart{}, nil
		}
		return p.archived(ctx, job.Log)
	}
	var ring lineRing
	next, err := p.live(ctx, job, func(text string, gap int64) error {
		if gap > 0 {
			ring.cut = true
		}
		_, err := ring.Write([]byte(text))
		return err
	})
	part := ring.part()
	part.Next = next
	return part, err
}

// archived reads the end of a log in the archive.
func (p *Pages) archived(ctx context.Context, name string) (logPart, error) {
	archive, err := p.bus.Logs().Get(ctx, name)
	if errors.Is(err, bus.ErrNotFound) {
		return logPart{Gone: true}, nil
	}
	if err != nil {
		return logPart{}, err
	}
	defer archive.Close()
	var ring lineRing
	if _, err := io.Copy(&ring, archive); err != nil {
		return logPart{}, fmt.Errorf("log %s: %w", name, err)
	}
	return ring.part(), nil
}

// live hands on what the bus holds of a running attempt's log, and returns the
// offset behind it.
func (p *Pages) live(ctx context.Context, job jobState, take func(text string, gap int64) error) (int64, error) {
	subject := flow.LogOf(job.Job)
	newest, err := bus.Latest(ctx, p.bus, subject)
	if errors.Is(err, bus.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var at splice
	err = bus.Tail(ctx, p.bus, subject, func(block flow.LogBlock) bool {
		if block.Attempt == job.Attempt {
			if text, gap := at.add(block); text != "" {
				if err = take(text, gap); err != nil {
					return false
				}
			}
		}
		return block != newest
	})
	return at.next, err
}

// splice puts the blocks of a log together. A watcher that takes a job over
// sends blocks again, cut in other places: what was seen is left out.
type splice struct{ next int64 }

// add returns what of the block is new, and how many bytes before it are missing.
func (s *splice) add(b flow.LogBlock) (text string, gap int64) {
	end := b.Offset + int64(len(b.Text))
	if end <= s.next {
		return "", 0
	}
	text = b.Text
	if b.Offset < s.next {
		text = text[s.next-b.Offset:]
	}
	gap = max(0, b.Offset-s.next)
	s.next = end
	return text, gap
}

// lineRing keeps the last lines of what is written to it, within the bounds of a page.
type lineRing struct {
	kept    []string
	size    int
	pending strings.Builder
	lost    bool // of the pending line
	cut     bool
}

// Write takes the next part of a log; it never fails.
func (r *lineRing) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		at := -1
		for i, c := range p {
			if c == '\n' {
				at = i
				break
			}
		}
		if at < 0 {
			r.hold(p)
			break
		}
		r.hold(p[:at])
		r.end()
		p = p[at+1:]
	}
	return n, nil
}

func (r *lineRing) hold(p []byte) {
	if room := pageLine - r.pending.Len(); len(p) > room {
		p, r.lost = p[:room], true
	}
	r.pending.Write(p)
}

func (r *lineRing) end() {
	line := plainLine(strings.TrimSuffix(r.pending.String(), "\r"))
	if r.lost {
		line += "…"
	}
	r.pending.Reset()
	r.lost = false
	r.kept = append(r.kept, line)
	r.size += len(line) + 1
	drop := 0
	for len(r.kept)-drop > pageLines || (r.size > pageBytes && drop < len(r.kept)) {
		r.size -= len(r.kept[drop]) + 1
		drop++
	}
	if drop > 0 {
		r.cut = true
		r.kept = r.kept[drop:]
	}
}

func (r *lineRing) lines() (lines []string, cut bool) {
	if r.pending.Len() > 0 {
		r.end()
	}
	return r.kept, r.cut
}

func (r *lineRing) part() logPart {
	lines, cut := r.lines()
	return logPart{Lines: lines, Cut: cut, Any: len(lines) > 0}
}

// logText serves the whole log as plain text: the archive, or what the bus holds
// while the job runs.
func (p *Pages) logText(w http.ResponseWriter, r *http.Request) error {
	job, err := p.job(r)
	if err != nil {
		return err
	}
	attempt := flow.AttemptID(job.Job, job.Attempt)
	if !job.concluded() {
		asText(w, attempt)
		_, err := p.live(r.Context(), job, func(text string, gap int64) error {
			if gap > 0 {
				text = fmt.Sprintf("… %d bytes are in the archive once the job has ended\n", gap) + text
			}
			_, err := io.WriteString(w, text)
			return err
		})
		return err
	}
	return p.archiveText(w, r, attempt, orElse(job.Log, flow.LogName(job.Job, job.Attempt)))
}

// asText sets the headers of an attempt's log as plain text.
func asText(w http.ResponseWriter, attempt string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", attempt+".log"))
}

// archiveText serves an attempt's log in the archive.
func (p *Pages) archiveText(w http.ResponseWriter, r *http.Request, attempt, name string) error {
	archive, err := p.bus.Logs().Get(r.Context(), name)
	if errors.Is(err, bus.ErrNotFound) {
		return errNoPage
	}
	if err != nil {
		return err
	}
	defer archive.Close()
	asText(w, attempt)
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err = io.Copy(w, archive); err != nil {
		// A part went out as if it were the whole: break the connection, so that the
		// download fails visibly.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// stateEvent tells a viewer how the job is.
type stateEvent struct {
	Icon  string `json:"icon"`
	Word  string `json:"word"`
	Tone  string `json:"tone"`
	Title string `json:"title"`
	Ended bool   `json:"ended"`
}

// logEvent is a part of the log for a viewer.
type logEvent struct {
	Text string `json:"text"`
	Gap  int64  `json:"gap,omitempty"`
}

// events streams a running job's log and state as server-sent events until the
// verdict. An event's id is "attempt.offset", so a viewer that comes back goes on
// where it was.
func (p *Pages) events(w http.ResponseWriter, r *http.Request) error {
	job, err := p.job(r)
	if err != nil {
		return err
	}
	select {
	case p.viewers <- struct{}{}:
		defer func() { <-p.viewers }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, "Too many viewers just now.", http.StatusServiceUnavailable)
		return nil
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "private, no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	if r.Method == http.MethodHead {
		return nil
	}
	stream := &eventStream{w: w, control: http.NewResponseController(w)}

	ctx, stop := context.WithCancel(r.Context())
	blocks := make(chan flow.LogBlock)
	tailed := make(chan error, 1)
	subject := flow.LogOf(job.Job) // here: the job is replaced below
	go func() {
		defer close(blocks)
		tailed <- bus.Tail(ctx, p.bus, subject, func(b flow.LogBlock) bool {
			select {
			case blocks <- b:
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
	defer func() {
		stop()
		for range blocks { // until the tail has let go
		}
	}()

	at := splice{next: resumeAt(r, job.Attempt)}
	poll, beat := time.NewTicker(p.poll), time.NewTicker(p.beat)
	defer poll.Stop()
	defer beat.Stop()
	shown := stateEvent{}
	for {
		now := stateEvent{
			Icon: icon(job.State, job.Conclusion), Word: stateWord(job.State, job.Conclusion),
			Tone: tone(job.State, job.Conclusion), Title: jobTitle(job), Ended: job.concluded(),
		}
		if now != shown {
			stream.send("state", "", now)
			shown = now
		}
		if now.Ended || stream.err != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case block, open := <-blocks:
			if !open {
				return <-tailed // the browser comes back by itself
			}
			if block.Attempt != job.Attempt {
				continue
			}
			if text, gap := at.add(block); text != "" {
				stream.send("log", fmt.Sprintf("%d.%d", job.Attempt, at.next), logEvent{text, gap})
			}
		case <-beat.C:
			stream.comment()
		case <-poll.C:
			fresh, err := p.job(r)
			if err != nil {
				continue // the next look may succeed
			}
			if fresh.Attempt != job.Attempt {
				stream.send("again", "", struct{}{})
				return nil
			}
			job = fresh
		}
	}
}

// resumeAt is where a viewer left off: the browser's Last-Event-ID when it comes
// back, else the offset that the page was rendered up to.
func resumeAt(r *http.Request, attempt int) int64 {
	if seen, offset, ok := strings.Cut(r.Header.Get("Last-Event-ID"), "."); ok {
		if seen != strconv.Itoa(attempt) {
			return 0
		}
		if n, err := strconv.ParseInt(offset, 10, 64); err == nil && n >= 0 {
			return n
		}
	}
	n, err := strconv.ParseInt(r.URL.Query().Get("from"), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// eventStream writes server-sent events; the first error stays.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	err     error
}

// writeWithin is how long a viewer may take for one event.
const writeWithin = 20 * time.Second

func (s *eventStream) send(event, id string, data any) {
	text, err := json.Marshal(data) // one line, whatever the log holds
	if err != nil {
		s.err = err
		return
	}
	if id != "" {
		id = "id: " + id + "\n"
	}
	s.write(id + "event: " + event + "\ndata: " + string(text) + "\n\n")
}

func (s *eventStream) comment() { s.write(": still here\n\n") }

func (s *eventStream) write(text string) {
	if s.err != nil {
		return
	}
	// Where deadlines are not supported the connection's own end must do.
	_ = s.control.SetWriteDeadline(time.Now().Add(writeWithin))
	if _, s.err = io.WriteString(s.w, text); s.err == nil {
		s.err = s.control.Flush()
	}
}
