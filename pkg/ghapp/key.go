package ghapp

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/golang-jwt/jwt/v4"
	"github.com/google/go-github/v62/github"
)

// ParseKey reads an App's private key: PEM, PKCS #1 as GitHub hands it out, or
// PKCS #8. Line breaks may be written as \n, as environment files do.
func ParseKey(text []byte) (*rsa.PrivateKey, error) {
	if !bytes.Contains(bytes.TrimSpace(text), []byte("\n")) {
		text = bytes.ReplaceAll(text, []byte(`\n`), []byte("\n"))
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("github app key is not PEM: want the content of the .pem file that GitHub gave out, from -----BEGIN to END----- with its line breaks")
	}
	switch block.Type {
	case "RSA PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return nil, errors.New("github app key is encrypted with a passphrase: decrypt it first")
		}
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("github app key: %w", err)
		}
		return key, nil
	case "PRIVATE KEY":
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("github app key: %w", err)
		}
		key, isRSA := parsed.(*rsa.PrivateKey)
		if !isRSA {
			return nil, fmt.Errorf("github app key is a %T; GitHub Apps have RSA keys", parsed)
		}
		return key, nil
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("github app key is encrypted with a passphrase: decrypt it first")
	}
	return nil, fmt.Errorf("github app key is a PEM block of %q; want a private key", block.Type)
}

// signer signs the App's tokens. ghinstallation issues them 30 seconds in the past
// for two minutes, which a skewed clock makes invalid; here they are issued 60
// seconds in the past and expire well inside GitHub's ten minutes.
type signer struct{ rsa ghinstallation.Signer }

const (
	issuedAgo = time.Minute
	expiresIn = 8*time.Minute + 30*time.Second
)

func newSigner(key *rsa.PrivateKey) signer {
	return signer{ghinstallation.NewRSASigner(jwt.SigningMethodRS256, key)}
}

// Sign signs claims with their times corrected.
func (s signer) Sign(claims jwt.Claims) (string, error) {
	registered, ok := claims.(*jwt.RegisteredClaims)
	if !ok {
		return "", fmt.Errorf("claims are a %T", claims)
	}
	corrected := *registered
	now := time.Now().Truncate(time.Second)
	corrected.IssuedAt = jwt.NewNumericDate(now.Add(-issuedAgo))
	corrected.ExpiresAt = jwt.NewNumericDate(now.Add(expiresIn))
	return s.rsa.Sign(&corrected)
}

// parsePermissions takes GitHub's names and levels; a name that go-github does not
// know is an error, since it would be left out in silence and widen the token.
func parsePermissions(names map[string]string) (*github.InstallationPermissions, error) {
	if len(names) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(names)
	if err != nil {
		return nil, fmt.Errorf("github permissions: %w", err)
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	var permissions github.InstallationPermissions
	if err := d.Decode(&permissions); err != nil {
		return nil, fmt.Errorf("github permissions %v: %w", names, err)
	}
	return &permissions, nil
}
