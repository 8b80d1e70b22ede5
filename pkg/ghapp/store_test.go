package ghapp

import (
	"fmt"
	"net/http"
	"testing"
)

func TestStoreForgetsWhatWasNotUsed(t *testing.T) {
	s := newStore(10 * 2000)
	put := func(n int) {
		s.put(answerKey{scope{1, 2}, "json", fmt.Sprint("https://api.github.com/", n)}, &answer{header: http.Header{"Etag": {"x"}}, body: make([]byte, 1400)})
	}
	has := func(n int) bool {
		return s.get(answerKey{scope{1, 2}, "json", fmt.Sprint("https://api.github.com/", n)}) != nil
	}
	for n := range 1000 {
		put(n)
		put(n) // replaces
		if !has(0) {
			t.Fatalf("the answer that is always used is gone after %d others", n)
		}
		if s.size > s.most || len(s.byKey) != s.recent.Len() {
			t.Fatalf("%d bytes in %d of %d entries, want at most %d bytes", s.size, len(s.byKey), s.recent.Len(), s.most)
		}
	}
	if !has(999) || has(500) {
		t.Error("it does not keep the latest")
	}
	if n := s.recent.Len(); n < 9 || n > 11 {
		t.Errorf("%d answers of 2,000 bytes fill 20,000", n)
	}
	put(0)
	for s.recent.Len() > 0 {
		s.drop(s.recent.Back())
	}
	if s.size != 0 {
		t.Errorf("an empty store weighs %d", s.size)
	}
}
