package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// HeaderID is the header of a record that has its event's id.
const HeaderID = "ce_id"

// patience bounds how long a cluster may take for what takes it some 100 ms.
const patience = 30 * time.Second

// Create makes a topic whose records have the time at which the leader has stored them, and returns when its leaders answer. Each partition has
// as many replicas as there are nodes, at most three.
func (c *Cluster) Create(ctx context.Context, topic string, partitions int) error {
	stamps := "LogAppendTime"
	settings := map[string]*string{"message.timestamp.type": &stamps}
	if _, err := c.admin.CreateTopic(ctx, int32(partitions), -1, settings, topic); err != nil {
		return fmt.Errorf("create %s: %w", topic, err)
	}
	return c.attempt(ctx, "see "+topic, func() error {
		_, err := c.Ends(ctx, topic) // only leaders say so
		return err
	})
}

// attempt does it again until it succeeds.
func (c *Cluster) attempt(ctx context.Context, what string, do func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for {
		err := do()
		if err == nil {
			return nil
		}
		if time.Since(began) > patience {
			return fmt.Errorf("%s: %w", what, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s: %w", what, err), context.Cause(ctx))
		}
	}
}

// Delete deletes a topic.
func (c *Cluster) Delete(ctx context.Context, topic string) error {
	if _, err := c.admin.DeleteTopic(ctx, topic); err != nil {
		return fmt.Errorf("delete %s: %w", topic, err)
	}
	return nil
}

// Ends are the offsets after the newest records that a consumer can see, by partition.
func (c *Cluster) Ends(ctx context.Context, topic string) ([]int64, error) {
	listed, err := c.admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("where %s ends: %w", topic, err)
	}
	ends := make([]int64, len(listed[topic]))
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends, nil
}

// Read gives the records from the offsets from to those before to, both by partition, to take, in the order of each partition: the event's id, empty where the
// record has none, and when it was stored. Kafka has that to the millisecond; told is the end of it, so that no latency looks shorter than it was.
func (c *Cluster) Read(ctx context.Context, topic string, from, to []int64, take func(id string, stored time.Time, partition int)) error {
	offsets, left := map[int32]kgo.Offset{}, 0
	for p := range to {
		if from[p] < to[p] {
			offsets[int32(p)] = kgo.NewOffset().At(from[p])
			left++
		}
	}
	if left == 0 {
		return nil
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}))
	if err != nil {
		return err
	}
	defer reader.Close()
	for left > 0 {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read %s back: %w", topic, errors.Join(err, context.Cause(ctx)))
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset >= to[r.Partition] {
				return
			}
			take(idOf(r), r.Timestamp.Add(time.Millisecond), int(r.Partition))
			if r.Offset == to[r.Partition]-1 {
				left--
			}
		})
	}
	return nil
}

func idOf(r *kgo.Record) string {
	for _, h := range r.Headers {
		if h.Key == HeaderID {
			return string(h.Value)
		}
	}
	return ""
}
