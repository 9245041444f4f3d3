package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/ledger"
)

// crash is how a bridge dies several times.
type crash struct {
	lives int
	after int64 // it dies when it has passed the point so often, or up to twice as often
	pace  float64
	short bool
}

// brisk fills a segment of the small log in ten seconds, and the log, on a machine that is too busy to publish meanwhile, only in more than a minute:
// none of these deaths is to be hidden by a log that is full.
const brisk = 2 * rate

var crashes = map[point]crash{
	afterRead:        {lives: 3, after: 300},
	beforeSync:       {lives: 3, after: 100},
	afterSync:        {lives: 3, after: 100, short: true},
	beforeAnswer:     {lives: 3, after: 300},
	beforeCursor:     {lives: 3, after: 3},
	beforeCheckpoint: {lives: 2, after: 1},
	midRoll:          {lives: 2, after: 2, pace: brisk},
	midDelete:        {lives: 2, after: 1, pace: brisk},
	afterDelete:      {lives: 2, after: 1, pace: brisk},
	midReuse:         {lives: 2, after: 1, pace: brisk},
	midGap:           {lives: 3, after: 2},
}

// mortal is a rig whose bridge dies.
type mortal struct {
	*rig
	life
	scenario
	rest  time.Duration // between two lives
	image string        // of its volume, if it has one
}

// After the rest between two lives, the broker recognises nothing any more that the dead bridge had sent.
const (
	shortWindow = time.Second
	rest        = shortWindow + 200*time.Millisecond
)

func newMortal(t *testing.T, rate float64) *mortal {
	t.Helper()
	b := newBroker(t, shortWindow)
	m := prepareMortal(t, setup{flood: rate, broker: b}, rest)
	m.life.Broker, m.life.Window = b.gate.listener.Addr().String(), shortWindow
	return m
}

// prepareMortal leaves to say where the life's broker is.
func prepareMortal(t *testing.T, s setup, rest time.Duration) *mortal {
	t.Helper()
	dir := t.TempDir()
	m := &mortal{rig: prepare(t, s), rest: rest}
	m.life.Vendor = m.vendor
	m.life.MaxBytes = 32 << 20
	m.life.Spool, m.life.Accepted = filepath.Join(dir, "spool"), filepath.Join(dir, "accepted")
	m.scenario.cause = event.CauseCrash
	return m
}

// dies lets a bridge live until it dies at p.
func (m *mortal) dies(t *testing.T, p point, after int64) {
	t.Helper()
	m.life.Dies, m.life.After = p, after
	m.bridge = m.life.begin(t)
	if p == midGap && m.scenario.gaps == 0 { // later ones tell the gaps of their crash
		m.live(t)
		m.grow(t, 100) // by now everybody has been told to be there
		m.control(t, "/fault", fault{Kind: "reset"})
		m.scenario.also = event.CauseConnectionLost // of those whose record was durable when the bridge died
	}
	select {
	case <-m.bridge.ended:
	case <-time.After(patience):
		t.Fatalf("it lives on: never %s", p)
	}
	if s, ok := m.bridge.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
		t.Fatalf("it did not die by SIGKILL: %v", m.bridge.cmd.ProcessState)
	}
	m.scenario.faults = append(m.scenario.faults, fault{})
	m.scenario.gaps++
	m.scenario.lasted = m.rest
	<-time.After(m.rest)
}

// lives starts a bridge that is not to die, and lets it work for a while.
func (m *mortal) lives(t *testing.T) {
	t.Helper()
	m.life.Dies = ""
	m.bridge = m.life.begin(t)
	m.live(t)
	m.grow(t, 200)
	m.healed(t, scenario{})
}

// delivered judges: what was accepted has landed, what was not lies in a gap.
func (m *mortal) delivered(t *testing.T) {
	t.Helper()
	m.end(t)
	accepted := m.known(t)
	for deadline := time.Now().Add(patience); len(missingOf(accepted, m.stored(t))) > 0 && time.Now().Before(deadline); {
		<-time.After(200 * time.Millisecond)
	}
	if lost := missingOf(accepted, m.landed); len(lost) > 0 {
		t.Errorf("%d events were accepted and have not landed: %q", len(lost), lost[:min(10, len(lost))])
	}
	m.settle(t, m.scenario)
}

// verdict is what the judge says of a life that died and the next one, whatever that is.
func (m *mortal) verdict(t *testing.T, p point, after int64) ledger.Verdict {
	t.Helper()
	m.dies(t, p, after)
	m.lives(t)
	v, _ := m.judged(t, scenario{faults: m.scenario.faults, lasted: m.scenario.lasted, unfair: func(ledger.Verdict) bool { return true }})
	t.Logf("%+v", v)
	m.stop(t)
	return v
}

// known are the ids of what was accepted until now.
func (m *mortal) known(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(m.life.Accepted)
	if err != nil {
		t.Fatal(err)
	}
	ids := strings.Fields(string(untorn(text)))
	if landed := m.stored(t); len(ids) < len(landed)/2 {
		t.Errorf("%d events were noted as accepted, %d have landed: too little was noted", len(ids), len(landed))
	}
	return ids
}

// missingOf are those of the accepted events that have not landed.
func missingOf(accepted []string, landed ...[]ledger.Landed) []string {
	has := map[string]bool{}
	for _, l := range slices.Concat(landed...) {
		has[l.Event.ID] = true
	}
	return slices.DeleteFunc(slices.Clone(accepted), func(id string) bool { return has[id] })
}

// TestCrash: the bridge dies by SIGKILL at every step from a frame to its deletion from the log. Nothing accepted is lost, nothing is stored twice,
// the order holds, and what was not accepted lies in gaps.
func TestCrash(t *testing.T) {
	t.Parallel()
	for p, c := range crashes {
		t.Run(string(p), func(t *testing.T) {
			if !c.short {
				long(t)
			}
			t.Parallel()
			m := newMortal(t, max(c.pace, rate))
			if testing.Short() {
				c.lives = 1
			}
			for range c.lives {
				after := c.after + rand.Int64N(c.after+1)
				t.Logf("dies at the %dth time", after)
				m.dies(t, p, after)
			}
			m.lives(t)
			m.delivered(t)
		})
	}
}

// TestCrashControls: each thing that a restart depends on is missed where it is left out.
func TestCrashControls(t *testing.T) {
	t.Parallel()
	t.Run("tail check", func(t *testing.T) {
		long(t)
		t.Parallel()
		m := newMortal(t, rate)
		m.life.Without = tailCheck
		if v := m.verdict(t, beforeCursor, 4); v.Duplicates == 0 {
			t.Error("nothing is stored twice without it")
		}
	})
	t.Run("gaps", func(t *testing.T) {
		long(t)
		t.Parallel()
		m := newMortal(t, rate)
		m.life.Without = gaps
		if v := m.verdict(t, afterRead, 300); v.Missing == 0 {
			t.Error("nothing is missing without them")
		}
	})
	t.Run("log", func(t *testing.T) {
		long(t)
		t.Parallel()
		m := newMortal(t, rate)
		m.dies(t, afterSync, 100)
		if err := os.RemoveAll(m.life.Spool); err != nil {
			t.Fatal(err)
		}
		accepted := m.known(t)
		m.verdict(t, afterSync, 1)
		if len(missingOf(accepted, m.landed)) == 0 {
			t.Error("nothing accepted is lost without it")
		}
	})
}
