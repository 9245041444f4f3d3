package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Verdict is the result of a run. Emitted, Landed and Missing count facts.
type Verdict struct {
	// Emitted are the facts told to at least one covered worker: Landed, Missing, and those that a gap excuses.
	Emitted         int     `json:"emitted"`
	Landed          int     `json:"landed"` // of those, the ones stored
	Missing         int     `json:"missing"`
	Duplicates      int     `json:"duplicates"`
	OutOfOrder      int     `json:"out_of_order"`
	Invented        int     `json:"invented"`
	Gaps            int     `json:"gaps"` // published ones, each once however many records tell of it
	GapSeconds      float64 `json:"gap_seconds"`
	EventsPerSecond float64 `json:"events_per_second"` // stored, between the first and the last
	// From the first write to a socket until stored on the broker, in ms; events of origin socket only.
	P50MS float64 `json:"p50_ms"`
	P99MS float64 `json:"p99_ms"`

	// Findings explain the counts: of every rule the first ten.
	Findings []Finding `json:"-"`

	bounds     Bounds
	entries    int // told to covered workers
	ready      int // workers that ever were
	gapAllowed time.Duration
	unreadable int
}

// Rule is a short name of a rule.
type Rule string

// The rules that findings are about. RuleLedger: the judge cannot use an entry, so the run proves nothing.
const (
	RuleMissing   Rule = "missing"
	RuleDuplicate Rule = "duplicate"
	RuleOrder     Rule = "out of order"
	RuleInvented  Rule = "invented"
	RuleLedger    Rule = "ledger"
)

// Finding is one offence.
type Finding struct {
	Rule              Rule
	ID, Agent, Reason string
}

func (f Finding) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s (agent %s): %s", f.ID, f.Agent, f.Reason))
}

const findingsPerRule = 10

func (v *Verdict) find(r Rule, id, agent, reason string) {
	if r == RuleLedger {
		v.unreadable++
	}
	if len(v.of(r)) < findingsPerRule {
		v.Findings = append(v.Findings, Finding{r, id, agent, reason})
	}
}

func (v Verdict) of(r Rule) (found []Finding) {
	for _, f := range v.Findings {
		if f.Rule == r {
			found = append(found, f)
		}
	}
	return found
}

// judgeOrder takes landings in the broker's order.
func (v *Verdict) judgeOrder(order []landing) {
	type line struct{ agent, key string }
	newest := map[line]landing{}
	for _, l := range order {
		at := line{l.agent, l.key}
		if before, ok := newest[at]; ok && l.seq < before.seq {
			v.OutOfOrder++
			v.find(RuleOrder, l.id, l.agent, fmt.Sprintf("seq %d of key %s is stored at %d, after %s (seq %d) at %d",
				l.seq, l.key, l.sequence, before.id, before.seq, before.sequence))
			continue
		}
		newest[at] = l
	}
}

func (v *Verdict) judgeFacts(facts map[string]*fact, agents map[string]*agent, end time.Time) {
	bySeq := func(a, b *fact) int { return cmp.Compare(a.entries[0].Seq, b.entries[0].Seq) }
	for _, f := range slices.SortedFunc(maps.Values(facts), bySeq) {
		covered, demanded := 0, Entry{}
		for _, e := range f.entries {
			a := agents[e.Worker]
			if a == nil || e.At.After(end) || !a.covers(e.At) {
				continue
			}
			covered++
			if a.demanded(e.At) {
				demanded = e
			}
		}
		v.entries += covered
		switch {
		case covered == 0:
			continue
		case f.landed:
			v.Landed++
		case demanded.Seq != 0:
			v.Missing++
			v.find(RuleMissing, f.id, demanded.Worker, fmt.Sprintf("seq %d, %s at %s, written to %d sockets, lies in no gap",
				demanded.Seq, demanded.EventType, demanded.At.UTC().Format("15:04:05.000"), demanded.Delivered))
		}
		v.Emitted++
	}
}

func (v *Verdict) judgeGaps(agents map[string]*agent, allowed time.Duration, end time.Time) {
	v.gapAllowed = allowed
	var sum time.Duration
	for _, a := range agents {
		if len(a.covered) > 0 {
			v.ready++
		}
		for _, g := range a.gaps {
			if g.published && g.from.Before(end) {
				v.Gaps++
			}
		}
		sum += a.unseen(end)
	}
	v.GapSeconds = round(sum.Seconds())
}

func (v *Verdict) measure(latencies []time.Duration, all []stored) {
	slices.Sort(latencies)
	v.P50MS, v.P99MS = quantile(latencies, 0.50), quantile(latencies, 0.99)
	if len(all) < 2 {
		return
	}
	first, last := all[0].at, all[0].at
	for _, s := range all {
		if s.at.Before(first) {
			first = s.at
		}
		if s.at.After(last) {
			last = s.at
		}
	}
	if d := last.Sub(first).Seconds(); d > 0 {
		v.EventsPerSecond = round(float64(len(all)) / d)
	}
}

// quantile is the smallest of the sorted values that at least the share q of them does not exceed, in ms; 0 where there are none.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(sorted))))
	return round(sorted[rank-1].Seconds() * 1000)
}

// round keeps three decimals: what is finer is noise.
func round(x float64) float64 { return math.Round(x*1000) / 1000 }

// Err is nil if every rule holds, else it names each broken one, by how much, and the first offences.
func (v Verdict) Err() error {
	var errs []error
	broken := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	count := func(n int, r Rule, what string) {
		if n > 0 {
			broken("%s: %d%s", what, n, list(v.of(r)))
		}
	}
	count(v.unreadable, RuleLedger, "entries of the ledger that the judge cannot use")
	count(v.Missing, RuleMissing, "facts missing outside every gap")
	count(v.Duplicates, RuleDuplicate, "events stored more than once")
	count(v.OutOfOrder, RuleOrder, "events out of order")
	count(v.Invented, RuleInvented, "events stored that were not told so")
	if allowed := v.gapAllowed.Seconds(); v.GapSeconds > allowed {
		broken("gaps: %d of %.1f s together, the faults explain %.1f s", v.Gaps, v.GapSeconds, allowed)
	}
	if want := 0.9 * v.bounds.Rate * v.bounds.Duration.Seconds(); float64(v.entries) < want || v.Emitted == 0 {
		broken("entries told to covered workers: %d, want at least %.0f (0.9 × %g/s × %s), and never none",
			v.entries, want, v.bounds.Rate, v.bounds.Duration)
	}
	if v.ready < v.bounds.Sessions {
		broken("sessions that became ready: %d, want %d", v.ready, v.bounds.Sessions)
	}
	return errors.Join(errs...)
}

func list(found []Finding) string {
	var b strings.Builder
	for _, f := range found {
		b.WriteString("\n  ")
		b.WriteString(f.String())
	}
	return b.String()
}
