package ingress

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// lines is a log, newest first, as tests write it: oldest first.
type lines []attempt

// page answers as GitHub does: from the cursor's line on, newest first.
func (l lines) page(cursor string, size int) (page []attempt, next string) {
	newest := slices.Clone(l)
	slices.Reverse(newest)
	if cursor != "" {
		from, _ := strconv.ParseInt(cursor, 10, 64)
		newest = slices.DeleteFunc(newest, func(a attempt) bool { return a.ID > from })
	}
	if len(newest) > size {
		return newest[:size], strconv.FormatInt(newest[size].ID, 10)
	}
	return newest, ""
}

// readAll reads a log as a round does, and returns whether all found a place.
func (h *heal) readAll(l lines, size int, now time.Time) bool {
	for h.open(); len(h.Gaps) > 0; {
		page, next := l.page(h.Gaps[0].Cursor, size)
		if !h.read(page, next, now) {
			return false
		}
	}
	return true
}

func guids(due []missed) string {
	var names []string
	for _, m := range due {
		names = append(names, fmt.Sprintf("%s:%d", m.GUID, m.ID))
	}
	return strings.Join(names, " ")
}

// try is an attempt some minutes before noon.
func try(id int64, guid string, minutesAgo int, code int) attempt {
	a := attempt{ID: id, GUID: guid, Event: "push", Code: code, Delivered: noon.Add(-time.Duration(minutesAgo) * time.Minute), Status: "OK"}
	switch {
	case code == 0:
		a.Status = "timed out"
	case code > 299:
		a.Status = fmt.Sprintf("Invalid HTTP Response: %d", code)
	}
	return a
}

func again(a attempt) attempt { a.Redelivery = true; return a }

func of(event, action string, a attempt) attempt { a.Event, a.Action = event, action; return a }

func TestWhatIsAskedFor(t *testing.T) {
	noOutcome := func(a attempt) attempt { a.Status, a.Code = "", 0; return a }
	throttled := func(minutesAgo int, a attempt) attempt {
		a.Throttled = noon.Add(-time.Duration(minutesAgo) * time.Minute)
		return a
	}
	cases := []struct {
		name string
		log  lines
		want string
	}{
		{"an empty log", nil, ""},
		{"all was taken", lines{try(1, "a", 9, 202), try(2, "b", 8, 200)}, ""},
		{"a refusal", lines{try(1, "a", 9, 503)}, "a:1"},
		{"no answer", lines{try(1, "a", 9, 0)}, "a:1"},
		{"a redirect, which GitHub does not follow", lines{try(1, "a", 9, 301)}, "a:1"},
		{"taken, though the text is another than OK", lines{{ID: 1, GUID: "a", Event: "push", Status: "Accepted", Code: 202, Delivered: noon}}, ""},
		{"oldest first", lines{try(1, "a", 9, 0), try(2, "b", 8, 500), try(3, "c", 7, 500)}, "a:1 b:2 c:3"},
		{"several attempts in vain: once, by the newest", lines{try(1, "a", 9, 503), again(try(2, "a", 8, 0)), again(try(3, "a", 7, 503))}, "a:3"},
		{"success after failure", lines{try(1, "a", 9, 503), again(try(2, "a", 8, 202))}, ""},
		{"failure after success, as when a person redelivers", lines{try(1, "a", 9, 202), again(try(2, "a", 8, 503))}, ""},
		{"success between failures", lines{try(1, "a", 9, 503), again(try(2, "a", 8, 202)), again(try(3, "a", 7, 503))}, ""},
		{"under way", lines{noOutcome(try(1, "a", 0, 0))}, ""},
		{"without an outcome for long", lines{noOutcome(try(1, "a", 2, 0))}, "a:1"},
		{"throttled a moment ago", lines{throttled(5, noOutcome(try(1, "a", 6, 0)))}, ""},
		{"throttled, then taken", lines{throttled(9, try(1, "a", 5, 202))}, ""},
		{"throttled, then refused", lines{throttled(9, try(1, "a", 5, 502))}, "a:1"},
		{"throttled and forgotten", lines{throttled(11, noOutcome(try(1, "a", 12, 0)))}, "a:1"},
		{"events that litci does not act on", lines{of("star", "created", try(1, "a", 9, 0)), of("ping", "", try(2, "b", 9, 0)), of("workflow_run", "completed", try(3, "c", 9, 0))}, ""},
		{"news of what litci wrote", lines{
			of("check_run", "created", try(1, "a", 9, 0)), of("check_run", "completed", try(2, "b", 9, 0)),
			of("check_suite", "requested", try(3, "c", 9, 0)), of("issue_comment", "edited", try(4, "d", 9, 0)),
		}, ""},
		{"clicks and commands", lines{
			of("check_run", "rerequested", try(1, "a", 9, 0)), of("check_run", "requested_action", try(2, "b", 9, 0)),
			of("check_suite", "rerequested", try(3, "c", 9, 0)), of("issue_comment", "created", try(4, "d", 9, 0)),
		}, "a:1 b:2 c:3 d:4"},
		{"every other event that litci takes", lines{
			of("pull_request", "opened", try(1, "a", 9, 0)), of("merge_group", "checks_requested", try(2, "b", 9, 0)),
			of("pull_request_review", "submitted", try(3, "c", 9, 0)), of("installation", "deleted", try(4, "d", 9, 0)),
		}, "a:1 b:2 c:3 d:4"},
		{"a GUID that no delivery to ingress could have", lines{try(1, "", 9, 0), try(2, strings.Repeat("a", 129), 9, 0)}, ""},
		{"older than the log is kept", lines{try(1, "a", 3*24*60+1, 0)}, ""},
	}
	for _, c := range cases {
		for _, size := range []int{1, 2, 100} {
			t.Run(fmt.Sprintf("%s, by %d", c.name, size), func(t *testing.T) {
				var h heal
				if !h.readAll(c.log, size, noon) {
					t.Fatal("no place")
				}
				if got := guids(h.due(noon)); got != c.want {
					t.Errorf("asked for %q, want %q", got, c.want)
				}
			})
		}
	}
}

