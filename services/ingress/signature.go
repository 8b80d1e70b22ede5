package ingress

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

// signatureHeader carries the HMAC of the raw body. GitHub's older header with
// SHA-1 is never looked at.
const signatureHeader = "X-Hub-Signature-256"

// The ways in which a signature does not verify.
var (
	errUnsigned     = errors.New("the delivery is not signed")
	errBadSignature = errors.New("the signature header is malformed")
	errWrongSecret  = errors.New("the signature does not match")
)

// parseSignature takes the MAC out of the header's values: exactly one value,
// "sha256=" and 64 hex digits.
func parseSignature(values []string) ([]byte, error) {
	if len(values) == 0 {
		return nil, errUnsigned
	}
	digits, found := strings.CutPrefix(values[0], "sha256=")
	if len(values) != 1 || !found || len(digits) != 2*sha256.Size {
		return nil, errBadSignature
	}
	mac, err := hex.DecodeString(digits)
	if err != nil {
		return nil, errBadSignature
	}
	return mac, nil
}

// matchSecret returns the index of the secret that signed body with mac. The
// comparison takes the same time wherever the first difference is.
func matchSecret(secrets []string, mac, body []byte) (int, error) {
	for i, secret := range secrets {
		h := hmac.New(sha256.New, []byte(secret))
		h.Write(body)
		if hmac.Equal(mac, h.Sum(nil)) {
			return i, nil
		}
	}
	return 0, errWrongSecret
}

// checkSecrets refuses a list with which anybody could sign.
func checkSecrets(secrets []string) error {
	if len(secrets) == 0 {
		return errors.New("webhook secrets: none given; anybody could start jobs")
	}
	for _, secret := range secrets {
		if strings.TrimSpace(secret) == "" {
			return errors.New("webhook secrets: one is empty; anybody could start jobs")
		}
	}
	return nil
}
