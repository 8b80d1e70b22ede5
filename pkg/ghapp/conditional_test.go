package ghapp_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-github/v62/github"

	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/ghapp"
)

// tagged answers GETs with what text says, by ETag, and notes which were asked for
// conditionally.
type tagged struct {
	text        string
	status      int
	conditional []bool
}

func (d *tagged) answer(w http.ResponseWriter, r *http.Request) {
	d.conditional = append(d.conditional, r.Header.Get("If-None-Match") != "")
	tag := fmt.Sprintf(`W/"%x"`, sha256.Sum256([]byte(d.text)))
	w.Header().Set("ETag", tag)
	w.Header().Set("Link", `<https://api.github.com/next>; rel="next"`)
	w.Header().Set("X-RateLimit-Remaining", strconv.Itoa(5000-len(d.conditional)))
	if r.Header.Get("If-None-Match") == tag {
		w.Header().Del("Link")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if d.status != 0 {
		w.WriteHeader(d.status)
	}
	_, _ = io.WriteString(w, d.text)
}

func read(t *testing.T, c *github.Client, path, accept string) (string, *github.Response) {
	t.Helper()
	req, err := c.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	var text bytes.Buffer
	resp, err := c.Do(t.Context(), req, &text)
	if err != nil {
		t.Fatal(err)
	}
	return text.String(), resp
}

func TestUnchangedAnswersAreStored(t *testing.T) {
	d := &tagged{text: "one"}
	app := nearApp(t, answers(d.answer), nil)
	api := client(t, app)
	for n := range 3 {
		text, resp := read(t, api, aRepo, "")
		if text != "one" || resp.StatusCode != 200 || resp.Header.Get("Link") == "" {
			t.Errorf("answer %d is %q, %d, with the link %q", n, text, resp.StatusCode, resp.Header.Get("Link"))
		}
		if left := resp.Rate.Remaining; left != 4999-n {
			t.Errorf("answer %d says that %d requests are left: not what GitHub said last", n, left)
		}
	}
	d.text = "two"
	for range 2 {
		if text, _ := read(t, api, aRepo, ""); text != "two" {
			t.Errorf("%q is the old answer", text)
		}
	}
	if want := []bool{false, true, true, true, true}; fmt.Sprint(d.conditional) != fmt.Sprint(want) {
		t.Errorf("asked by ETag: %v, want %v", d.conditional, want)
	}
}

func TestStoredAnswersBelongToTheirAsker(t *testing.T) {
	for _, c := range []struct {
		name         string
		installation int64
		repo         int64
		path, accept string
		want         bool
	}{
		{"the same again", installation, repository, aRepo, "", true},
		{"another installation", installation + 1, repository, aRepo, "", false},
		{"another repository's token", installation, repository + 1, aRepo, "", false},
		{"another address", installation, repository, aRepo + "?page=2", "", false},
		{"another media type", installation, repository, aRepo, "application/vnd.github.raw+json", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &tagged{text: "one"}
			app := nearApp(t, answers(d.answer), nil)
			read(t, client(t, app), aRepo, "")
			other, err := app.Client(c.installation, c.repo)
			if err != nil {
				t.Fatal(err)
			}
			if text, _ := read(t, other, c.path, c.accept); text != "one" {
				t.Errorf("the answer is %q", text)
			}
			if d.conditional[1] != c.want {
				t.Errorf("asked by ETag: %t, want %t", d.conditional[1], c.want)
			}
		})
	}
	t.Run("other permissions", func(t *testing.T) {
		d := &tagged{text: "one"}
		gh, budgets := answers(d.answer), ghapp.NewBudgets(ghapp.Limits{})
		read(t, client(t, nearApp(t, gh, budgets)), aRepo, "")
		read(t, client(t, nearApp(t, gh, budgets)), aRepo, "")
		if d.conditional[1] {
			t.Error("one App's answer is stored for another")
		}
	})
}

func TestWhatIsNotStored(t *testing.T) {
	for _, c := range []struct {
		name string
		d    tagged
		want bool
	}{
		{"what fits is", tagged{text: strings.Repeat("x", 256<<10)}, true},
		{"a large answer", tagged{text: strings.Repeat("x", 256<<10+1)}, false},
		{"another status than 200", tagged{text: "{}", status: 202}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := nearApp(t, answers(c.d.answer), nil)
			for range 2 {
				req, err := client(t, app).NewRequest(http.MethodGet, aRepo, nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := client(t, app).Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(resp.Body)
				if err != nil || string(text) != c.d.text {
					t.Errorf("%d bytes, %v, want %d", len(text), err, len(c.d.text))
				}
				_ = resp.Body.Close()
			}
			if c.d.conditional[1] != c.want {
				t.Errorf("asked by ETag: %t, want %t", c.d.conditional[1], c.want)
			}
		})
	}
	t.Run("archives", func(t *testing.T) {
		d := &tagged{text: "archive"}
		app := nearApp(t, answers(d.answer), nil)
		for range 2 {
			body, err := app.Archive(t.Context(), installation, repository, "octo", "hello", strings.Repeat("a", 40))
			if err != nil {
				t.Fatal(err)
			}
			if text, err := io.ReadAll(body); string(text) != "archive" || err != nil {
				t.Errorf("%q, %v", text, err)
			}
			_ = body.Close()
		}
		if d.conditional[1] {
			t.Error("an archive is asked for by ETag")
		}
	})
	t.Run("writes", func(t *testing.T) {
		d := &tagged{text: `{"id":1}`}
		api := client(t, nearApp(t, answers(d.answer), nil))
		for range 2 {
			if err := send(t.Context(), api, "PATCH", checkRuns+"/1"); err != nil {
				t.Fatal(err)
			}
		}
		if d.conditional[1] {
			t.Error("a write is asked for by ETag")
		}
	})
}

// An answer that breaks off is an error, and is not stored.
func TestBrokenAnswerIsNotStored(t *testing.T) {
	broken := true
	asked := []string{}
	_, app := start(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		asked = append(asked, r.Header.Get("If-None-Match"))
		w.Header().Set("ETag", `"1"`)
		if broken {
			w.Header().Set("Content-Length", "1000")
		}
		_, _ = io.WriteString(w, `{"id":1}`)
	})
	err := get(t, app)
	if _, waits := ghapp.Pause(err); !waits {
		t.Errorf("%v, want an error that waits", err)
	}
	broken = false
	if err := get(t, app); err != nil {
		t.Error(err)
	}
	if asked[len(asked)-1] != "" {
		t.Error("the broken answer is stored")
	}
}

// What has not changed costs nothing of GitHub's hour.
func TestUnchangedAnswersAreFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, err := anyKey()
		if err != nil {
			t.Fatal(err)
		}
		gh, _ := limited(t, fakegithub.Limits{RequestsPerHour: 5}, key)
		api := client(t, nearApp(t, gh, nil))
		for range 100 {
			repo, resp, err := api.Repositories.Get(t.Context(), "octo", "hello")
			if err != nil || repo.GetID() != repository {
				t.Fatalf("repository %d: %v", repo.GetID(), err)
			}
			if resp.Rate.Remaining != 4 {
				t.Errorf("%d requests are left of 5, want 4", resp.Rate.Remaining)
			}
		}
	})
}
