package bus

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/litci/litci/pkg/flow"
)

// Viewing says what somebody sees of the streams.
type Viewing struct {
	// Subjects are subjects with NATS's wildcards; CheckSubjects tells whether they can
	// be viewed.
	Subjects []string
	// Wants leaves out what it returns false for; nil wants everything. Its error is
	// one of the bus: it is asked again.
	Wants func(context.Context, Stored) (bool, error)
	// The view begins with everything that is stored, with what was stored since a
	// time, or with the last messages that are wanted.
	All   bool
	Since time.Time
	Last  int
	// Follow goes on until ctx ends with what is published.
	Follow bool
	// Away is told why the server does not answer any more while it is followed, and nil
	// when it does again. It may be nil.
	Away func(error)
}

// ViewSubjects are the subjects that can be viewed.
func ViewSubjects() []string {
	var subjects []string
	for _, s := range viewable() {
		subjects = append(subjects, s.config.Subjects...)
	}
	return subjects
}

// viewable are the streams of messages, without that of the server's own advisories.
func viewable() []stream {
	return slices.DeleteFunc(wanted(), func(s stream) bool { return s.config.Name == "ADVISORIES" })
}

// CheckSubjects tells which of some subjects with wildcards no stream of messages has.
func CheckSubjects(subjects []string) error {
	for _, subject := range subjects {
		known := slices.ContainsFunc(ViewSubjects(), func(own string) bool { return collide(own, subject) })
		if !known {
			return fmt.Errorf("nothing passes on the subject %q; the subjects are %s", subject, strings.Join(ViewSubjects(), ", "))
		}
	}
	return nil
}

const (
	// lookAgain is how often streams are looked at of which nothing was heard.
	lookAgain = 2 * time.Second
	// lookSoon is the first wait, and hungry how often is looked, for a message that was
	// heard of and is not stored yet.
	lookSoon = 20 * time.Millisecond
	hungry   = 4
)

// View hands fn the messages of some subjects in the order of their storing, and each
// once. The order holds within a stream, and between those that were stored before.
//
// It takes no more than the right to read: messages come from the streams by direct
// gets, and a subscription only tells when to look. So it survives the server's
// restarts, and shows what is stored and nothing else.
func (b *Bus) View(ctx context.Context, v Viewing, fn func(Stored) error) error {
	if err := CheckSubjects(v.Subjects); err != nil {
		return err
	}
	readers := b.readers(v)
	heard, hangUp, err := b.listen(readers, v.Follow)
	if err != nil {
		return err
	}
	defer hangUp()
	for _, r := range readers {
		if err := r.begin(ctx, v); err != nil {
			return err
		}
	}
	if v.Last > 0 {
		err = latest(ctx, readers, v.Last, fn)
	} else {
		err = drain(ctx, readers, fn)
	}
	if err != nil || !v.Follow {
		return err
	}
	f := follower{Viewing: v, readers: readers, heard: heard, fn: fn}
	return f.run(ctx)
}

// readers makes a reader for each stream that has something of the view.
func (b *Bus) readers(v Viewing) []*reader {
	var found []*reader
	for _, s := range viewable() {
		r := &reader{bus: b, stream: s.config.Name, wants: v.Wants}
		for _, subject := range v.Subjects {
			if slices.ContainsFunc(s.config.Subjects, func(own string) bool { return collide(own, subject) }) {
				r.subjects = append(r.subjects, subject)
			}
		}
		if len(r.subjects) > 0 {
			found = append(found, r)
		}
	}
	return found
}

// listen has each reader told when something passes on its subjects.
func (b *Bus) listen(readers []*reader, follow bool) (heard <-chan struct{}, hangUp func(), err error) {
	news := make(chan struct{}, 1)
	var all []*nats.Subscription
	hangUp = func() {
		for _, s := range all {
			_ = s.Unsubscribe() // of a connection that is closed, which ends it too
		}
	}
	for _, r := range readers {
		for _, subject := range r.subjects {
			if !follow {
				continue
			}
			s, err := b.nc.Subscribe(subject, func(*nats.Msg) {
				r.tries.Store(hungry)
				select {
				case news <- struct{}{}:
				default:
				}
			})
			if err != nil {
				hangUp()
				return nil, nil, fmt.Errorf("subscription to %s: %w", subject, err)
			}
			all = append(all, s)
		}
	}
	return news, hangUp, nil
}

