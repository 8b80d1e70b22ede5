package ingress

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

// GitHub's own test vector ("Validating webhook deliveries").
const (
	vectorSecret    = "It's a Secret to Everybody"
	vectorBody      = "Hello, World!"
	vectorSignature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
)

func TestSignatureVector(t *testing.T) {
	mac, err := parseSignature([]string{vectorSignature})
	if err != nil {
		t.Fatal(err)
	}
	for _, secrets := range [][]string{{vectorSecret}, {"new", vectorSecret}, {"new", "newer", vectorSecret}} {
		index, err := matchSecret(secrets, mac, []byte(vectorBody))
		if err != nil || index != len(secrets)-1 {
			t.Errorf("%d secrets: index %d, %v", len(secrets), index, err)
		}
	}
	for name, body := range map[string]string{"one byte more": vectorBody + "\n", "one less": vectorBody[1:], "empty": ""} {
		if _, err := matchSecret([]string{vectorSecret}, mac, []byte(body)); !errors.Is(err, errWrongSecret) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := matchSecret([]string{"other"}, mac, []byte(vectorBody)); !errors.Is(err, errWrongSecret) {
		t.Errorf("other secret: %v", err)
	}
	for i := range mac {
		mac[i] ^= 1
		if _, err := matchSecret([]string{vectorSecret}, mac, []byte(vectorBody)); !errors.Is(err, errWrongSecret) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		mac[i] ^= 1
	}
}

func TestParseSignature(t *testing.T) {
	digits := strings.TrimPrefix(vectorSignature, "sha256=")
	for name, c := range map[string]struct {
		values []string
		want   error
	}{
		"exact":            {[]string{vectorSignature}, nil},
		"upper case hex":   {[]string{"sha256=" + strings.ToUpper(digits)}, nil},
		"absent":           {nil, errUnsigned},
		"empty":            {[]string{""}, errBadSignature},
		"no prefix":        {[]string{digits}, errBadSignature},
		"sha1 prefix":      {[]string{"sha1=" + digits[:40]}, errBadSignature},
		"upper prefix":     {[]string{"SHA256=" + digits}, errBadSignature},
		"space before":     {[]string{" " + vectorSignature}, errBadSignature},
		"63 digits":        {[]string{vectorSignature[:len(vectorSignature)-1]}, errBadSignature},
		"65 digits":        {[]string{vectorSignature + "0"}, errBadSignature},
		"not hex":          {[]string{"sha256=" + strings.Repeat("g", 64)}, errBadSignature},
		"two values":       {[]string{vectorSignature, vectorSignature}, errBadSignature},
		"two in one value": {[]string{vectorSignature + "," + vectorSignature}, errBadSignature},
	} {
		t.Run(name, func(t *testing.T) {
			mac, err := parseSignature(c.values)
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if err == nil && hex.EncodeToString(mac) != digits {
				t.Fatalf("mac %x", mac)
			}
		})
	}
}

func TestSecretsWithWhichAnybodyCouldSign(t *testing.T) {
	for name, secrets := range map[string][]string{
		"none": nil, "empty list": {}, "an empty one": {""}, "an empty one among others": {"good", ""}, "blank": {" \n"},
	} {
		if checkSecrets(secrets) == nil {
			t.Errorf("%s: not refused", name)
		}
	}
	if err := checkSecrets([]string{"new", "old"}); err != nil {
		t.Error(err)
	}
}
