package kafka

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
	"github.com/taskbridge/taskbridge/internal/spool"
)

func TestTopics(t *testing.T) {
	many := func(n int) kfake.Opt { return kfake.SeedTopics(int32(n), "facts") }
	for _, tt := range []struct {
		name    string
		options []kfake.Opt
		change  func(*Config)
		fault   *kfake.Fault
		reason  string // empty: the sink opens
		says    string
	}{
		{"as wanted", []kfake.Opt{many(4)}, func(c *Config) { c.Partitions, c.MaxInFlight = 4, 3 }, nil, "", ""},
		{"missing", nil, func(*Config) {}, nil, "no_topic", "--replication-factor 3,"},
		{"missing, one broker", []kfake.Opt{kfake.NumBrokers(1)}, func(*Config) {}, nil, "no_topic", "--replication-factor 1,"},
		{"created", nil, func(c *Config) {
			c.Create, c.Partitions, c.TopicConfig = true, 5, map[string]string{"retention.ms": "1000"}
		}, nil, "", ""},
		{"may not be created", nil, func(c *Config) { c.Create = true }, &kfake.Fault{
			Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.TopicAuthorizationFailed, Count: -1,
		}, "permission", "--operation Create"},
		{"too few partitions", []kfake.Opt{many(4)}, func(c *Config) { c.Partitions = 5 }, nil, "topic_mismatch", "--alter --topic facts --partitions 5"},
		{"too few replicas", []kfake.Opt{many(4)}, func(c *Config) { c.Replication = 9 }, nil, "topic_mismatch", "replicas"},
		{"settings may not be seen", []kfake.Opt{many(4)}, func(*Config) {}, &kfake.Fault{
			Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.TopicAuthorizationFailed, Count: -1,
		}, "permission", "--operation DescribeConfigs"},
		{"no producer id", []kfake.Opt{many(4)}, func(*Config) {}, &kfake.Fault{
			Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.ClusterAuthorizationFailed, Count: -1, TopLevel: true,
		}, "permission", "--operation Write"},
		{"may not be read", []kfake.Opt{many(4)}, func(*Config) {}, &kfake.Fault{
			Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.TopicAuthorizationFailed, Count: -1,
		}, "permission", "the right Read on the topic facts:"},
		{"leader is news to the others", []kfake.Opt{many(4)}, func(*Config) {}, &kfake.Fault{
			Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.NotLeaderForPartition, Count: 9,
		}, "", ""},
		{"leader stays unknown", []kfake.Opt{many(4)}, func(*Config) {}, &kfake.Fault{
			Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.NotLeaderForPartition, Count: -1,
		}, "no_leader", "Not Leader"},
		{"coordinator is loading", []kfake.Opt{many(4)}, func(*Config) {}, &kfake.Fault{
			Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.CoordinatorLoadInProgress, Count: 3, TopLevel: true,
		}, "", ""},
		{"coordinator does not come", []kfake.Opt{many(4)}, func(*Config) {}, &kfake.Fault{
			Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.CoordinatorNotAvailable, Count: -1, TopLevel: true,
		}, "starting", "get a producer id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, append([]kfake.Opt{kfake.NumBrokers(3)}, tt.options...)...)
			if tt.fault != nil {
				c.Fault(*tt.fault)
			}
			cfg := testConfig(c)
			tt.change(&cfg)
			var log sinktest.Lines
			s := makeSink(t, cfg, log.Logger())
			sinktest.Connect(t, s)
			err := s.Open(t.Context())
			if loud := strings.Contains(log.String(), `"level":"error"`); loud != (tt.reason != "") {
				t.Errorf("the log has an error: %t:\n%s", loud, log.String())
			}
			if tt.reason == "" {
				if err != nil || s.Ready() != nil {
					t.Fatalf("Open: %v, Ready: %v", err, s.Ready())
				}
				if l := s.Limits(); cfg.Partitions > 0 && l.Lanes != cfg.Partitions || l.InFlight != cfg.MaxInFlight {
					t.Errorf("got %d lanes, %d at a time, want %d and %d", l.Lanes, l.InFlight, cfg.Partitions, cfg.MaxInFlight)
				}
				return
			}
			if retry.ReasonOf(err) != tt.reason || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("got %v, want %s", err, tt.reason)
			}
			if got := retry.ReasonOf(s.Ready()); got != tt.reason {
				t.Errorf("Ready: got %s, want %s", got, tt.reason)
			}
		})
	}
}

