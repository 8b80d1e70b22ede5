package ghapp

import (
	"bytes"
	"container/list"
	"io"
	"maps"
	"net/http"
	"sync"
)

const (
	// storedBytes is what the answers that an App keeps may weigh together,
	// storedAnswer what one of them may.
	storedBytes  = 16 << 20
	storedAnswer = 256 << 10
)

// conditional asks again by ETag for what was read before. An answer that has not
// changed costs nothing of the hour's requests ["Best practices for using the REST
// API", conditional requests], and the caller does not see the difference.
type conditional struct {
	next    http.RoundTripper
	scope   scope
	store   *store
	metrics *metrics
}

// RoundTrip sends the request, with the ETag of the stored answer if there is one.
func (c *conditional) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet || req.Header.Get("If-None-Match") != "" || req.Header.Get("Range") != "" {
		return c.next.RoundTrip(req)
	}
	key := answerKey{c.scope, req.Header.Get("Accept"), req.URL.String()}
	known := c.store.get(key)
	if known != nil {
		again := req.Clone(req.Context())
		again.Header.Set("If-None-Match", known.header.Get("ETag"))
		req = again
	}
	resp, err := c.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if known != nil && resp.StatusCode == http.StatusNotModified {
		discard(resp)
		c.metrics.notModified.Inc()
		return known.renew(resp), nil
	}
	return c.keep(key, resp)
}

// keep stores an answer that may be asked for again.
func (c *conditional) keep(key answerKey, resp *http.Response) (*http.Response, error) {
	if resp.StatusCode != http.StatusOK || resp.Header.Get("ETag") == "" || resp.ContentLength > storedAnswer {
		return resp, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, storedAnswer+1))
	if err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	if len(body) > storedAnswer {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), resp.Body), resp.Body}
		return resp, nil
	}
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	c.store.put(key, &answer{header: resp.Header.Clone(), body: body})
	return resp, nil
}

// answerKey is what an answer depends on; the App's permissions are those of its
// store.
type answerKey struct {
	scope
	accept, url string
}

// answer is what GitHub said, with its ETag.
type answer struct {
	header http.Header
	body   []byte
}

// renew is the stored answer with the headers of the one that confirmed it, which
// tell how the budget stands now.
func (a *answer) renew(resp *http.Response) *http.Response {
	header := a.header.Clone()
	maps.Copy(header, resp.Header)
	whole := *resp
	whole.Status, whole.StatusCode = "200 OK", http.StatusOK
	whole.Header, whole.Body, whole.ContentLength = header, io.NopCloser(bytes.NewReader(a.body)), int64(len(a.body))
	return &whole
}

// store keeps the answers that were used last. Safe for concurrent use.
type store struct {
	most int

	mu     sync.Mutex
	size   int
	recent *list.List // of *stored, the latest first
	byKey  map[answerKey]*list.Element
}

type stored struct {
	key    answerKey
	answer *answer
}

// size is about what it takes of memory.
func (s *stored) size() int {
	n := 512 + len(s.key.accept) + len(s.key.url) + len(s.answer.body)
	for name, values := range s.answer.header {
		n += len(name)
		for _, value := range values {
			n += len(value)
		}
	}
	return n
}

func newStore(most int) *store {
	return &store{most: most, recent: list.New(), byKey: map[answerKey]*list.Element{}}
}

func (s *store) get(key answerKey) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.byKey[key]
	if at == nil {
		return nil
	}
	s.recent.MoveToFront(at)
	return at.Value.(*stored).answer
}

func (s *store) put(key answerKey, a *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.byKey[key]; at != nil {
		s.drop(at)
	}
	entry := &stored{key, a}
	s.byKey[key] = s.recent.PushFront(entry)
	s.size += entry.size()
	for s.size > s.most {
		s.drop(s.recent.Back())
	}
}

func (s *store) drop(at *list.Element) {
	entry := s.recent.Remove(at).(*stored)
	delete(s.byKey, entry.key)
	s.size -= entry.size()
}
