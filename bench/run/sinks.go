package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskbridge/taskbridge/bench/feed"
	"github.com/taskbridge/taskbridge/bench/process"
	"github.com/taskbridge/taskbridge/bench/report"
	"github.com/taskbridge/taskbridge/bench/verify"
)

const (
	// sinkEvents are those of a round of a sink alone.
	sinkEvents = 400_000
	// While leaders move, a topic has so many partitions, and there are so many events per second. Each round has some moves of all leaders, and stillness before each.
	movePartitions = 6
	movesAt        = 3_000.0
	moves          = 3
	moveEvery      = 3 * time.Second
)

// kafkaSink are the rounds of the bridge's sink beside kafka-go's Writer.
func (r *runner) kafkaSink() []step {
	return r.sinks(&r.results.KafkaSink, 10*time.Second, []string{feed.Sink, feed.Writer}, func(ctx context.Context, client string) (Round, error) {
		return r.feed(ctx, feed.Options{Client: client, Events: sinkEvents}, partitions, nil)
	})
}

// kafkaMove are the rounds of the bridge's sink beside franz-go while leaders move, on three nodes whose followers find out soon.
func (r *runner) kafkaMove() []step {
	start := step{"a Kafka of three nodes starts and gets warm", time.Minute, func(ctx context.Context) error {
		if err := r.stopKafka(); err != nil {
			return err
		}
		return r.startKafka(ctx, 3, "replica.fetch.wait.max.ms=50", "replica.fetch.backoff.ms=50")
	}}
	length := (moves + 1) * moveEvery
	o := feed.Options{Events: wholeCycles(movesAt*length.Seconds(), agents), Rate: movesAt}
	return append([]step{start}, r.sinks(&r.results.KafkaMoves, length+3*time.Second, []string{feed.Sink, feed.Franz}, func(ctx context.Context, client string) (Round, error) {
		o.Client = client
		return r.feed(ctx, o, movePartitions, r.moveLeaders)
	})...)
}

// sinks let the clients do the same in turn.
func (r *runner) sinks(into *[]Round, takes time.Duration, clients []string, round func(ctx context.Context, client string) (Round, error)) (all []step) {
	for number := range r.options.Rounds {
		order := slices.Clone(clients)
		if number%2 == 1 {
			slices.Reverse(order)
		}
		for _, client := range order {
			title := fmt.Sprintf("round %d of %d: %s alone", number+1, r.options.Rounds, client)
			all = append(all, step{title, takes, func(ctx context.Context) error {
				x, err := round(ctx, client)
				x.Number = number + 1
				if x.judged() {
					*into = append(*into, x)
					r.print(x)
				}
				return err
			}})
		}
	}
	return all
}

// moveLeaders moves those of a topic that somebody writes to.
func (r *runner) moveLeaders(ctx context.Context, topic string) error {
	pause := time.NewTicker(moveEvery)
	defer pause.Stop()
	for range moves {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := r.kafka.MoveLeaders(ctx, topic); err != nil {
			return err
		}
	}
	return nil
}

// feed is a round of one client on a topic of its own, as a process of its own. meanwhile may be nil; its failure ends the round.
func (r *runner) feed(ctx context.Context, o feed.Options, partitions int, meanwhile func(ctx context.Context, topic string) error) (round Round, err error) {
	t := r.newTopic()
	round = Round{Program: o.Client, Agents: o.Load().Agents, Events: o.Events, Rate: o.Rate, Calibration: report.Calibrate()}
	if err := r.kafka.Create(ctx, t.name, partitions); err != nil {
		return round, err
	}
	t.made = true
	defer func() { err = errors.Join(err, t.stop()) }()
	before, err := brokerCosts(t)
	if err != nil {
		return round, err
	}
	var got feed.Result
	var client time.Duration
	together, ctx := errgroup.WithContext(ctx)
	together.Go(func() (err error) {
		got, client, err = r.feeder(ctx, o, t)
		return err
	})
	if meanwhile != nil {
		together.Go(func() error { return meanwhile(ctx, t.name) })
	}
	if err := together.Wait(); err != nil {
		return round, err
	}
	ctx = context.WithoutCancel(ctx) // the group's has ended
	after, err := brokerCosts(t)
	if err != nil {
		return round, err
	}
	after.program.CPU = client
	round.note(before, after)
	round.Seconds, round.ProgramCPU = got.Seconds, got.CPU // without its start
	for _, ms := range got.Longest {
		round.Longest = max(round.Longest, ms)
	}
	check := verify.New(o.Load())
	end, err := t.end(ctx)
	if err == nil {
		err = t.read(ctx, nil, end, check.Take)
	}
	if err != nil {
		return round, err
	}
	round.Verified = check.Report()
	if err := round.Verified.Err(verify.ByTask); err != nil {
		return round, fmt.Errorf("%s: %w", o.Client, err)
	}
	return round, nil
}

// brokerCosts are those without a stage.
func brokerCosts(t *topic) (c costs, err error) {
	c.at = time.Now()
	if c.broker, err = t.usage(); err == nil {
		c.busy, err = process.Busy()
	}
	return c, err
}

// feeder runs bench feed. cpu is what the whole process has used.
func (r *runner) feeder(ctx context.Context, o feed.Options, t *topic) (got feed.Result, cpu time.Duration, err error) {
	c := exec.CommandContext(ctx, r.self, "feed", "-client", o.Client, "-brokers", strings.Join(t.cluster.Brokers, ","), "-topic", t.name,
		"-events", fmt.Sprint(o.Events), "-rate", fmt.Sprint(o.Rate))
	var told strings.Builder
	c.Stderr = &told
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, &got)
	}
	if err != nil {
		return got, 0, fmt.Errorf("feed %s: %w: %s", o.Client, err, strings.TrimSpace(told.String()))
	}
	return got, c.ProcessState.UserTime() + c.ProcessState.SystemTime(), nil
}
