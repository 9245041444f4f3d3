package bridge

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// session is one call of Serve and the Intake it was given. Its fields are under the agent's mutex.
type session struct {
	*agent
	incarnation string
	dialled     time.Time
	feeds       [2]feed // by source.Feed: Live, State
	records     int     // session records told, for their ids
	// deaf: the log refused something of a frame, so nothing that follows may be told either, or it would be out of order. The gap is open;
	// the fleet replaces the session when there is room.
	deaf bool
	// What the snapshot of this session no longer showed. It becomes reservation.ended_unseen once the session has closed a gap and was heard
	// some time after the snapshot: the true end may still be on its way, the answer and the socket being two deliveries without order.
	vanished   []*event.Event
	snapshotAt time.Time
	closedGap  bool
}

type feed struct {
	up                    bool
	since, heard, renewBy time.Time
}

var _ source.Intake = (*session)(nil)

func (a *agent) newSession() *session {
	s := &session{agent: a, incarnation: a.newIncarnation(), dialled: a.now()}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions = append(a.sessions, s)
	return s
}

func (h *heart) newIncarnation() string {
	return fmt.Sprintf("%s-%d-%d", h.BridgeID, h.started.UnixMilli(), h.sessions.Add(1))
}

// Up implements source.Intake: the feed's gap closes, and session.ready says what came before.
func (s *session) Up(f source.Feed, since, renewBy time.Time) {
	a := s.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.deaf {
		return // what it would deliver is discarded: the gap stays open until another session takes over
	}
	continuity := event.Continuous
	switch {
	case !a.view.Met:
		continuity = event.ContinuityUnknown
	case a.covered(f) == nil:
		continuity = event.ContinuityGap
	}
	a.proof.mu.Lock() // until what follows is appended
	defer a.proof.mu.Unlock()
	err := a.rising(since)
	if err == nil {
		err = a.payDebts()
	}
	for gap := a.view.OpenGap(f.String()); err == nil && gap != nil; gap = a.view.OpenGap(f.String()) {
		s.closedGap = true
		err = a.closeGap(s, *gap, since)
	}
	s.feeds[f] = feed{up: true, since: since, heard: since, renewBy: renewBy}
	a.noteHeard(since)
	if f == source.Live {
		a.metrics.startSeconds.Observe(since.Sub(s.dialled).Seconds())
	}
	if err == nil {
		err = a.tellSession(event.SessionReady, s, event.SessionLive, continuity, "", since)
	}
	if err != nil {
		a.discard(s, err)
		return
	}
	a.logger.Info("session is live", zap.String("agent", a.ID), zap.String("feed", f.String()), zap.String("incarnation", s.incarnation),
		zap.String("continuity", string(continuity)))
}

// Down implements source.Intake.
func (s *session) Down(f source.Feed, cause error) {
	s.agent.mu.Lock()
	defer s.agent.mu.Unlock()
	s.agent.feedDown(s, f, endingOf(cause))
}

// Beat implements source.Intake.
func (s *session) Beat(f source.Feed, at time.Time) {
	a := s.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	a.metrics.beats.Inc()
	if !s.deaf {
		s.hear(f, at)
	}
}

// Frame implements source.Intake: the frame is mapped, its events are appended and applied, all before the next read of the socket.
func (s *session) Frame(f source.Frame) {
	a := s.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	a.metrics.frame(s.mapFrame(f))
}

func (s *session) mapFrame(f source.Frame) mapping.Outcome {
	a := s.agent
	if s.deaf {
		return mapping.Discarded
	}
	if f.Feed == source.State {
		s.vanished = nil // the newer snapshot finds them again
	}
	a.receiving, a.received, a.told, a.refused = s, event.InstantOf(f.Received), 0, nil
	outcome := a.mapper.Map(a.view, f, a.emit)
	switch {
	case a.refused != nil:
		a.discard(s, a.refused)
		return mapping.Discarded
	case outcome == mapping.Mapped && a.told == 0: // another agent's socket was first with this fact about a task
		outcome = mapping.Repeat
	}
	if f.Feed == source.State {
		s.snapshotAt = a.now()
	}
	s.hear(f.Feed, f.Received)
	return outcome
}

// hear notes proof of life read at the given time.
func (s *session) hear(f source.Feed, at time.Time) {
	if int(f) >= len(s.feeds) || !s.feeds[f].up || at.Before(s.feeds[f].heard) {
		return
	}
	s.feeds[f].heard = at
	s.agent.noteHeard(at)
	s.settleVanished(at)
}

// noteHeard keeps the latest time: overlapping sessions bring theirs in any order.
func (a *agent) noteHeard(at time.Time) {
	if at.After(a.lastHeard) {
		a.lastHeard = at
	}
}

// settleVanished tells the ends that nobody saw, once they are certain: see session.vanished.
func (s *session) settleVanished(heard time.Time) {
	if len(s.vanished) == 0 || heard.Before(s.snapshotAt.Add(s.proven)) {
		return
	}
	if !s.closedGap {
		if s.predecessor() == nil {
			s.vanished = nil // handed over without a gap: the predecessor saw how they ended
		}
		return
	}
	for len(s.vanished) > 0 {
		e := s.vanished[0]
		if _, open := s.view.Reservations[e.Subject]; open {
			if err := s.tell(spool.Normal, e); err != nil {
				s.discard(s, err)
				return
			}
		}
		s.vanished = s.vanished[1:]
	}
}

// predecessor is the session that s is to take over from, nil when there is none left.
func (s *session) predecessor() *session {
	if first := s.sessions[0]; first != s {
		return first
	}
	return nil
}

// discard makes s deaf after the log refused something: its feeds have a gap from what was last told in full.
func (a *agent) discard(s *session, err error) {
	if s.deaf {
		return
	}
	end := ending{cause: event.CauseSpoolFull, reason: "spool_full"}
	if errors.Is(err, spool.ErrStalled) {
		end = ending{cause: event.CauseDiskStalled, reason: "disk_stalled"}
	}
	for f := range s.feeds {
		if s.feeds[f].up {
			a.feedDown(s, source.Feed(f), end)
		}
	}
	s.deaf = true
	a.logger.Warn("the log takes nothing: frames are discarded inside a gap until it does", zap.String("agent", a.ID), zap.Error(err))
}
