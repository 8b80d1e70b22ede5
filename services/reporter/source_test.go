package reporter

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/sourcelink"
)

// shop serves one archive by links; its logs hold no secret of any of them.
type shop struct {
	t       *testing.T
	bus     *bus.Bus
	base    string
	archive []byte
	logs    *observer.ObservedLogs
	secrets []string
	// close ends the server, and so waits for what it does after its answers.
	close func()
}

const shelf = "11/0123456789abcdef0123456789abcdef01234567"

func newShop(t *testing.T, size int) *shop {
	t.Helper()
	t.Parallel()
	core, logs := observer.New(zapcore.DebugLevel)
	s := &shop{t: t, bus: bustest.New(t), archive: make([]byte, size), logs: logs}
	_, _ = rand.Read(s.archive) // never fails
	if err := s.bus.Sources().Put(t.Context(), shelf, bytes.NewReader(s.archive)); err != nil {
		t.Fatal(err)
	}
	pages, err := NewPages(s.bus, "127.0.0.1:0", "", []byte("key"), zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	s.base = "http://" + pages.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pages.Run(ctx) }()
	s.close = sync.OnceFunc(func() {
		stop()
		http.DefaultClient.CloseIdleConnections()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		s.close()
		s.checkLogs()
	})
	return s
}

// checkLogs looks for every secret in all that was logged.
func (s *shop) checkLogs() {
	for _, entry := range s.logs.All() {
		text := fmt.Sprintf("%+v %v", entry.Entry, entry.ContextMap())
		if data, err := json.Marshal(entry.ContextMap()); err == nil {
			text += string(data)
		}
		for _, secret := range s.secrets {
			if strings.Contains(text, secret) {
				s.t.Errorf("logged: %s", text)
			}
		}
	}
}

func (s *shop) link(object string, life time.Duration) string {
	s.t.Helper()
	secret, err := sourcelink.Make(s.t.Context(), s.bus, object, "run-0-a1", life)
	if err != nil {
		s.t.Fatal(err)
	}
	s.secrets = append(s.secrets, secret)
	return s.base + sourcelink.Path + secret
}

// answer is what a client can tell answers apart by.
func (s *shop) answer(method, address string) (body []byte, told string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, address, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err = io.ReadAll(res.Body); err != nil {
		s.t.Fatal(err)
	}
	res.Header.Del("Date")
	told = fmt.Sprint(res.StatusCode, res.Header)
	if res.StatusCode != http.StatusOK {
		told += string(body)
	}
	return body, told
}

func (s *shop) served(address string) {
	s.t.Helper()
	if body, told := s.answer(http.MethodGet, address); !bytes.Equal(body, s.archive) {
		s.t.Errorf("got %d bytes of %d: %s", len(body), len(s.archive), told)
	}
}

// What cannot be fetched looks the same, whatever the reason is.
func TestASourceIsServedOnce(t *testing.T) {
	s := newShop(t, 300_000)
	used := s.link(shelf, time.Hour)
	if _, told := s.answer(http.MethodHead, used); !strings.HasPrefix(told, "404") {
		t.Errorf("HEAD answers %s", told)
	}
	s.served(used)
	_, want := s.answer(http.MethodGet, s.base+sourcelink.Path+"guess")
	if !strings.HasPrefix(want, "404") {
		t.Errorf("a guess answers %s", want)
	}
	good := s.link(shelf, time.Hour)
	for name, address := range map[string]string{
		"used": used, "expired": s.link(shelf, -time.Second), "of an archive that is gone": s.link("11/gone", time.Hour),
		"cut": good[:len(good)-1], "longer": good + "A", "in lower case": s.base + strings.ToLower(strings.TrimPrefix(good, s.base)),
	} {
		if _, told := s.answer(http.MethodGet, address); told != want {
			t.Errorf("a link that is %s answers\n%s\na guess\n%s", name, told, want)
		}
	}
	s.served(good)
	s.close()
	if n := s.logs.FilterMessage("source fetched").Len(); n != 2 {
		t.Errorf("%d fetches are logged", n)
	}
}

// TestABrokenTransferIsTriedAgain has a client that hangs up in the middle.
func TestABrokenTransferIsTriedAgain(t *testing.T) {
	s := newShop(t, 24<<20) // more than sockets hold
	address := s.link(shelf, time.Hour)
	res, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, res.Body, 100_000); err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	s.served(address)
	if _, told := s.answer(http.MethodGet, address); !strings.HasPrefix(told, "404") {
		t.Errorf("a used link answers %s", told)
	}
	s.close()
	if n := s.logs.FilterMessage("source was not sent whole").Len(); n != 1 {
		t.Errorf("%d broken transfers are logged", n)
	}
}

func TestOfManyRequestsOneIsServed(t *testing.T) {
	s := newShop(t, 3<<20)
	address := s.link(shelf, time.Hour)
	var all sync.WaitGroup
	lengths := make(chan int, 8)
	for range cap(lengths) {
		all.Go(func() {
			body, told := s.answer(http.MethodGet, address)
			if strings.HasPrefix(told, "200") {
				lengths <- len(body)
			}
		})
	}
	all.Wait()
	close(lengths)
	var served []int
	for n := range lengths {
		served = append(served, n)
	}
	if len(served) != 1 || served[0] != len(s.archive) {
		t.Errorf("served were %v of %d bytes", served, len(s.archive))
	}
}

// A bus that is away says nothing about a link.
func TestSourcesOfABusThatIsAway(t *testing.T) {
	s := newShop(t, 1)
	address := s.link(shelf, time.Hour)
	s.bus.Close()
	_, want := s.answer(http.MethodGet, s.base+sourcelink.Path+"guess")
	if _, told := s.answer(http.MethodGet, address); told != want || !strings.HasPrefix(told, "503") {
		t.Errorf("a link answers\n%s\na guess\n%s", told, want)
	}
}
