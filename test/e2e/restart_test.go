package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

// quick is what a stop may take that leaves the delivery to the next start.
const quick = 2 * time.Second

// TestPlannedRestart: a bridge stops at once, whether or not its broker is there, and the next one goes on: nothing is told again, each agent has one gap
// for each stop, and it is closed.
func TestPlannedRestart(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]bool{"broker there": false, "broker away": true} {
		t.Run(name, func(t *testing.T) {
			long(t)
			t.Parallel()
			b := newBroker(t, 2*time.Minute)
			r := newRig(t, setup{flood: rate, broker: b})
			s := scenario{cause: event.CauseStop, gaps: 2}
			for range s.gaps {
				r.grow(t, 150)
				if away {
					b.doubt(t)
					r.grow(t, 50)
				}
				began := time.Now()
				r.stop(t)
				took := time.Since(began)
				t.Logf("stopped within %v", took)
				if took > quick {
					t.Errorf("the stop took %v, at most %v", took, quick)
				}
				r.start(t)
				s.faults, s.lasted = append(s.faults, fault{}), max(s.lasted, time.Since(began))
				if away {
					b.start(t)
				}
				r.grow(t, 100)
				r.healed(t, s)
				if again := r.metric(t, repeats); again > 0 {
					t.Errorf("%v events were sent that the broker had", again)
				}
			}
			r.settle(t, s)
		})
	}
}

// TestPlannedRestartControl: a bridge that has lost its log tells again what it told, and that is seen.
func TestPlannedRestartControl(t *testing.T) {
	long(t)
	t.Parallel()
	r := newRig(t, setup{flood: rate, broker: newBroker(t, 2*time.Minute)})
	r.grow(t, 150)
	r.end(t)
	r.judged(t, scenario{}) // all has landed, and what is open stays so
	r.stop(t)
	if err := os.RemoveAll(filepath.Join(filepath.Dir(r.config), "spool")); err != nil {
		t.Fatal(err)
	}
	r.start(t)
	until(t, "it is seen that something is told again", func() bool { return r.metric(t, repeats) > 0 })
}

// repeats counts what the broker recognised as stored already.
const repeats = "taskbridge_jetstream_duplicate_acks_total"

// metric is the sum of a metric's series, or the one series that is named with its labels.
func (r *rig) metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	var log struct{ Health string }
	r.bridge.stderr.line(t, `"msg":"bridge starts"`, &log)
	response, err := client.Get("http://" + log.Health + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	found := false
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		series, value, _ := strings.Cut(lines.Text(), " ")
		if base, _, _ := strings.Cut(series, "{"); base != name && series != name {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum, found = sum+v, true
	}
	if !found {
		t.Fatalf("there is no metric %s", name)
	}
	return sum
}

// TestDrain: what a bridge that will not come back has accepted while the broker was away is delivered without it.
func TestDrain(t *testing.T) {
	long(t)
	t.Parallel()
	b := newBroker(t, shortWindow)
	r := newRig(t, setup{flood: rate, broker: b})
	r.grow(t, 150)
	b.doubt(t)
	r.grow(t, 300)
	<-time.After(2 * time.Second) // what was told by then is accepted
	r.bridge.kill(t)
	end := time.Now().Add(-time.Second)
	r.inside.StopWorkload()
	b.start(t)
	if v := (evidence{r.ledger(t), r.stored(t), end}).judge(scenario{}); v.Missing < 200 {
		t.Errorf("of what only the spool holds, %d are missed: %+v", v.Missing, v)
	}
	p := launch(t, nil, "drain", "-c", r.config)
	<-p.ended
	t.Logf("drain wrote:\n%s", p.stdout.String())
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("drain ended with exit code %d: %s", code, p.stderr.String())
	}
	if last := p.stdout.String(); !strings.HasSuffix(last, "facts: 0 events left\n") {
		t.Errorf("drain does not say that nothing is left: %q", last)
	}
	landed := r.stored(t)
	v := evidence{r.ledger(t), landed, end}.judge(scenario{faults: []fault{{}}, lasted: time.Minute})
	t.Logf("%+v", v)
	if err := v.Err(); err != nil {
		t.Error(err)
	}
	if v.Emitted != v.Landed {
		t.Errorf("got %d of %d events: a gap hides the rest", v.Landed, v.Emitted)
	}
	if open := fmt.Sprint(gapsOpen(landed)); open != fmt.Sprint(agents) {
		t.Errorf("got %s open gaps, want one of each of %d agents", open, agents)
	}
}
