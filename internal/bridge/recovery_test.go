package bridge

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// newCrashingStage has a log that can crash.
func newCrashingStage(t *testing.T, agents int) *stage {
	t.Helper()
	st := newStage(t, Options{}, agents)
	st.log = spool.NewMemory(spool.MemoryOptions{Manual: true})
	st.reopen(st.log)
	st.roster(agents)
	return st
}

// crash is what the next process finds when everything that was told is durable.
func (st *stage) crash() {
	st.t.Helper()
	st.reopen(st.log.Crash(1 << 40))
}

// reopen starts another process on the log.
func (st *stage) reopen(log *spool.Memory) {
	st.t.Helper()
	st.log, st.dials = log, nil
	st.clock = st.clock.Add(time.Second)
	clock := st.fleet.Options
	var err error
	if st.reads, err = log.Cursor(fmt.Sprintf("test-%d", st.clock.Unix()), spool.CursorOptions{Now: true}); err != nil {
		st.t.Fatal(err)
	}
	if st.Bridge, err = New(clock, map[string]Feed{"toy": {Mapper: rawMapper{}}, "other": {Mapper: rawMapper{}}}, log, nil, &letterBox{}, zap.NewNop(), prometheus.NewRegistry()); err != nil {
		st.t.Fatal(err)
	}
	st.fleet.launch = func(m *member, s *session) {
		m.attempt(s).cancel = func(error) {}
		st.dials = append(st.dials, dial{st.clock, m, s})
	}
}

func (st *stage) roster(agents int) {
	st.t.Helper()
	all := []source.Agent{}
	for i := range agents {
		all = append(all, source.Agent{ID: fmt.Sprintf("A%d", i)})
	}
	if err := st.setRoster(all); err != nil {
		st.t.Fatal(err)
	}
}

// live waits until the stage has dialled so many, and makes them live.
func (st *stage) live(agents int) []dial {
	st.t.Helper()
	for range 1000 {
		if len(st.dials) == agents {
			for _, d := range st.dials {
				d.s.Up(source.Live, st.clock, time.Time{})
			}
			return st.dials
		}
		st.pass(tickEvery)
	}
	st.t.Fatalf("got %d dials, want %d", len(st.dials), agents)
	return nil
}

// now commits what was told, and lists it shortly.
func (st *stage) now() (lines []string) {
	st.t.Helper()
	st.log.Commit(1 << 40)
	start := time.UnixMilli(1_767_323_045_000)
	for _, e := range st.told() {
		line := e.Data.Agent.ID + " " + string(e.Type)
		switch {
		case e.Data.Gap != nil:
			line += fmt.Sprintf(" %s %s from %v", e.Data.Gap.State, e.Data.Gap.Cause, e.Data.Gap.From.Time().Sub(start))
			if e.Data.Gap.To != 0 {
				line += fmt.Sprintf(" to %v", e.Data.Gap.To.Time().Sub(start))
			}
		case e.Data.Session != nil:
			line += strings.TrimRight(fmt.Sprintf(" %s %s", e.Data.Session.Continuity, e.Data.Session.Reason), " ")
		}
		lines = append(lines, line)
	}
	return lines
}

func (st *stage) check(step string, want ...string) {
	st.t.Helper()
	if diff := cmp.Diff(want, st.now(), cmpopts.EquateEmpty()); diff != "" {
		st.t.Errorf("%s (-want +got):\n%s", step, diff)
	}
}

// A crash is a gap from the last moment until when everybody was provably heard; the next session ends it.
func TestACrashIsAGap(t *testing.T) {
	st := newCrashingStage(t, 2)
	both := st.live(2)
	first, second := both[0], both[1]
	st.pass(3 * time.Second)
	heard := st.clock
	first.s.Beat(source.Live, heard)
	st.pass(2 * time.Second)
	second.s.Beat(source.Live, st.clock)
	st.pass(2 * time.Second)
	st.now()
	from := heard.Sub(time.UnixMilli(1_767_323_045_000))
	st.crash()
	st.check("after the crash", fmt.Sprintf("A0 session.gap opened crash from %v", from), fmt.Sprintf("A1 session.gap opened crash from %v", from))
	st.crash() // before anything else was told: the same gap
	st.check("after the second crash")
	st.roster(2)
	var want []string
	for _, d := range st.live(2) {
		want = append(want, fmt.Sprintf("%s session.gap closed crash from %v to %v", d.m.ID, from, st.clock.Sub(time.UnixMilli(1_767_323_045_000))),
			d.m.ID+" session.ready gap")
	}
	st.check("back", want...)
}

