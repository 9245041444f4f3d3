package kafka_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/taskbridge/taskbridge/bench/kafka"
	"github.com/taskbridge/taskbridge/bench/kafka/kafkatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is between two places is read, of every partition, in its order, and no more.
func TestRead(t *testing.T) {
	c := kafkatest.Start(t)
	const topic = "facts"
	if err := c.Create(t.Context(), topic, 2); err != nil {
		t.Fatal(err)
	}
	writer, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	write := func(partition int32, id string) {
		t.Helper()
		r := &kgo.Record{Partition: partition, Headers: []kgo.RecordHeader{{Key: "other", Value: []byte("x")}, {Key: kafka.HeaderID, Value: []byte(id)}}}
		if err := writer.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	write(0, "before")
	from, err := c.Ends(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	write(0, "a")
	write(1, "b")
	write(0, "c")
	to, err := c.Ends(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	write(0, "after")
	got := map[int][]string{}
	began := time.Now().Add(-time.Minute)
	if err := c.Read(t.Context(), topic, from, to, func(id string, stored time.Time, partition int) {
		got[partition] = append(got[partition], id)
		if stored.Before(began) || stored.After(time.Now().Add(time.Second)) {
			t.Errorf("%s: stored at %v", id, stored)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[int][]string{0: {"a", "c"}, 1: {"b"}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := c.Read(t.Context(), topic, to, to, func(id string, _ time.Time, _ int) { t.Errorf("got %s of nothing", id) }); err != nil {
		t.Error(err)
	}
}

// Without Java it is said what is missing, and nothing is started.
func TestNotAvailable(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := kafka.Available(context.Background(), "no-script"); err == nil || err.Error() != "no java in the PATH; scripts/kafka fetch installs it on Debian" {
		t.Errorf("got %v", err)
	}
}
