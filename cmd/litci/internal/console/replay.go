package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

// Pick says which stored deliveries are meant, in one of three ways.
type Pick struct {
	// Delivery is GitHub's GUID, Sequence the number in the stream of deliveries, Since
	// how long ago the oldest was stored.
	Delivery string
	Sequence uint64
	Since    time.Duration
}

// Check tells what is wrong with a pick.
func (p Pick) Check() error {
	ways := 0
	for _, given := range []bool{p.Delivery != "", p.Sequence > 0, p.Since != 0} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return errors.New("it takes one of --delivery, --seq and --since")
	case p.Since < 0:
		return fmt.Errorf("--since %s: how long ago, such as 2h", p.Since)
	}
	return nil
}

// Stored is a delivery as the stream holds it.
type Stored struct {
	flow.Event
	Sequence uint64
	At       time.Time
}

// Deliveries returns the stored deliveries that are meant, oldest first. What was
// not GitHub's is not among them, unless its number is given.
func Deliveries(ctx context.Context, b *bus.Bus, p Pick, now time.Time) ([]Stored, error) {
	from := bus.From{Sequence: p.Sequence}
	if p.Since > 0 {
		from.Time = now.Add(-p.Since)
	}
	var found []Stored
	err := bus.Scan(ctx, b, flow.Events, from, func(m bus.Meta, e flow.Event) bool {
		s := Stored{Event: e, Sequence: m.Sequence, At: m.Stored}
		switch {
		case p.Sequence > 0:
			if m.Sequence == p.Sequence {
				found = append(found, s)
			}
			return false
		case e.Replay != "" || e.Kind == flow.KindRerun:
		case p.Delivery != "" && e.Delivery != p.Delivery:
		default:
			found = append(found, s)
			return p.Delivery == "" // which is stored once
		}
		return true
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) > 0:
		return found, nil
	case p.Delivery != "":
		return nil, fmt.Errorf("delivery %s is not stored: deliveries are kept for 7 days; GitHub redelivers for 3", terminal.Plain(p.Delivery))
	case p.Sequence > 0:
		return nil, fmt.Errorf("delivery number %d is not stored; deliveries are kept for 7 days", p.Sequence)
	}
	return nil, nil
}

// Delivery is a stored delivery for people and programs.
type Delivery struct {
	Sequence    uint64    `json:"seq"`
	Delivery    string    `json:"delivery"`
	Event       string    `json:"event"`
	Action      string    `json:"action,omitempty"`
	Repo        string    `json:"repo"`
	PullRequest int       `json:"pull_request,omitempty"`
	SHA         string    `json:"sha,omitempty"`
	Stored      time.Time `json:"stored"`
}

func deliveryOf(s Stored) Delivery {
	d := Delivery{Sequence: s.Sequence, Delivery: s.Delivery, Event: s.Kind, Action: s.Action, Repo: s.Repo.FullName(), SHA: s.SHA(), Stored: s.At}
	if s.PullRequest != nil {
		d.PullRequest = s.PullRequest.Number
	}
	return d
}

// what is the event: "pull_request opened".
func (d Delivery) what() string { return terminal.Plain(strings.TrimSpace(d.Event + " " + d.Action)) }

// about is what the event is about.
func (d Delivery) about() string {
	if d.PullRequest > 0 {
		return terminal.Plain(fmt.Sprintf("%s#%d", d.Repo, d.PullRequest))
	}
	return terminal.Plain(d.Repo)
}

// Replayed is a delivery that was published again, and what became of it; the JSON
// is a public interface.
type Replayed struct {
	Delivery
	// Became is planned, nothing to run, given up, ignored, or unknown.
	Became string `json:"became"`
	Run    string `json:"run,omitempty"`
	Jobs   int    `json:"jobs,omitempty"`
	// Message says more, for people.
	Message string `json:"message,omitempty"`
}

// What may become of a delivery that is published again.
const (
	becamePlanned = "planned"
	becameNothing = "nothing to run"
	becameGivenUp = "given up"
	becameIgnored = "ignored"
	becameUnknown = "unknown"
)

// Replay publishes deliveries again, each as another run, and waits for what becomes
// of them.
func (o Order) Replay(ctx context.Context, deliveries []Stored) ([]Replayed, error) {
	var watch outcomes
	var err error
	if watch.plans, err = o.Bus.End(ctx, string(flow.Plans)); err != nil {
		return nil, err
	}
	if watch.results, err = o.Bus.End(ctx, string(flow.Results)); err != nil {
		return nil, err
	}
	letters, err := o.Bus.Letters(ctx)
	if err != nil {
		return nil, err
	}
	if len(letters) > 0 {
		watch.letter = letters[len(letters)-1].Sequence
	}
	done := make([]Replayed, len(deliveries))
	for i, s := range deliveries {
		done[i] = Replayed{Delivery: deliveryOf(s), Became: becameUnknown}
		e := s.Event
		e.Replay, e.ReceivedAt = nonce(), time.Now().UTC()
		if err := bus.Publish(ctx, o.Bus, flow.Events, e); err != nil {
			return done[:i], err
		}
	}
	if o.Patience == 0 {
		return done, nil
	}
	end, err := o.Bus.End(ctx, string(flow.Events))
	if err != nil {
		return done, err
	}
	watch.last = end.Sequence - 1
	waiting, cancel := context.WithTimeout(ctx, o.Patience)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		over, err := watch.look(waiting, o.Bus, done)
		if err == nil && over {
			return done, nil
		}
		select {
		case <-waiting.Done():
			return done, nil // what is unknown says so
		case <-tick.C:
		}
		if err != nil && waiting.Err() == nil {
			return done, err
		}
	}
}

