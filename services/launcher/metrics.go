package launcher

import "github.com/prometheus/client_golang/prometheus"

// register adds what the subjects cannot show: how full the machine is.
func (l *Launcher) register(r prometheus.Registerer) error {
	queue := l.slots.queue
	for _, m := range []struct {
		name, help string
		value      func() float64
	}{
		{"litci_slots", "Jobs that may run at once.", func() float64 { return float64(queue.slots) }},
		{"litci_slots_used", "Slots in use.", func() float64 { used, _ := queue.load(); return float64(used) }},
		{"litci_jobs_waiting", "Jobs that wait for a slot.", func() float64 { _, waiting := queue.load(); return float64(waiting) }},
	} {
		if err := r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: m.name, Help: m.help}, m.value)); err != nil {
			return err
		}
	}
	return nil
}