// log makes n deliveries, one a second up to noon, of which every failing-th fails.
func manyLines(n, failing int) lines {
	var l lines
	for i := range n {
		a := try(int64(i+1), fmt.Sprintf("guid-%d", i+1), 0, 202)
		if (i+1)%failing == 0 {
			a.Code, a.Status = 0, "failed to connect to host"
		}
		a.Delivered = noon.Add(-time.Duration(n-i) * time.Second)
		l = append(l, a)
	}
	return l
}

func TestPagesOfALongLog(t *testing.T) {
	var h heal
	if !h.readAll(manyLines(950, 10), 100, noon) || len(h.Pending) != 95 || len(h.due(noon)) != 95 {
		t.Errorf("%d pending", len(h.Pending))
	}
	if len(h.Gaps) != 0 || !h.Seen.Equal(noon.Add(-time.Second)) {
		t.Errorf("gaps %v, seen %s", h.Gaps, h.Seen)
	}
}

// What was seen is not read again, but for the overlap.
func TestReadsBackToWhatWasSeen(t *testing.T) {
	log := manyLines(5000, 5000)
	var h heal
	h.readAll(log[:4000], 100, noon)
	h.open()
	pages := 0
	for len(h.Gaps) > 0 {
		page, next := log.page(h.Gaps[0].Cursor, 100)
		h.read(page, next, noon)
		pages++
	}
	// 1,000 new lines and 900 of the overlap.
	if pages != 20 || guids(h.due(noon)) != "guid-5000:5000" {
		t.Errorf("%d pages, due %s", pages, guids(h.due(noon)))
	}
}

// An attempt that was under way is looked at again, however long the interval.
func TestReadsUnderWayAgain(t *testing.T) {
	flying := try(1, "a", 0, 0)
	flying.Status = ""
	var h heal
	h.readAll(lines{flying}, 100, noon)
	later := noon.Add(5 * time.Hour)
	flying.Status = "timed out"
	other := try(2, "b", -60, 202)
	h.readAll(lines{flying, other}, 100, noon.Add(2*time.Hour))
	if got := guids(h.due(later)); got != "a:1" {
		t.Errorf("due %q", got)
	}
}

// A round that ended in the middle goes on at its cursor, after a crash too.
func TestGoesOnWhereItEnded(t *testing.T) {
	log := manyLines(500, 50)
	var before heal
	before.open()
	for range 2 {
		page, next := log.page(before.Gaps[0].Cursor, 100)
		before.read(page, next, noon)
	}
	kept, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	var h heal
	if err := json.Unmarshal(kept, &h); err != nil {
		t.Fatal(err)
	}
	// Meanwhile one of the missed was taken, one was tried in vain, and one was missed.
	log = append(log, again(try(501, "guid-500", 0, 202)), again(try(502, "guid-450", 0, 503)), try(503, "new", 0, 0))
	if !h.readAll(log, 100, noon) {
		t.Fatal("no place")
	}
	want := "guid-50:50 guid-100:100 guid-150:150 guid-200:200 guid-250:250 guid-300:300 guid-350:350 guid-400:400 guid-450:502 new:503"
	if got := guids(h.due(noon)); got != want {
		t.Errorf("due %s\nwant %s", got, want)
	}
}

