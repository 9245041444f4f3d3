package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
)

// accept has each connection handled until the test ends.
func accept(t *testing.T, handle func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			handle(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return l.Addr().String()
}

// hangUp is what a broker does to a TLS client where it expects none: it has read the size of a request, and finds it too large.
func hangUp(conn net.Conn) { _, _ = io.CopyN(io.Discard, conn, 4) }

// TestHangsUp: who hangs up on a handshake uses no TLS, unless it has done so before: then it is stopping.
func TestHangsUp(t *testing.T) {
	a := newAuthority(t)
	server, _, _ := a.pair()
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	var stopping atomic.Bool
	address := accept(t, func(conn net.Conn) {
		if stopping.Load() {
			hangUp(conn)
			return
		}
		_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{server}, MinVersion: tls.VersionTLS12}).Handshake()
	})
	e := encrypted{config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, dial: new(net.Dialer).DialContext}
	conn, err := e.connect(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	stopping.Store(true)
	if _, err := e.connect(t.Context(), "tcp", address); classify(err) != disconnected {
		t.Errorf("where TLS was used: got %+v (%v), want it to be disconnected", classify(err), err)
	}
	if _, err := e.connect(t.Context(), "tcp", accept(t, hangUp)); classify(err) != noTLS {
		t.Errorf("where it never was: got %+v (%v), want that TLS is not used", classify(err), err)
	}
}

// TestTLSToPlain: a client that uses TLS where nobody does is told so, and does not try again at once.
func TestTLSToPlain(t *testing.T) {
	var cfg Config
	cfg.SetDefaults()
	cfg.Brokers, cfg.TLS = []string{accept(t, hangUp)}, &TLS{CAFile: newAuthority(t).file}
	s := makeSink(t, cfg, zapNop)
	sinktest.Connect(t, s)
	if err := s.Open(t.Context()); retry.ReasonOf(err) != "tls" || !strings.Contains(err.Error(), "uses TLS") {
		t.Errorf("got %v", err)
	}
	if err := s.Ready(); retry.ReasonOf(err) != "tls" {
		t.Errorf("Ready: got %v", err)
	}
}
