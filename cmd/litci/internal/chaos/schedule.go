package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/litci/litci/pkg/fakegithub"
)

// Kind is what happens on GitHub.
type Kind string

// The kinds of events.
const (
	Opened      Kind = "opened"      // a pull request
	Synchronize Kind = "synchronize" // a pull request has a new head
	Pushed      Kind = "push"        // a branch has a new head
)

// Work is what a job of the generated workflow does; the words begin the values of
// its matrix.
type Work string

// The kinds of work.
const (
	Quick  Work = "quick"  // ends at once
	Steady Work = "steady" // takes a second
	Chatty Work = "chatty" // writes a long log
	Fail   Work = "fail"   // fails at once
	Crash  Work = "crash"  // fails after a second
)

// Event is something that happens on GitHub and asks for jobs. Each has a commit of
// its own.
type Event struct {
	Number int
	At     time.Duration
	Kind   Kind
	Home   int    // the number of the repository, each in an installation of its own
	Pull   int    // of pull requests; no two repositories have the same
	Branch string // that moves
	// Parent is the number of the event whose commit this one's follows, -1 for the
	// repository's first commit.
	Parent int
	// Jobs are the values of the matrix, one job each.
	Jobs []string
	// Delivery is what goes wrong on the webhook's way.
	Delivery DeliveryFault
}

// DeliveryFault is what the network does to a webhook.
type DeliveryFault struct {
	// Delay lets later deliveries overtake this one.
	Delay time.Duration
	// Repeat sends it a second time, this long after the first; 0 does not.
	Repeat time.Duration
	// Refused never reaches litci; Unanswered does, and GitHub does not hear of it.
	Refused, Unanswered bool
}

// Kill ends a process with SIGKILL, and starts it again after a while.
type Kill struct {
	At     time.Duration
	Victim string
	Down   time.Duration
}

// kind is that of the victim.
func (k Kill) kind() string {
	kind, _, _ := strings.Cut(k.Victim, "-")
	return kind
}

// HubFault is a request to GitHub that goes wrong, whichever comes next.
type HubFault struct {
	At    time.Duration
	Fault fakegithub.Fault
}

// Schedule is everything that happens in a run: it depends on the options alone.
type Schedule struct {
	Length time.Duration
	Events []Event
	Kills  []Kill
	Faults []HubFault
	// Outage is when NATS goes away for Options.NATSOutage, if it does.
	Outage time.Duration
}

// The sources of chance are apart, so that the events of a seed stay the same when
// there are more kills.
const (
	chanceOfEvents = iota + 1
	chanceOfKills
	chanceOfDeliveries
	chanceOfFaults
)

func chance(seed int64, of uint64) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), of)) }

// Draw makes the schedule of a seed.
func Draw(o Options) Schedule {
	s := Schedule{Length: o.length() + o.NATSOutage, Outage: o.length() / 2}
	s.Events = drawEvents(o, s.Length)
	s.Kills = drawKills(o)
	if o.DeliveryFaults {
		drawDeliveries(chance(o.Seed, chanceOfDeliveries), s.Events)
	}
	if o.GitHubFaults {
		s.Faults = drawFaults(chance(o.Seed, chanceOfFaults), o.Events*2, s.Length)
	}
	return s
}

// moments are n times in order within a length.
func moments(r *rand.Rand, n int, length time.Duration) []time.Duration {
	list := make([]time.Duration, n)
	for i := range list {
		list[i] = time.Duration(r.Int64N(int64(length)))
	}
	slices.Sort(list)
	return list
}

// mainBranch is the repository's default branch.
const mainBranch = "main"

// drawEvents draws about as many opened pull requests as new heads of them, and half
// as many pushes, of which half are to the default branch. The first is a pull
// request.
func drawEvents(o Options, length time.Duration) []Event {
	r := chance(o.Seed, chanceOfEvents)
	// The last events still have some of the kills before them.
	at := moments(r, o.Events, length*9/10)
	events := make([]Event, o.Events)
	var heads []int       // the newest event of each pull request
	last := map[int]int{} // the newest event of each repository's default branch, counted from 1
	homes := o.installations()
	for i := range events {
		e := Event{Number: i, At: at[i], Parent: -1, Jobs: drawJobs(r, o.JobsPerEvent)}
		switch draw := r.IntN(10); {
		case len(heads) == 0 || draw < 4:
			heads = append(heads, i)
			e.Kind, e.Pull = Opened, len(heads)
			e.Branch = fmt.Sprintf("change-%d", e.Pull)
		case draw < 8:
			pull := r.IntN(len(heads))
			e.Kind, e.Pull, e.Parent = Synchronize, pull+1, heads[pull]
			e.Branch = fmt.Sprintf("change-%d", e.Pull)
			heads[pull] = i
		case draw < 9:
			e.Home = r.IntN(homes)
			e.Kind, e.Branch, e.Parent = Pushed, mainBranch, last[e.Home]-1
			last[e.Home] = i + 1
		default:
			e.Kind, e.Branch, e.Home = Pushed, fmt.Sprintf("topic-%d", i), i%homes
		}
		if e.Pull > 0 {
			e.Home = e.Pull % homes
		}
		events[i] = e
	}
	return events
}

func drawJobs(r *rand.Rand, n int) []string {
	jobs := make([]string, n)
	for i := range jobs {
		work := Quick
		switch draw := r.IntN(20); {
		case draw < 2:
			work = Fail
		case draw < 3:
			work = Crash
		case draw < 5:
			work = Chatty
		case draw < 10:
			work = Steady
		}
		jobs[i] = fmt.Sprintf("%s-%d", work, i)
	}
	return jobs
}

// drawKills draws from all kinds alike: in every round each kind is hit once, in
// some order. Half of the victims are started again at once. While NATS is away on
// purpose nothing else is killed, so that whoever ends then ended by itself.
func drawKills(o Options) []Kill {
	r := chance(o.Seed, chanceOfKills)
	at := moments(r, o.Kills, o.length())
	kinds := append([]string{kindNATS}, services()...)
	kills := make([]Kill, o.Kills)
	for i := range kills {
		turn := i % len(kinds)
		if turn == 0 {
			r.Shuffle(len(kinds), func(a, b int) { kinds[a], kinds[b] = kinds[b], kinds[a] })
		}
		k := Kill{At: at[i], Victim: kinds[turn]}
		if o.NATSOutage > 0 && k.At >= o.length()/2 {
			k.At += o.NATSOutage
		}
		if k.Victim != kindNATS {
			k.Victim = replica(k.Victim, 1+r.IntN(o.Replicas))
		}
		if r.IntN(2) == 0 {
			k.Down = time.Duration(r.Int64N(int64(maxDown)))
		}
		kills[i] = k
	}
	return kills
}

// maxDown is how long a killed process stays away at most.
const maxDown = 3 * time.Second

func replica(service string, n int) string { return fmt.Sprintf("%s-%d", service, n) }

func drawDeliveries(r *rand.Rand, events []Event) {
	for i := range events {
		d := &events[i].Delivery
		switch draw := r.IntN(20); {
		case draw < 4:
			d.Delay = time.Duration(r.Int64N(int64(4 * time.Second)))
		case draw < 7:
			d.Repeat = 1 + time.Duration(r.Int64N(int64(3*time.Second)))
		case draw < 8:
			d.Refused = true
		case draw < 9:
			d.Unanswered = true
		}
	}
}
