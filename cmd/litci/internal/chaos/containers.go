package chaos

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"github.com/litci/litci/pkg/config"
)

// containerMarks are files in the jobs' containers, which stay until the end: a
// container that is removed after it was started would take its marks with it, so
// the engine is listened to all the time. It works without a network and without
// anything of the host in the containers.
type containerMarks struct {
	engine *client.Client
	ours   client.Filters

	stop    context.CancelFunc
	stopped chan struct{}

	mu      sync.Mutex
	started map[string]string // names by the ids of containers
	removed []string
	failed  error
}

func newContainerMarks(d config.Docker) (*containerMarks, error) {
	opts := []client.Opt{client.FromEnv}
	if d.Host != "" {
		opts = append(opts, client.WithHost(d.Host))
	}
	engine, err := client.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("marks: %w", err)
	}
	return &containerMarks{
		engine: engine, ours: client.Filters{}.Add("label", "litci.instance="+d.Instance),
		stopped: make(chan struct{}), started: map[string]string{},
	}, nil
}

// folder is in every image, and every user may write there.
func (m *containerMarks) folder() string { return "/tmp" }

// begin listens to the engine from now on.
func (m *containerMarks) begin(ctx context.Context) error {
	ctx, m.stop = context.WithCancel(context.WithoutCancel(ctx))
	filters := client.Filters{}.Add("type", "container").Add("event", "start", "destroy")
	for label := range m.ours["label"] {
		filters.Add("label", label)
	}
	stream := m.engine.Events(ctx, client.EventsListOptions{Since: strconv.FormatInt(time.Now().Unix(), 10), Filters: filters})
	go func() {
		defer close(m.stopped)
		for {
			select {
			case event := <-stream.Messages:
				m.hear(event)
			case err := <-stream.Err:
				if ctx.Err() == nil {
					m.mu.Lock()
					m.failed = fmt.Errorf("marks: the engine's events ended: %w", err)
					m.mu.Unlock()
				}
				return
			}
		}
	}()
	return nil
}

func (m *containerMarks) hear(e events.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch e.Action {
	case events.ActionStart:
		m.started[e.Actor.ID] = e.Actor.Attributes["name"]
	case events.ActionDestroy:
		if name, began := m.started[e.Actor.ID]; began {
			m.removed = append(m.removed, attemptOf(name))
		}
	}
}

// attemptOf is the attempt of a container's name.
func attemptOf(name string) string {
	return strings.TrimPrefix(strings.TrimPrefix(name, "/"), "litci-") // see flow.ExternalName
}

func (m *containerMarks) read(ctx context.Context) (map[string]int, []string, error) {
	m.mu.Lock()
	removed, failed := slices.Clone(m.removed), m.failed
	m.mu.Unlock()
	if failed != nil {
		return nil, nil, failed
	}
	found, err := m.engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: m.ours})
	if err != nil {
		return nil, nil, fmt.Errorf("marks: %w", err)
	}
	times := map[string]int{}
	for _, c := range found.Items {
		if len(c.Names) == 0 {
			continue
		}
		attempt := attemptOf(c.Names[0])
		n, err := m.lines(ctx, c.ID, path.Join(m.folder(), attempt))
		if err != nil {
			return nil, nil, fmt.Errorf("marks of %s: %w", attempt, err)
		}
		if n > 0 {
			times[attempt] += n
		}
	}
	return times, removed, nil
}

// lines counts those of a file in a container; there are none in one that is not
// there.
func (m *containerMarks) lines(ctx context.Context, container, name string) (int, error) {
	copied, err := m.engine.CopyFromContainer(ctx, container, client.CopyFromContainerOptions{SourcePath: name})
	if errdefs.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer copied.Content.Close()
	archive := tar.NewReader(copied.Content)
	if _, err := archive.Next(); err != nil {
		return 0, err
	}
	text, err := io.ReadAll(archive)
	return bytes.Count(text, []byte{'\n'}), err
}

// end stops listening.
func (m *containerMarks) end() error {
	if m.stop != nil {
		m.stop()
		<-m.stopped
	}
	return m.engine.Close()
}
