package mapping

import (
	"strconv"
	"strings"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/source"
)

// View is what has already been said about one agent: identifiers, revisions and times, nothing under the privacy policy. It changes
// only by [View.Apply] of an event that the log has accepted, so the live view always equals the fold of the events told. Not safe for
// concurrent use; the bridge guards it with the agent's mutex.
type View struct {
	Agent        source.Agent
	Name         string // as last told, so what the privacy policy left of it
	Met          bool   // a session.ready was told: from then on every stretch without a feed is a gap
	Activity     Activity
	Reservations map[string]*Reservation // open ones by id
	Channels     map[string]Channel      // by id
	Gaps         []Gap                   // open or not yet settled
	LastGap      event.Instant           // the newest gap's number, so that the next one's is larger

	told Told // every event told lately
}

// Activity is the last activity told; the zero value means that none was.
type Activity struct {
	ID, Name  string
	Available event.Null[bool]
	Since     event.Instant
	Revision  event.Null[int64]
	EventID   string
}

// Reservation is one that was told and has not ended.
type Reservation struct {
	Task, Chain              string
	Status                   event.ReservationStatus
	Revision                 event.Null[int64]
	Told                     event.Instant // when it was first told: recorded time
	Created                  event.Instant // as the vendor wrote it, 0 where it did not
	Offered, Accepted, Wraps event.Instant // when these were told to have been: vendor or derived times, 0 where not known
}

// Channel is the last capacity told of one channel.
type Channel struct {
	Revision event.Null[int64]
	EventID  string
}

// Gap is one that was opened and is not settled. Number is the opened ms that its id is made of.
type Gap struct {
	Feed     string
	Number   event.Instant
	From, To event.Instant
	Cause    event.GapCause
	State    event.GapState
}

// Open reports whether the gap has no end yet.
func (g Gap) Open() bool { return g.State == event.GapOpened }

// NewView is the view of an agent of whom nothing was told.
func NewView(a source.Agent) *View { return &View{Agent: a} }

// Told reports whether an event with this id was told: within the last 15 min, or longer ago if it is about an open reservation, the
// current activity or the current state of a channel, or while a gap is not settled.
func (v *View) Told(id string) bool {
	if v.told.Has(id) {
		return true
	}
	if id == v.Activity.EventID {
		return true
	}
	subject, _, _ := strings.Cut(id, ":")
	c, ok := v.Channels[subject]
	return ok && c.EventID == id
}

// Ended reports whether the reservation was told as ended lately; an older snapshot must not open it again.
func (v *View) Ended(reservation string) bool { return v.told.any(reservation, ended) }

// OpenGap is the open gap of a feed, nil where there is none.
func (v *View) OpenGap(feed string) *Gap {
	for i := range v.Gaps {
		if v.Gaps[i].Feed == feed && v.Gaps[i].Open() {
			return &v.Gaps[i]
		}
	}
	return nil
}

// Apply takes note of an event that was told. It is called after the log accepted the event, and by recovery in log order. State never goes back
// to a lower revision. Memory expires by the event's recorded time, never by a clock, so that a fold forgets what the live view forgot. What is
// kept is cloned: a mapper's strings are pieces of the frame, and an open reservation would hold on to a whole one.
func (v *View) Apply(e *event.Event) {
	if a := e.Data.Agent; a != nil && a.Name != "" && a.Name != v.Name {
		v.Name = strings.Clone(a.Name)
	}
	switch e.Type.Noun() {
	case "session":
		v.applySession(e)
	case "agent":
		v.applyAgent(e)
	case "reservation":
		v.applyReservation(e)
	}
	if e.Type.Noun() != "session" && e.Type.Noun() != "bridge" { // their ids are never made twice
		v.told.Add(e.ID, e.Recorded)
	}
	v.sweep(e.Recorded)
}

func (v *View) applySession(e *event.Event) {
	switch e.Type {
	case event.SessionReady:
		v.Met = true
	case event.SessionGap:
		v.Met = true // also where the log no longer holds her session.ready
		v.applyGap(e)
	}
}

