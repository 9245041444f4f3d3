package run

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/taskbridge/taskbridge/bench/wire"
)

// agents is how many sockets floods and paced loads have: with ten tasks each, a thousand keys.
const agents = 100

// startUp is about what a stage takes before and after its load.
const startUp = 9 * time.Second

// arena is where rounds take place: who takes part, and what broker each has.
type arena struct {
	contestants func() []program // made anew for each round; the one that bounds the others comes last
	broker      func() broker
}

func (r *runner) nats() broker { return &natsServer{path: r.options.NATS} }

// onNATS is the arena of the NATS parts.
func (r *runner) onNATS() arena {
	return arena{broker: r.nats, contestants: func() []program {
		all := []program{&theBridge{path: r.options.Bridge}}
		if r.options.Peer != "" {
			all = append(all, thePeer{path: r.options.Peer})
		}
		return append(all, theLimit{self: r.self})
	}}
}

// flood are the rounds as fast as the programs are, of seconds each.
func (r *runner) flood() []step { return r.floods(&r.results.Flood, r.onNATS()) }

func (r *runner) floods(into *[]Round, a arena) []step {
	events := uint64(600_000)
	if r.options.Quick {
		events = 240_000
	}
	if r.options.Events > 0 {
		events = wholeCycles(float64(r.options.Events), agents)
	}
	return r.rounds(into, a, r.options.Rounds, events, 0)
}

// paced are the rounds at even rates.
func (r *runner) paced() []step {
	rounds, seconds := r.options.Rounds, 10.0
	if r.options.Quick {
		rounds, seconds = 1, 8
	}
	var all []step
	for _, rate := range []float64{1_000, 10_000} {
		all = append(all, r.rounds(&r.results.Paced, r.onNATS(), rounds, wholeCycles(rate*seconds, agents), rate)...)
	}
	return all
}

// rounds let the programs do the same in turn. Neighbours in time are compared, so that what else the machine does is in both.
func (r *runner) rounds(into *[]Round, a arena, rounds int, events uint64, rate float64) (all []step) {
	takes := startUp + 6*time.Second
	if rate > 0 {
		takes = startUp + time.Duration((warmSeconds+float64(events)/rate)*float64(time.Second))
	}
	for number := range rounds {
		contestants := a.contestants()
		if number%2 == 1 { // none is always the one that meets the disk after the other
			slices.Reverse(contestants)
		}
		for _, under := range contestants {
			title := fmt.Sprintf("round %d of %d: %s, %d events as fast as they go", number+1, rounds, under.name(), events)
			if rate > 0 {
				title = fmt.Sprintf("round %d of %d: %s, %.0f events per second", number+1, rounds, under.name(), rate)
			}
			all = append(all, step{title, takes, func(ctx context.Context) error {
				round, err := r.round(ctx, under, a.broker(), events, rate)
				round.Number = number + 1
				if round.judged() {
					*into = append(*into, round)
					r.print(round)
				}
				return err
			}})
		}
	}
	return all
}

// round is one load on a stage of its own.
func (r *runner) round(ctx context.Context, under program, b broker, events uint64, rate float64) (round Round, err error) {
	s, err := r.setStage(ctx, under, agents, false, b)
	defer func() { err = errors.Join(err, s.strike()) }()
	if err != nil {
		return round, err
	}
	return s.measure(ctx, events, rate)
}

// wholeCycles is about n, and leaves no task of so many agents open.
func wholeCycles(n float64, agents int) uint64 {
	cycle := float64(agents * wire.Cycle)
	return uint64(max(1, math.Round(n/cycle)) * cycle)
}
