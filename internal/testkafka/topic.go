package testkafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// CreateTopic returns when every node that answers knows all leaders, and these know it themselves. Settings are those of a topic, such as max.message.bytes.
func (c *Cluster) CreateTopic(t testing.TB, topic string, partitions int, settings map[string]string) {
	t.Helper()
	config := kafka.TopicConfig{Topic: topic, NumPartitions: partitions, ReplicationFactor: -1} // the cluster's default
	for name, value := range settings {
		config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	attempt(t, "create "+topic, func(ctx context.Context) error {
		answer, err := c.admin.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}})
		if err != nil {
			return err
		}
		return answer.Errors[topic]
	})
	c.led(t, topic, partitions)
}

// AddPartitions makes them so many, and returns when every node that answers knows all leaders, and these know it themselves.
func (c *Cluster) AddPartitions(t testing.TB, topic string, partitions int) {
	t.Helper()
	attempt(t, "add partitions to "+topic, func(ctx context.Context) error {
		answer, err := c.admin.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{
			Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: int32(partitions)}},
		})
		if err != nil {
			return err
		}
		return answer.Errors[topic]
	})
	c.led(t, topic, partitions)
}

// led returns when every node that answers knows all leaders, and these know it themselves, which comes later.
func (c *Cluster) led(t testing.TB, topic string, partitions int) {
	t.Helper()
	attempt(t, "see the leaders of "+topic, func(ctx context.Context) error { return c.everywhere(ctx, topic, partitions) })
	c.EndOffsets(t, topic)
}

// DeleteTopic returns when every node that answers has forgotten it.
func (c *Cluster) DeleteTopic(t testing.TB, topic string) {
	t.Helper()
	attempt(t, "delete "+topic, func(ctx context.Context) error {
		answer, err := c.admin.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})
		if err != nil {
			return err
		}
		return answer.Errors[topic]
	})
	attempt(t, "miss "+topic, func(ctx context.Context) error { return c.everywhere(ctx, topic, 0) })
}

// DeleteRecords removes all that the topic holds; the offsets go on. It takes two seconds: kafka-go cannot, Kafka's own tool can.
func (c *Cluster) DeleteRecords(t testing.TB, topic string) {
	t.Helper()
	text := `{"version": 1, "partitions": [`
	for p := range c.EndOffsets(t, topic) {
		if p > 0 {
			text += ","
		}
		text += fmt.Sprintf(`{"topic": %q, "partition": %d, "offset": -1}`, topic, p) // all
	}
	file := filepath.Join(t.TempDir(), "offsets.json")
	if err := os.WriteFile(file, []byte(text+"]}"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.tool(t, "org.apache.kafka.tools.DeleteRecordsCommand", "--offset-json-file", file)
}

// SetTopic changes one setting; the others stay.
func (c *Cluster) SetTopic(t testing.TB, topic, name, value string) {
	t.Helper()
	attempt(t, "set "+name+" of "+topic, func(ctx context.Context) error {
		answer, err := c.admin.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
			Resources: []kafka.IncrementalAlterConfigsRequestResource{{
				ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
				Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: name, Value: value, ConfigOperation: kafka.ConfigOperationSet}},
			}},
		})
		if err != nil {
			return err
		}
		return answer.Resources[0].Error
	})
}

// Settings are those of a topic, by name, and those it has from the cluster.
func (c *Cluster) Settings(t testing.TB, topic string) map[string]string {
	t.Helper()
	all := map[string]string{}
	attempt(t, "settings of "+topic, func(ctx context.Context) error {
		answer, err := c.admin.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
			Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic}},
		})
		if err != nil {
			return err
		}
		for _, e := range answer.Resources[0].ConfigEntries {
			all[e.ConfigName] = e.ConfigValue
		}
		return answer.Resources[0].Error
	})
	return all
}

// Replicas are how many each partition of a topic has.
func (c *Cluster) Replicas(t testing.TB, topic string) (counts []int) {
	t.Helper()
	for _, p := range c.partitions(t, topic) {
		counts = append(counts, len(p.Replicas))
	}
	return counts
}

// Allow lets a user do this with a topic, where Options.ACL forbids what nobody has allowed.
func (c *Cluster) Allow(t testing.TB, user, topic string, operations ...kafka.ACLOperationType) {
	t.Helper()
	var entries []kafka.ACLEntry
	for _, o := range operations {
		entries = append(entries, kafka.ACLEntry{
			Principal: "User:" + user, Host: "*", PermissionType: kafka.ACLPermissionTypeAllow, Operation: o,
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ResourcePatternType: kafka.PatternTypeLiteral,
		})
	}
	attempt(t, "allow "+user, func(ctx context.Context) error {
		answer, err := c.admin.CreateACLs(ctx, &kafka.CreateACLsRequest{ACLs: entries})
		if err != nil {
			return err
		}
		return errors.Join(answer.Errors...)
	})
}

// partitions asks one broker, and no cache, for the partitions of a topic, in order; none: it knows no such topic.
func partitions(ctx context.Context, broker, topic string) ([]kafka.Partition, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := (&kafka.Dialer{}).DialContext(ctx, "tcp", broker)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	found, err := conn.ReadPartitions(topic)
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		return nil, nil
	}
	slices.SortFunc(found, func(a, b kafka.Partition) int { return cmp.Compare(a.ID, b.ID) })
	return found, err
}

// everywhere is nil when all brokers that answer, one at least, know so many partitions, each with a leader.
func (c *Cluster) everywhere(ctx context.Context, topic string, want int) error {
	var away error
	answered := false
	for _, broker := range c.Brokers() {
		found, err := partitions(ctx, broker, topic)
		if err != nil {
			away = err
			continue
		}
		answered = true
		if len(found) != want || slices.ContainsFunc(found, func(p kafka.Partition) bool { return p.Leader.Host == "" }) {
			return fmt.Errorf("%s knows %d partitions of %s or has no leader for one, want %d", broker, len(found), topic, want)
		}
	}
	if !answered {
		return away
	}
	return nil
}

// momentary are errors that kafka-go gives of its own, and does not call temporary: its metadata lacks a leader, or one of several brokers was not reached.
var momentary = []kafka.Error{kafka.BrokerNotAvailable, kafka.Unknown}

// attempt repeats what may fail for the moment: a broker restarts, a leader moves. What the cluster refuses for good fails the test.
func attempt(t testing.TB, what string, do func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := do(ctx)
		if err == nil {
			return
		}
		var refused kafka.Error
		if errors.As(err, &refused) && !refused.Temporary() && !slices.Contains(momentary, refused) || ctx.Err() != nil {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}
