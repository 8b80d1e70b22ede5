// Package loopback hands out addresses for processes that are started again on the
// same one.
package loopback

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// The ports lie below those that systems give to outgoing connections: while a
// process is down, nobody else must take its own.
const (
	firstPort = 12_000
	lastPort  = 30_000
)

// Ports are the ports of the loopback interface, each handed out once. It is safe
// for concurrent use.
type Ports struct {
	mu   sync.Mutex
	next int
}

// New returns Ports that begin anywhere, so that two programs seldom meet.
func New() *Ports { return &Ports{next: firstPort + rand.IntN(lastPort-firstPort)} }

// Take returns an address that nobody listens on.
func (p *Ports) Take() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range lastPort - firstPort {
		address := fmt.Sprintf("127.0.0.1:%d", p.next)
		if p.next++; p.next == lastPort {
			p.next = firstPort
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue // in use
		}
		return address, listener.Close()
	}
	return "", errors.New("no free port on the loopback interface")
}
