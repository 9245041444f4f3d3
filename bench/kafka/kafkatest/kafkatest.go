// Package kafkatest has what tests need that use no Apache Kafka.
package kafkatest

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/taskbridge/taskbridge/bench/kafka"
)

// Start starts a cluster of one node in this process, which ends with the test.
func Start(t *testing.T) *kafka.Cluster {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c, err := kafka.Connect(fake.ListenAddrs())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}
