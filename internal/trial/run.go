package trial

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/ledger"
	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
)

// Run is a whole trial: start, watch for o.Duration, judge, stop. show is called about every watchEvery with what can be seen, and with a
// note whenever something is done to the system; it must not block. The verdicts are those of each sink, by name. The error is the judge's, or
// says what could not be run.
func Run(ctx context.Context, o Options, log *zap.Logger, show func(Progress, string)) (v map[string]ledger.Verdict, err error) {
	o.setDefaults()
	t, err := Start(ctx, o, log)
	if err != nil {
		return v, err
	}
	defer func() {
		if stopped := t.Stop(); err == nil {
			err = stopped
		}
	}()
	show(t.Progress(), fmt.Sprintf("dialling %d sessions", o.Agents))
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := t.Ready(ready); err != nil {
		return v, err
	}
	show(t.Progress(), "all sessions live; from now on every event counts")
	if err := t.watch(ctx, show); err != nil {
		return v, err
	}
	show(t.Progress(), "workload ended; reading the stream to its end")
	return t.Verdict(ctx)
}

// disturbance is something done to the system at a fraction of the trial's duration.
type disturbance struct {
	at   float64
	note string
	do   func(t *Trial) error
}

// disturbances are the faults of a trial: what a contact centre's week holds, in seconds. The last one is the broker's.
var disturbances = []disturbance{
	{0.10, "fault: every socket is sent malformed, unknown and binary frames", func(t *Trial) error {
		return t.Disturb(simulator.Fault{Kind: "malformed"}, 0)
	}},
	{0.20, "fault: the vendor closes a third of the sockets (1001)", func(t *Trial) error {
		return t.Disturb(simulator.Fault{Kind: "close", Workers: t.some(3), Reason: "going away"}, 0)
	}},
	{0.40, "fault: every TCP connection is reset at once", func(t *Trial) error {
		return t.Disturb(simulator.Fault{Kind: "reset"}, 0)
	}},
	{0.60, "fault: a quarter of the sockets falls silent without closing", func(t *Trial) error {
		return t.Disturb(simulator.Fault{Kind: "mute", Workers: t.some(4)}, 0)
	}},
	{0.80, "fault: the nats-server is stopped and started again", (*Trial).RestartBroker},
}

// some is every nth agent.
func (t *Trial) some(n int) []string {
	var ids []string
	for i, a := range t.roster {
		if i%n == 0 {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

const watchEvery = 250 * time.Millisecond

func (t *Trial) watch(ctx context.Context, show func(Progress, string)) error {
	began := time.Now()
	var todo []disturbance
	if t.o.Faults {
		todo = disturbances
		if t.broker == nil {
			todo = todo[:len(todo)-1] // a broker that was there before is not ours to stop
		}
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for time.Since(began) < t.o.Duration {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("interrupted: %w", context.Cause(ctx))
		}
		note := ""
		if len(todo) > 0 && time.Since(began) >= time.Duration(todo[0].at*float64(t.o.Duration)) {
			note = todo[0].note
			if err := todo[0].do(t); err != nil {
				return fmt.Errorf("%s: %w", note, err)
			}
			todo = todo[1:]
		}
		show(t.Progress(), note)
	}
	return nil
}
