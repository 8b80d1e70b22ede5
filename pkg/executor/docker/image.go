package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"

	"github.com/litci/litci/pkg/executor"
)

// imageOf is the image of a job, which must be one that a registry could have.
func (e *Executor) imageOf(job executor.Spec) (reference.Named, error) {
	name := job.Image
	if name == "" || name == e.options.Unnamed && e.options.Image != "" {
		name = e.options.Image
	}
	if name == "" {
		return nil, &executor.StartError{Message: "the job names no image, and jobs of this pool run in images"}
	}
	image, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, &executor.StartError{Message: fmt.Sprintf("image %q: the name is malformed", name), Err: err}
	}
	return reference.TagNameOnly(image), nil
}

// pull gets the image, and tells about it under the job's id.
func (e *Executor) pull(ctx context.Context, job string, image reference.Named) error {
	name := reference.FamiliarString(image)
	auth, err := e.authorization(image)
	if err != nil {
		return err
	}
	e.pulls.say(job, "pulling image "+name)
	defer e.pulls.done(job)
	limited, cancel := context.WithTimeout(ctx, e.options.PullTime)
	defer cancel()
	stream, err := e.engine.ImagePull(limited, image.String(), client.ImagePullOptions{RegistryAuth: auth})
	if err != nil {
		return e.pullError(ctx, name, err)
	}
	defer stream.Close()
	var layers layers
	for message, err := range stream.JSONMessages(limited) {
		if err == nil && message.Error != nil {
			err = message.Error
		}
		if err != nil {
			return e.pullError(ctx, name, err)
		}
		if percent, known := layers.take(message); known {
			e.pulls.say(job, fmt.Sprintf("pulling image %s: %d %%", name, percent))
		}
	}
	return nil
}

// Starting says which image a Start of this process is getting for a job.
func (e *Executor) Starting(id string) string { return e.pulls.of(id) }

// pullError tells an image that cannot be had from a registry that cannot be
// reached: the one is for the workflow's authors, the other may be better later.
func (e *Executor) pullError(ctx context.Context, name string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("image %s: %w", name, ctx.Err())
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &executor.FaultError{Message: fmt.Sprintf("image %s was not pulled within %v", name, e.options.PullTime), Err: err}
	}
	if client.IsErrConnectionFailed(err) {
		return fmt.Errorf("image %s: %w", name, err)
	}
	if why := hopeless(err); why != "" {
		return &executor.StartError{Message: fmt.Sprintf("image %s: %s", name, why), Err: errors.New(says(err))}
	}
	return &executor.FaultError{Message: fmt.Sprintf("image %s cannot be pulled now (%.200s)", name, says(err)), Err: err}
}

// hopeless says why a pull fails for good, or nothing where it may work later. In
// the stream of a pull there is only text.
func hopeless(err error) string {
	text := strings.ToLower(err.Error())
	has := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(text, part) {
				return true
			}
		}
		return false
	}
	switch {
	case has("toomanyrequests", "rate limit", "no space left", "timeout", "connection refused", "no such host", "temporary failure"):
		return ""
	case has("no matching manifest", "does not match the specified platform"):
		return "it is not made for the machines of this pool"
	case has("pull access denied", "repository does not exist"):
		return "it does not exist, or this pool's credentials do not open its registry"
	case has("manifest unknown", "not found: manifest", "name unknown", "manifest for "):
		return "it does not exist"
	case has("unauthorized", "authentication required", "no basic auth credentials", "access denied", "denied:", "forbidden"), errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err):
		return "its registry refuses this pool's credentials"
	case errdefs.IsInvalidArgument(err), has("invalid reference format"):
		return "the name is malformed"
	case errdefs.IsNotFound(err):
		return "it does not exist"
	}
	return ""
}

// layers adds up the progress of an image's layers.
type layers struct {
	all  map[string]*jsonstream.Progress
	done map[string]bool
	told int
}

// take notes a line of the stream, and gives the percentage where it is new. It never
// falls, although layers become known one after the other.
func (l *layers) take(m jsonstream.Message) (percent int, news bool) {
	if l.all == nil {
		l.all, l.done = map[string]*jsonstream.Progress{}, map[string]bool{}
	}
	if m.ID == "" {
		return 0, false
	}
	switch m.Status {
	case "Downloading":
		if m.Progress == nil || m.Progress.Total <= 0 {
			return 0, false
		}
		l.all[m.ID] = m.Progress
	case "Download complete", "Pull complete":
		l.done[m.ID] = true
	case "Already exists":
		delete(l.all, m.ID)
	default:
		return 0, false
	}
	var current, total int64
	for id, p := range l.all {
		total += p.Total
		if l.done[id] {
			current += p.Total
		} else {
			current += min(p.Current, p.Total)
		}
	}
	if total == 0 {
		return 0, false
	}
	percent = int(current * 100 / total)
	if percent <= l.told {
		return 0, false
	}
	l.told = percent
	return percent, true
}

// pulls are the images that this process gets, by job.
type pulls struct {
	mu   sync.Mutex
	says map[string]string
}

func (p *pulls) say(job, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.says == nil {
		p.says = map[string]string{}
	}
	p.says[job] = what
}

func (p *pulls) done(job string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.says, job)
}

func (p *pulls) of(job string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.says[job]
}

// imageFacts are what does not change about an image, by its content's id.
type imageFacts struct {
	// bash says that it has one.
	bash bool
	// digest is the name by which anybody gets the very same.
	digest string
}

// imageCache remembers the images that jobs ran in.
type imageCache struct {
	mu    sync.Mutex
	facts map[string]imageFacts
}

// maxImages bounds what is remembered.
const maxImages = 1000

func (c *imageCache) change(id string, change func(*imageFacts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.facts == nil || len(c.facts) > maxImages {
		c.facts = map[string]imageFacts{}
	}
	facts := c.facts[id]
	change(&facts)
	c.facts[id] = facts
}

func (c *imageCache) get(id string) imageFacts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.facts[id]
}

// digest names an image's content: as its registry does, where it came from one. It is
// empty where the engine does not tell.
func (e *Executor) digest(ctx context.Context, id, name string) string {
	if known := e.images.get(id).digest; known != "" {
		return known
	}
	ctx, cancel := e.call(ctx)
	defer cancel()
	found, err := e.engine.ImageInspect(ctx, id)
	if err != nil {
		return "" // the next look may tell
	}
	digest := pickDigest(found.RepoDigests, name)
	if digest == "" {
		digest = name + " (" + id + ")"
	}
	e.images.change(id, func(f *imageFacts) { f.digest = digest })
	return digest
}

// pickDigest is the one of the repository that the job names, or any.
func pickDigest(digests []string, name string) string {
	want, err := reference.ParseNormalizedNamed(name)
	for _, text := range digests {
		if d, parseErr := reference.ParseNormalizedNamed(text); err == nil && parseErr == nil && d.Name() == want.Name() {
			return text
		}
	}
	if len(digests) > 0 {
		return digests[0]
	}
	return ""
}
