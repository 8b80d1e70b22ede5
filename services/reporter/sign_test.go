package reporter

import "testing"

func TestSignature(t *testing.T) {
	s := newSigner([]byte("the App's key"))
	signature := s.sign("run")
	if len(signature) != 32 || !s.valid("run", signature) || newSigner([]byte("the App's key")).sign("run") != signature {
		t.Errorf("signature %q", signature)
	}
	for _, wrong := range []string{"", signature[:31], signature + "0", newSigner([]byte("another")).sign("run"), s.sign("other")} {
		if s.valid("run", wrong) {
			t.Errorf("%q is valid", wrong)
		}
	}
}
