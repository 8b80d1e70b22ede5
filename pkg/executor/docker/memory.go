package docker

import (
	"sync"

	"github.com/litci/litci/pkg/executor"
)

// memory is what was learned about containers and does not change any more, or only
// grows. It saves requests and nothing depends on it.
type memory struct {
	mu   sync.Mutex
	jobs map[string]*remembered
}

type remembered struct {
	// begun is the state as the supervisor wrote it first, ended as it is at last.
	begun, ended *executor.State
	// newest is the offset of the newest segment of the log that was seen.
	newest int64
}

// maxRemembered bounds the containers that are remembered.
const maxRemembered = 20_000

// of is a copy of what is known about a container.
func (m *memory) of(container string) remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.jobs[container]; known != nil {
		return *known
	}
	return remembered{}
}

func (m *memory) change(container string, change func(*remembered)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.jobs == nil || len(m.jobs) > maxRemembered {
		m.jobs = map[string]*remembered{}
	}
	known := m.jobs[container]
	if known == nil {
		known = &remembered{}
		m.jobs[container] = known
	}
	change(known)
}

func (m *memory) forget(container string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.jobs, container)
}
