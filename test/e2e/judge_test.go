package e2e

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/ledger"
)

// evidence is what was told and what landed of it, judged by what was told until end.
type evidence struct {
	entries []ledger.Entry
	landed  []ledger.Landed
	end     time.Time
}

// judged waits until everything that was told until now has landed, or had ample time to, and judges. The ledger is read last, so that nothing on the
// stream can be unknown to it.
func (r *rig) judged(t *testing.T, s scenario) (v ledger.Verdict, e evidence) {
	t.Helper()
	if r.inside != nil {
		r.inside.StopWorkload()
	}
	e.end = time.Now()
	for deadline := e.end.Add(patience); ; {
		e.landed = r.stored(t)
		e.entries = r.ledger(t)
		v = e.judge(s)
		if v.Missing == 0 || s.unfair != nil && time.Since(e.end) > 2*time.Second || time.Now().After(deadline) {
			return v, e
		}
		<-time.After(min(max(time.Since(e.end)/10, 200*time.Millisecond), time.Second))
	}
}

// judge takes of the scenario what explains gaps.
func (e evidence) judge(s scenario) ledger.Verdict {
	j := ledger.NewJudge(ledger.Bounds{Sessions: agents, SilenceLimit: 3 * time.Second, DialBudget: 50})
	for range s.faults {
		j.Fault(ledger.Fault{Lasted: s.lasted})
	}
	for _, entry := range e.entries {
		j.Emit(entry)
	}
	for _, l := range e.landed {
		j.Land(l)
	}
	return j.Verdict(e.end)
}

// told checks what the bridge has told of itself.
func (s scenario) told(t *testing.T, landed []ledger.Landed) {
	t.Helper()
	gaps := 0
	for _, l := range landed {
		if g := l.Event.Data.Gap; g != nil && g.State == event.GapOpened {
			gaps++
			if g.Cause != s.cause && g.Cause != s.also {
				t.Errorf("%s is of cause %s, want %q", l.Event.ID, g.Cause, s.cause)
			}
		}
	}
	if most := agents * max(1, s.gaps); s.cause != "" && (gaps < agents || gaps > most) {
		t.Errorf("got %d gaps, want one for each of %d agents, at most %d", gaps, agents, most)
	}
	if s.makes != event.BridgeUnmapped && count(landed, event.BridgeUnmapped) > 0 {
		t.Errorf("got %d unmapped frames, want none", count(landed, event.BridgeUnmapped))
	}
}

func count(landed []ledger.Landed, typ event.Type) (n int) {
	for _, l := range landed {
		if l.Event.Type == typ {
			n++
		}
	}
	return n
}

// end ends the workload, where the simulator can, once enough was told outside of gaps that the judge's own control has something to take away. What is
// told later than what has landed may yet turn out to lie in a gap.
func (r *rig) end(t *testing.T) {
	t.Helper()
	if r.ended {
		return
	}
	r.ended = true
	until(t, "enough is told outside of gaps for the judge's own control", func() bool {
		landed := r.stored(t)
		var newest event.Instant
		for _, l := range landed {
			newest = max(newest, l.Event.Recorded)
		}
		e := evidence{landed: slices.DeleteFunc(landed, fromSocket), entries: r.ledger(t), end: newest.Time().Add(-ledger.Slack)}
		return e.judge(scenario{}).Missing >= rate
	})
	if r.inside != nil {
		r.inside.StopWorkload()
	}
}

// fromSocket tells the vendor's facts, as a socket brought them.
func fromSocket(l ledger.Landed) bool {
	return l.Event.Origin == event.OriginSocket && l.Event.Type.Noun() != "bridge"
}

// control damages the evidence of a run that was in order: the judge must then see it, and nothing else.
func (e evidence) control(t *testing.T) {
	t.Helper()
	damaged := func(landed []ledger.Landed) ledger.Verdict {
		return evidence{e.entries, landed, e.end}.judge(scenario{})
	}
	var facts []int
	for i, l := range e.landed {
		if fromSocket(l) {
			facts = append(facts, i)
		}
	}
	lost := slices.Clone(e.landed)
	for k := len(facts) - 1; k >= 0; k -= 10 {
		lost = slices.Delete(lost, facts[k], facts[k]+1)
	}
	if v := damaged(lost); v.Missing == 0 || v.Duplicates+v.OutOfOrder+v.Invented > 0 {
		t.Errorf("a tenth of the events taken away: got %+v", v)
	}
	twice := e.landed[facts[0]]
	twice.Sequence = 1 + slices.MaxFunc(e.landed, func(a, b ledger.Landed) int { return cmp.Compare(a.Sequence, b.Sequence) }).Sequence
	if v := damaged(append(slices.Clone(e.landed), twice)); v.Duplicates != 1 || v.Missing+v.OutOfOrder+v.Invented > 0 {
		t.Errorf("an event doubled: got %+v", v)
	}
	swapped := slices.Clone(e.landed)
	for i, a := range facts {
		k := slices.IndexFunc(facts[i+1:], func(b int) bool {
			return swapped[a].Event.PartitionKey == swapped[b].Event.PartitionKey && swapped[a].Event.Data.Agent.ID == swapped[b].Event.Data.Agent.ID
		})
		if k < 0 {
			continue
		}
		b := facts[i+1+k]
		swapped[a].Sequence, swapped[b].Sequence = swapped[b].Sequence, swapped[a].Sequence
		break
	}
	if v := damaged(swapped); v.OutOfOrder == 0 || v.Duplicates+v.Missing+v.Invented > 0 {
		t.Errorf("two events swapped: got %+v", v)
	}
}