func TestTopicSettings(t *testing.T) {
	for setting, value := range map[string]string{"max.message.bytes": "500000", "cleanup.policy": "compact"} {
		t.Run(setting, func(t *testing.T) {
			c := startCluster(t)
			if err := c.CreateTopic("facts", 1, map[string]string{setting: value}); err != nil {
				t.Fatal(err)
			}
			s := makeSink(t, testConfig(c), zapNop)
			sinktest.Connect(t, s)
			err := s.Open(t.Context())
			if retry.ReasonOf(err) != "topic_mismatch" || !strings.Contains(fmt.Sprint(err), "--add-config "+setting+"=") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestUnreachable: without any broker the library says "topic not found"; it is not missing.
func TestUnreachable(t *testing.T) {
	c := startCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "facts"))
	cfg := testConfig(c)
	s, _ := opened(t, cfg)
	c.stop()
	if err := s.Open(t.Context()); retry.ReasonOf(err) != "disconnected" {
		t.Errorf("Open: got %v", err)
	}
	if err := s.Ready(); retry.ReasonOf(err) != "disconnected" {
		t.Errorf("Ready: got %v", err)
	}
	never := makeSink(t, cfg, zapNop)
	sinktest.Connect(t, never)
	if err := never.Open(t.Context()); retry.ReasonOf(err) != "disconnected" {
		t.Errorf("Open of one that never was connected: got %v", err)
	}
}

func TestTemplate(t *testing.T) {
	c := startCluster(t, kfake.SeedTopics(2, "facts.twilio.AC1"), kfake.SeedTopics(3, "facts.twilio.AC2"))
	cfg := testConfig(c)
	cfg.Topic = "facts.{provider}.{account}"
	s := makeSink(t, cfg, zapNop, Origin{"twilio", "AC1"}, Origin{"twilio", "AC2"}, Origin{"twilio", "AC1"})
	sinktest.Connect(t, s)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, account := range []string{"AC1", "AC2", "AC3"} {
		all := records("WT1", 1, 1)
		all[0].Header.Account = account
		b, answers := batch(s, all)
		err := send(t, s, b, answers)
		var rejected *sink.Rejected
		if account == "AC3" {
			if !errors.As(err, &rejected) || !slices.Equal(rejected.Pos, []spool.Pos{1}) || retry.ReasonOf(err) != "no_topic" {
				t.Errorf("%s: got %v", account, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := storedIDs(t.Context(), c.client, "facts.twilio."+account)
		if err != nil || len(got) != 1 {
			t.Errorf("%s: got %v (%v)", account, got, err)
		}
	}
	from, err := decodeMark(s.Mark(nil))
	if err != nil || len(from["facts.twilio.AC1"].ends) != 2 || len(from["facts.twilio.AC2"].ends) != 3 {
		t.Errorf("mark: got %v (%v)", from, err)
	}
}

// TestTopicGoes: a topic that was deleted is created again where that is asked for; the loss is told once.
func TestTopicGoes(t *testing.T) {
	c := startCluster(t)
	cfg := testConfig(c)
	cfg.Create, cfg.Partitions = true, 1
	s, _ := opened(t, cfg)
	all := records("WT1", 1, 2)
	b, answers := batch(s, all[:1])
	if err := send(t, s, b, answers); err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteTopic("facts"); err != nil {
		t.Fatal(err)
	}
	b, answers = batch(s, all[1:])
	sinktest.Eventually(t, func() error { // the sink notices within a look
		if err := send(t, s, b, answers); !errors.Is(err, sink.ErrLanes) {
			return fmt.Errorf("got %w, want ErrLanes", err)
		}
		return nil
	})
	if err := s.Landed(t.Context(), s.Mark(nil), func(string) {}); !errors.Is(err, sink.ErrBrokerLost) {
		t.Errorf("Landed: got %v, want ErrBrokerLost", err)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, answers = batch(s, all[1:])
	if err := send(t, s, b, answers); err != nil {
		t.Errorf("after that: %v", err)
	}
	wantStored(t, c, idsOf(all[1:]))
}
