package local

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litci/litci/pkg/executor"
)

const (
	// stopPoll is how often a supervisor looks for a request, should the signal that
	// tells of it be lost.
	stopPoll = time.Second
	// sweepEvery is how often the rest of a tree is killed: it may fork meanwhile.
	sweepEvery = 50 * time.Millisecond
	// sweepLimit is when to give up on processes that cannot be killed, because they
	// run as another user or hang in the kernel.
	sweepLimit = 30 * time.Second
)

// ending is how a script ended, or is being ended.
type ending struct {
	reason  executor.Reason
	code    *int
	message string
}

// follow waits for the script and for every process below it. Three things make it
// end them: the script's own end, its deadline, and a request. After the latter two
// the whole tree is asked with TERM and has the grace to comply, even when the
// script itself obeys at once; after the first it is killed.
func (s *supervisor) follow(script int) ending {
	exited, gone := reap(script)
	var deadline, grace, sweep, giveUp <-chan time.Time
	if s.record.Timeout > 0 {
		timer := time.NewTimer(s.record.Timeout)
		defer timer.Stop()
		deadline = timer.C
	}
	look := time.NewTicker(stopPoll)
	defer look.Stop()
	var end ending
	var killAt time.Time

	kill := func() {
		grace = nil
		if sweep != nil {
			return
		}
		ticker := time.NewTicker(sweepEvery)
		sweep = ticker.C
		giveUp = time.After(sweepLimit)
		killTree(os.Getpid())
	}
	ask := func(reason executor.Reason, message string, wait time.Duration) {
		if sweep != nil {
			return
		}
		at := time.Now().Add(wait)
		if end.reason != "" && !at.Before(killAt) {
			return
		}
		if end.reason == "" {
			end.reason, end.message = reason, message
			termTree(os.Getpid(), script)
		}
		killAt, grace = at, time.After(wait)
		if wait <= 0 {
			kill()
		}
	}
	var seen time.Time
	stop := func() {
		if r, asked := s.request(); asked && (end.reason == "" || !r.At.Equal(seen)) {
			seen = r.At
			ask(executor.ReasonStopped, "", r.Grace)
		}
	}

	for {
		select {
		case status := <-exited:
			code := exitCode(status)
			end.code = &code
			if end.reason == "" {
				end.reason = executor.ReasonExit
				if _, asked := s.request(); asked {
					end.reason = executor.ReasonStopped
				}
				kill()
			}
		case <-gone:
			return end
		case <-deadline:
			ask(executor.ReasonTimeout, fmt.Sprintf("ended after its timeout of %v", s.record.Timeout), s.record.Grace)
		case <-grace:
			kill()
		case <-look.C:
			stop()
		case sig := <-s.signals:
			switch sig {
			case unix.SIGUSR1:
				stop()
			case unix.SIGTERM, unix.SIGINT:
				// Nobody asked us to stop the job: the machine goes down, or its operator
				// ends us.
				stop()
				ask(executor.ReasonInfrastructure, fmt.Sprintf("the job's supervisor was ended: %v", sig), s.record.Grace)
			}
		case <-sweep:
			killTree(os.Getpid())
		case <-giveUp:
			end.message = join(end.message, "some processes of the job could not be ended")
			return end
		}
	}
}

// reap collects the script and every orphan that comes to us, which subreapers
// get. The first channel has the script's status, the second is closed when there
// is no process left.
func reap(script int) (<-chan syscall.WaitStatus, <-chan struct{}) {
	exited := make(chan syscall.WaitStatus)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			var status syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &status, 0, nil)
			switch {
			case errors.Is(err, syscall.EINTR):
			case err != nil:
				return // ECHILD
			case pid == script:
				exited <- status
			}
		}
	}()
	return exited, gone
}

// exitCode is what a shell would say: 128 and the number of a signal.
func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