// A success that was read before its failure counts, though a crash lies between.
func TestSuccessIsRememberedWhileGapsAreOpen(t *testing.T) {
	log := lines{try(1, "a", 9, 503), try(2, "b", 8, 202), again(try(3, "a", 7, 202))}
	var h heal
	h.open()
	page, next := log.page("", 1)
	h.read(page, next, noon)
	kept, _ := json.Marshal(h)
	h = heal{}
	if err := json.Unmarshal(kept, &h); err != nil {
		t.Fatal(err)
	}
	h.readAll(log, 1, noon)
	if len(h.Pending) != 0 || len(h.Healed) != 0 {
		t.Errorf("pending %v, healed %v", h.Pending, h.Healed)
	}
}

// More than there is place for: the rest is found once places are free, nothing is
// lost, and what is kept stays small.
func TestFlood(t *testing.T) {
	const deliveries = 3*mostPending + 7
	log := manyLines(deliveries, 1)
	asked := map[string]int{}
	var h heal
	now := noon
	for round := 0; len(asked) < deliveries; round++ {
		if round > 10 {
			t.Fatalf("%d of %d asked for after %d rounds", len(asked), deliveries, round)
		}
		h.readAll(log, 100, now)
		kept, err := json.Marshal(h)
		if err != nil || len(kept) > 300<<10 {
			t.Fatalf("%d bytes are kept, %v", len(kept), err)
		}
		if len(h.Pending) > mostPending || len(h.Healed) > mostHealed || len(h.Gaps) > mostGaps {
			t.Fatalf("%d pending, %d healed, %d gaps", len(h.Pending), len(h.Healed), len(h.Gaps))
		}
		for _, m := range h.due(now) {
			asked[m.GUID]++
			h.asked(m.GUID, now, time.Minute)
			a := again(try(int64(len(log)+1), m.GUID, 0, 202))
			a.Delivered = now
			log = append(log, a)
		}
		now = now.Add(time.Minute)
	}
	for guid, n := range asked {
		if n != 1 {
			t.Errorf("%s asked for %d times", guid, n)
		}
	}
}

// The time between two tries grows; a try in vain between them changes nothing.
func TestTriesGrowRare(t *testing.T) {
	log := lines{try(1, "a", 1, 503)}
	var h heal
	var tries []int
	for minute := range 400 {
		now := noon.Add(time.Duration(minute) * time.Minute)
		h.readAll(log, 100, now)
		for _, m := range h.due(now) {
			tries = append(tries, minute)
			h.asked(m.GUID, now, 5*time.Minute)
			log = append(log, again(try(int64(len(log)+1), "a", -minute, 503)))
		}
	}
	want := []int{0, 5, 15, 35, 75, 135, 195, 255, 315, 375}
	if !slices.Equal(tries, want) {
		t.Errorf("tries at minutes %v, want %v", tries, want)
	}
	if h.Pending[0].ID != 11 || h.Pending[0].Tries != 10 {
		t.Errorf("pending %+v", h.Pending[0])
	}
	if gone := h.forget(noon.Add(logLife)); len(gone) != 1 || len(h.Pending) != 0 {
		t.Errorf("after three days %v is gone, %v pending", gone, h.Pending)
	}
}

// Rounds that never end leave a bounded number of gaps, and miss nothing.
func TestManyBrokenRounds(t *testing.T) {
	log := manyLines(100, 100) // the last one fails
	var h heal
	for range 3 * mostGaps {
		h.open()
		page, next := log.page(h.Gaps[0].Cursor, 1)
		h.read(page, next, noon) // and the round breaks off
		for range 20 {
			a := try(int64(len(log)+1), fmt.Sprintf("guid-%d", len(log)+1), 0, 202)
			a.Delivered = log[len(log)-1].Delivered.Add(time.Minute)
			log = append(log, a)
		}
		log[len(log)-2].Code, log[len(log)-2].Status = 500, "Invalid HTTP Response: 500"
	}
	if len(h.Gaps) > mostGaps {
		t.Errorf("%d gaps", len(h.Gaps))
	}
	now := log[len(log)-1].Delivered
	h.readAll(log, 100, now)
	if n := len(h.due(now)); n != 1+3*mostGaps {
		t.Errorf("%d due", n)
	}
}
