package kafka

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
)

// MoveLeaders gives each partition of a topic to the next of its replicas, and returns when those lead. There must be two in sync at least. It may run
// beside whoever writes to the topic.
func (c *Cluster) MoveLeaders(ctx context.Context, topic string) error {
	details, err := c.admin.ListTopics(ctx, topic)
	if err == nil {
		err = details[topic].Err
	}
	if err != nil {
		return fmt.Errorf("look up %s: %w", topic, err)
	}
	var (
		order kadm.AlterPartitionAssignmentsReq
		all   kadm.TopicsSet
		want  = map[int32]int32{}
	)
	for _, p := range details[topic].Partitions.Sorted() {
		next := slices.Index(p.Replicas, p.Leader) + 1
		replicas := slices.Concat(p.Replicas[next:], p.Replicas[:next]) // the first is the one that is preferred
		order.Assign(topic, p.Partition, replicas)
		all.Add(topic, p.Partition)
		want[p.Partition] = replicas[0]
	}
	altered, err := c.admin.AlterPartitionAssignments(ctx, order)
	if err == nil {
		err = altered.Error()
	}
	if err != nil {
		return fmt.Errorf("reorder the replicas of %s: %w", topic, err)
	}
	return c.attempt(ctx, "elect the leaders of "+topic, func() error {
		// What it says of each partition is seen below, too.
		if _, err := c.admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, all); err != nil {
			return err
		}
		now, err := c.admin.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		for _, p := range now[topic].Partitions {
			if p.Leader != want[p.Partition] {
				return fmt.Errorf("partition %d is led by %d, want %d", p.Partition, p.Leader, want[p.Partition])
			}
		}
		return nil
	})
}
