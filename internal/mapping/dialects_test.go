package mapping

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/source"
)

// step is one moment of a life that each dialect tells in its own form: an activity, or what became of a reservation.
type step struct {
	at           int64 // seconds since 1970
	word, status string
	activity, n  int // either is 0
}

// lives has every end of a reservation, and an activity that comes back.
var lives = []step{
	{at: 100, word: "worker.activity.update", activity: 2},
	{at: 110, word: "reservation.created", status: "pending", n: 1},
	{at: 117, word: "reservation.accepted", status: "accepted", n: 1},
	{at: 120, word: "reservation.created", status: "pending", n: 2},
	{at: 120, word: "reservation.rejected", status: "rejected", n: 2},
	{at: 120, word: "worker.activity.update", activity: 1},
	{at: 130, word: "worker.activity.update", activity: 2},
	{at: 131, word: "reservation.created", status: "pending", n: 3},
	{at: 140, word: "reservation.wrapup", status: "wrapping", n: 1},
	{at: 151, word: "reservation.timeout", status: "timeout", n: 3},
	{at: 152, word: "reservation.created", status: "pending", n: 4},
	{at: 153, word: "reservation.canceled", status: "canceled", n: 4},
	{at: 154, word: "reservation.created", status: "pending", n: 5},
	{at: 155, word: "reservation.rescinded", status: "rescinded", n: 5},
	{at: 160, word: "reservation.completed", status: "completed", n: 1},
	{at: 170, word: "reservation.created", status: "pending", n: 6},
	{at: 171, word: "reservation.accepted", status: "accepted", n: 6},
	{at: 180, word: "reservation.completed", status: "completed", n: 6},
}

// state is what a life has come to.
type state struct {
	activity     step
	reservations map[int]step  // open ones, by their last step
	created      map[int]int64 // all
	version      map[int]int
}

func (s *state) apply(p step) {
	switch {
	case p.activity != 0:
		s.activity = p
		return
	case p.word == "reservation.created":
		s.created[p.n] = p.at
	default:
		s.version[p.n]++
	}
	s.reservations[p.n] = p
	switch p.status {
	case "pending", "accepted", "wrapping":
	default:
		delete(s.reservations, p.n)
	}
}

type members = map[string]any

// form is a dialect's way to write what happens and what is.
type form struct {
	mapper      func(*Policy) *TaskRouter
	date        func(int64) any
	word        func(string) string
	live, shown func(f *form, s *state, p step) members
}

func number64(s int64) any { return s }
func iso(s int64) any      { return time.Unix(s, 0).UTC().Format(time.RFC3339) }

var forms = map[string]*form{
	"v2":           {NewTaskRouter, number64, func(w string) string { return w }, reservationV2, reservationV2},
	"v1":           {NewTaskRouterV1, number64, unprefixed, mixture, restReservation},
	"v1, ISO text": {NewTaskRouterV1, iso, unprefixed, mixture, restReservation},
}

func unprefixed(word string) string {
	if word == "worker.activity.update" {
		return "activity.update"
	}
	return word
}

const taskAge = 7 // of each task when its reservation is created, in seconds

func taskFields(f *form, s *state, p step) members {
	born := s.created[p.n] - taskAge
	return members{
		"sid": fmt.Sprintf("WT%d", p.n), "date_created": f.date(born), "date_updated": f.date(p.at), "age": p.at - born, "attributes": "{}",
		"assignment_status": "reserved", "task_channel_unique_name": "voice",
	}
}

// reservationV2 is sections 6.4 to 6.6 and 8.4.
func reservationV2(f *form, s *state, p step) members {
	o := members{
		"sid": fmt.Sprintf("WR%d", p.n), "worker_sid": alice.ID, "reservation_status": p.status, "version": s.version[p.n],
		"date_created": f.date(s.created[p.n]), "date_updated": f.date(p.at), "task": taskFields(f, s, p),
	}
	if p.status == "pending" {
		o["date_created"], o["date_updated"] = 0, 0
	}
	return o
}

// mixture is section 10.4.
func mixture(f *form, s *state, p step) members {
	o := taskFields(f, s, p)
	o["reservation_sid"] = fmt.Sprintf("WR%d", p.n)
	return o
}

// restReservation is section 14's, which section 10.3 says the lists have.
func restReservation(_ *form, s *state, p step) members {
	return members{
		"sid": fmt.Sprintf("WR%d", p.n), "task_sid": fmt.Sprintf("WT%d", p.n), "worker_sid": alice.ID, "reservation_status": p.status,
		"date_created": iso(s.created[p.n]), "date_updated": iso(p.at),
	}
}

func (f *form) worker(p step) members {
	return members{
		"sid": alice.ID, "activity_sid": fmt.Sprintf("WA%d", p.activity), "activity_name": "a", "date_status_changed": f.date(p.at),
		"date_updated": f.date(p.at),
	}
}

