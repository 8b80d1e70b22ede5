package bus

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// refusals keeps what the server does not let this user do, and says each kind of it
// once: a refused publish is only an answer that never comes, and is tried again.
type refusals struct {
	log *zap.Logger
	// user is the one of Users, key what it signs in with, in words.
	user, key string

	mu     sync.Mutex
	told   map[string]bool
	signIn error
	// denied was refused last, at a time.
	denied   string
	deniedAt time.Time
	away     bool
}

const (
	// forgiven is after how long without another one a refusal counts no more: the
	// server may have been told otherwise, which the client does not hear of. What is
	// refused and matters is tried again sooner.
	forgiven = 3 * time.Minute
)

func newRefusals(cfg Config, user string, log *zap.Logger) *refusals {
	r := &refusals{log: log, user: user, key: "without a key", told: map[string]bool{}}
	switch {
	case cfg.Creds != "":
		r.key = "with the credentials in " + cfg.Creds
	case cfg.NKey != "":
		r.key = "with the nkey in " + cfg.NKey
	case cfg.User != "":
		r.key = "as " + cfg.User + " with a password"
	}
	return r
}

// isSignIn tells whether the server does not know who asks.
func isSignIn(err error) bool {
	for _, kind := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// hear takes what the client reports of a connection.
func (r *refusals) hear(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
	case isSignIn(err):
		r.signIn = fmt.Errorf("%w: the sign-in of %s %s: %w", ErrDenied, r.user, r.key, err)
		r.once("sign-in", r.signIn, "give the key of this user by --nats-nkey, --nats-creds or --nats-user, or make it known to the server (litci provision --nats-config); it is tried again")
	case errors.Is(err, nats.ErrPermissionViolation):
		what := violation(err)
		r.denied, r.deniedAt = fmt.Sprintf("user %s may not %s", r.user, what), time.Now()
		r.once(kindOf(what), fmt.Errorf("%w: %s", ErrDenied, r.denied), "sign in as the user of this service, or give the server the permissions of this version (litci provision --nats-config)")
	default:
		r.once(err.Error(), err, "")
	}
}

// once says each kind of a refusal once for each connection. The mutex is held.
func (r *refusals) once(kind string, err error, remedy string) {
	if r.told[kind] {
		return
	}
	r.told[kind] = true
	if remedy == "" {
		r.log.Warn("nats reports", zap.Error(err))
		return
	}
	r.log.Error("nats refuses", zap.Error(err), zap.String("remedy", remedy))
}

// unreachable takes a failure to connect.
func (r *refusals) unreachable(err error) {
	if isSignIn(err) {
		r.hear(err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.away {
		r.away = true
		r.log.Warn("nats does not answer; it is tried again", zap.Error(err))
	}
}

// connected forgets: another server, or another configuration, may allow more.
func (r *refusals) connected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.signIn, r.denied, r.away = nil, "", false
	clear(r.told)
}

// stands is what is refused at present, or nil.
func (r *refusals) stands(within time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.signIn != nil {
		return r.signIn
	}
	if r.denied != "" && time.Since(r.deniedAt) < within {
		return fmt.Errorf("%w: %s", ErrDenied, r.denied)
	}
	return nil
}

// violation is what was refused, as the server says it: `publish to "jobs.start"`.
func violation(err error) string {
	_, what, found := strings.Cut(err.Error(), "Permissions Violation for ")
	if !found {
		return err.Error()
	}
	return strings.ToLower(what[:1]) + what[1:]
}

// kindOf puts an asterisk in the place of what differs from message to message: a
// thousand jobs are refused for one reason.
func kindOf(what string) string {
	parts := strings.Split(what, ".")
	for i, part := range parts {
		if len(part) > 12 || strings.ContainsAny(part, "0123456789") {
			parts[i] = "*"
		}
	}
	return strings.Join(parts, ".")
}
