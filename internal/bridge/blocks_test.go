package bridge

import (
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/source"
)

// What the bridge itself tells has the blocks that docs/events.md promises.
func TestOwnEventsHaveTheirBlocks(t *testing.T) {
	st := newStage(t, Options{}, 1)
	live := func() dial {
		d, _ := st.dialled()
		d.s.Up(source.Live, st.clock, time.Time{})
		return d
	}
	d := live()
	d.s.Frame(source.Frame{Feed: source.Live, Received: st.clock})
	st.fleet.ended(d.m, d.s, retry.Reasonf("close_1006", "reset"))
	d = live()
	st.fleet.ended(d.m, d.s, retry.Reasonf(string(event.CauseTokenExpired), "token expired"))
	d = live()
	st.fleet.ended(d.m, d.s, retry.Permanent(retry.Reasonf("upgrade_403", "forbidden")))

	records, err := st.reads.Next(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[event.Type]bool{}
	for _, r := range records {
		seen[r.Header.Type] = true
		if err := event.Blocks[r.Header.Type].Check(r.Data); err != nil {
			t.Errorf("%s: %v", r.Header.ID, err)
		}
		e, err := (&event.Encoded{Header: r.Header, Data: r.Data}).Decode()
		if err != nil {
			t.Fatal(err)
		}
		if e.Data.Agent.ActivityID != "" {
			t.Errorf("%s: names an activity, which is not known while nothing is received", r.Header.ID)
		}
	}
	for _, want := range []event.Type{
		event.SessionReady, event.SessionLost, event.SessionTokenExpired, event.SessionRefused, event.SessionGap, event.BridgeUnmapped,
	} {
		if !seen[want] {
			t.Errorf("%s was not told", want)
		}
	}
}
