package wire_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/taskbridge/taskbridge/bench/wire"
)

func TestIdentityIsUniqueAndInvertible(t *testing.T) {
	seen := map[string]bool{}
	for agent := range uint32(3) {
		for seq := range uint64(3 * wire.Cycle) {
			e := wire.Event{Agent: agent, Seq: seq}
			if got, err := wire.ParseID(e.ID()); err != nil || got != e {
				t.Fatalf("%s: got %v, %v, want %v", e.ID(), got, err, e)
			}
			if seen[e.ID()] {
				t.Fatalf("%s is the id of two events", e.ID())
			}
			seen[e.ID()] = true
		}
	}
	for _, id := range []string{"", "WR1:created", "WK000000010000000000000000:created", wire.Event{}.ID() + "x", wire.Event{}.ID()[1:]} {
		if got, err := wire.ParseID(id); err == nil {
			t.Errorf("%q: got %v, want an error", id, got)
		}
	}
}

func TestWorker(t *testing.T) {
	sid := wire.Worker(0xab)
	if want := "WK000000000000000000000000000000ab"; sid != want {
		t.Errorf("got %s, want %s", sid, want)
	}
	if agent, err := wire.ParseWorker(sid); agent != 0xab || err != nil {
		t.Errorf("got %d, %v", agent, err)
	}
	for _, sid := range []string{"", "WR000000000000000000000000000000ab", "WK0000000000000000000000ffffffffff"} {
		if agent, err := wire.ParseWorker(sid); err == nil {
			t.Errorf("%q: got %d, want an error", sid, agent)
		}
	}
}

// message is what of a frame must agree with its identity.
type message struct {
	EventType string `json:"event_type"`
	Payload   struct {
		Sid    string `json:"sid"`
		Worker string `json:"worker_sid"`
		Status string `json:"reservation_status"`
		Since  int64  `json:"date_created"`
		Last   int64  `json:"date_updated"`
		Rev    int    `json:"version"`
		Task   struct {
			Sid     string `json:"sid"`
			Created int64  `json:"date_created"`
			Age     int64  `json:"age"`
		} `json:"task"`
	} `json:"payload"`
}

// In every cycle of a page each frame is whole, is JSON, tells the event of its place, and is the same as when it is made alone.
func TestFrames(t *testing.T) {
	const agent = 7
	page := wire.NewPage(agent)
	types := []string{"created", "accepted", "wrapup", "completed"}
	statuses := []string{"pending", "accepted", "wrapping", "completed"}
	for cycle, created := range []uint64{1767323055, 1767323055, 1767323056} {
		frames := page.Cycle(uint64(cycle), created)
		tasks := map[string]int{}
		for i := range wire.Cycle {
			e := wire.Event{Agent: agent, Seq: uint64(cycle*wire.Cycle + i)}
			alone := wire.AppendFrame(nil, e, created)
			if len(frames) < len(alone) || string(frames[:len(alone)]) != string(alone) {
				t.Fatalf("cycle %d, frame %d: not the same in the page as alone", cycle, i)
			}
			frames = frames[len(alone):]
			if alone[0] != 0x81 || alone[1] != 126 || int(alone[2])<<8|int(alone[3]) != len(alone)-4 {
				t.Fatalf("frame %d begins with %x and has %d bytes", i, alone[:4], len(alone))
			}
			var m message
			if err := json.Unmarshal(alone[4:], &m); err != nil {
				t.Fatalf("%v: %s", err, alone[4:])
			}
			verb := i / wire.Tasks
			if m.EventType != "reservation."+types[verb] || m.Payload.Status != statuses[verb] || m.Payload.Rev != verb ||
				m.Payload.Worker != wire.Worker(agent) || m.Payload.Task.Created != int64(created) ||
				verb > 0 && (m.Payload.Since != int64(created)+13 || m.Payload.Last != int64(created)+m.Payload.Task.Age) {
				t.Errorf("frame %d: got %+v", i, m)
			}
			if m.Payload.Sid[2:] != m.Payload.Task.Sid[2:] {
				t.Errorf("frame %d: reservation %s of task %s", i, m.Payload.Sid, m.Payload.Task.Sid)
			}
			tasks[m.Payload.Sid]++
			if got, ok := wire.AppendIdentity(nil, alone[4:]); !ok || string(got) != e.ID() {
				t.Errorf("frame %d: identity %s, %t, want %s", i, got, ok, e.ID())
			}
		}
		if len(frames) != 0 || len(tasks) != wire.Tasks {
			t.Errorf("cycle %d: %d bytes are left, %d tasks", cycle, len(frames), len(tasks))
		}
	}
}

func TestIdentityOfOthers(t *testing.T) {
	for _, m := range []string{"", "\n", `{"event_type":"reservation.rejected","payload":{}}`, `{"event_type":"reservation.created","payload":{}}`} {
		if id, ok := wire.AppendIdentity(nil, []byte(m)); ok {
			t.Errorf("%q: got %s, want none", m, id)
		}
	}
}

func TestLater(t *testing.T) {
	var verbs []string
	for e, ok := (wire.Event{Agent: 1, Seq: 3}), true; ok; e, ok = e.Later() {
		id := e.ID()
		if want := fmt.Sprintf("WR%08x%024x:", 1, 3); id[:len(want)] != want {
			t.Errorf("got %s, want one about the same task", id)
		}
		verbs = append(verbs, id[35:])
	}
	if len(verbs) != 4 {
		t.Errorf("got %v, want four events of a task", verbs)
	}
}

func BenchmarkPage(b *testing.B) {
	page := wire.NewPage(1)
	b.ReportAllocs()
	cycle := uint64(0)
	for b.Loop() {
		page.Cycle(cycle, 1767323055)
		cycle++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/wire.Cycle, "ns/event")
}
