package doctor

import (
	"context"
	"fmt"
	"net"
	"net/url"

	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/executor/kubernetes"
	"github.com/litci/litci/pkg/executor/lightning"
)

// pages looks at the address that checks link to and that jobs on other machines
// fetch their source from.
func (r *Report) pages(ctx context.Context, cfg *config.Config, serves bool) {
	const what = "report pages"
	for _, pool := range cfg.Served() {
		if r.unreachable(pool, ofPool(pool)+what) {
			return
		}
	}
	if cfg.PublicURL == "" {
		if serves {
			r.add(what, Warn, "checks link to this machine (http://localhost), where only its own users see the pages", "set --public-url to the address of the pages as people reach it")
		}
		return
	}
	address, err := url.Parse(cfg.PublicURL)
	if err != nil {
		r.add(what, Fail, "--public-url is malformed", "set it to an address such as https://ci.example.com")
		return
	}
	if address.Scheme == "http" && !private(address.Hostname()) {
		r.add(what, Warn, "logs and sources pass over http in the clear", "put a proxy with TLS before the pages, and set --public-url to https")
	}
	code, err := knock(ctx, cfg.PublicURL+"/")
	switch {
	case err != nil:
		r.add(what, Fail, cfg.PublicURL+" does not answer: "+err.Error(), "start the reporter (litci up), and check proxy, DNS, certificate and firewall before it")
	case code >= 500:
		r.add(what, Fail, fmt.Sprintf("%s answers %d", cfg.PublicURL, code), "start the reporter (litci up) behind the proxy")
	default:
		r.add(what, OK, cfg.PublicURL+" answers from here", "")
	}
}

// unreachable tells whether the machines of a pool surely cannot fetch their source.
func (r *Report) unreachable(cfg *config.Config, what string) bool {
	address, err := url.Parse(cfg.PublicURL)
	if err != nil || cfg.PublicURL == "" {
		return false // said elsewhere
	}
	host := address.Hostname()
	ip := net.ParseIP(host)
	switch {
	case cfg.Executor == lightning.Kind && private(host) && cfg.Lightning.URL == "":
		r.add(what, Fail, "the machines of Lightning AI cannot reach "+cfg.PublicURL+": jobs have no source", "set --public-url to an address of the internet")
	case cfg.Executor == kubernetes.Kind && (host == "localhost" || ip != nil && ip.IsLoopback()):
		r.add(what, Fail, "at "+cfg.PublicURL+" pods would find themselves: jobs have no source", "set --public-url to an address that the cluster reaches")
	default:
		return false
	}
	return true
}
