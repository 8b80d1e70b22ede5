package ghapp

import (
	"fmt"
	"net/url"
	"strings"
)

const publicAPI = "https://api.github.com/"

// apiRoot is where the API of a GitHub lies: below /api/v3 on an Enterprise
// Server, at the root where the host is an API host already (go-github's rule).
func apiRoot(base string) (*url.URL, error) {
	if base == "" {
		base = publicAPI
	}
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("github address %q: want https://HOST", redact(base))
	}
	if host := u.Hostname(); host == "github.com" || host == "www.github.com" {
		return url.Parse(publicAPI)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	switch {
	case strings.HasSuffix(u.Path, "/api/v3"), strings.HasPrefix(u.Host, "api."), strings.Contains(u.Host, ".api."):
		u.Path += "/"
	default:
		u.Path += "/api/v3/"
	}
	return u, nil
}

// redact is an address without what may be secret in it.
func redact(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(not an address)"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// sameOrigin tells whether a credential for one address may go to the other.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Host, b.Host)
}