func (f *form) message(t *testing.T, s *state, p step) source.Frame {
	payload := f.worker(p)
	if p.activity == 0 {
		payload = f.live(f, s, p)
	}
	return frameOf(t, source.Live, p.at, members{"event_type": f.word(p.word), "payload": payload})
}

func (f *form) snapshot(t *testing.T, s *state, at int64) source.Frame {
	list := []members{}
	for _, n := range slices.Sorted(maps.Keys(s.reservations)) {
		list = append(list, f.shown(f, s, s.reservations[n]))
	}
	return frameOf(t, source.State, at, members{"worker": f.worker(s.activity), "reservations": list})
}

func frameOf(t *testing.T, feed source.Feed, at int64, body members) source.Frame {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return source.Frame{Feed: feed, Body: text, Received: time.Unix(at, 400_000_000)}
}

func ids(told []event.Encoded) (list []string) {
	for i := range told {
		list = append(list, told[i].Header.ID)
	}
	return list
}

// One life, told live and read from a snapshot after each step in every form, has the same ids: so sessions of both dialects may follow one
// another, and a consumer cannot tell them apart. A view that was told everything finds nothing new in a snapshot of another form.
func TestDialectsGiveTheSameIDs(t *testing.T) {
	live := map[string]*teller{}
	for name, f := range forms {
		live[name] = newTeller(f.mapper(policy(t, nil)))
	}
	s := &state{reservations: map[int]step{}, created: map[int]int64{}, version: map[int]int{}}
	for i, p := range lives {
		s.apply(p)
		for name, f := range forms {
			if got := live[name].frame(f.message(t, s, p)); got != Mapped {
				t.Fatalf("step %d (%s), %s: got %v, want %v", i, p.word, name, got, Mapped)
			}
		}
		told := ids(live["v2"].told)
		shown := map[string][]string{}
		for name, f := range forms {
			if diff := cmp.Diff(told, ids(live[name].told)); diff != "" {
				t.Errorf("step %d (%s): ids told live (-v2 +%s):\n%s", i, p.word, name, diff)
			}
			met := newTeller(f.mapper(policy(t, nil)))
			met.frame(f.snapshot(t, s, p.at))
			shown[name] = ids(met.told)
			for _, id := range shown[name] {
				if !slices.Contains(told, id) {
					t.Errorf("step %d (%s), %s: the snapshot has %s, which was never told live", i, p.word, name, id)
				}
			}
			for other, b := range live {
				reader := &teller{mapper: f.mapper(policy(t, nil)), view: b.view}
				if got := reader.frame(f.snapshot(t, s, p.at)); got != Repeat {
					t.Errorf("step %d (%s): %s told %v from a snapshot of what %s had told live", i, p.word, name, ids(reader.told), other)
				}
			}
		}
		for name := range forms {
			if diff := cmp.Diff(shown["v2"], shown[name]); diff != "" {
				t.Errorf("step %d (%s): ids of the snapshot (-v2 +%s):\n%s", i, p.word, name, diff)
			}
		}
	}
	if got, want := len(live["v2"].told), len(lives); got != want {
		t.Errorf("events told: got %d, want one for each of %d steps", got, want)
	}
}

// A consumer who keeps to the rule of docs/events.md ends with the last status, whichever form told it and from whichever step on.
func TestDialectsSatisfyTheConsumerRule(t *testing.T) {
	for name, f := range forms {
		for from := range lives {
			b := newTeller(f.mapper(policy(t, nil)))
			s := &state{reservations: map[int]step{}, created: map[int]int64{}, version: map[int]int{}}
			want := map[string]string{}
			for i, p := range lives {
				s.apply(p)
				if i < from {
					continue
				}
				b.frame(f.message(t, s, p))
				if p.n != 0 {
					want[fmt.Sprintf("WR%d", p.n)] = string(reservationStatus(p.status, ""))
				}
			}
			stored := map[string]*event.Event{}
			for i := range b.told {
				e, err := b.told[i].Decode()
				if err != nil {
					t.Fatal(err)
				}
				if e.Data.Reservation != nil && newer(stored[e.Subject], e) {
					stored[e.Subject] = e
				}
			}
			got := map[string]string{}
			for subject, e := range stored {
				got[subject] = string(e.Data.Reservation.Status)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, from step %d on (-want +stored):\n%s", name, from, diff)
			}
		}
	}
}

// newer is the consumer rule. Events come in the order of their sequence.
func newer(stored, e *event.Event) bool {
	switch {
	case stored == nil:
		return true
	case stored.Data.Revision.OK && e.Data.Revision.OK:
		return stored.Data.Revision.V < e.Data.Revision.V
	}
	return stored.Time <= e.Time
}
