package chaos

import (
	"sync/atomic"
	"time"
)

// tellEvery is how often the progress is told.
const tellEvery = 5 * time.Second

// counter is how far a run is.
type counter struct{ events, kills atomic.Int64 }

// tell tells the progress until everything has happened.
func (p *play) tell(ended <-chan struct{}, done *counter) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			p.show("%d of %d events, %d of %d kills", done.events.Load(), len(p.schedule.Events), done.kills.Load(), len(p.schedule.Kills))
		}
	}
}
