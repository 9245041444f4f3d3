package taskrouter

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// kind says what one kind of fault takes and does.
type kind struct {
	requires string // fields
	takes    string // further fields that are allowed
	code     int    // default
	check    func(*Fault) error
	lasts    bool // until its duration is over, which takes must name, or until cleared
	deafens  bool // keeps sessions from receiving while it lasts

	strike func(s *Simulator, k *socket, f Fault, until time.Time) // each socket that is open now; s.mu is held
	alter  func(f Fault, now time.Time, frames []frame) []frame    // events told while it lasts
}

var kinds = map[string]kind{
	// Ends of sockets.
	"close": {takes: "code reason", code: websocket.CloseGoingAway, check: checkClose, strike: func(s *Simulator, k *socket, f Fault, _ time.Time) {
		s.detach(k)
		k.stop(ending{code: f.Code, reason: f.Reason})
	}},
	"expire": {strike: func(s *Simulator, k *socket, _ Fault, _ time.Time) {
		s.detach(k)
		k.stop(expired)
	}},
	"evict": {strike: func(s *Simulator, k *socket, _ Fault, _ time.Time) { s.evict(k) }},
	"reset": {strike: func(s *Simulator, k *socket, _ Fault, _ time.Time) {
		s.detach(k)
		k.reset()
	}},

	// Silence.
	"mute": {takes: "duration_ms", lasts: true, deafens: true, strike: func(_ *Simulator, k *socket, _ Fault, until time.Time) { k.mute(until) }},
	"mute-heartbeats": {takes: "duration_ms", lasts: true, strike: func(_ *Simulator, k *socket, _ Fault, until time.Time) {
		k.stopBeats(until)
	}},
	"clear": {strike: func(_ *Simulator, k *socket, _ Fault, _ time.Time) {
		k.mute(time.Time{})
		k.stopBeats(time.Time{})
	}},

	// Beginnings of sockets.
	"refuse":       {takes: "code duration_ms", code: 503, check: checkStatus, lasts: true, deafens: true},
	"turn-away":    {takes: "code reason duration_ms", code: websocket.ClosePolicyViolation, check: checkClose, lasts: true, deafens: true},
	"slow-init":    {requires: "delay_ms", takes: "duration_ms", lasts: true},
	"early-event":  {takes: "duration_ms", lasts: true},
	"lifetime":     {requires: "lifetime_ms", takes: "duration_ms", lasts: true},
	"keep-expired": {takes: "duration_ms", lasts: true},

	"ping": {strike: sends(frame{kind: websocket.PingMessage})},

	// Frames that no client can use. They are not in the ledger.
	"malformed":    {strike: sends(notJSON, truncated, unknownType, nullPayload, binary, invalidUTF8)},
	"not-json":     {strike: sends(notJSON)},
	"truncated":    {strike: sends(truncated)},
	"unknown-type": {strike: sends(unknownType)},
	"null-payload": {strike: sends(nullPayload)},
	"binary":       {strike: sends(binary)},
	"invalid-utf8": {strike: sends(invalidUTF8)},
	"oversized":    {strike: sends(oversized)},

	// Events otherwise than they should be.
	"lose": {takes: "duration_ms", lasts: true, alter: func(Fault, time.Time, []frame) []frame { return nil }},
	"duplicate": {takes: "duration_ms", lasts: true, alter: func(_ Fault, _ time.Time, frames []frame) []frame {
		again := slices.Clone(frames)
		for i := range again {
			again[i].seq = 0 // the ledger counts sockets
		}
		return append(frames, again...)
	}},
	"delay": {requires: "delay_ms", takes: "duration_ms", lasts: true, alter: func(f Fault, now time.Time, frames []frame) []frame {
		for i := range frames {
			frames[i].due = now.Add(f.delay())
		}
		return frames
	}},
	"omit": {requires: "field", takes: "duration_ms", lasts: true, alter: func(f Fault, _ time.Time, frames []frame) []frame {
		for i := range frames {
			frames[i].data = without(frames[i].data, f.Field)
		}
		return frames
	}},

	// Commands and REST.
	"fail": {requires: "route", takes: "code reason count duration_ms", code: 503, check: checkFail, lasts: true},
	"slow": {requires: "route delay_ms", takes: "count duration_ms", lasts: true},
}

func checkClose(f *Fault) error {
	if f.Code < 1000 || f.Code > 4999 || slices.Contains([]int{1004, 1005, 1006, 1015}, f.Code) || len(f.Reason) > 123 {
		return errors.New("code must be 1000 to 4999 without 1004, 1005, 1006 and 1015, reason at most 123 bytes")
	}
	return nil
}

func checkStatus(f *Fault) error {
	if f.Code < 400 || f.Code > 599 {
		return errors.New("code must be an HTTP status from 400 to 599")
	}
	return nil
}

func checkFail(f *Fault) error {
	if f.Reason == "" {
		f.Reason = "Failed by an injected fault" // clients need a message
	}
	return checkStatus(f)
}

func sends(frames ...frame) func(*Simulator, *socket, Fault, time.Time) {
	return func(_ *Simulator, k *socket, _ Fault, _ time.Time) {
		for _, f := range frames {
			k.enqueue(f)
		}
	}
}

var (
	notJSON     = frame{kind: websocket.TextMessage, data: []byte("not JSON, call " + CanaryPhone + "0000")}
	truncated   = frame{kind: websocket.TextMessage, data: []byte(`{"event_type":"reservation.created","payload":{"attributes":"{\"phone\":\"` + CanaryPhone + `0001`)}
	unknownType = frame{kind: websocket.TextMessage, data: []byte(`{"event_type":"reservation.unheard-of","payload":{"phone":"` + CanaryPhone + `0002"}}`)}
	nullPayload = frame{kind: websocket.TextMessage, data: []byte(`{"event_type":"reservation.accepted","payload":null}`)}
	binary      = frame{kind: websocket.BinaryMessage, data: []byte("\x00\x01\x02 " + CanaryPhone + "0003")}
	invalidUTF8 = frame{kind: websocket.TextMessage, data: []byte("{\"event_type\":\"task.updated\",\"payload\":{\"attributes\":\"\xff\xfe " + CanaryPhone + "0004\"}}")}
	// Looks like an event, so that a client without a limit would show an invented one.
	oversized = frame{kind: websocket.TextMessage, data: []byte(
		`{"event_type":"task.canceled","payload":{"sid":"WTffffffffffffffffffffffffffffffff","version":1,"attributes":"` +
			strings.Repeat("x", 1<<20) + `"}}`)}
)

// without is an event whose payload lacks a member.
func without(event []byte, field string) []byte {
	var e struct {
		EventType string                     `json:"event_type"`
		Payload   map[string]json.RawMessage `json:"payload"`
	}
	if err := json.Unmarshal(event, &e); err != nil {
		panic(err) // this package wrote it
	}
	delete(e.Payload, field)
	return []byte(text(e))
}