// A recovered agent whom nobody wants any more is removed, once the roster of her source is known and not before.
func TestRecoveredAgentsWaitForTheirRoster(t *testing.T) {
	st := newCrashingStage(t, 2)
	st.live(2)
	if !st.checkpoint() {
		t.Fatal("no checkpoint")
	}
	st.now()
	st.crash()
	st.now()
	if err := st.SetRoster(map[string][]source.Agent{"other": {{ID: "B"}}}); err != nil {
		t.Fatal(err)
	}
	st.pass(time.Minute)
	st.check("another source's roster")
	if len(st.fleet.recovered) != 2 {
		t.Errorf("got %d agents waiting for their roster, want 2", len(st.fleet.recovered))
	}
	st.roster(1)
	lines := strings.Join(st.now(), "\n")
	if !strings.Contains(lines, "A1 session.gap closed crash") || !strings.HasSuffix(lines, "A1 session.lost  removed") || strings.Contains(lines, "A0") {
		t.Errorf("got\n%s\nwant A1 removed and nothing of A0", lines)
	}
	st.crash() // the removal is remembered
	st.now()
	if len(st.fleet.recovered) != 1 {
		t.Errorf("got %d agents after the removal, want 1", len(st.fleet.recovered))
	}
}

// TestAliveIsNotBehindAnUp: an Up comes while the fleet reckons until when all is received. Its session began before that.
func TestAliveIsNotBehindAnUp(t *testing.T) {
	st := newCrashingStage(t, 1)
	d, _ := st.dialled()
	since := st.clock
	st.pass(5 * time.Second) // the snapshot takes its time
	now := st.fleet.now
	st.fleet.now = func() time.Time {
		st.fleet.now = now
		d.s.Up(source.Live, since, time.Time{})
		return st.clock
	}
	st.fleet.mu.Lock()
	st.fleet.alive()
	st.fleet.mu.Unlock()
	st.now()
	st.crash()
	st.check("after the crash", fmt.Sprintf("A0 session.gap opened crash from %v", since.Sub(time.UnixMilli(1_767_323_045_000))))
}

// A checkpoint that cannot be read leaves nothing behind.
func TestABrokenCheckpointLeavesNothing(t *testing.T) {
	st := newCrashingStage(t, 3)
	st.live(3)
	var b bytes.Buffer
	if err := st.fleet.save(&b); err != nil {
		t.Fatal(err)
	}
	st.reopen(spool.NewMemory(spool.MemoryOptions{Manual: true}))
	for n := range b.Len() {
		err := st.fleet.load(io.LimitReader(bytes.NewReader(b.Bytes()), int64(n)))
		if err != nil && len(st.fleet.recovered) != 0 {
			t.Fatalf("cut to %d of %d bytes: %v, and %d agents", n, b.Len(), err, len(st.fleet.recovered))
		}
		st.fleet.recovered = map[identity]*agent{}
	}
	if err := st.fleet.load(&b); err != nil || len(st.fleet.recovered) != 3 {
		t.Errorf("whole: got %d agents and %v", len(st.fleet.recovered), err)
	}
	for _, a := range st.fleet.recovered {
		if a.Agent != &a.view.Agent || !a.view.Met || a.pos == 0 {
			t.Errorf("%+v", a.view)
		}
	}
}

// What a sink will not get is a gap of its own beside one that is open.
func TestSkippedIsAGapOfItsOwn(t *testing.T) {
	st := newCrashingStage(t, 1)
	d, _ := st.dialled()
	d.s.Up(source.Live, st.clock, time.Time{})
	st.now()
	at := event.InstantOf(time.UnixMilli(1_767_323_045_000))
	skipped := []spool.Skipped{{Sink: "facts", Header: event.Header{Agent: "A0"}, From: at + 1000, To: at + 3000, Records: 7}}
	if err := st.fleet.announce(skipped); err != nil {
		t.Fatal(err)
	}
	st.check("skipped", "A0 session.gap opened spool_full from 1s", "A0 session.gap closed spool_full from 1s to 3s")
	if diff := cmp.Diff([]mapping.Gap{}, d.s.view.Gaps, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}
