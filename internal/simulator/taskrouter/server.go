package taskrouter

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"
)

const (
	socketPath  = "/v1/wschannels"
	restPath    = "/v1"
	controlPath = "/_sim"
)

func (s *Simulator) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+socketPath, s.serveSocket)
	mux.HandleFunc("POST "+socketPath, s.serveCommand)
	mux.HandleFunc(restPath+"/Workspaces/", s.serveREST)
	mux.HandleFunc("GET "+controlPath+"/ready", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.Ready()) })
	mux.HandleFunc("GET "+controlPath+"/ledger", s.serveLedger)
	mux.HandleFunc("GET "+controlPath+"/state", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.State()) })
	mux.HandleFunc("POST "+controlPath+"/fault", s.serveFault)
	mux.HandleFunc("POST "+controlPath+"/do", s.serveAction)
	return mux
}

// serveSocket is an upgrade, and then the socket's reading side until the session ends.
func (s *Simulator) serveSocket(rw http.ResponseWriter, r *http.Request) {
	g, err := s.admit(r)
	if err != nil {
		s.refuseUpgrade(rw, err)
		return
	}
	conn, err := s.upgrader.Upgrade(rw, r, nil)
	s.mu.Lock()
	w := s.world.worker(g.worker) // nil: removed since she was admitted
	if w != nil {
		w.upgrading--
	}
	if err != nil || w == nil || s.closing {
		s.mu.Unlock()
		if err != nil {
			s.log.Debug("not a WebSocket handshake", zap.Error(err))
		} else {
			_ = conn.Close()
		}
		return
	}
	defer func() { _ = conn.Close() }() // most often closed already

	q := r.URL.Query()
	k := newSocket(conn, w)
	k.offline = q.Get("setWorkerOfflineIfDisconnected") != "false" // true is the documented default
	s.sockets.Add(1)                                               // under mu, so that it cannot come after Run's Wait
	defer s.sockets.Done()
	if f := s.lasting("turn-away", w, time.Now()); f != nil {
		s.mu.Unlock()
		k.finish(ending{code: f.Code, reason: f.Reason})
		k.read(func() {}) // until the client has answered
		return
	}
	s.attach(k, g, q.Get("closeExistingSessions") == "true")
	s.mu.Unlock()

	go k.write(s.o.Heartbeat, &s.ledger) // ends before this handler does
	clean := k.read(s.countClientFrame)
	s.mu.Lock()
	k.clean = clean
	s.detach(k)
	s.mu.Unlock()
	k.stop(ending{})
	<-k.ended
}

// admit counts the dial and decides about it.
func (s *Simulator) admit(r *http.Request) (grant, error) {
	now := time.Now()
	s.mu.Lock()
	s.dials[now.Unix()]++
	s.mu.Unlock()
	token := r.URL.Query().Get("token")
	if token == "" {
		return grant{}, badRequest("The token query parameter is missing")
	}
	g, err := s.verify(token)
	if err != nil {
		return grant{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.world.worker(g.worker)
	if f := s.lasting("refuse", w, now); f != nil {
		return grant{}, &statusError{status: f.Code, message: "Refused by an injected fault"}
	}
	if w != nil { // not removed since verify
		evicts := r.URL.Query().Get("closeExistingSessions") == "true"
		if s.o.Sockets > 0 && !evicts && len(w.sockets)+w.upgrading >= s.o.Sockets {
			return grant{}, &statusError{status: http.StatusTooManyRequests, message: "The worker has as many sockets as are allowed"}
		}
		w.upgrading++
	}
	return g, nil
}

func (s *Simulator) refuseUpgrade(rw http.ResponseWriter, err error) {
	status := writeError(rw, err)
	s.mu.Lock()
	s.refused[status]++
	s.mu.Unlock()
	s.log.Debug("upgrade refused", zap.Error(err))
}

func (s *Simulator) countClientFrame() {
	s.mu.Lock()
	s.clientFrames++
	s.mu.Unlock()
}

func (s *Simulator) serveLedger(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(rw)
	for _, e := range s.Ledger() {
		if out.Encode(e) != nil { // the client has gone
			return
		}
	}
}

// writeError answers in the vendor's form (section 7.3). Clients need message.
func writeError(rw http.ResponseWriter, err error) (status int) {
	e := &statusError{status: http.StatusInternalServerError, message: "internal error"}
	errors.As(err, &e)
	code := cmp.Or(e.code, 20000+e.status)
	writeJSON(rw, e.status, struct {
		Code     int    `json:"code"`
		Message  string `json:"message"`
		MoreInfo string `json:"more_info"`
		Status   int    `json:"status"`
	}{code, e.message, fmt.Sprintf("https://www.twilio.com/docs/errors/%d", code), e.status})
	return e.status
}

func writeJSON(rw http.ResponseWriter, status int, v any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(v) // fails only when the client has gone
}
