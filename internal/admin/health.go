// Package admin is what the process shows of itself over HTTP. The health listener is for probes and for Prometheus: it tells codes and
// counts, no ids, and changes nothing, so it may be reachable within a cluster.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
)

// HealthConfig is the health section.
type HealthConfig struct {
	// Listen is host:port, default 127.0.0.1:8080; port 0 takes any free one, which the log tells.
	Listen string `yaml:"listen"`
}

// SetDefaults implements config.Defaulter.
func (c *HealthConfig) SetDefaults() { c.Listen = "127.0.0.1:8080" }

// Validate implements config.Validator.
func (c *HealthConfig) Validate() error {
	var ps config.Problems
	_, port, err := net.SplitHostPort(c.Listen)
	if _, notPort := strconv.ParseUint(port, 10, 16); err != nil || notPort != nil {
		ps.Add("listen", "not an address", "host:port such as 127.0.0.1:8080, or :8080 for every interface")
	}
	return ps.Err()
}

// Reason is one thing that readiness has to say.
type Reason struct {
	Code  string `json:"code"`  // from a fixed set, [a-z0-9_]+
	Count int    `json:"count"` // of what the code names: agents, sinks, sources
	Note  bool   `json:"note"`  // worth knowing, and no reason to be called not ready
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

// Health is the health listener. Make it with [Listen], then [Health.Serve] it once.
type Health struct {
	listener net.Listener
	server   http.Server
}

const (
	requestTimeout  = 10 * time.Second // of reading a request and of writing its answer
	shutdownTimeout = 2 * time.Second
)

// Listen takes the address, so that a port in use is known before anything is started. Nothing is answered until Serve.
func Listen(c HealthConfig, p Probes, log *zap.Logger) (*Health, error) {
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("health listener: %w; set health.listen to a free address", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		p.Alive()
		_, _ = w.Write([]byte("ok\n")) // fails only when the client has gone
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { serveReady(w, p.Reasons()) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.Metrics, promhttp.HandlerOpts{ErrorLog: zap.NewStdLog(log)}))
	return &Health{listener, http.Server{
		Handler: mux, ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: zap.NewStdLog(log),
	}}, nil
}

// Address is what the listener is bound to.
func (h *Health) Address() string { return h.listener.Addr().String() }

// Serve answers until ctx ends, then lets the requests under way finish, for at most two seconds. It closes the listener, also when ctx has
// ended before.
func (h *Health) Serve(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- h.server.Serve(h.listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("health listener: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if h.server.Shutdown(grace) != nil {
		_ = h.server.Close() // a request that outlives the grace is cut off
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("health listener: %w", err)
	}
	return nil
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
