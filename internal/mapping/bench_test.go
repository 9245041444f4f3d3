package mapping

import (
	"testing"

	"github.com/tidwall/gjson"

	"github.com/taskbridge/taskbridge/internal/event"
)

// BenchmarkMap maps the four messages of a reservation's life as the vendor sends them, each in the light of what was told before it, and applies the
// event to the view. What Apply did is undone each time, or the next message would be a repeat.
func BenchmarkMap(b *testing.B) {
	for _, word := range []struct{ vendor, golden string }{
		{"created", "created"}, {"accepted", "accepted"}, {"wrapup", "wrapping"}, {"completed", "completed"},
	} {
		b.Run(word.vendor, func(b *testing.B) {
			g := readGolden(b, "testdata/taskrouter/reservation."+word.golden+".json")
			mapper := NewTaskRouter(policy(b, g.Privacy))
			before := newTeller(mapper)
			for _, f := range g.Setup {
				before.frame(f.frame(b))
			}
			view, frame := before.view, g.Frame.frame(b)
			events := 0
			emit := func(e *event.Event) error {
				e.Recorded = event.InstantOf(frame.Received)
				view.Apply(e)
				events++
				return nil
			}
			id := gjson.GetBytes(frame.Body, "payload.sid").Str
			subject := event.DigestOf(id)
			view.told.Add(id, 0) // so that there are entries
			was := view.told.entries[subject]
			var known Reservation
			r := view.Reservations[id]
			if r != nil {
				known = *r
			}
			b.ReportAllocs()
			for b.Loop() {
				if got := mapper.Map(view, frame, emit); got != Mapped {
					b.Fatal(got)
				}
				view.told.entries[subject] = was
				if r == nil {
					delete(view.Reservations, id)
				} else {
					*r = known
					view.Reservations[id] = r
				}
			}
			if events != b.N {
				b.Errorf("got %d events of %d messages, want one of each", events, b.N)
			}
		})
	}
}
