package admin

import (
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
)

// Off as [Config.Listen] is no admin listener.
const Off = "off"

// Config is the admin section.
type Config struct {
	// Listen is a loopback address with a port, default 127.0.0.1:8081, or off. Port 0 takes any free one, which the log tells.
	Listen string `yaml:"listen"`
}

// SetDefaults implements config.Defaulter.
func (c *Config) SetDefaults() { c.Listen = "127.0.0.1:8081" }

// Validate implements config.Validator. Any other address is refused: there is neither TLS nor a password here.
func (c *Config) Validate() error {
	var ps config.Problems
	if host, ok := splitAddress(c.Listen); c.Listen != Off && (!ok || !loopback(host)) {
		ps.Add("listen", "not a loopback address", "127.0.0.1:8081, [::1]:8081 or another port there; off")
	}
	return ps.Err()
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Agent is one agent as GET /agents tells her. Times that do not exist are left out.
type Agent struct {
	ID        string  `json:"id"`
	Source    string  `json:"source"`
	State     string  `json:"state"`                // connecting, live, renewing, lost, refused
	SilenceMS *int64  `json:"silence_ms,omitempty"` // since she was last heard, be it a heartbeat
	OpenGaps  []Gap   `json:"open_gaps"`
	Session   Session `json:"session,omitzero"` // the one that receives, else the one being made
	// LastEnd is why her last session ended that was not the bridge's own wish.
	LastEnd   string    `json:"last_end,omitempty"`
	LastEndAt time.Time `json:"last_end_at,omitzero"`
	NextDial  time.Time `json:"next_dial,omitzero"` // while she has no session: not before
}

// Session is one session of an agent.
type Session struct {
	Incarnation string    `json:"incarnation"`
	TokenAgeMS  int64     `json:"token_age_ms"`      // each session has a token of its own, made when it is dialled
	Since       time.Time `json:"since,omitzero"`    // it has received since then
	RenewBy     time.Time `json:"renew_by,omitzero"` // a successor with a new token takes over before
}

// Gap is one that is open now.
type Gap struct {
	Feed  string    `json:"feed"`
	Cause string    `json:"cause"`
	From  time.Time `json:"from"`
}

// agentList is the document of GET /agents.
type agentList struct {
	Agents []Agent `json:"agents"`
}

// Process is what the admin listener shows and changes. Its functions are called from any goroutine.
type Process struct {
	Agents      func() []Agent
	Level       zap.AtomicLevel
	DeadLetters DeadLetters
}

// profileTimeout bounds the writing of an answer: a CPU profile takes as long as it is asked to.
const profileTimeout = 2 * time.Minute

// Listen opens the admin listener; c is valid and not off. Nothing is answered until Serve.
//
//	GET /agents                 who is served, and how
//	GET /deadletters            what a broker will never take; query: id, sink, type, agent, reason (each repeatable), since, until (RFC 3339), skip
//	POST /deadletters/replay    {"ids":[…]} back to the spool
//	POST /deadletters/purge     {"ids":[…]} thrown away
//	GET /loglevel               {"level":"info"}; PUT the same document to change it until the process ends
//	GET /debug/pprof/           profiles, see net/http/pprof
func Listen(c Config, p Process, log *zap.Logger) (*Server, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /agents", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, agentList{append([]Agent{}, p.Agents()...)})
	})
	handleDeadLetters(mux, p.DeadLetters)
	mux.Handle("GET /loglevel", p.Level)
	mux.Handle("PUT /loglevel", p.Level)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return listen("admin", c.Listen, fromHere(mux), profileTimeout, log)
}

// fromHere keeps out web pages that the operator's browser has open: they too reach a loopback address. One that names this address has
// its own site as Origin; one whose name was made to resolve to loopback (DNS rebinding) has that name as Host.
func fromHere(h http.Handler) http.Handler {
	protected := http.NewCrossOriginProtection().Handler(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = strings.Trim(r.Host, "[]")
		}
		if host != "localhost" && !loopback(host) {
			http.Error(w, "use a loopback address", http.StatusForbidden)
			return
		}
		protected.ServeHTTP(w, r)
	})
}
