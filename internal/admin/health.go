// Package admin is what the process shows of itself over HTTP. The health listener is for probes and for Prometheus: it tells codes and
// counts, no ids, and changes nothing, so it may be reachable within a cluster. The admin listener is for the operator on the machine: it
// names agents and can change the log level, so it is on loopback only. Neither tells tokens, secrets or anything a vendor sent.
package admin

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
)

// HealthConfig is the health section.
type HealthConfig struct {
	// Listen is host:port, default 127.0.0.1:8080; port 0 takes any free one, which the log tells.
	Listen string `yaml:"listen"`
	// MinLive is how many agents must be live for the process to be ready, default 50%.
	MinLive Floor `yaml:"min_live"`
}

// SetDefaults implements config.Defaulter.
func (c *HealthConfig) SetDefaults() {
	*c = HealthConfig{Listen: "127.0.0.1:8080", MinLive: Floor{share: true, n: 50}}
}

// Validate implements config.Validator.
func (c *HealthConfig) Validate() error {
	var ps config.Problems
	if _, ok := splitAddress(c.Listen); !ok {
		ps.Add("listen", "not an address", "host:port such as 127.0.0.1:8080, or :8080 for every interface")
	}
	return ps.Err()
}

// Floor is a number of agents: a count, or a share of the roster written as "50%". 0 is no floor.
type Floor struct {
	share bool
	n     int // agents, or per cent
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Floor) UnmarshalText(text []byte) error {
	digits, share := strings.CutSuffix(string(text), "%")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || share && n > 100 {
		return config.Problem{What: "not a floor", Allowed: "a number of agents such as 10, or a share of the roster from 0% to 100%"}
	}
	*f = Floor{share, int(n)}
	return nil
}

// String is the form that UnmarshalText reads.
func (f Floor) String() string {
	if f.share {
		return strconv.Itoa(f.n) + "%"
	}
	return strconv.Itoa(f.n)
}

// Of is the floor for a roster of that many agents: a share is rounded up, so that of one agent any share above 0% is one; a count larger
// than the roster is the roster.
func (f Floor) Of(agents int) int {
	if f.share {
		return (agents*f.n + 99) / 100
	}
	return min(f.n, agents)
}

// Reason is one thing that readiness has to say.
type Reason struct {
	Code  string `json:"code"`  // from a fixed set, [a-z0-9_]+
	Count int    `json:"count"` // of what the code names: agents, sinks, sources
	Note  bool   `json:"note"`  // worth knowing, and no reason to be called not ready
	// Sinks are those concerned, by name and in its order, where the code is about sinks.
	Sinks []string `json:"sinks,omitempty"`
}

// Probes are the questions that the listener passes on to the process. They are asked from any goroutine.
type Probes struct {
	// Alive returns when it has seen the process's own loop at work, whatever vendors and brokers do. A process that is stuck does not return,
	// and so does not answer its liveness probe.
	Alive func()
	// Reasons is what stands against being ready, and the notes, as of now.
	Reasons func() []Reason
	Metrics prometheus.Gatherer
}

// ListenHealth opens the health listener. Nothing is answered until Serve.
func ListenHealth(c HealthConfig, p Probes, log *zap.Logger) (*Server, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		p.Alive()
		_, _ = w.Write([]byte("ok\n")) // fails only when the client has gone
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { serveReady(w, p.Reasons()) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.Metrics, promhttp.HandlerOpts{ErrorLog: zap.NewStdLog(log)}))
	return listen("health", c.Listen, mux, requestTimeout, log)
}

func serveReady(w http.ResponseWriter, reasons []Reason) {
	answer := struct {
		Ready   bool     `json:"ready"`
		Reasons []Reason `json:"reasons"`
	}{true, append([]Reason{}, reasons...)} // [] rather than null
	for _, r := range reasons {
		answer.Ready = answer.Ready && r.Note
	}
	w.Header().Set("Content-Type", "application/json")
	if !answer.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(answer) // fails only when the client has gone
}
