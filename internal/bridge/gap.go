package bridge

import (
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// ending is why a feed stopped delivering: the gap's cause, and the bounded word of the vendor's table.
type ending struct {
	cause   event.GapCause // of the gap, if one is due; none for an agent who was removed
	reason  string
	removed bool // the agent was taken off the roster: that nobody listens is no gap
}

// removed is the reason of the end of what was received of an agent who is off the roster.
const removed = "removed"

// endingOf reads a source's error. A few reasons are causes of their own; everything else is a lost connection.
func endingOf(err error) ending {
	reason := retry.ReasonOf(err)
	switch cause := event.GapCause(reason); {
	case retry.IsPermanent(err):
		return ending{cause: event.CauseRefused, reason: reason}
	case cause == event.CauseTokenExpired, cause == event.CauseEvicted, cause == event.CauseSnapshot:
		return ending{cause: cause, reason: reason}
	}
	return ending{cause: event.CauseConnectionLost, reason: reason}
}

// covered is a session through which the feed is received, nil where there is none.
func (a *agent) covered(f source.Feed) *session {
	for _, s := range a.sessions {
		if s.feeds[f].up && !s.deaf {
			return s
		}
	}
	return nil
}

// feedDown takes note that f of s delivers no more, and tells the gap if there is one:
//
//   - no other session receives the feed: a gap from the last thing heard, open until the next Up. Also when s was replaced: its successor
//     may have died before s had ended;
//   - a successor does, but s was not heard Options.proven after the successor's start: what was sent to s alone before then may be lost,
//     so the stretch up to that start is a gap of cause handover, closed at once;
//   - a successor does and s was heard long enough: nothing is missing.
func (a *agent) feedDown(s *session, f source.Feed, end ending) {
	was := s.feeds[f]
	if !was.up || s.deaf {
		return
	}
	s.feeds[f].up = false
	other := a.covered(f)
	switch {
	case other == nil && (end.removed || !a.view.Met): // not met: nobody was told yet that she is watched
	case other == nil:
		a.openGap(debt{feed: f, from: was.heard, cause: end.cause, reason: end.reason, incarnation: s.incarnation})
	case other.feeds[f].since.After(was.since) && was.heard.Before(other.feeds[f].since.Add(a.proven)):
		to := other.feeds[f].since
		a.openGap(debt{
			feed: f, from: earlier(was.heard, to), to: to, cause: event.CauseHandover, reason: end.reason, incarnation: s.incarnation,
		})
		other.closedGap = true // so what its snapshot lacked has ended unseen
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// debt is a gap that is to be told. It stays owed while even the log's reserve is full; until it is paid, nothing newer of the agent is told.
type debt struct {
	feed        source.Feed
	from, to    time.Time // to is zero while the gap is open
	cause       event.GapCause
	reason      string
	incarnation string
}

func (a *agent) openGap(d debt) {
	a.metrics.gaps.WithLabelValues(string(d.cause)).Inc()
	a.logger.Info("gap opened", zap.String("agent", a.ID), zap.String("feed", d.feed.String()), zap.String("cause", string(d.cause)),
		zap.String("reason", d.reason), zap.Time("from", d.from))
	a.debts = append(a.debts, d)
	if err := a.payDebts(); err != nil {
		a.logger.Warn("log has no room even for a gap record: it is told when there is room", zap.String("agent", a.ID))
	}
}

// payDebts tells every gap that is owed, in order.
func (a *agent) payDebts() error {
	for len(a.debts) > 0 {
		d := a.debts[0]
		if a.view.OpenGap(d.feed.String()) == nil {
			if err := a.tellOpened(d); err != nil {
				return err
			}
		}
		if !d.to.IsZero() {
			gap := a.view.OpenGap(d.feed.String())
			if err := a.tellClosed(*gap, d.to, received(d.incarnation), noBackfill); err != nil {
				return err
			}
		}
		a.debts = a.debts[1:]
	}
	a.debts = nil // an agent who owes nothing holds no queue
	return nil
}

func (a *agent) closeGap(s *session, g mapping.Gap, to time.Time) error {
	if err := a.tellClosed(g, to, received(s.incarnation), noBackfill); err != nil {
		return err
	}
	a.logger.Info("gap closed", zap.String("agent", a.ID), zap.String("feed", g.Feed), zap.String("cause", string(g.Cause)),
		zap.Duration("length", to.Sub(g.From.Time())))
	return nil
}

func (a *agent) tellOpened(d debt) error {
	number := max(event.InstantOf(a.now()), a.view.LastGap+1)
	e := a.gapEvent(d.feed.String(), number, event.GapOpened, 0, d.from)
	e.Data.Session = &event.Session{Incarnation: d.incarnation, State: event.SessionStateLost, Continuity: event.ContinuityGap, Reason: d.reason}
	e.Data.Gap.From, e.Data.Gap.Cause = event.InstantOf(d.from), d.cause
	return a.tell(spool.Reserve, e)
}

// tellRemoval ends the gaps of a member who was taken off the roster while nothing was received for her: from then on nobody listens, on purpose,
// and that is no gap. Her session.lost, told when the gap began, did not say so, and is told again. Who was received until she was removed has no
// gap and needs no second record: see tellEnd.
func (m *member) tellRemoval() error {
	for _, f := range []source.Feed{source.Live, source.State} {
		gap := m.view.OpenGap(f.String())
		if gap == nil {
			continue
		}
		if m.farewell == nil {
			m.farewell = &session{agent: m.agent, incarnation: m.newIncarnation()}
		}
		if err := m.tellClosed(*gap, m.left, &event.Session{
			Incarnation: m.farewell.incarnation, State: event.SessionStateLost, Continuity: event.ContinuityGap, Reason: removed,
		}, noBackfill); err != nil {
			return err
		}
	}
	if m.farewell == nil {
		return nil
	}
	if err := m.tellSession(event.SessionLost, m.farewell, event.SessionStateLost, "", removed, m.left); err != nil {
		return err
	}
	m.farewell = nil
	m.logger.Info("agent removed while nothing was received; her gap ends", zap.String("agent", m.ID))
	return nil
}

// received is what the end of a gap says of the session that ends it.
func received(incarnation string) *event.Session {
	return &event.Session{Incarnation: incarnation, State: event.SessionLive, Continuity: event.ContinuityGap}
}

// noBackfill is the note of a gap's end that says why it is unrecoverable.
const noBackfill = "no back-fill"

// tellClosed tells the end of a gap. Without a History nothing can be fetched: the record is final.
func (a *agent) tellClosed(g mapping.Gap, to time.Time, s *event.Session, note string) error {
	from := g.From.Time()
	if to.Before(from) { // the new session began to receive before the old one was last heard
		to = from
	}
	e := a.gapEvent(g.Feed, g.Number, event.GapClosed, 1, to)
	e.Data.Session = s
	d := e.Data.Gap
	d.From, d.To, d.Cause, d.DurationMS = g.From, event.InstantOf(to), g.Cause, event.Some(to.Sub(from).Milliseconds())
	d.Result, d.Note = event.ResultUnrecoverable, note
	if err := a.tell(spool.Reserve, e); err != nil {
		return err
	}
	a.metrics.gapSeconds.WithLabelValues(string(g.Cause)).Add(to.Sub(from).Seconds())
	return nil
}

func (a *agent) gapEvent(feed string, number event.Instant, state event.GapState, revision int64, at time.Time) *event.Event {
	subject := mapping.GapSubject(a.ID, feed, number)
	e := a.bridgeEvent(event.SessionGap, subject, subject+":"+string(state), at)
	e.Data.Revision = event.Some(revision)
	e.Data.Gap = &event.Gap{State: state, Feed: feed}
	return e
}
