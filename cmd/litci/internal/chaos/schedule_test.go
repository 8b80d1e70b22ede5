package chaos

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func options() Options {
	return Options{Events: 60, JobsPerEvent: 3, Kills: 40, Replicas: 2, Slots: 2, Seed: 5, GitHubFaults: true, DeliveryFaults: true}
}

func TestScheduleComesFromTheSeed(t *testing.T) {
	if !reflect.DeepEqual(Draw(options()), Draw(options())) {
		t.Error("the same options give two schedules")
	}
	other := options()
	other.Seed++
	if reflect.DeepEqual(Draw(options()).Events, Draw(other).Events) || reflect.DeepEqual(Draw(options()).Kills, Draw(other).Kills) {
		t.Error("another seed gives the same schedule")
	}
	calm := options()
	calm.Kills, calm.GitHubFaults, calm.Duration = 3, false, options().length()
	if !reflect.DeepEqual(Draw(options()).Events, Draw(calm).Events) {
		t.Error("fewer kills give other events")
	}
}

func TestEventsCanHappen(t *testing.T) {
	for seed := range int64(50) {
		o := options()
		o.Seed = seed
		s := Draw(o)
		newest := map[string]int{}
		homes := map[int]bool{}
		kinds := map[Kind]int{}
		var before time.Duration
		for i, e := range s.Events {
			kinds[e.Kind]++
			if e.Number != i || e.At < before || e.At > s.Length || len(e.Jobs) != o.JobsPerEvent {
				t.Fatalf("seed %d: event %d is %+v", seed, i, e)
			}
			before = e.At
			homes[e.Home] = true
			branch := fmt.Sprint(e.Home, " ", e.Branch)
			last, moved := newest[branch]
			switch {
			case e.Kind == Opened && moved, e.Kind == Synchronize && (!moved || e.Parent != last):
				t.Fatalf("seed %d: %s after event %d of the branch", seed, e, last)
			case e.Kind == Pushed && moved && e.Parent != last, e.Kind == Pushed && e.Pull != 0:
				t.Fatalf("seed %d: %s does not follow event %d", seed, e, last)
			}
			newest[branch] = i
			if values := slices.Compact(slices.Sorted(slices.Values(e.Jobs))); len(values) != len(e.Jobs) {
				t.Fatalf("seed %d: %s has jobs %q", seed, e, e.Jobs)
			}
		}
		if kinds[Opened] == 0 || kinds[Synchronize] == 0 || kinds[Pushed] == 0 {
			t.Errorf("seed %d: %v", seed, kinds)
		}
		if len(homes) != o.installations() {
			t.Errorf("seed %d: %d repositories, want %d", seed, len(homes), o.installations())
		}
	}
}

func TestKillsReachEverybody(t *testing.T) {
	s := Draw(options())
	hit := map[string]int{}
	for i, k := range s.Kills {
		hit[k.Victim]++
		if k.At < 0 || k.At > s.Length || k.Down < 0 || k.Down > maxDown {
			t.Errorf("kill %d is %+v", i, k)
		}
	}
	if len(hit) != 11 {
		t.Errorf("killed were %v, want nats and two of each service", hit)
	}
}

func TestNothingIsKilledWhileNATSIsAwayOnPurpose(t *testing.T) {
	o := options()
	o.NATSOutage = 30 * time.Second
	s := Draw(o)
	if s.Length != o.length()+o.NATSOutage {
		t.Errorf("%s long", s.Length)
	}
	after := 0
	for _, k := range s.Kills {
		if k.At >= s.Outage && k.At < s.Outage+o.NATSOutage {
			t.Errorf("kill at %s, nats is away from %s", k.At, s.Outage)
		}
		if k.At > s.Outage {
			after++
		}
	}
	if after == 0 || after == len(s.Kills) {
		t.Errorf("%d of %d kills after the outage", after, len(s.Kills))
	}
}

func TestFaultsAreOfEveryKind(t *testing.T) {
	s := Draw(options())
	seen := map[string]bool{}
	for _, f := range s.Faults {
		switch {
		case f.Fault.Drop && f.Fault.AfterEffect:
			seen["answer lost"] = true
		case f.Fault.Drop:
			seen["dropped"] = true
		case f.Fault.Status == 429, f.Fault.Status == 403:
			seen["limit"] = f.Fault.Headers["Retry-After"] != ""
		case f.Fault.Status >= 500:
			seen["broken"] = true
		case f.Fault.DelayMS > 0:
			seen["late"] = true
		}
	}
	for _, e := range s.Events {
		switch d := e.Delivery; {
		case d.Delay > 0:
			seen["delivery late"] = true
		case d.Repeat > 0:
			seen["delivery twice"] = true
		case d.Refused:
			seen["delivery lost"] = true
		case d.Unanswered:
			seen["delivery unanswered"] = true
		}
	}
	if len(seen) != 9 {
		t.Errorf("faults are %v", seen)
	}
}

func TestCommandRepeatsTheRun(t *testing.T) {
	o := options()
	o.Executor, o.NATSOutage = "local", time.Minute
	want := "litci chaos --seed 5 --events 60 --jobs-per-event 3 --kills 40 --replicas 2 --slots 2 --github-faults --nats-outage 1m0s"
	if have := o.command(); have != want {
		t.Errorf("%s, want %s", have, want)
	}
	o.DeliveryFaults = false
	if have := o.command(); !strings.Contains(have, "--delivery-faults=false") {
		t.Error(have)
	}
}

func TestPercentiles(t *testing.T) {
	var times []time.Duration
	if percentile(times, 95) != 0 {
		t.Error("none has a percentile")
	}
	for i := range 20 {
		times = append(times, time.Duration(20-i)*time.Second)
	}
	for percent, want := range map[int]float64{50: 10, 95: 19, 100: 20, 0: 1} {
		if have := percentile(times, percent); have != want {
			t.Errorf("p%d is %v, want %v", percent, have, want)
		}
	}
}
