package taskrouter

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/zap"
)

// Fault is a disturbance to inject, also as the JSON body of POST /_sim/fault.
type Fault struct {
	// Kind is one of
	//   close      every socket gets a close frame with Code (1000 to 4999, default 1001) and Reason (at most 123 bytes)
	//   reset      every socket's TCP connection is reset
	//   mute       nothing is written on the sockets open now, which stay open; what was held back follows when DurationMS, if given, is over
	//   malformed  every socket gets six frames that no client can use; they are not in the ledger
	//   oversized  every socket gets a text frame of more than 1 MiB; it is not in the ledger
	//   refuse     upgrades are answered with the HTTP status Code (400 to 599, default 503) for DurationMS, which is required
	Kind       string   `json:"kind"`
	Workers    []string `json:"workers,omitempty"` // SIDs; empty: all
	Code       int      `json:"code,omitempty"`
	Reason     string   `json:"reason,omitempty"`
	DurationMS int64    `json:"duration_ms,omitempty"` // of mute and refuse; 0: for ever
}

type faultRecord struct {
	Fault
	at      time.Time
	until   time.Time // at, for what takes no time, and for a mute that only the client can end
	workers int
}

// check fills in defaults.
func (f *Fault) check() error {
	if f.DurationMS < 0 {
		return errors.New("duration_ms must not be negative")
	}
	switch f.Kind {
	case "close":
		if f.Code == 0 {
			f.Code = websocket.CloseGoingAway
		}
		if f.Code < 1000 || f.Code > 4999 || slices.Contains([]int{1004, 1005, 1006, 1015}, f.Code) || len(f.Reason) > 123 {
			return errors.New("close: code must be 1000 to 4999 without 1004, 1005, 1006 and 1015, reason at most 123 bytes")
		}
	case "refuse":
		if f.Code == 0 {
			f.Code = http.StatusServiceUnavailable
		}
		if f.Code < 400 || f.Code > 599 || f.DurationMS == 0 {
			return errors.New("refuse: code must be 400 to 599, and duration_ms is required")
		}
	case "reset", "mute", "malformed", "oversized":
	default:
		return fmt.Errorf("kind %q must be close, reset, mute, malformed, oversized or refuse", f.Kind)
	}
	return nil
}

// Inject returns when the fault is on its way, before clients have noticed.
func (s *Simulator) Inject(f Fault) error {
	if err := f.check(); err != nil {
		return fmt.Errorf("simulator: fault: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	workers := s.world.workers
	if len(f.Workers) > 0 {
		workers = nil
		for _, sid := range f.Workers {
			w := s.world.worker(sid)
			if w == nil {
				return fmt.Errorf("simulator: fault: no worker %q; Ready lists them", sid)
			}
			workers = append(workers, w)
		}
	}
	now := time.Now()
	until := now.Add(time.Duration(f.DurationMS) * time.Millisecond)
	for _, w := range workers {
		for _, k := range slices.Clone(w.sockets) {
			s.disturb(k, f, until)
		}
	}
	if f.Kind != "mute" && f.Kind != "refuse" {
		until = now
	}
	s.faults = append(s.faults, faultRecord{Fault: f, at: now, until: until, workers: len(workers)})
	s.log.Info("fault injected", zap.String("kind", f.Kind), zap.Int("workers", len(workers)), zap.Int64("duration_ms", f.DurationMS))
	return nil
}

// disturb requires s.mu.
func (s *Simulator) disturb(k *socket, f Fault, until time.Time) {
	switch f.Kind {
	case "close":
		s.detach(k)
		k.stop(ending{code: f.Code, reason: f.Reason})
	case "reset":
		s.detach(k)
		k.reset()
	case "mute":
		if f.DurationMS == 0 {
			until = forever
		}
		k.mute(until)
	case "malformed":
		for _, m := range malformed {
			k.enqueue(m)
		}
	case "oversized":
		k.enqueue(oversized)
	}
}

var (
	malformed = []frame{
		{kind: websocket.TextMessage, data: []byte("not JSON, call " + CanaryPhone + "0000")},
		{kind: websocket.TextMessage, data: []byte(`{"event_type":"reservation.created","payload":{"attributes":"{\"phone\":\"` + CanaryPhone + `0001`)},
		{kind: websocket.TextMessage, data: []byte(`{"event_type":"reservation.unheard-of","payload":{"phone":"` + CanaryPhone + `0002"}}`)},
		{kind: websocket.TextMessage, data: []byte(`{"event_type":"reservation.accepted","payload":null}`)},
		{kind: websocket.BinaryMessage, data: []byte("\x00\x01\x02 " + CanaryPhone + "0003")},
		{kind: websocket.TextMessage, data: []byte("{\"event_type\":\"task.updated\",\"payload\":{\"attributes\":\"\xff\xfe " + CanaryPhone + "0004\"}}")},
	}
	// Looks like an event, so that a client without a limit would show an invented one.
	oversized = frame{kind: websocket.TextMessage, data: []byte(
		`{"event_type":"task.canceled","payload":{"sid":"WTffffffffffffffffffffffffffffffff","version":1,"attributes":"` +
			strings.Repeat("x", 1<<20) + `"}}`)}
)

// refusing returns the status that upgrades of worker are answered with now, or 0.
func (s *Simulator) refusing(worker string, now time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range slices.Backward(s.faults) {
		if f.Kind == "refuse" && now.Before(f.until) && (len(f.Workers) == 0 || slices.Contains(f.Workers, worker)) {
			return f.Code
		}
	}
	return 0
}

func (s *Simulator) serveFault(rw http.ResponseWriter, r *http.Request) {
	var f Fault
	body := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxCommand))
	body.DisallowUnknownFields()
	err := body.Decode(&f)
	if err == nil {
		err = s.Inject(f)
	}
	if err != nil {
		writeError(rw, &statusError{http.StatusBadRequest, err.Error()})
		return
	}
	rw.WriteHeader(http.StatusNoContent)
}
