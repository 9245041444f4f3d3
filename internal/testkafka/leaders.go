package testkafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/segmentio/kafka-go"
)

// Leaders are the nodes that lead the partitions of a topic, by partition.
func (c *Cluster) Leaders(t testing.TB, topic string) (nodes []int) {
	t.Helper()
	for _, p := range c.partitions(t, topic) {
		nodes = append(nodes, p.Leader.ID)
	}
	return nodes
}

// MoveLeaders gives each partition of a topic to the next of its replicas, and returns when those lead. There must be two in sync at least.
func (c *Cluster) MoveLeaders(t testing.TB, topic string) {
	t.Helper()
	var (
		all   []int
		want  []int // the leader of each partition
		order []kafka.AlterPartitionReassignmentsRequestAssignment
	)
	for _, p := range c.partitions(t, topic) {
		var replicas []int
		for _, r := range p.Replicas {
			replicas = append(replicas, r.ID)
		}
		next := slices.Index(replicas, p.Leader.ID) + 1
		replicas = append(replicas[next:], replicas[:next]...) // the first is the one that is preferred
		all, want = append(all, p.ID), append(want, replicas[0])
		order = append(order, kafka.AlterPartitionReassignmentsRequestAssignment{PartitionID: p.ID, BrokerIDs: replicas})
	}
	attempt(t, "reorder the replicas of "+topic, func(ctx context.Context) error {
		answer, err := c.admin.AlterPartitionReassignments(ctx, &kafka.AlterPartitionReassignmentsRequest{
			Topic: topic, Assignments: order, Timeout: c.admin.Timeout,
		})
		if err != nil {
			return err
		}
		err = answer.Error
		for _, r := range answer.PartitionResults {
			err = errors.Join(err, r.Error)
		}
		return err
	})
	attempt(t, "elect leaders of "+topic, func(ctx context.Context) error {
		// What it says of each partition is seen below, too.
		if _, err := c.admin.ElectLeaders(ctx, &kafka.ElectLeadersRequest{Topic: topic, Partitions: all, Timeout: c.admin.Timeout}); err != nil {
			return err
		}
		if got := c.Leaders(t, topic); !slices.Equal(got, want) {
			return fmt.Errorf("got leaders %v, want %v", got, want)
		}
		return nil
	})
}

// partitions asks the first broker that answers.
func (c *Cluster) partitions(t testing.TB, topic string) (found []kafka.Partition) {
	t.Helper()
	attempt(t, "partitions of "+topic, func(ctx context.Context) (err error) {
		for _, broker := range c.Brokers() {
			if found, err = partitions(ctx, broker, topic); err == nil && len(found) > 0 {
				return nil
			}
		}
		return errors.Join(err, fmt.Errorf("nobody knows the partitions"))
	})
	return found
}
