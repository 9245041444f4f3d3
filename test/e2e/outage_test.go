package e2e

import (
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/ledger"
)

// flood is as many events per second as two slow cores bear together with everything else that runs there; torrent is for tests with fewer beside them.
const (
	flood   = 400
	torrent = 2 * flood
)

// outages are absences of the broker that are longer than its duplicate window: what was stored and not confirmed before, it would store again.
var outages = map[string]struct {
	window, lasts time.Duration
	verify        bool // too long for make e2e
	crash         bool // the bridge is killed meanwhile, too
}{
	"20 s":                 {window: 5 * time.Second, lasts: 20 * time.Second},
	"20 s, bridge killed":  {window: 5 * time.Second, lasts: 20 * time.Second, crash: true},
	"3 min":                {window: 30 * time.Second, lasts: 3 * time.Minute, verify: true},
	"3 min, bridge killed": {window: 30 * time.Second, lasts: 3 * time.Minute, verify: true, crash: true},
}

// TestOutage: the broker is killed under flood and comes back long after its duplicate window, while one lane is stuck. Everything lands once and in order,
// and no session notices; where the bridge is killed too, each agent has one gap.
func TestOutage(t *testing.T) {
	t.Parallel()
	for name, o := range outages {
		t.Run(name, func(t *testing.T) {
			long(t)
			if o.verify {
				verify(t)
			}
			t.Parallel()
			pace := flood
			if o.verify {
				pace = flood / 4 // it is the length that counts
			}
			b := newBroker(t, o.window)
			r := newRig(t, setup{flood: float64(pace), broker: b})
			r.grow(t, pace)
			stuck := r.vendor.Workers[0]
			b.allow(t, "contact.*.*.agent.*."+stuck) // what has her as its key is one lane
			r.bridge.stderr.wait(t, "NATS refuses for lack of permission")
			held := len(activities(r.stored(t), stuck))
			b.doubt(t)
			away := time.Now()
			s := scenario{}
			if o.crash {
				<-time.After(o.lasts / 2)
				s = r.crash(t)
			}
			<-time.After(time.Until(away.Add(o.lasts)))
			b.start(t)
			r.grow(t, 5*pace)
			if now := len(activities(r.stored(t), stuck)); now != held {
				t.Errorf("%d events of the stuck lane landed", now-held)
			}
			b.allow(t)
			r.grow(t, pace)
			r.end(t) // a lane that has much to catch up with does, however slow the machine is
			if o.crash {
				r.healed(t, s)
			}
			r.settle(t, s)
		})
	}
}

// activities are the events whose key is this agent.
func activities(landed []ledger.Landed, agent string) (ids []string) {
	for _, l := range landed {
		if l.Event.Type.Noun() == "agent" && l.Event.Data.Agent.ID == agent {
			ids = append(ids, l.Event.ID)
		}
	}
	return ids
}

// TestBrokerKills: the broker is killed every few seconds under flood, each time with events stored that it has not confirmed.
func TestBrokerKills(t *testing.T) {
	long(t)
	t.Parallel()
	b := newBroker(t, 2*time.Minute)
	r := newRig(t, setup{flood: flood, broker: b})
	for range 5 {
		r.grow(t, 2*flood)
		b.doubt(t)
		r.grow(t, flood)
		b.start(t)
	}
	r.grow(t, flood)
	r.settle(t, scenario{})
}

// crash kills the bridge, starts it again, and says what that explains.
func (r *rig) crash(t *testing.T) scenario {
	t.Helper()
	began := time.Now()
	r.bridge.kill(t)
	r.start(t)
	return scenario{faults: []fault{{}}, lasted: time.Since(began), cause: event.CauseCrash}
}
