package daemon

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
)

// Presence is what a process says of itself on the bus, for people who look at the
// mesh; nothing decides by it.
type Presence struct {
	// Services are those that run in the process.
	Services []string  `json:"services"`
	Host     string    `json:"host"`
	PID      int       `json:"pid"`
	Version  string    `json:"version"`
	Since    time.Time `json:"since"`
	// Unready is why it cannot work at present.
	Unready string `json:"unready,omitempty"`
	// Pools are the loads of its launchers.
	Pools []Load `json:"pools,omitempty"`
	// GitHub is what is left of the hour's requests of the installation that has the
	// least, as GitHub told; nil where it told nothing.
	GitHub *int64 `json:"github_remaining,omitempty"`
}

// Load is how full a launcher is.
type Load struct {
	Pool string `json:"pool"`
	// Used and Free are slots, Waiting are jobs.
	Used    int64 `json:"used"`
	Free    int64 `json:"free"`
	Waiting int64 `json:"waiting"`
}

const (
	presencePrefix = "service."
	// presenceLife is how long a process that was killed is taken for alive.
	presenceLife = 30 * time.Second
)

// Present are the processes that live, by service and host.
func Present(ctx context.Context, b *bus.Bus) ([]Presence, error) {
	values, err := b.Runs().List(ctx, presencePrefix+"*")
	if err != nil {
		return nil, fmt.Errorf("services: %w", err)
	}
	var found []Presence
	for key, value := range values {
		var p Presence
		if err := json.Unmarshal(value, &p); err != nil {
			return nil, fmt.Errorf("services: key %s: %w", key, err)
		}
		found = append(found, p)
	}
	slices.SortFunc(found, func(a, b Presence) int {
		return cmp.Or(slices.Compare(a.Services, b.Services), strings.Compare(a.Host, b.Host), cmp.Compare(a.PID, b.PID))
	})
	return found, nil
}

// presence keeps a process's key while it runs.
type presence struct {
	bus    *bus.Bus
	log    *zap.Logger
	gather prometheus.Gatherer
	ready  func() error
	key    string
	value  Presence
}

func newPresence(env *Env, gather prometheus.Gatherer, runners []Runner) *presence {
	p := &presence{bus: env.Bus, log: env.Log, gather: gather, ready: readiness(env, runners), key: presencePrefix + strings.ToLower(rand.Text())}
	host, err := os.Hostname()
	p.value = Presence{Host: host, PID: os.Getpid(), Version: Version(), Since: time.Now().UTC()}
	if err != nil {
		p.value.Host = "unknown"
	}
	for _, r := range runners {
		if name := name(r); name != "daemon" {
			p.value.Services = append(p.value.Services, name)
		}
	}
	return p
}

// Run keeps the key until ctx ends, and then takes it away.
func (p *presence) Run(ctx context.Context) error {
	tick := time.NewTicker(presenceLife / 3)
	defer tick.Stop()
	var revision uint64
	for {
		revision = p.say(ctx, revision)
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		break
	}
	if revision > 0 && p.bus.Ready() == nil {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := p.bus.Runs().Release(ending, p.key, revision); err != nil {
			p.log.Debug("presence stays for its life", zap.Error(err))
		}
	}
	return nil
}

// say writes the key and returns its revision, 0 when it has to be written anew.
func (p *presence) say(ctx context.Context, revision uint64) uint64 {
	p.measure()
	data, err := json.Marshal(p.value)
	if err == nil {
		revision, err = p.bus.Runs().Lease(ctx, p.key, data, revision, presenceLife)
	}
	if errors.Is(err, bus.ErrConflict) {
		// It has expired, or the answer to the last write was lost.
		_, revision, err = p.bus.Runs().Get(ctx, p.key)
	}
	if err != nil {
		p.log.Debug("presence is not known", zap.Error(err))
		return 0
	}
	return revision
}

// measure takes from the metrics what people look for first.
func (p *presence) measure() {
	v := &p.value
	v.Unready, v.Pools, v.GitHub = "", nil, nil
	if err := p.ready(); err != nil {
		v.Unready = err.Error()
	}
	if p.gather == nil {
		return
	}
	families, err := p.gather.Gather()
	if err != nil {
		p.log.Debug("presence without metrics", zap.Error(err))
	}
	loads := map[string]*Load{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range metric.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			value := int64(math.Round(metric.GetGauge().GetValue()))
			load := func() *Load {
				if loads[labels["pool"]] == nil {
					loads[labels["pool"]] = &Load{Pool: labels["pool"]}
				}
				return loads[labels["pool"]]
			}
			switch name := family.GetName(); {
			case name == "litci_slots" && labels["state"] == "used":
				load().Used = value
			case name == "litci_slots" && labels["state"] == "free":
				load().Free = value
			case name == "litci_waiting_jobs":
				load().Waiting += value
			case name == "litci_github_budget_remaining" && (v.GitHub == nil || value < *v.GitHub):
				v.GitHub = &value
			}
		}
	}
	for _, l := range loads {
		v.Pools = append(v.Pools, *l)
	}
	slices.SortFunc(v.Pools, func(a, b Load) int { return strings.Compare(a.Pool, b.Pool) })
}