// PlannedRuns are the ids of the runs of which the streams have the plan and that begin
// with a prefix, sorted.
func (b *Bus) PlannedRuns(ctx context.Context, prefix string) ([]string, error) {
	ctx, cancel := withTimeout(ctx, b.patience)
	defer cancel()
	plans := string(flow.Plans)
	s, err := b.js.Stream(ctx, streamOf(plans))
	if err != nil {
		return nil, fmt.Errorf("plans: %w", b.Refusal(err))
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(plans))
	if err != nil {
		return nil, fmt.Errorf("plans: %w", b.Refusal(err))
	}
	var runs []string
	for subject := range info.State.Subjects {
		if run := strings.TrimPrefix(subject, string(flow.PlanOf(""))); strings.HasPrefix(run, prefix) {
			runs = append(runs, run)
		}
	}
	slices.Sort(runs)
	return runs, nil
}

// reader reads the messages of one stream.
type reader struct {
	bus      *Bus
	stream   string
	subjects []string
	wants    func(context.Context, Stored) (bool, error)
	// from is where the next page begins, until the last message that is read.
	from  From
	until uint64
	// page is what was read and not handed on, and done says that there is no more.
	page []Stored
	done bool
	// made is when the stream was made, first its oldest message at the beginning, seen
	// the time of the last message that was read.
	made  time.Time
	first uint64
	seen  time.Time
	// tries is how often the stream is looked at although nothing was found.
	tries atomic.Int32
}

// begin finds out where the stream ends now, and where the view of it begins.
func (r *reader) begin(ctx context.Context, v Viewing) error {
	info, err := r.bus.info(ctx, r.stream)
	if err != nil {
		return err
	}
	first, last := info.State.FirstSeq, info.State.LastSeq
	r.made, r.first, r.until = info.Created, first, last
	switch {
	case !v.Since.IsZero():
		r.from = From{Time: v.Since}
	case v.All:
		r.from = From{Sequence: max(first, 1)}
	default: // latest reads what is before
		r.from, r.done = From{Sequence: last + 1}, true
	}
	return nil
}

// info is what the server says of a stream now.
func (b *Bus) info(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	ctx, cancel := withTimeout(ctx, b.patience)
	defer cancel()
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, b.Refusal(err))
	}
	return s.CachedInfo(), nil
}

// fill reads until there is a message to hand on or none is left.
func (r *reader) fill(ctx context.Context) error {
	for len(r.page) == 0 && !r.done {
		if err := r.read(ctx); err != nil {
			return err
		}
	}
	return nil
}

// read reads a page and keeps what is wanted of it.
func (r *reader) read(ctx context.Context) error {
	filter := ">"
	if len(r.subjects) == 1 {
		filter = r.subjects[0]
	}
	page, more, err := r.bus.page(ctx, r.stream, filter, r.from)
	if err != nil {
		return err
	}
	for _, m := range page {
		if m.Sequence > r.until {
			more = false
			break
		}
		wanted, err := r.concerns(ctx, m)
		if err != nil {
			return err
		}
		r.from, r.seen = From{Sequence: m.Sequence + 1}, m.At
		if wanted {
			r.page = append(r.page, m)
		}
	}
	r.done = !more
	return nil
}

func (r *reader) concerns(ctx context.Context, m Stored) (bool, error) {
	has := slices.ContainsFunc(r.subjects, func(pattern string) bool { return collide(pattern, m.Subject) })
	if !has || r.wants == nil {
		return has, nil
	}
	return r.wants(ctx, m)
}

// drain hands on what the readers have, the oldest first, until all are done.
func drain(ctx context.Context, readers []*reader, fn func(Stored) error) error {
	for {
		var oldest *reader
		for _, r := range readers {
			if err := r.fill(ctx); err != nil {
				return err
			}
			if len(r.page) > 0 && (oldest == nil || r.page[0].At.Before(oldest.page[0].At)) {
				oldest = r
			}
		}
		if oldest == nil {
			return nil
		}
		m := oldest.page[0]
		oldest.page = oldest.page[1:]
		if err := fn(m); err != nil {
			return err
		}
	}
}