// outcomes looks at what the planner says, from where it said nothing yet.
type outcomes struct {
	plans, results bus.From
	letter         uint64
	// last is the delivery to which the planner must have come.
	last uint64
}

// look learns what is known now, and tells whether that is all there is to know.
func (w *outcomes) look(ctx context.Context, b *bus.Bus, done []Replayed) (bool, error) {
	// The planner publishes before it lets go of a delivery: once it has nothing in
	// hand, all that it had to say is there.
	idle, err := plannerIdle(ctx, b, w.last)
	if err != nil {
		return false, err
	}
	tell := func(delivery string, fn func(*Replayed)) {
		if at := slices.IndexFunc(done, func(r Replayed) bool { return r.Delivery.Delivery == delivery }); at >= 0 {
			fn(&done[at])
		}
	}
	err = bus.Scan(ctx, b, flow.Plans, w.plans, func(_ bus.Meta, p flow.Plan) bool {
		tell(p.Delivery, func(r *Replayed) { r.Became, r.Run, r.Jobs = becamePlanned, p.Run, len(p.Jobs) })
		return true
	})
	if err != nil {
		return false, err
	}
	err = bus.Scan(ctx, b, flow.Results, w.results, func(_ bus.Meta, res flow.Result) bool {
		if res.Job == "" {
			tell(res.Delivery, func(r *Replayed) {
				r.Became, r.Run, r.Message = becameNothing, res.Run, res.Message
				if res.Cause == flow.CauseGivenUp {
					r.Became = becameGivenUp
				}
			})
		}
		return true
	})
	if err != nil {
		return false, err
	}
	letters, err := b.Letters(ctx)
	if err != nil {
		return false, err
	}
	for _, l := range letters {
		if l.Sequence > w.letter && l.Subject == string(flow.Events) {
			tell(l.Headers[flow.HeaderDelivery], func(r *Replayed) {
				r.Became, r.Message = becameGivenUp, fmt.Sprintf("dead letter %d: %s", l.Sequence, l.Reason)
			})
		}
	}
	unknown := 0
	for i := range done {
		if done[i].Became != becameUnknown {
			continue
		}
		if unknown++; idle {
			done[i].Became, done[i].Message = becameIgnored, fmt.Sprintf("the planner's log, or litci replay --seq %d --dry-run, says why", done[i].Sequence)
		}
	}
	return idle || unknown == 0, nil
}

// plannerIdle tells whether the planner has come as far as a delivery, and has none in
// hand and none before it.
func plannerIdle(ctx context.Context, b *bus.Bus, last uint64) (bool, error) {
	lags, err := b.Lags(ctx)
	if err != nil {
		return false, err
	}
	for _, l := range lags {
		if l.Stream == "EVENTS" && (l.Waiting+l.InHand > 0 || l.Delivered < last) {
			return false, nil
		}
	}
	return len(lags) > 0, nil
}

// PrintReplayed writes what became of deliveries as a table.
func PrintReplayed(done []Replayed, out io.Writer, screen terminal.Screen) error {
	t := terminal.Table{Narrow: []int{5, 1}}
	t.Head("SEQ", "DELIVERY", "EVENT", "FOR", "BECAME", "DETAIL")
	for _, r := range done {
		t.Add(terminal.Cell{Text: strconv.FormatUint(r.Sequence, 10)}, terminal.Cell{Text: terminal.Plain(r.Delivery.Delivery)}, terminal.Cell{Text: r.what()},
			terminal.Cell{Text: r.about()}, terminal.Cell{Text: r.Became}, terminal.Cell{Text: terminal.Plain(r.detail())})
	}
	return t.Print(out, screen)
}

func (r Replayed) detail() string {
	if r.Became == becamePlanned {
		return fmt.Sprintf("run %s, %s", r.Run, counted(r.Jobs, "job"))
	}
	return cmp.Or(r.Message, "-")
}

// Settled tells whether what became of all deliveries is known, and none was given
// up.
func Settled(done []Replayed) bool {
	return !slices.ContainsFunc(done, func(r Replayed) bool { return r.Became == becameUnknown || r.Became == becameGivenUp })
}
