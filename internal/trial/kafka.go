package trial

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/taskbridge/taskbridge/internal/sink/kafka"
)

// newTopic configures a sink whose topic nobody else has: it is created, and has the broker's time of its records.
func newTopic(brokers []string) kafka.Config {
	var c kafka.Config
	c.SetDefaults()
	c.Brokers, c.Topic = brokers, "taskbridge-demo-"+rand.Text()
	c.Create, c.Partitions = true, 6
	c.TopicConfig = map[string]string{"message.timestamp.type": "LogAppendTime"}
	return c
}

// connect makes a client, and what ends its connections.
func connect(brokers []string) (client *kafkago.Client, end func()) {
	transport := &kafkago.Transport{}
	return &kafkago.Client{Addr: kafkago.TCP(brokers...), Transport: transport}, transport.CloseIdleConnections
}

// reach asks whether a broker answers, for settle at most.
func reach(ctx context.Context, brokers []string) error {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	client, end := connect(brokers)
	defer end()
	if _, err := client.Metadata(ctx, &kafkago.MetadataRequest{}); err != nil {
		return fmt.Errorf("no Kafka answers at %s: %w: start one there, or name brokers that take clients without TLS and SASL", strings.Join(brokers, ","), err)
	}
	return nil
}

// topicReader reads all partitions of a topic, each in its order; there is no other.
type topicReader struct {
	brokers []string
	topic   string
	next    []int64 // offset by partition
}

func (r *topicReader) read(ctx context.Context, take func(body []byte, stored time.Time, sequence uint64)) error {
	found, err := partitions(ctx, r.brokers, r.topic)
	if err != nil {
		return err // the bridge has not created it yet, or the broker is away
	}
	for len(r.next) < found {
		r.next = append(r.next, 0)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		failed  = make([]error, found)
	)
	for p := range found {
		running.Go(func() {
			defer cancel() // one ends: all begin again
			failed[p] = r.partition(ctx, p, func(m *kafkago.Message) {
				mu.Lock()
				defer mu.Unlock()
				take(m.Value, m.Time, uint64(m.Offset))
			})
		})
	}
	running.Wait()
	return errors.Join(failed...)
}

// partitions asks how many a topic has. Of the library's ways to ask, this one does not create a topic that is missing.
func partitions(ctx context.Context, brokers []string, topic string) (int, error) {
	client, end := connect(brokers)
	defer end()
	answer, err := client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0, err
	}
	for _, t := range answer.Topics {
		if t.Name == topic {
			return len(t.Partitions), t.Error
		}
	}
	return 0, kafkago.UnknownTopicOrPartition
}

func (r *topicReader) partition(ctx context.Context, id int, take func(*kafkago.Message)) error {
	reader := kafkago.NewReader(kafkago.ReaderConfig{
		Brokers: r.brokers, Topic: r.topic, Partition: id, MinBytes: 1, MaxBytes: 4 << 20, MaxWait: 5 * poll,
	})
	defer func() { _ = reader.Close() }() // what was read counts
	if err := reader.SetOffset(r.next[id]); err != nil {
		return err
	}
	for {
		m, err := reader.ReadMessage(ctx)
		if err != nil {
			return err
		}
		take(&m)
		r.next[id] = m.Offset + 1
	}
}

// deleteTopic leaves the cluster as it was.
func deleteTopic(c kafka.Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), settle)
	defer cancel()
	client, end := connect(c.Brokers)
	defer end()
	answer, err := client.DeleteTopics(ctx, &kafkago.DeleteTopicsRequest{Topics: []string{c.Topic}})
	if err == nil {
		err = answer.Errors[c.Topic]
	}
	if err != nil && !errors.Is(err, kafkago.UnknownTopicOrPartition) {
		return fmt.Errorf("delete topic %s, which is of no use any more: %w", c.Topic, err)
	}
	return nil
}
