package launcher

import "github.com/prometheus/client_golang/prometheus"

// register adds what the subjects cannot show: how full the machine is, and what
// jobs wait for.
func (l *Launcher) register(r prometheus.Registerer) error {
	slots := func(state string, value func(used, slots int) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "litci_slots", Help: "Slots of this launcher, by pool and state (used, free).",
			ConstLabels: prometheus.Labels{"pool": l.options.Pool, "state": state},
		}, func() float64 { return float64(value(l.slots.queue.load())) })
	}
	collectors := []prometheus.Collector{
		slots("used", func(used, _ int) int { return used }),
		slots("free", func(used, slots int) int { return max(slots-used, 0) }),
	}
	for _, kind := range reasons {
		collectors = append(collectors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "litci_waiting_jobs", Help: "Jobs that wait to be started, by pool and what they wait for.",
			ConstLabels: prometheus.Labels{"pool": l.options.Pool, "reason": kind},
		}, func() float64 { return float64(l.waiting.count()[kind]) }))
	}
	for _, c := range collectors {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}
