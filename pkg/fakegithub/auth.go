package fakegithub

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v4"
)

// identity is who calls: nobody, the App, or an installation by its token.
type identity struct {
	app   bool
	token *token
}

// token is an installation access token.
type token struct {
	value        string
	installation *installation
	repos        map[int64]bool // nil: all of the installation
	permissions  map[string]string
	expires      time.Time
}

// reaches reports whether the credential may know of the repository.
func (i identity) reaches(r *repo) bool {
	if i.app {
		return true
	}
	if i.token == nil || r.installation != i.token.installation {
		return false
	}
	return i.token.repos == nil || i.token.repos[r.ID]
}

// Messages by which GitHub refuses credentials.
const (
	msgRequiresAuth   = "Requires authentication"
	msgBadCredentials = "Bad credentials"
	msgBadJWT         = "A JSON web token could not be decoded"
	msgExpired        = "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires"
	msgTooFar         = "'Expiration time' claim ('exp') is too far in the future"
	msgBadIssuedAt    = "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
	msgBadIssuer      = "'Issuer' claim ('iss') must be an Integer"
	msgNoApp          = "Integration not found"
	msgNotAccessible  = "Resource not accessible by integration"
)

// maxTokenLife bounds how far ahead a JSON web token may expire.
const maxTokenLife = 10 * time.Minute

// identify reads the Authorization header and holds it against what the
// endpoint asks for.
func (s *Server) identify(r *http.Request, want access) (identity, error) {
	scheme, credential, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	credential = strings.TrimSpace(credential)
	if r.Header.Get("Authorization") == "" {
		if want == accessAnyone {
			return identity{}, nil
		}
		if want == accessApp {
			return identity{}, refuse(http.StatusUnauthorized, msgBadJWT)
		}
		return identity{}, refuse(http.StatusUnauthorized, msgRequiresAuth)
	}
	isJWT := strings.Count(credential, ".") == 2 && !strings.HasPrefix(credential, "ghs_")
	if want == accessApp {
		if !strings.EqualFold(scheme, "Bearer") || !isJWT {
			return identity{}, refuse(http.StatusUnauthorized, msgBadJWT)
		}
		return identity{app: true}, s.verifyJWT(credential)
	}
	if isJWT && strings.EqualFold(scheme, "Bearer") {
		if err := s.verifyJWT(credential); err != nil {
			return identity{}, err
		}
		if want == accessInstallation {
			return identity{}, refuse(http.StatusForbidden, msgNotAccessible)
		}
		return identity{app: true}, nil
	}
	if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "token") {
		return identity{}, refuse(http.StatusUnauthorized, msgBadCredentials)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[credential]
	if t == nil || !s.cfg.Now().Before(t.expires) || t.installation.suspended {
		return identity{}, refuse(http.StatusUnauthorized, msgBadCredentials)
	}
	return identity{token: t}, nil
}

// verifyJWT holds an App's token to GitHub's rules: RS256 with the App's key,
// iss the App, iat not ahead of the clock, exp at most ten minutes away.
func (s *Server) verifyJWT(text string) error {
	no := func(message string) error { return refuse(http.StatusUnauthorized, message) }
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithoutClaimsValidation(), jwt.WithJSONNumber())
	claims := jwt.MapClaims{}
	unverified, _, err := parser.ParseUnverified(text, claims)
	if err != nil || unverified.Method.Alg() != "RS256" {
		return no(msgBadJWT)
	}
	issuer := ""
	switch iss := claims["iss"].(type) {
	case json.Number:
		issuer = iss.String()
	case string:
		issuer = iss
	default:
		return no(msgBadIssuer)
	}
	if issuer != strconv.FormatInt(s.cfg.AppID, 10) && issuer != s.clientID() {
		return refuse(http.StatusNotFound, msgNoApp)
	}
	if _, err := parser.Parse(text, func(*jwt.Token) (any, error) { return &s.cfg.PrivateKey.PublicKey, nil }); err != nil {
		return no(msgBadJWT)
	}
	now := s.cfg.Now()
	exp, err := claimTime(claims["exp"])
	if err != nil || !exp.After(now) {
		return no(msgExpired)
	}
	if exp.After(now.Add(maxTokenLife)) {
		return no(msgTooFar)
	}
	iat, err := claimTime(claims["iat"])
	if err != nil || iat.After(now) {
		return no(msgBadIssuedAt)
	}
	return nil
}

// claimTime reads a claim in whole seconds; fractions are refused.
func claimTime(claim any) (time.Time, error) {
	number, ok := claim.(json.Number)
	if !ok {
		return time.Time{}, errors.New("not a number")
	}
	seconds, err := strconv.ParseInt(number.String(), 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(seconds, 0), nil
}

// clientID is the App's other name in tokens.
func (s *Server) clientID() string { return "Iv23li" + strconv.FormatInt(s.cfg.AppID, 36) }

// defaultPermissions are what litci's manifest asks for.
func defaultPermissions() map[string]string {
	return map[string]string{
		"checks": "write", "contents": "read", "issues": "write", "merge_queues": "read",
		"metadata": "read", "pull_requests": "write", "statuses": "write",
	}
}

// permit refuses a token that holds none of the permissions the endpoint
// asks for. Reading metadata is part of every token.
func (c *call) permit() error {
	if len(c.route.needs) == 0 || c.who.token == nil {
		return nil
	}
	for _, need := range c.route.needs {
		name, level, _ := strings.Cut(need, "=")
		if name == "metadata" || atLeast(c.who.token.permissions[name], level) {
			return nil
		}
	}
	return &refusal{
		status: http.StatusForbidden, message: msgNotAccessible,
		header: http.Header{"X-Accepted-Github-Permissions": {strings.Join(c.route.needs, "; ")}},
	}
}

// atLeast compares two levels of a permission.
func atLeast(have, want string) bool {
	levels := []string{"read", "write", "admin"}
	return slices.Index(levels, have) >= slices.Index(levels, want) && have != ""
}

// scope returns the permissions of a new token: all that were granted, or the
// part that was asked for.
func (s *Server) scope(asked map[string]string) (map[string]string, error) {
	if len(asked) == 0 {
		return maps.Clone(s.cfg.Permissions), nil
	}
	got := map[string]string{"metadata": "read"}
	for name, level := range asked {
		if !atLeast(s.cfg.Permissions[name], level) {
			return nil, refuse(http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.")
		}
		got[name] = level
	}
	return got, nil
}
