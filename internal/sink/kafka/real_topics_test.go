package kafka

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
	"github.com/taskbridge/taskbridge/internal/testkafka"
)

// realCreated: a topic that the sink creates is as the configuration wants it, by what the cluster says of it. What is left out is the cluster's default.
func realCreated(t *testing.T, c *testkafka.Cluster, replicas int) {
	settings := map[string]string{"retention.ms": "86400000", "max.message.bytes": "2097152", "compression.type": "lz4"}
	for topic, change := range map[string]func(*Config){
		"created-as-wanted":  func(c *Config) { c.Partitions, c.Replication, c.TopicConfig = 7, replicas, settings },
		"created-by-default": func(*Config) {},
	} {
		cfg := realConfig(c, "PLAINTEXT", topic)
		cfg.Create = true
		change(&cfg)
		s := makeSink(t, cfg, zapNop)
		sinktest.Connect(t, s)
		sinktest.Eventually(t, func() error { return s.Open(t.Context()) })
		want := slices.Repeat([]int{replicas}, 7)
		if cfg.Replication == 0 {
			want = slices.Repeat([]int{len(c.Brokers())}, 12)
		}
		if got := c.Replicas(t, topic); !slices.Equal(got, want) {
			t.Errorf("%s: got partitions with %v replicas, want %v", topic, got, want)
		}
		has := c.Settings(t, topic)
		for name, value := range settings {
			if (has[name] == value) != (cfg.TopicConfig != nil) {
				t.Errorf("%s: got %s=%s, set was %v", topic, name, has[name], cfg.TopicConfig)
			}
		}
	}
	cfg := realConfig(c, "PLAINTEXT", "too-many-replicas")
	cfg.Create, cfg.Replication = true, len(c.Brokers())+1
	s := makeSink(t, cfg, zapNop)
	sinktest.Connect(t, s)
	if err := s.Open(t.Context()); retry.ReasonOf(err) != reasonTopic || !strings.Contains(fmt.Sprint(err), "too few brokers") {
		t.Errorf("more replicas than brokers: got %v", err)
	}
}
