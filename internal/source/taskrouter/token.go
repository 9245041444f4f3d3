package taskrouter

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/taskbridge/taskbridge/internal/config"
)

// token is an access token and the end of its life by our clock.
type token struct {
	text    string
	expires time.Time
}

// claims are those of an access token with a TaskRouter grant (protocol, section 3.1).
type claims struct {
	jwt.RegisteredClaims
	Grants grants `json:"grants"`
}

type grants struct {
	Identity   string     `json:"identity"`
	TaskRouter taskRouter `json:"task_router"`
}

type taskRouter struct {
	WorkspaceSID string `json:"workspace_sid"`
	WorkerSID    string `json:"worker_sid"`
	Role         string `json:"role"`
}

// mint signs a token that opens sockets of one worker and reads her state, nothing else.
func (s *Source) mint(worker string, now time.Time) (token, error) {
	secret, err := config.ReadSecret(s.cfg.APISecret, s.cfg.APISecretFile)
	if err != nil {
		return token{}, err
	}
	issued := now.Truncate(time.Second)
	expires := issued.Add(time.Duration(s.cfg.TokenLifetime))
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			ID:        fmt.Sprintf("%s-%d", s.cfg.APIKey, issued.Unix()),
			Issuer:    s.cfg.APIKey,
			Subject:   s.cfg.Account,
			IssuedAt:  jwt.NewNumericDate(issued),
			ExpiresAt: jwt.NewNumericDate(expires),
		},
		Grants: grants{s.cfg.Identity, taskRouter{s.cfg.Workspace, worker, "worker"}},
	})
	t.Header["cty"] = "twilio-fpa;v=1"
	if s.cfg.Region != "" {
		t.Header["twr"] = s.cfg.Region
	}
	text, err := t.SignedString([]byte(secret.Reveal()))
	if err != nil {
		return token{}, err
	}
	s.metrics.tokenMinted()
	return token{text, expires}, nil
}

// Token is a new access token for one worker, as her sessions use them, and the end of its life. Whoever has it can do what she can in the vendor's
// SDK. Errors: the secret's file cannot be read.
func (s *Source) Token(worker string) (text string, expires time.Time, err error) {
	t, err := s.mint(worker, time.Now())
	return t.text, t.expires, err
}

// lifeLeft is how long the token lives after init came at since. The vendor's own figure counts, as it is free of our clock's error, unless
// it makes no sense: absent, not positive, or longer than the token was made for.
func (t token) lifeLeft(since time.Time, vendorMS int64, made time.Duration) time.Duration {
	if vendorMS > 0 && vendorMS <= made.Milliseconds() {
		return time.Duration(vendorMS) * time.Millisecond
	}
	return max(0, t.expires.Sub(since))
}

// renewBy is when a successor must have taken over: after 80 % of the life left.
func renewBy(since time.Time, left time.Duration) time.Time { return since.Add(left / 10 * 8) }
