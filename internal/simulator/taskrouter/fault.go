package taskrouter

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Fault is a disturbance to inject, also as the JSON body of POST /_sim/fault. docs/simulator.md describes each kind. What a kind does not
// use must be absent.
type Fault struct {
	Kind       string   `json:"kind"`
	Workers    []string `json:"workers,omitempty"`     // SIDs; empty: all
	Code       int      `json:"code,omitempty"`        // close code or HTTP status
	Reason     string   `json:"reason,omitempty"`      // of a close, at most 123 bytes; the message of a failed request
	DurationMS int64    `json:"duration_ms,omitempty"` // of kinds that last; 0: until cleared
	DelayMS    int64    `json:"delay_ms,omitempty"`
	LifetimeMS int64    `json:"lifetime_ms,omitempty"`
	Route      string   `json:"route,omitempty"` // of a request, as State counts it, REST ones with "REST " in front; a final * matches any rest
	Count      int      `json:"count,omitempty"` // requests to fail or slow down; 0: any number
	Field      string   `json:"field,omitempty"` // of a payload
}

func (f Fault) delay() time.Duration { return time.Duration(f.DelayMS) * time.Millisecond }

type faultRecord struct {
	Fault
	at      time.Time
	until   time.Time // at, for what takes no time
	workers int
	left    int // requests that a Count still reaches
}

// check fills in defaults.
func (f *Fault) check() error {
	k, ok := kinds[f.Kind]
	if !ok {
		return fmt.Errorf("kind %q must be one of %s", f.Kind, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
	}
	if f.Code == 0 {
		f.Code = k.code
	}
	if f.DurationMS < 0 || f.DelayMS < 0 || f.LifetimeMS < 0 || f.Count < 0 {
		return fmt.Errorf("%s: durations and count must not be negative", f.Kind)
	}
	set := map[string]bool{
		"code": f.Code != 0, "reason": f.Reason != "", "duration_ms": f.DurationMS != 0, "delay_ms": f.DelayMS != 0,
		"lifetime_ms": f.LifetimeMS != 0, "route": f.Route != "", "count": f.Count != 0, "field": f.Field != "",
	}
	required := strings.Fields(k.requires)
	for _, field := range required {
		if !set[field] {
			return fmt.Errorf("%s: %s is required", f.Kind, field)
		}
	}
	for _, field := range slices.Sorted(maps.Keys(set)) {
		if set[field] && !slices.Contains(required, field) && !slices.Contains(strings.Fields(k.takes), field) {
			return fmt.Errorf("%s: %s does not belong to this kind", f.Kind, field)
		}
	}
	if k.check != nil {
		return k.check(f)
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
		var err error
		if workers, err = s.workersNamed(f.Workers); err != nil {
			return fmt.Errorf("simulator: fault: %w", err)
		}
	}
	k, now := kinds[f.Kind], time.Now()
	until := forever
	if f.DurationMS > 0 {
		until = now.Add(time.Duration(f.DurationMS) * time.Millisecond)
	}
	if k.strike != nil {
		for _, w := range workers {
			for _, socket := range slices.Clone(w.sockets) {
				k.strike(s, socket, f, until)
			}
		}
	}
	if f.Kind == "clear" {
		for _, r := range s.faults {
			r.until = earlier(r.until, now)
		}
	}
	s.active = slices.DeleteFunc(s.active, func(r *faultRecord) bool { return !now.Before(r.until) })
	r := &faultRecord{Fault: f, at: now, until: now, workers: len(workers), left: f.Count}
	if k.lasts {
		r.until = until
		if k.strike == nil {
			s.active = append(s.active, r)
		}
	}
	s.faults = append(s.faults, r)
	s.log.Info("fault injected", zap.String("kind", f.Kind), zap.Int("workers", len(workers)), zap.Int64("duration_ms", f.DurationMS))
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// reaches says whether r is still going on for w; nil stands for what belongs to no worker.
func (r *faultRecord) reaches(w *worker, now time.Time) bool {
	return now.Before(r.until) && (len(r.Workers) == 0 || w != nil && slices.Contains(r.Workers, w.sid))
}

// lasting returns the youngest fault of a kind that goes on for w, or nil. It requires s.mu.
func (s *Simulator) lasting(kind string, w *worker, now time.Time) *faultRecord {
	for _, r := range slices.Backward(s.active) {
		if r.Kind == kind && r.reaches(w, now) {
			return r
		}
	}
	return nil
}

// alter makes of a frame for w what faults that go on make of it. It requires s.mu.
func (s *Simulator) alter(w *worker, f frame) []frame {
	frames, now := []frame{f}, time.Now()
	for _, r := range s.active {
		if alter := kinds[r.Kind].alter; alter != nil && r.reaches(w, now) {
			frames = alter(r.Fault, now, frames)
		}
	}
	return frames
}

// hinder says what is to happen to a request: how long its answer is kept back, and which error it is, if any. It requires s.mu.
func (s *Simulator) hinder(route string, w *worker) (delay time.Duration, err error) {
	now := time.Now()
	for _, r := range s.active {
		if (r.Kind != "fail" && r.Kind != "slow") || !r.reaches(w, now) || !matches(r.Route, route) {
			continue
		}
		if r.Count > 0 {
			if r.left--; r.left == 0 {
				r.until = now
			}
		}
		if r.Kind == "slow" {
			delay += r.delay()
		} else {
			err = &statusError{status: r.Code, message: r.Reason}
		}
	}
	return delay, err
}

func matches(pattern, route string) bool {
	prefix, open := strings.CutSuffix(pattern, "*")
	return pattern == route || open && strings.HasPrefix(route, prefix)
}

func (s *Simulator) serveFault(rw http.ResponseWriter, r *http.Request) {
	var f Fault
	err := decodeStrictly(rw, r, &f)
	if err == nil {
		if err = s.Inject(f); err != nil {
			err = badRequest("%v", err)
		}
	}
	if err != nil {
		writeError(rw, err)
		return
	}
	rw.WriteHeader(http.StatusNoContent)
}