// latest hands on the last n messages of all readers together.
func latest(ctx context.Context, readers []*reader, n int, fn func(Stored) error) error {
	var found []Stored
	for _, r := range readers {
		own, err := r.latest(ctx, n)
		if err != nil {
			return err
		}
		found = append(found, own...)
	}
	slices.SortStableFunc(found, func(a, b Stored) int { return a.At.Compare(b.At) })
	for _, m := range found[max(0, len(found)-n):] {
		if err := fn(m); err != nil {
			return err
		}
	}
	return nil
}

// latest returns the stream's last n messages. A stream is read forwards only: so it
// is read from ever farther back, until there are enough.
func (r *reader) latest(ctx context.Context, n int) ([]Stored, error) {
	for back := uint64(max(n, pageMessages)); ; back *= 4 {
		start := max(r.first, 1)
		if r.until > start+back {
			start = r.until - back
		}
		whole := reader{bus: r.bus, stream: r.stream, subjects: r.subjects, wants: r.wants, from: From{Sequence: start}, until: r.until}
		for !whole.done {
			if err := whole.read(ctx); err != nil {
				return nil, err
			}
		}
		if len(whole.page) >= n || start <= max(r.first, 1) {
			r.seen = whole.seen
			return whole.page[max(0, len(whole.page)-n):], nil
		}
	}
}

// follower hands on what comes.
type follower struct {
	Viewing
	readers []*reader
	heard   <-chan struct{}
	fn      func(Stored) error
	// failed is what fn returned; gone says that the server does not answer.
	failed error
	gone   bool
}

func (f *follower) run(ctx context.Context) error {
	for _, r := range f.readers {
		r.until, r.done = ^uint64(0), false
	}
	hand := func(m Stored) error {
		f.failed = f.fn(m)
		return f.failed
	}
	for {
		err := f.recover(ctx)
		if err == nil {
			err = drain(ctx, f.readers, hand)
		}
		switch {
		case f.failed != nil:
			return f.failed
		case ctx.Err() != nil:
			return nil
		case err != nil:
			f.tell(err)
			f.gone = true
		}
		if !f.wait(ctx) {
			return nil
		}
	}
}

// recover finds out, once the server answers again, whether the streams are those
// that they were: the number of a message may name another one since.
func (f *follower) recover(ctx context.Context) error {
	if !f.gone {
		return nil
	}
	for _, r := range f.readers {
		info, err := r.bus.info(ctx, r.stream)
		if err != nil {
			return err
		}
		if !info.Created.Equal(r.made) || info.State.LastSeq+1 < r.from.Sequence {
			r.made, r.from = info.Created, From{Time: r.seen.Add(1)}
			if r.seen.IsZero() {
				r.from = From{Sequence: 1}
			}
		}
	}
	f.gone = false
	f.tell(nil)
	return nil
}

func (f *follower) tell(err error) {
	if f.Away != nil && (err == nil || !f.gone) {
		f.Away(err)
	}
}

// wait returns when there is something to look at, with the readers that are to look
// not done any more; false when ctx ended.
func (f *follower) wait(ctx context.Context) bool {
	pause := lookAgain
	for _, r := range f.readers {
		if tries := r.tries.Load(); tries > 0 {
			pause = min(pause, lookSoon<<(2*(hungry-tries)))
		}
	}
	if f.gone {
		pause = lookAgain / 4
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-f.heard:
	case <-timer.C:
	}
	for _, r := range f.readers {
		tries := r.tries.Load()
		r.done = tries == 0 && pause < lookAgain && !f.gone
		if tries > 0 {
			r.tries.CompareAndSwap(tries, tries-1) // unless it was just heard of
		}
	}
	return true
}

// collide tells whether a message may be on both of two subjects with wildcards.
func collide(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		one, other := token(x, i), token(y, i)
		switch {
		case one == "" || other == "":
			return false
		case one == ">" || other == ">":
			return true
		case one != other && one != "*" && other != "*":
			return false
		}
	}
	return true
}

// token is a part of a subject; empty where there is none, or none that there may be.
func token(parts []string, i int) string {
	if i >= len(parts) || strings.ContainsAny(parts[i], " \t\r\n") || parts[i] == ">" && i < len(parts)-1 {
		return ""
	}
	return parts[i]
}
