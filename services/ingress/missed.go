package ingress

import (
	"cmp"
	"slices"
	"time"
)

const (
	// logLife is how long GitHub's log keeps a delivery: what is older cannot be asked
	// for again.
	logLife = 3 * 24 * time.Hour
	// overlap is how much of the log is read again each time: deliveries stand in it
	// by the time they began, and appear minutes later ["Troubleshooting webhooks"].
	overlap = 15 * time.Minute
	// answerWithin is how long a delivery without an outcome may still be under way:
	// GitHub waits 10 s for the answer, an Enterprise Server 30 s. For one that GitHub
	// throttled it is throttledWithin.
	answerWithin    = time.Minute
	throttledWithin = 10 * time.Minute
	// longestGap bounds the growing time between two tries.
	longestGap = time.Hour
)

// The bounds of what is kept, 300 KB as JSON at the very most. What finds no place
// stays in a gap and is read again.
const (
	mostPending = 1000
	mostHealed  = 1000
	mostGaps    = 8
)

// attempt is one line of GitHub's log: one try to deliver a webhook.
type attempt struct {
	ID int64
	// GUID is the delivery's, the same for all its attempts.
	GUID          string
	Event, Action string
	// Status is "OK" or says what went wrong; Code is 0 where no answer came.
	Status     string
	Code       int
	Redelivery bool
	// Delivered is when the attempt began, Throttled when GitHub put it off.
	Delivered, Throttled time.Time
}

// ok tells whether the receiver took the delivery.
func (a attempt) ok() bool { return a.Status == "OK" || (a.Code >= 200 && a.Code <= 299) }

// underWay tells whether an attempt without an outcome may still have one.
func (a attempt) underWay(now time.Time) bool {
	if a.Code != 0 || (a.Status != "" && a.Status != "pending") {
		return false
	}
	if a.Throttled.IsZero() {
		return now.Before(a.Delivered.Add(answerWithin))
	}
	return now.Before(a.Throttled.Add(throttledWithin))
}

// wanted tells whether litci acts on an event, so that a missed one must be
// healed. The news of check runs, check suites and comments that changed are left
// out: nearly all of them are news of what litci itself wrote.
func wanted(event, action string) bool {
	switch event {
	case "check_run":
		return action == "rerequested" || action == "requested_action"
	case "check_suite":
		return action == "rerequested"
	case "issue_comment":
		return action == "created"
	}
	return detailOf(event) != nil
}

// heal is what the sweep knows between its rounds, and after a crash. GitHub's log
// is read from its newest line backwards, in gaps: all that was delivered before
// Seen has been read or lies in a gap.
type heal struct {
	Seen time.Time `json:"seen"`
	// Gaps are what is still to be read, newest first.
	Gaps []gap `json:"gaps,omitempty"`
	// Pending are the deliveries that nobody took, in the order in which they were
	// found.
	Pending []missed `json:"pending,omitempty"`
	// Healed are the GUIDs of which a later attempt was taken, while an earlier one may
	// still be read.
	Healed []string `json:"healed,omitempty"`
	// Round is when the last whole round ended.
	Round time.Time `json:"round"`

	newest, unsettled time.Time
}

// gap is a part of the log, from a cursor (none: the log's newest line) back to a
// time.
type gap struct {
	Cursor string    `json:"cursor,omitempty"`
	Until  time.Time `json:"until"`
}

// missed is a delivery that no attempt brought home.
type missed struct {
	GUID string `json:"guid"`
	// ID is the newest attempt's: GitHub is asked to repeat an attempt.
	ID    int64  `json:"id"`
	Event string `json:"event"`
	// First is when the earliest known attempt was made.
	First time.Time `json:"first"`
	// Tries counts how often GitHub was asked; Next is when it is asked again.
	Tries int       `json:"tries,omitempty"`
	Next  time.Time `json:"next"`
}

// open begins a round: the log is to be read from its newest line back to what the
// last round saw.
func (h *heal) open() {
	if len(h.Gaps) > 0 && h.Gaps[0].Cursor == "" {
		return // the last round read nothing of it
	}
	until := h.Seen
	if !until.IsZero() {
		until = until.Add(-overlap)
	}
	h.Gaps = slices.Insert(h.Gaps, 0, gap{Until: until})
	if n := len(h.Gaps); n > mostGaps {
		h.Gaps[n-2].Until = h.Gaps[n-1].Until // and what lies between is read again
		h.Gaps = h.Gaps[:n-1]
	}
}

