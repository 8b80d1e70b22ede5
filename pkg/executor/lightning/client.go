package lightning

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/litci/litci/pkg/executor/internal/rest"
)

const (
	// maxWait bounds the wait between two tries, also where the service asks for more.
	maxWait = 30 * time.Second
	// maxAnswer bounds an answer, maxError what is kept of an error's text; in bytes.
	maxAnswer = 64 << 20
	maxError  = 2 << 10
)

// client makes requests: paced, with credentials, and again where that is harmless.
type client struct {
	base          string
	authorization string
	// secrets never appear in an error, even when the service repeats them.
	secrets []string
	http    *http.Client
	pace    Pace
	limiter *rate.Limiter
}

// authorization is the header for a user's key, or for a scoped key without a user.
func authorization(user, key string) string {
	if user == "" {
		return "Bearer " + key
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+key))
}

// errPace says that a request did not get its turn in time.
var errPace = errors.New("too many requests are waiting")

// call makes a request that may be repeated, and decodes the answer into out.
func (c *client) call(ctx context.Context, method, path string, query url.Values, body, out any) error {
	helps := func(err error) bool { return rest.Transient(err) && !errors.Is(err, errPace) }
	return rest.Again(ctx, c.pace.Retry, maxWait, helps, func() error { return c.once(ctx, method, path, query, body, out) })
}

// once makes a request once.
func (c *client) once(ctx context.Context, method, path string, query url.Values, body, out any) error {
	if err := c.limiter.Wait(ctx); err != nil {
		// The limiter gives up at once where the deadline comes before its turn.
		return fmt.Errorf("%s: %w", about(method, path), errors.Join(errPace, cmp.Or(ctx.Err(), context.DeadlineExceeded)))
	}
	ctx, cancel := context.WithTimeout(ctx, c.pace.Call)
	defer cancel()
	address := c.base + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("%s: %w", about(method, path), err)
		}
		content = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, address, content)
	if err != nil {
		return fmt.Errorf("%s: %w", about(method, path), rest.Bare(err))
	}
	if body != nil {
		// Without it, Go's transport sends a request again on a fresh connection.
		request.GetBody = nil
	}
	request.Header.Set("Authorization", c.authorization)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "litci")
	answer, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("%s: %w", about(method, path), rest.Bare(err))
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %w", about(method, path), c.refusal(answer))
	}
	if out == nil {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: answer: %w", about(method, path), rest.Bare(err))
	}
	if err := json.Unmarshal(data, out); err != nil {
		// The decoder's own words may quote the answer.
		return fmt.Errorf("%s: the answer is not the JSON that was expected", about(method, path))
	}
	return nil
}

// refusal reads the error body: the service's own, or the page of a proxy.
func (c *client) refusal(answer *http.Response) error {
	refused, data := rest.Refusal(answer, maxError)
	var own struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(data, &own) == nil {
		refused.Message = own.Message
	}
	refused.Message = c.scrub(refused.Message)
	return refused
}

// scrub takes the credentials out of a text, however the service came to repeat them.
func (c *client) scrub(text string, more ...string) string {
	for _, secret := range append(more, append(c.secrets, c.authorization)...) {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return text
}

// about names a request without its query.
func about(method, path string) string { return method + " " + path }

// advise adds to an error what its reader can do.
func advise(err error) error {
	switch rest.Status(err) {
	case http.StatusUnauthorized:
		return fmt.Errorf("lightning: %w; LIGHTNING_USER_ID and LIGHTNING_API_KEY are not accepted: copy both anew from the account's settings, under Keys (the user is the account's id, not its login name)", err)
	case http.StatusForbidden:
		return fmt.Errorf("lightning: %w; the account may not do this: check its role in the teamspace, its credits, and that its phone number is verified", err)
	case 0:
		if _, known := errors.AsType[*setupError](err); known {
			return fmt.Errorf("lightning: %w", err)
		}
		if errors.Is(err, context.Canceled) || errors.Is(err, errPace) {
			return err
		}
		return fmt.Errorf("lightning: %w; check that this machine reaches the service (LIGHTNING_CLOUD_URL, proxy, DNS)", err)
	default:
		return fmt.Errorf("lightning: %w", err)
	}
}

// setupError is a fault of the configuration, in words that say what to change.
type setupError struct{ text string }

func (e *setupError) Error() string { return e.text }
