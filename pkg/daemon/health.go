package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// healthTimeout bounds the question; a daemon on this machine answers at once.
const healthTimeout = 5 * time.Second

// Health asks the daemon whose admin address this is whether it is ready, and
// returns nil or why it is not. It is what a container's health check runs, where no
// other program is.
//
// Readiness and not liveness is asked for: those who wait for a container to be healthy
// want it to work, and those who look at it want to see that it cannot. Engines restart
// nothing because of it. What restarts things should ask /healthz.
func Health(ctx context.Context, admin string) error {
	address, err := reachable(admin)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("admin address %q: %w", admin, err)
	}
	// Without a proxy, which the environment may name: the daemon is on this machine.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("nothing answers at the admin address %s: %w", address, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("admin address %s: %w", address, err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", strings.TrimSpace(string(text)))
	}
	return nil
}

// reachable is the address at which a listener of this machine is reached: one on all
// interfaces has no host.
func reachable(listen string) (string, error) {
	if listen == "" {
		return "", errors.New("--admin-listen is empty, so nothing tells how the daemon is")
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("--admin-listen %q is not an address such as 127.0.0.1:9090 or :9090", listen)
	}
	if port == "0" {
		return "", fmt.Errorf("--admin-listen %s leaves the port open, so nobody knows it; name one", listen)
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "" || err == nil && ip.Is4() && ip.IsUnspecified():
		host = "127.0.0.1"
	case err == nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}
