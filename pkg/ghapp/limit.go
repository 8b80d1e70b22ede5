package ghapp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-github/v62/github"
)

// LimitError says that a call must wait: GitHub asked the installation to, and
// until then every call of the installation returns it without a request, since
// calling on would lengthen the block; or the call would have exceeded the budget
// and was not sent. Either way nothing was done.
type LimitError struct {
	// Installation is 0 where the App itself is limited.
	Installation int64
	Until        time.Time
	// Message is GitHub's, or says which pace is used up.
	Message string

	own bool // refused by our account
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("github's limit for installation %d until %s: %s", e.Installation, e.Until.UTC().Format(time.RFC3339), e.Message)
}

const (
	// defaultPause is what GitHub asks for when it names no time; it doubles with each
	// refusal in a row up to longestGuess.
	defaultPause = time.Minute
	longestGuess = 15 * time.Minute
	// longestPause bounds what an answer may ask for; the longest window is an hour.
	longestPause = 70 * time.Minute
)

// admit passes an answer on, or turns a limit's refusal into the pause; kind says
// which limit.
func (i *installation) admit(resp *http.Response, now time.Time) (_ *http.Response, kind string, _ error) {
	if resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusTooManyRequests {
		if resp.StatusCode < 400 {
			i.mu.Lock()
			if i.pause(now) == nil { // else it was sent before the refusal
				i.guesses = 0
			}
			i.mu.Unlock()
		}
		return resp, "", nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = resp.Body.Close()
	if err != nil {
		return nil, "", fmt.Errorf("answer of %s: %w", resp.Request.URL.Redacted(), err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	wait, named, limited := asked(resp, body, now)
	if !limited {
		return resp, "", nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if !named {
		// Requests that were under way together are refused together: one guess.
		if i.guesses == 0 || i.pause(now) == nil {
			i.guesses++
		}
		wait = min(defaultPause<<min(i.guesses-1, 8), longestGuess)
	}
	limit := &LimitError{Installation: i.id, Until: now.Add(min(wait, longestPause)), Message: message(body, resp.Status)}
	if i.limit == nil || limit.Until.After(i.limit.Until) {
		i.limit = limit
	}
	return nil, limitedBy(resp, body), limit
}

// limitedBy tells the kinds of limits apart, for the metrics.
func limitedBy(resp *http.Response, body []byte) string {
	text := strings.ToLower(string(body))
	if resp.Header.Get("X-RateLimit-Remaining") == "0" && !strings.Contains(text, "secondary rate limit") {
		return limitedPrimary
	}
	return limitedSecondary
}

// asked reads how long a refusal wants us to wait, in the order that GitHub
// prescribes: retry-after, else the reset of an exhausted budget, else the text.
// A 403 without these signs is a missing permission.
func asked(resp *http.Response, body []byte, now time.Time) (wait time.Duration, named, limited bool) {
	if after := resp.Header.Get("Retry-After"); after != "" {
		if seconds, err := strconv.Atoi(after); err == nil && seconds >= 0 {
			return max(time.Duration(seconds)*time.Second, time.Second), true, true
		}
		if at, err := http.ParseTime(after); err == nil {
			return max(at.Sub(serverTime(resp, now)), time.Second), true, true
		}
		return 0, false, true
	}
	if resp.Header.Get("X-RateLimit-Remaining") == "0" {
		reset, err := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64)
		if wait := time.Unix(reset, 0).Sub(serverTime(resp, now)); err == nil && wait > 0 {
			return wait + time.Second, true, true
		}
		return 0, false, true
	}
	text := strings.ToLower(string(body))
	for _, sign := range []string{"secondary rate limit", "rate limit exceeded", "abuse detection"} {
		if strings.Contains(text, sign) {
			return 0, false, true
		}
	}
	return 0, false, resp.StatusCode == http.StatusTooManyRequests
}

// serverTime is GitHub's clock, against which its times are measured.
func serverTime(resp *http.Response, now time.Time) time.Time {
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		return date
	}
	return now
}

// message is what GitHub says, cut to a line's length.
func message(body []byte, status string) string {
	var answer struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Message == "" {
		return status
	}
	return strings.ToValidUTF8(answer.Message[:min(len(answer.Message), 200)], "")
}

// Pause tells whether waiting helps against err, and for how long: GitHub's
// limits, its server faults, and a network that does not answer. The wait has
// jitter, so that all who wait do not come back at once.
//
//	if d, ok := ghapp.Pause(err); ok { return bus.Later(err, d) }
func Pause(err error) (time.Duration, bool) {
	var limit *LimitError
	if errors.As(err, &limit) {
		return untilWithJitter(limit.Until), true
	}
	// go-github refuses by itself when it has seen an exhausted budget.
	var primary *github.RateLimitError
	if errors.As(err, &primary) {
		return untilWithJitter(primary.Rate.Reset.Time), true
	}
	var secondary *github.AbuseRateLimitError
	if errors.As(err, &secondary) {
		return untilWithJitter(time.Now().Add(max(secondary.GetRetryAfter(), defaultPause))), true
	}
	var answer *github.ErrorResponse
	if errors.As(err, &answer) {
		if answer.Response.StatusCode < 500 {
			return 0, false
		}
		wait := 5*time.Second + rand.N(5*time.Second)
		if seconds, err := strconv.Atoi(answer.Response.Header.Get("Retry-After")); err == nil {
			wait = max(wait, min(time.Duration(seconds)*time.Second, longestPause))
		}
		return wait, true
	}
	if unreachable(err) {
		return 5*time.Second + rand.N(5*time.Second), true
	}
	return 0, false
}

func untilWithJitter(until time.Time) time.Duration {
	wait := max(time.Until(until), 0)
	return wait + 100*time.Millisecond + rand.N(min(wait/4, 5*time.Second)+100*time.Millisecond)
}

// unreachable tells a network that does not answer from an answer.
func unreachable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return true
	}
	var operation *net.OpError
	var lookup *net.DNSError
	var request *url.Error
	return errors.As(err, &operation) || errors.As(err, &lookup) || (errors.As(err, &request) && request.Timeout())
}

// IsNotFound tells that GitHub knows no such thing, or does not admit it to us.
func IsNotFound(err error) bool {
	return hasStatus(err, http.StatusNotFound, http.StatusGone)
}

// IsRefused tells that GitHub understood and refused, which no retry changes: a
// missing permission, a suspended installation, an invalid field.
func IsRefused(err error) bool {
	if _, waits := Pause(err); waits {
		return false
	}
	return hasStatus(err, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusUnavailableForLegalReasons)
}

func hasStatus(err error, codes ...int) bool {
	var answer *github.ErrorResponse
	if !errors.As(err, &answer) {
		return false
	}
	for _, code := range codes {
		if answer.Response.StatusCode == code {
			return true
		}
	}
	return false
}
