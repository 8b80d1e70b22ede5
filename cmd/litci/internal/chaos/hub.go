package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/litci/litci/pkg/fakegithub"
)

// fullName is how the emulator calls a repository. Each has an owner of its own, who
// has an installation.
func fullName(home int) string { return fmt.Sprintf("chaos-%d/monkey", home) }

// hub does on the emulator what people do on GitHub.
type hub struct {
	url    string
	client *http.Client
}

func newHub(address string) *hub {
	return &hub{"http://" + address, &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}}
}

func pathOf(e Event, path string) string { return "/_fake/repos/" + fullName(e.Home) + path }

// happen makes an event happen, and returns when its webhook was answered or failed.
func (h *hub) happen(ctx context.Context, e Event, commit string) error {
	switch e.Kind {
	case Opened:
		return h.do(ctx, http.MethodPost, pathOf(e, "/pulls"), map[string]any{"head": e.Branch, "base": mainBranch, "number": e.Pull}, nil)
	case Synchronize:
		return h.do(ctx, http.MethodPost, pathOf(e, fmt.Sprintf("/pulls/%d/synchronize", e.Pull)), map[string]any{"head": commit}, nil)
	default:
		return h.do(ctx, http.MethodPost, pathOf(e, "/push"), map[string]any{"ref": "refs/heads/" + e.Branch}, nil)
	}
}

func (h *hub) addFault(ctx context.Context, fault fakegithub.Fault) error {
	return h.do(ctx, http.MethodPost, "/_fake/faults", []fakegithub.Fault{fault}, nil)
}

func (h *hub) clearFaults(ctx context.Context) error {
	return h.do(ctx, http.MethodDelete, "/_fake/faults", nil, nil)
}

func (h *hub) state(ctx context.Context) (fakegithub.State, error) {
	var s fakegithub.State
	return s, h.do(ctx, http.MethodGet, "/_fake/state?payloads=true", nil, &s)
}

func (h *hub) do(ctx context.Context, method, path string, body, into any) error {
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return fmt.Errorf("emulator: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, h.url+path, &text)
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	res, err := h.client.Do(req)
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	defer res.Body.Close() // read as far as wanted
	if res.StatusCode/100 != 2 {
		said, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10)) // as much as came
		return fmt.Errorf("emulator: %s %s was answered with %d %s", method, path, res.StatusCode, strings.TrimSpace(string(said)))
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		return fmt.Errorf("emulator: %s: %w", path, err)
	}
	return nil
}
