package limit_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/taskbridge/taskbridge/bench/kafka/kafkatest"
	"github.com/taskbridge/taskbridge/bench/limit"
	"github.com/taskbridge/taskbridge/bench/verify"
	"github.com/taskbridge/taskbridge/bench/wire"
)

// More than a batch holds, by several sockets to several partitions: each event once, in the order of its agent.
func TestLimitOfKafka(t *testing.T) {
	const agents, n, topic, partitions = 4, 4 * 100 * wire.Cycle, "facts", 2
	k := kafkatest.Start(t)
	if err := k.Create(t.Context(), topic, partitions); err != nil {
		t.Fatal(err)
	}
	c, ended, stop := begin(t, limit.Options{Agents: agents, Kafka: k.Brokers, Topic: topic})
	load, err := c.Go(t.Context(), n, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends []int64
	for held := int64(0); held < n; {
		select {
		case err := <-ended:
			t.Fatalf("it ended with %d events stored: %v", held, err)
		default:
		}
		if ends, err = k.Ends(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		held = 0
		for _, end := range ends {
			held += end
		}
	}
	if slices.Contains(ends, 0) {
		t.Errorf("a partition has nothing: %v", ends)
	}
	check := verify.New(load)
	if err := k.Read(t.Context(), topic, make([]int64, partitions), ends, check.Take); err != nil {
		t.Fatal(err)
	}
	if err := check.Report().Err(verify.ByAgent); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A topic that is not there is a failure.
func TestNoTopic(t *testing.T) {
	k := kafkatest.Start(t)
	_, err := k.Ends(t.Context(), "none")
	if err == nil {
		t.Fatal("the topic is there")
	}
	if err := limit.Run(t.Context(), limit.Options{Kafka: k.Brokers, Topic: "none"}); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("got %v, want that there is no such topic", err)
	}
}
