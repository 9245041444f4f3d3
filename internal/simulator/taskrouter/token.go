package taskrouter

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	maxTokenLife = 24 * time.Hour
	badToken     = 20101 // the vendor's code
)

// accessClaims are those of a v2 access token: docs/protocols/twilio-taskrouter.md, section 3.1.
type accessClaims struct {
	jwt.RegisteredClaims
	Grants struct {
		Identity   string `json:"identity"`
		TaskRouter struct {
			WorkspaceSID string `json:"workspace_sid"`
			WorkerSID    string `json:"worker_sid"`
			Role         string `json:"role"`
		} `json:"task_router"`
	} `json:"grants"`
}

// grant is what a valid token allows.
type grant struct {
	worker     string // SID
	supervisor bool   // may read other workers
	expires    time.Time
}

// statusError is a refusal with its HTTP status. Its text never holds a token.
type statusError struct {
	status  int
	code    int // the vendor's; 0: 20000 + status
	message string
}

func (e *statusError) Error() string { return fmt.Sprintf("%d: %s", e.status, e.message) }

// verify checks an access token: 401 when it is expired or not genuine, 403 when it is genuine but gives no right here.
func (s *Simulator) verify(token string) (grant, error) {
	var c accessClaims
	t, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return []byte(s.o.APISecret), nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(s.o.APIKey), jwt.WithSubject(s.o.Account), jwt.WithExpirationRequired())
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return grant{}, &statusError{status: http.StatusUnauthorized, code: badToken, message: "Access Token expired"}
	case err != nil:
		return grant{}, &statusError{status: http.StatusUnauthorized, code: badToken, message: "Invalid Access Token: check API key, secret and account"}
	case t.Header["cty"] != "twilio-fpa;v=1":
		return grant{}, &statusError{status: http.StatusUnauthorized, code: badToken, message: "Invalid Access Token header: cty must be twilio-fpa;v=1"}
	case c.IssuedAt == nil || c.ExpiresAt.Sub(c.IssuedAt.Time) > maxTokenLife:
		return grant{}, &statusError{status: http.StatusUnauthorized, code: badToken, message: "Invalid Access Token lifetime: exp - iat may be at most 86400 seconds"}
	}
	g := c.Grants.TaskRouter
	switch {
	case g.WorkspaceSID != s.o.Workspace:
		return grant{}, &statusError{status: http.StatusForbidden, message: "The token grants no access to this workspace"}
	case g.Role != "worker" && g.Role != "supervisor":
		return grant{}, &statusError{status: http.StatusForbidden, message: "The token's role must be worker or supervisor"}
	case !s.knows(g.WorkerSID):
		return grant{}, &statusError{status: http.StatusForbidden, message: "The token's worker is not in this workspace"}
	}
	return grant{worker: g.WorkerSID, supervisor: g.Role == "supervisor", expires: c.ExpiresAt.Time}, nil
}
