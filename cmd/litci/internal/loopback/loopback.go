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
	firstPort = 10_000
	lastPort  = 16_000
)

// Ports are the ports of the loopback interface, each handed out once. It is safe
// for concurrent use.
type Ports struct {
	mu   sync.Mutex
	next int
	// taken keeps what was handed out from other programs that take ports by this package.
	taken []net.PacketConn
}

// New returns Ports that begin anywhere, so that two programs seldom meet.
func New() *Ports { return &Ports{next: firstPort + rand.IntN(lastPort-firstPort)} }

// Take returns an address that nobody listens on. No other Take on this machine returns
// it while this process lives: the same number of UDP, which nobody here needs, is held as
// long.
func (p *Ports) Take() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range lastPort - firstPort {
		address := fmt.Sprintf("127.0.0.1:%d", p.next)
		if p.next++; p.next == lastPort {
			p.next = firstPort
		}
		held, err := net.ListenPacket("udp", address)
		if err != nil {
			continue // somebody else's
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			_ = held.Close() // nothing was sent
			continue         // in use
		}
		p.taken = append(p.taken, held)
		return address, listener.Close()
	}
	return "", errors.New("no free port on the loopback interface")
}
