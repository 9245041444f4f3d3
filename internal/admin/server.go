package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"
)

// Server is one of the two listeners. Make it with [Listen] or [ListenHealth], then [Server.Serve] it once.
type Server struct {
	name     string
	listener net.Listener
	server   http.Server
}

const (
	requestTimeout  = 10 * time.Second // of reading a request and, for probes, of writing its answer
	shutdownTimeout = 2 * time.Second
)

// listen takes the address, so that a port in use is known before anything is started. name is also the section of the configuration.
func listen(name, address string, handler http.Handler, writeTimeout time.Duration, log *zap.Logger) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s listener: %w; set %s.listen to a free address", name, err, name)
	}
	return &Server{name, listener, http.Server{
		Handler: handler, ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout, WriteTimeout: writeTimeout, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: zap.NewStdLog(log),
	}}, nil
}

// Address is what the listener is bound to.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Serve answers until ctx ends, then lets the requests under way finish, for at most two seconds and until abort is closed. It closes the listener,
// also when ctx has ended before.
func (s *Server) Serve(ctx context.Context, abort <-chan struct{}) error {
	failed := make(chan error, 1)
	go func() { failed <- s.server.Serve(s.listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("%s listener: %w", s.name, err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	go func() {
		select {
		case <-abort:
			cancel()
		case <-grace.Done():
		}
	}()
	if s.server.Shutdown(grace) != nil {
		_ = s.server.Close() // a request that outlives the grace is cut off
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s listener: %w", s.name, err)
	}
	return nil
}

func splitAddress(address string) (host string, ok bool) {
	host, port, err := net.SplitHostPort(address)
	_, notPort := strconv.ParseUint(port, 10, 16)
	return host, err == nil && notPort == nil
}