func (v *View) applyGap(e *event.Event) {
	d := e.Data.Gap
	number := gapNumber(e.Subject)
	v.LastGap = max(v.LastGap, number)
	i := 0
	for i < len(v.Gaps) && v.Gaps[i].Number != number {
		i++
	}
	settled := d.State == event.GapSettled || d.State == event.GapClosed && d.Result != event.ResultPending
	switch {
	case settled && i < len(v.Gaps):
		v.Gaps = append(v.Gaps[:i], v.Gaps[i+1:]...)
	case settled:
	case i == len(v.Gaps):
		v.Gaps = append(v.Gaps, Gap{Feed: d.Feed, Number: number, From: d.From, To: d.To, Cause: d.Cause, State: d.State})
	default:
		v.Gaps[i].To, v.Gaps[i].State = d.To, d.State
	}
}

// GapSubject is the subject of a gap's records: <agent>:gap:<feed>:<number>.
func GapSubject(agent, feed string, number event.Instant) string {
	return agent + ":gap:" + feed + ":" + strconv.FormatInt(int64(number), 10)
}

func gapNumber(subject string) event.Instant {
	n, _ := strconv.ParseInt(subject[strings.LastIndexByte(subject, ':')+1:], 10, 64) // GapSubject made it
	return event.Instant(n)
}

func (v *View) applyAgent(e *event.Event) {
	switch e.Type {
	case event.AgentActivityChanged:
		a := e.Data.Agent
		if older(e.Data.Revision, v.Activity.Revision) || a.ActivitySince < v.Activity.Since {
			return
		}
		v.Activity = Activity{
			ID: strings.Clone(a.ActivityID), Name: strings.Clone(a.ActivityName), Available: a.Available, Since: a.ActivitySince,
			Revision: e.Data.Revision, EventID: e.ID,
		}
	case event.AgentCapacityChanged:
		c := e.Data.Channel
		if older(e.Data.Revision, v.Channels[c.ID].Revision) {
			return
		}
		if v.Channels == nil {
			v.Channels = map[string]Channel{}
		}
		v.Channels[strings.Clone(c.ID)] = Channel{Revision: e.Data.Revision, EventID: e.ID}
	}
}

func (v *View) applyReservation(e *event.Event) {
	d := e.Data.Reservation
	if d == nil { // reservation.failed tells of a task that never reached the agent
		return
	}
	switch e.Type { // not its status, which may be a word of the vendor's that is not known
	case event.ReservationCreated, event.ReservationAccepted, event.ReservationWrapping:
	default:
		delete(v.Reservations, d.ID)
		return
	}
	r := v.Reservations[d.ID]
	if r == nil {
		if v.Ended(d.ID) {
			return
		}
		if v.Reservations == nil {
			v.Reservations = map[string]*Reservation{}
		}
		ids := d.ID + e.Data.Task.ID + e.Data.Task.ChainID // copied at once
		id, task, chain := ids[:len(d.ID)], ids[len(d.ID):len(d.ID)+len(e.Data.Task.ID)], ids[len(d.ID)+len(e.Data.Task.ID):]
		r = &Reservation{Task: task, Chain: chain, Told: e.Recorded}
		v.Reservations[id] = r
	}
	if d.CreatedAt != 0 {
		r.Created, r.Offered = d.CreatedAt, d.CreatedAt
	}
	switch e.Type {
	case event.ReservationCreated:
		r.Offered = offered(e)
	case event.ReservationAccepted:
		r.Accepted = moment(e)
	case event.ReservationWrapping:
		r.Wraps = moment(e)
	}
	if older(e.Data.Revision, r.Revision) {
		return
	}
	r.Status, r.Revision = d.Status, e.Data.Revision
}

// moment is the time of the fact as far as the vendor told it; 0 where only the receipt is known.
func moment(e *event.Event) event.Instant {
	if e.TimeSource == event.TimeReceived {
		return 0
	}
	return e.Time
}

// offered is the moment of a reservation's creation, 0 where it is not known: a creation read off a later state may have an instant that it was
// not after.
func offered(e *event.Event) event.Instant {
	if e.Origin == event.OriginSnapshot {
		return e.Data.Reservation.CreatedAt
	}
	return moment(e)
}

// older reports whether revision a is certainly before b.
func older(a, b event.Null[int64]) bool { return a.OK && b.OK && a.V < b.V }

// sweep forgets what is no longer needed to know a repeat; nothing while a gap is not settled.
func (v *View) sweep(now event.Instant) {
	if len(v.Gaps) > 0 {
		return
	}
	v.told.Forget(now, func() map[event.Digest]bool {
		open := make(map[event.Digest]bool, len(v.Reservations))
		for id := range v.Reservations {
			open[event.DigestOf(id)] = true
		}
		return open
	})
}
