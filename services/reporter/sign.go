package reporter

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// signer makes the unguessable part of a report's address. Its key comes from
// the App's private key, so that every reporter makes the same addresses, they
// outlive restarts, and nothing more has to be configured or stored.
type signer struct{ key [sha256.Size]byte }

func newSigner(privateKey []byte) signer {
	h := hmac.New(sha256.New, privateKey)
	h.Write([]byte("litci report pages"))
	var s signer
	h.Sum(s.key[:0])
	return s
}

// sign is the signature of a run: 128 bits, in hex.
func (s signer) sign(run string) string {
	h := hmac.New(sha256.New, s.key[:])
	h.Write([]byte(run))
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// valid compares in constant time.
func (s signer) valid(run, signature string) bool {
	return hmac.Equal([]byte(s.sign(run)), []byte(signature))
}

// links makes the addresses of report pages.
type links struct {
	base string
	signer
}

func newLinks(publicURL string, privateKey []byte) links {
	return links{base: strings.TrimRight(publicURL, "/"), signer: newSigner(privateKey)}
}

func (l links) run(run string) string { return l.base + l.runPath(run) }

func (l links) job(run string, index int) string { return l.base + l.jobPath(run, index) }

func (l links) runPath(run string) string { return "/runs/" + run + "/" + l.sign(run) }

func (l links) jobPath(run string, index int) string {
	return fmt.Sprintf("%s/jobs/%d", l.runPath(run), index)
}
