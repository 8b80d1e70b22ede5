package watcher

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	key := "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA\r\nabcd\n-----END KEY-----"
	tests := map[string]struct {
		values     []string
		line, want string
	}{
		"a value":                         {[]string{"hunter22"}, "password hunter22!", "password ***!"},
		"several times":                   {[]string{"hunter22"}, "hunter22 hunter22", "*** ***"},
		"side by side":                    {[]string{"hunter22", "abcdef"}, "abcdefhunter22", "******"},
		"the longest":                     {[]string{"hunter", "hunter22"}, "x hunter22 x", "x *** x"},
		"overlapping ones":                {[]string{"abcdef", "defghi"}, "-abcdefghi-", "-***-"},
		"overlapping itself":              {[]string{"ababab"}, "-abababab-", "-***-"},
		"short values are let be":         {[]string{"test"}, "test", "test"},
		"punctuation is let be":           {[]string{"--------"}, "----------", "----------"},
		"a line of several":               {[]string{key}, "xMIIEowIBAAKCAQEAx", "x***x"},
		"a short line of several":         {[]string{key}, "abcd", "abcd"},
		"JSON":                            {[]string{`pass"word\1`}, `{"p":"pass\"word\\1"}`, `{"p":"***"}`},
		"JSON with HTML escapes":          {[]string{"pass<word>"}, `"pass\u003cword\u003e"`, `"***"`},
		"several lines as JSON":           {[]string{"first line\nsecond line"}, `"first line\nsecond line"`, `"***"`},
		"URL query":                       {[]string{"p@ss word/1"}, "?p=p%40ss+word%2F1&", "?p=***&"},
		"URL path":                        {[]string{"p@ss word?1"}, "/p@ss%20word%3F1/", "/***/"},
		"hexadecimal":                     {[]string{"hunter22"}, "68756e7465723232", "***"},
		"a value with spaces around":      {[]string{"  hunter22  "}, "<hunter22>", "<***>"},
		"a value with a line end":         {[]string{"hunter22\n"}, "<hunter22>", "<***>"},
		"a value with control characters": {[]string{"hun\x1b[31mter22"}, "<hunter22>", "<***>"},
		"nothing":                         {nil, "hunter22", "hunter22"},
		"unicode":                         {[]string{"пароль"}, "мой пароль!", "мой ***!"},
		"the end of a line":               {[]string{"hunter22"}, "hunter2", "hunter2"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := newMasker(test.values).apply(test.line, false); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A value is hidden in base64 wherever in the encoded text it stands.
func TestMaskFindsBase64AtEveryAlignment(t *testing.T) {
	for _, value := range []string{"hunter22", "hunter222", "hunter2222", "šecret?>>", "12345"} {
		m := newMasker([]string{value})
		for before := range 7 {
			for after := range 4 {
				text := strings.Repeat("<", before) + value + strings.Repeat(">", after)
				for name, e := range map[string]*base64.Encoding{
					"std": base64.StdEncoding, "url": base64.URLEncoding, "raw": base64.RawStdEncoding,
				} {
					line := e.EncodeToString([]byte(text))
					got := m.apply(line, false)
					if !strings.Contains(got, redacted) {
						t.Errorf("%s of %q: %q is not hidden", name, text, line)
					}
				}
			}
		}
	}
}

// Where the pieces of a long line are cut makes no difference.
func TestMaskAcrossPieces(t *testing.T) {
	m := newMasker([]string{"hunter22", "terter", "22hun"})
	line := "xhunter22hunter22hunterterterx22hun"
	want := m.apply(line, false)
	for i := range len(line) + 1 {
		for j := i; j <= len(line); j++ {
			got := m.apply(line[:i], true) + m.apply(line[i:j], true) + m.apply(line[j:], false)
			if got != want {
				t.Fatalf("cut at %d and %d: %q, want %q", i, j, got, want)
			}
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add("hunter22", "abcdef", "say hunter22 abcdef", 3)
	f.Add("aaaaa", "aaaaaa", "aaaaaaaaaaaaa", 6)
	f.Add("p@ss word", "日本語日本", "日本語日本 p%40ss+word", 9)
	f.Fuzz(func(t *testing.T, one, two, line string, cut int) {
		one, two, line = clean([]byte(one)), clean([]byte(two)), clean([]byte(line))
		m := newMasker([]string{one, two})
		whole := m.apply(line, false)
		for _, value := range []string{one, two} {
			if value = strings.TrimSpace(value); secret(value) && strings.Contains(line, value) && !strings.Contains(redacted, value) {
				// What is left around the mask may spell it again, but not more often.
				if strings.Count(whole, value) >= strings.Count(line, value) {
					t.Errorf("%q shows in %q", value, whole)
				}
			}
		}
		if cut = max(0, min(cut, len(line))); m.apply(line[:cut], true)+m.apply(line[cut:], false) != whole {
			t.Errorf("a cut of %q at %d makes a difference", line, cut)
		}
	})
}

func TestMaskBoundsWhatItRemembers(t *testing.T) {
	m := newMasker(nil)
	for i := range maxForms {
		m.add(fmt.Sprintf("secret number %d", i))
	}
	if len(m.known) > maxForms {
		t.Errorf("%d forms", len(m.known))
	}
	huge := strings.Repeat("0123456789", maxSecret)
	m = newMasker([]string{huge})
	if m.longest > maxSecret {
		t.Errorf("a form of %d bytes", m.longest)
	}
	if got := m.apply(huge[:maxLine], true); strings.Contains(got, "0123456789") {
		t.Errorf("shows %q", got[:40])
	}
}

func TestMaskHidesEveryFormOfRandomValues(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		value := make([]byte, 5+random.IntN(40))
		for i := range value {
			value[i] = byte(' ' + random.IntN('~'-' '))
		}
		text := strings.TrimSpace(string(value))
		if !secret(text) {
			continue
		}
		m := newMasker([]string{text})
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []string{text, string(quoted[1 : len(quoted)-1]), url.QueryEscape(text), url.PathEscape(text), hex.EncodeToString([]byte(text))} {
			if got := m.apply("<"+form+">", false); got != "<***>" {
				t.Errorf("%q: %q becomes %q", text, form, got)
			}
		}
	}
}
