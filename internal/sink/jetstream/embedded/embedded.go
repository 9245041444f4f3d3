// Package embedded runs a nats-server with JetStream in this process, for the demo, for evaluation and for tests. It listens on 127.0.0.1 alone,
// asks nobody for credentials and has no replicas: no place for events that matter.
package embedded

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
)

// Server is a running nats-server.
type Server struct {
	server *server.Server
	port   int
}

// The time-out is for opening the stores: a large one that was not closed is read through.
const (
	readyTimeout = 30 * time.Second
	readyPoll    = 100 * time.Millisecond
)

// Start runs a server whose data is in dir, made where missing, on port of 127.0.0.1; port 0 takes any free one. A server started again
// with the same dir has its streams again.
func Start(dir string, port int, log *zap.Logger) (*Server, error) {
	if dir == "" {
		return nil, errors.New("embedded nats-server: a folder for its data is needed")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("embedded nats-server: %w", err)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "taskbridge-embedded", Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true,
	})
	if err != nil {
		return nil, fmt.Errorf("embedded nats-server: %w", err)
	}
	fatal := make(chan string, 1)
	s.SetLoggerV2(logger{log.Sugar(), fatal}, false, false, false)
	s.Start()
	for deadline := time.Now().Add(readyTimeout); !s.ReadyForConnections(readyPoll); {
		reason := ""
		select {
		case reason = <-fatal:
		default:
		}
		if reason == "" && time.Now().Before(deadline) {
			continue
		}
		s.Shutdown()
		s.WaitForShutdown()
		if reason == "" {
			reason = fmt.Sprintf("not ready after %v", readyTimeout)
		}
		return nil, fmt.Errorf("embedded nats-server: %s; is the port taken, or %s in use by another?", reason, dir)
	}
	return &Server{s, s.Addr().(*net.TCPAddr).Port}, nil
}

// URL is where clients connect.
func (s *Server) URL() string { return s.server.ClientURL() }

// Port is the port it listens on.
func (s *Server) Port() int { return s.port }

// Shutdown ends the server and returns when its files are closed. Idempotent.
func (s *Server) Shutdown() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

// logger implements server.Logger: it passes on what an operator can use; the server's notices are about itself and go to debug.
type logger struct {
	log   *zap.SugaredLogger
	fatal chan<- string // the first reason why the server cannot go on
}

func (l logger) Noticef(format string, v ...any) { l.log.Debugf(format, v...) }
func (l logger) Warnf(format string, v ...any)   { l.log.Warnf(format, v...) }
func (l logger) Errorf(format string, v ...any)  { l.log.Errorf(format, v...) }
func (l logger) Debugf(format string, v ...any)  { l.log.Debugf(format, v...) }
func (l logger) Tracef(format string, v ...any)  { l.log.Debugf(format, v...) }

// Fatalf is called when the server cannot go on, for instance without its port. The process goes on.
func (l logger) Fatalf(format string, v ...any) {
	l.log.Errorf(format, v...)
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
}
