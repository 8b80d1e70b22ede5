package ingress

import (
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
)

// held is a body that arrives when release is closed.
type held struct{ release <-chan struct{} }

func (h held) Read([]byte) (int, error) {
	<-h.release
	return 0, io.EOF
}

func TestLargeBodiesWaitForPlaces(t *testing.T) {
	for name, length := range map[string]int64{"known length": 20 << 20, "unknown length": -1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := newIntake()
				release := make(chan struct{})
				const senders = 4 * largePlaces
				results := make(chan error, senders)
				for range senders {
					go func() {
						r := httptest.NewRequest("POST", "/", held{release})
						r.ContentLength = length
						_, done, err := in.read(httptest.NewRecorder(), r)
						if err == nil {
							done()
						}
						results <- err
					}()
				}
				// Those without a place are turned away when roomWait is over; the others
				// still hang in Read.
				for range senders - largePlaces {
					if err := <-results; !errors.Is(err, errNoRoom) {
						t.Errorf("turned away with %v", err)
					}
				}
				// An ordinary delivery does not wait for the large ones.
				body, done, err := in.read(httptest.NewRecorder(), httptest.NewRequest("POST", "/", strings.NewReader("{}")))
				if err != nil || string(body) != "{}" {
					t.Errorf("ordinary body %q, %v", body, err)
				} else {
					done()
				}
				close(release)
				for range largePlaces {
					if err := <-results; errors.Is(err, errNoRoom) {
						t.Error("a sender with a place was turned away")
					}
				}
				// All places are free again, those of broken bodies too.
				if !in.large.TryAcquire(largePlaces) || !in.ordinary.TryAcquire(ordinaryRoom) {
					t.Error("room was not given back")
				}
			})
		})
	}
}

func TestOrdinaryBodiesShareTheirRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newIntake()
		if !in.ordinary.TryAcquire(ordinaryRoom - ordinaryBody + 1) {
			t.Fatal("no room")
		}
		r := httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("a", ordinaryBody)))
		if _, _, err := in.read(httptest.NewRecorder(), r); !errors.Is(err, errNoRoom) {
			t.Errorf("error %v", err)
		}
		in.ordinary.Release(1)
		if _, done, err := in.read(httptest.NewRecorder(), r); err != nil {
			t.Error(err)
		} else {
			done()
		}
	})
}

// A length that is not kept costs its place only until the sender is gone.
func TestBodyThatEndsEarly(t *testing.T) {
	in := newIntake()
	for range 3 * largePlaces {
		r := httptest.NewRequest("POST", "/", strings.NewReader("short"))
		r.ContentLength = 20 << 20
		if _, _, err := in.read(httptest.NewRecorder(), r); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("error %v", err)
		}
	}
}
