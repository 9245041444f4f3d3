package bridge

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/source"
)

// The one agent is watched from her first dial to a refusal: what Agents and Status say of her at each step.
func TestAgents(t *testing.T) {
	st := newStage(t, Options{DialRate: 50}, 1)
	start := st.clock
	check := func(step string, want AgentStatus) {
		t.Helper()
		want.ID, want.Source = "A0", "toy"
		if diff := cmp.Diff([]AgentStatus{want}, st.Agents()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step, diff)
		}
		if got := st.Status().Agents[want.State]; got != 1 {
			t.Errorf("%s: Status counts %d agents as %s, want 1", step, got, want.State)
		}
	}
	check("not dialled", AgentStatus{State: event.SessionConnecting, NextDial: start.Add(10 * time.Millisecond)})

	first, _ := st.dialled()
	dialled := st.clock
	check("dialled", AgentStatus{State: event.SessionConnecting, Incarnation: first.s.incarnation, Dialled: dialled})

	st.pass(time.Second)
	since := st.clock
	first.s.Up(source.Live, since, since.Add(time.Minute))
	st.pass(5 * time.Second)
	beat := st.clock
	first.s.Beat(source.Live, beat)
	st.pass(3 * time.Second)
	check("live", AgentStatus{
		State: event.SessionLive, LastHeard: beat, Incarnation: first.s.incarnation, Dialled: dialled, Since: since, RenewBy: since.Add(time.Minute),
	})
	if got := st.Status().Silence; got != 3*time.Second {
		t.Errorf("live: got silence %v, want 3s", got)
	}

	st.fleet.ended(first.m, first.s, retry.Permanent(retry.Reasonf("upgrade_401", "no")))
	check("refused", AgentStatus{
		State: event.SessionStateRefused, LastHeard: beat, LastEnd: "upgrade_401", LastEndAt: st.clock, NextDial: first.m.due,
		Gaps: []OpenGap{{Feed: "live", Cause: event.CauseRefused, From: beat}},
	})
	if diff := cmp.Diff(map[string]int{"upgrade_401": 1}, st.Status().Refused); diff != "" {
		t.Errorf("refused, by reason (-want +got):\n%s", diff)
	}
	if got := st.Status().Silence; got != 0 {
		t.Errorf("refused: got silence %v, want 0: nobody is live", got)
	}
}

// During a renewal the session shown is the one that receives, until the successor does.
func TestAgentsWhileRenewing(t *testing.T) {
	st := newStage(t, Options{}, 1)
	first, _ := st.dialled()
	first.s.Up(source.Live, st.clock, st.clock.Add(10*time.Second))
	second, _ := st.dialled()
	if got := st.Agents()[0]; got.State != event.SessionRenewing || got.Incarnation != first.s.incarnation {
		t.Errorf("got %s with session %s, want renewing with the first, %s", got.State, got.Incarnation, first.s.incarnation)
	}
	second.s.Up(source.Live, st.clock, time.Time{})
	if got := st.Agents()[0]; got.Incarnation != second.s.incarnation {
		t.Errorf("got session %s, want the successor %s", got.Incarnation, second.s.incarnation)
	}
	st.fleet.ended(first.m, first.s, errReplaced)
	if got := st.Agents()[0]; got.State != event.SessionLive || got.LastEnd != "" || got.Gaps != nil {
		t.Errorf("got %+v, want live, without an end or a gap", got)
	}
}
