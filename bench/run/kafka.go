package run

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/taskbridge/taskbridge/bench/feed"
	"github.com/taskbridge/taskbridge/bench/kafka"
)

// warmingEvents is how many events a Kafka has taken before what is measured: a JVM compiles what it does often.
const warmingEvents = 320_000

// quickDelete has a deleted topic's files removed at once, so that the disk is not still busy with what an earlier round wrote; the default is a minute.
const quickDelete = "log.segment.delete.delay.ms=1000"

// lookForKafka finds out whether there can be one, if one is wanted.
func (r *runner) lookForKafka(ctx context.Context) {
	if !slices.ContainsFunc(r.wanted(), func(p part) bool { return p.needs != nothing }) {
		return
	}
	if err := kafka.Available(ctx, r.options.Kafka); err != nil {
		r.noKafka = err.Error()
	}
}

// startKafka starts a cluster and lets it take so many events that it is warm.
func (r *runner) startKafka(ctx context.Context, nodes int, properties ...string) error {
	dir := filepath.Join(r.options.Dir, fmt.Sprintf("bench-kafka-%d", time.Now().UnixNano()))
	c, err := kafka.Start(ctx, r.options.Kafka, dir, nodes, append(properties, quickDelete)...)
	if err != nil {
		return err
	}
	r.kafka = c
	if r.results.Versions["kafka"], err = c.Version(ctx); err != nil {
		return err
	}
	_, err = r.feed(ctx, feed.Options{Client: feed.Writer, Events: warmingEvents}, partitions, nil)
	return err
}

// stopKafka is a no-op where none runs.
func (r *runner) stopKafka() error {
	c := r.kafka
	r.kafka = nil
	if c == nil {
		return nil
	}
	return c.Stop()
}

func (r *runner) warmUp() step {
	return step{"a Kafka of one node starts and gets warm", 20 * time.Second, func(ctx context.Context) error { return r.startKafka(ctx, 1) }}
}

// newTopic is one that was not there before.
func (r *runner) newTopic() *topic {
	r.topics++
	return &topic{cluster: r.kafka, name: fmt.Sprintf("facts-%d", r.topics)}
}

// onKafka is the arena of the Kafka parts.
func (r *runner) onKafka() arena {
	return arena{broker: func() broker { return r.newTopic() }, contestants: func() []program {
		return []program{&theBridge{path: r.options.Bridge}, theLimit{self: r.self}}
	}}
}

func (r *runner) kafkaFlood() []step { return r.floods(&r.results.KafkaFlood, r.onKafka()) }

func (r *runner) kafkaPaced() []step {
	const rate, seconds = 10_000.0, 8.0
	return r.rounds(&r.results.KafkaPaced, r.onKafka(), r.options.Rounds, wholeCycles(rate*seconds, agents), rate)
}