// read takes a page of the newest gap; next is the cursor of the page behind it,
// empty at the log's end. It returns false when no place is left for what is
// missed: the page is to be read again once there is.
func (h *heal) read(page []attempt, next string, now time.Time) bool {
	g := &h.Gaps[0]
	if g.Cursor == "" {
		h.newest, h.unsettled = h.Seen, time.Time{}
	}
	ended := next == "" || next == g.Cursor
	for _, a := range page {
		if !a.Delivered.After(g.Until) {
			ended = true
			break
		}
		if !h.note(a, now) {
			return false
		}
	}
	// Everything up to the newest line is read or in the gap, but not what is still
	// under way: that is to be read again.
	h.Seen = h.newest
	if !h.unsettled.IsZero() && h.unsettled.Before(h.Seen) {
		h.Seen = h.unsettled
	}
	if !ended {
		g.Cursor = next
		return true
	}
	h.Gaps = slices.Delete(h.Gaps, 0, 1)
	if len(h.Gaps) == 0 {
		h.Healed = nil // whatever is read from now on begins with the newest line
	}
	return true
}

// note takes one line of the log. A delivery's later attempts come before its
// earlier ones.
func (h *heal) note(a attempt, now time.Time) bool {
	if a.Delivered.After(h.newest) {
		h.newest = a.Delivered
	}
	if !wanted(a.Event, a.Action) || a.GUID == "" || len(a.GUID) > maxDelivery {
		return true
	}
	at := slices.IndexFunc(h.Pending, func(m missed) bool { return m.GUID == a.GUID })
	switch {
	case a.ok():
		if at >= 0 {
			h.Pending = slices.Delete(h.Pending, at, at+1)
		}
		if at >= 0 || a.Redelivery {
			h.heal(a.GUID)
		}
	case slices.Contains(h.Healed, a.GUID), now.Sub(a.Delivered) > logLife:
	case a.underWay(now):
		if h.unsettled.IsZero() || a.Delivered.Before(h.unsettled) {
			h.unsettled = a.Delivered
		}
	case at >= 0:
		m := &h.Pending[at]
		m.ID = max(m.ID, a.ID)
		if a.Delivered.Before(m.First) {
			m.First = a.Delivered
		}
	case len(h.Pending) == mostPending:
		return false
	default:
		h.Pending = append(h.Pending, missed{GUID: a.GUID, ID: a.ID, Event: a.Event, First: a.Delivered})
	}
	return true
}

// heal remembers a GUID; a forgotten one would at worst be asked for once more.
func (h *heal) heal(guid string) {
	if slices.Contains(h.Healed, guid) {
		return
	}
	if len(h.Healed) == mostHealed {
		h.Healed = slices.Delete(h.Healed, 0, 1)
	}
	h.Healed = append(h.Healed, guid)
}

// forget drops what GitHub's log no longer holds, and returns it.
func (h *heal) forget(now time.Time) (gone []missed) {
	h.Pending = slices.DeleteFunc(h.Pending, func(m missed) bool {
		if now.Sub(m.First) <= logLife {
			return false
		}
		gone = append(gone, m)
		return true
	})
	return gone
}

// due returns the deliveries to ask for now, oldest first, so that events arrive
// about as they happened.
func (h *heal) due(now time.Time) []missed {
	var due []missed
	for _, m := range h.Pending {
		if !now.Before(m.Next) {
			due = append(due, m)
		}
	}
	slices.SortStableFunc(due, func(a, b missed) int {
		return cmp.Or(a.First.Compare(b.First), cmp.Compare(a.ID, b.ID))
	})
	return due
}

// asked books a try. The next one is every away, then twice that, and so on.
func (h *heal) asked(guid string, now time.Time, every time.Duration) {
	for i := range h.Pending {
		if m := &h.Pending[i]; m.GUID == guid {
			gap := every << min(m.Tries, 12)
			m.Tries++
			m.Next = now.Add(min(gap, max(every, longestGap)))
		}
	}
}

// lost drops a delivery that GitHub knows no more.
func (h *heal) lost(guid string) {
	h.Pending = slices.DeleteFunc(h.Pending, func(m missed) bool { return m.GUID == guid })
}
