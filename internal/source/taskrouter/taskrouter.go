// Package taskrouter receives one Twilio TaskRouter worker's events over the "event bridge" WebSocket (protocol v2).
//
// A session dials with a token minted for that worker, waits for the vendor's init frame, and from then on keeps every frame back
// until the worker and her open reservations have been read over HTTP. Then it tells, in this order: Up, the snapshot, the frames kept
// back, and whatever comes later. So nothing that happened between init and the snapshot is lost, and nothing is told twice.
//
// It only observes: it never writes a data frame or a ping, leaves other sockets of the worker alone and asks that losing this one
// does not put her offline. "Protocol" in this package means docs/protocols/twilio-taskrouter.md.
package taskrouter

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/source"
)

// Source serves the workers of one workspace. Safe for concurrent use.
type Source struct {
	cfg     Config
	log     *zap.Logger
	metrics *Metrics
	base    *url.URL // of the commands; the socket has the same with ws or wss
	proxy   func(*http.Request) (*url.URL, error)
	dialer  websocket.Dialer
	client  *http.Client
	budget  *budget
	buffers sync.Pool // of *bytes.Buffer: a session that waits for its next frame holds none
}

var _ source.Source = (*Source)(nil)

// New makes a source from cfg, whose defaults are set. The API secret's file is read once to check it, and again for every token, so that a
// changed secret needs no restart. A nil m counts nothing. Errors: the problems of [Config.Validate]; an unreadable secret file.
func New(cfg Config, log *zap.Logger, m *Metrics) (*Source, error) {
	if err := config.Validate(&cfg); err != nil {
		return nil, err
	}
	if _, err := config.ReadSecret(cfg.APISecret, cfg.APISecretFile); err != nil {
		return nil, config.Problem{Path: "api_secret_file", What: err.Error(), Allowed: config.SecretFileAllowed}
	}
	base, err := cfg.baseURL()
	if err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, log: log, metrics: m, base: base, budget: newBudget(cfg.RESTRate), proxy: http.ProxyFromEnvironment}
	s.buffers.New = func() any { return new(bytes.Buffer) }
	s.dialer = websocket.Dialer{
		// Its own TLS configuration: net/http adds h2 to the one it is given, with which the upgrade fails.
		// The name is given because the library would cut it out of the URL, and so keep the token for as long as the connection.
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, ServerName: base.Hostname(), ClientSessionCache: tls.NewLRUClientSessionCache(64),
		},
		HandshakeTimeout: time.Duration(cfg.DialTimeout),
		ReadBufferSize:   256,          // of heads; the rest goes past it, see burstConn
		WriteBufferSize:  256,          // only control frames are ever written
		WriteBufferPool:  &sync.Pool{}, // so that the buffer is not held per session
	}
	s.client = &http.Client{
		Transport: &http.Transport{
			Proxy:                  func(r *http.Request) (*url.URL, error) { return s.proxy(r) },
			OnProxyConnectResponse: proxyAnswer,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    time.Duration(cfg.DialTimeout),
			MaxIdleConnsPerHost:    32,
			IdleConnTimeout:        90 * time.Second,
		},
		// A redirect would carry the token, which is in the body, to a host that nobody configured. The 3xx is taken as the answer.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

// Serve implements [source.Source]. A refused token (401, 403) is replaced once, at once: the key may just have been changed. Refused
// again, the error is permanent. It never writes to the agent's state.
func (s *Source) Serve(ctx context.Context, a *source.Agent, in source.Intake) error {
	x := &session{src: s, agent: a, in: in}
	f := x.serve(ctx)
	if f.class == refused && ctx.Err() == nil {
		f = x.again(f).serve(ctx)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return f.mark()
}

// again is another session in the place of s, which was refused: only the dial and the start-up reads can be, so the intake has not been called yet.
func (s *session) again(f *failure) *session {
	s.src.metrics.tokenRefused()
	s.src.log.Info("token refused, trying once more with a new one", zap.String("agent", s.agent.ID), zap.String("reason", f.reason))
	return &session{src: s.src, agent: s.agent, in: s.in}
}
