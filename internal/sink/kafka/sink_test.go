package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// one makes a cluster with one partition and a sink that is open.
func one(t *testing.T, options ...kfake.Opt) (*cluster, *Sink, *way) {
	t.Helper()
	c := startCluster(t, append(options, kfake.NumBrokers(3), kfake.SeedTopics(1, "facts"))...)
	s, w := opened(t, testConfig(c))
	return c, s, w
}

// deliver sends the batch again and again, as the publisher does, until something other than a lost connection is answered.
func deliver(t *testing.T, s *Sink, b *sink.Batch, answers chan error) error {
	t.Helper()
	for {
		if err := send(t, s, b, answers); retry.ReasonOf(err) != "disconnected" {
			return err
		}
	}
}

// wantStored checks what the topic facts holds, in order.
func wantStored(t *testing.T, c *cluster, want []string) {
	t.Helper()
	got, err := storedIDs(t.Context(), c.client, "facts")
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("stored: got %v (%v), want %v", got, err, want)
	}
}

// failProduce lets produce requests fail, without storing anything.
func failProduce(c *cluster, code *kerr.Error, times int) *kfake.FaultHandle {
	return c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "facts", Err: code, Count: times})
}

// loseAnswer has b stored and its answer lost.
func loseAnswer(t *testing.T, c *cluster, s *Sink, w *way, b *sink.Batch, answers chan error) error {
	t.Helper()
	before, err := storedIDs(t.Context(), c.client, "facts")
	if err != nil {
		t.Fatal(err)
	}
	w.answers.Hold(true)
	b.Out()
	s.Send(b)
	eventually(t, func() error {
		now, err := storedIDs(t.Context(), c.client, "facts")
		if err == nil && len(now) == len(before) {
			err = errors.New("not stored")
		}
		return err
	})
	w.cut()
	w.answers.Hold(false)
	return answer(t, answers)
}

// TestLostAnswer and its controls: the same bytes are recognised; without a producer id, or cut anew, they are not.
func TestLostAnswer(t *testing.T) {
	all := records("WT1", 1, 6)
	first := func(t *testing.T) (*cluster, *Sink, *sink.Batch, chan error) {
		c, s, w := one(t)
		b, answers := batch(s, all[:1]) // so that there is a connection
		if err := deliver(t, s, b, answers); err != nil {
			t.Fatal(err)
		}
		b, answers = batch(s, all[1:4])
		if err := loseAnswer(t, c, s, w, b, answers); err == nil {
			t.Fatal("got success for a lost answer")
		}
		return c, s, b, answers
	}
	t.Run("same bytes", func(t *testing.T) {
		c, s, b, answers := first(t)
		if err := deliver(t, s, b, answers); err != nil {
			t.Errorf("repeat: %v", err)
		}
		b, answers = batch(s, all[4:])
		if err := deliver(t, s, b, answers); err != nil {
			t.Errorf("next: %v", err)
		}
		wantStored(t, c, idsOf(all))
	})
	t.Run("control: no producer id", func(t *testing.T) {
		c, s, w := one(t)
		s.by = producer{-1, -1}
		b, answers := batch(s, all[:1])
		if err := deliver(t, s, b, answers); err != nil {
			t.Fatal(err)
		}
		b, answers = batch(s, all[1:4])
		_ = loseAnswer(t, c, s, w, b, answers)
		if err := deliver(t, s, b, answers); err != nil {
			t.Errorf("repeat: %v", err)
		}
		wantStored(t, c, slices.Concat(idsOf(all[:4]), idsOf(all[1:4])))
	})
	t.Run("control: another batch in its place", func(t *testing.T) {
		c, s, _, _ := first(t)
		b, answers := batch(s, all[2:5]) // as many, but others: the broker takes them for the first
		if err := deliver(t, s, b, answers); err != nil {
			t.Errorf("other batch: %v", err)
		}
		wantStored(t, c, idsOf(all[:4]))
	})
	t.Run("control: a longer batch in its place", func(t *testing.T) {
		c, s, _, _ := first(t)
		b, answers := batch(s, all[1:6])
		if err := deliver(t, s, b, answers); !errors.Is(err, sink.ErrUnsure) {
			t.Errorf("got %v, want ErrUnsure", err)
		}
		wantStored(t, c, idsOf(all[:4]))
	})
}

func TestLeaderMoves(t *testing.T) {
	c, s, _ := one(t)
	all := records("WT1", 1, 60)
	for i := range all {
		if err := c.MoveTopicPartition("facts", 0, int32(i%3)); err != nil {
			t.Fatal(err)
		}
		b, answers := batch(s, all[i:i+1])
		if err := send(t, s, b, answers); err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
	}
	if err := s.Ready(); err != nil {
		t.Errorf("Ready: %v", err)
	}
	wantStored(t, c, idsOf(all))
}

// TestUnsure: after an answer that leaves open what is stored, nothing goes on before Landed, and then a new epoch begins.
func TestUnsure(t *testing.T) {
	for _, tt := range []struct {
		code  *kerr.Error
		epoch int16 // afterwards
		new   bool  // producer
	}{
		{kerr.OutOfOrderSequenceNumber, 1, false},
		{kerr.UnknownProducerID, 1, false},
		{kerr.InvalidProducerEpoch, 0, true},
	} {
		t.Run(tt.code.Message, func(t *testing.T) {
			c, s, _ := one(t)
			all := records("WT1", 1, 6)
			b, answers := batch(s, all[:3])
			if err := send(t, s, b, answers); err != nil {
				t.Fatal(err)
			}
			failProduce(c, tt.code, 1)
			b, answers = batch(s, all[3:])
			if err := send(t, s, b, answers); !errors.Is(err, sink.ErrUnsure) {
				t.Fatalf("got %v, want ErrUnsure", err)
			}
			var found []string
			if err := s.Landed(t.Context(), s.Mark([]*sink.Batch{b}), func(id string) { found = append(found, id) }); err != nil || len(found) > 0 {
				t.Fatalf("landed: got %v (%v), want nothing", found, err)
			}
			b, answers = batch(s, all[3:])
			if err := send(t, s, b, answers); err != nil {
				t.Fatal(err)
			}
			wantStored(t, c, idsOf(all))
			got, err := storedRecords(t.Context(), c.client, "facts")
			if err != nil {
				t.Fatal(err)
			}
			before, after := got[0], got[len(got)-1]
			if after.Epoch != tt.epoch || after.Sequence != 0 || (before.Producer != after.Producer) != tt.new {
				t.Errorf("got %+v after %+v, want epoch %d, sequence 0, another producer: %t", after, before, tt.epoch, tt.new)
			}
		})
	}
}

// TestLateRequest: what is still under way when the broker was asked is fenced, in case it arrives after a batch of the new epoch.
func TestLateRequest(t *testing.T) {
	c, s, _ := one(t)
	all := records("WT1", 1, 2)
	failProduce(c, kerr.OutOfOrderSequenceNumber, 1)
	b, answers := batch(s, all[:1])
	_ = send(t, s, b, answers)
	late := slices.Clone(s.lanes[0].bytes.Bytes())
	if err := s.Landed(t.Context(), s.Mark([]*sink.Batch{b}), func(string) {}); err != nil {
		t.Fatal(err)
	}
	b, answers = batch(s, all[:1])
	if err := send(t, s, b, answers); err != nil {
		t.Fatal(err)
	}
	p := &partition{topic: "facts"}
	p.bytes = s.buffer()
	p.bytes.Write(late)
	if _, err := s.produce(p, 1, nil); err == nil {
		t.Error("the late request was stored")
	}
	wantStored(t, c, idsOf(all[:1]))
}

func TestTooLarge(t *testing.T) {
	c, s, _ := one(t)
	all := records("WT1", 1, 3)
	for i := range all {
		all[i].Data = []byte(`{"pad":"` + strings.Repeat("x", 400<<10) + `"}`)
	}
	b, answers := batch(s, all)
	var rejected *sink.Rejected
	if err := send(t, s, b, answers); !errors.As(err, &rejected) || len(rejected.Pos) > 0 {
		t.Fatalf("got %v, want one of them rejected", err)
	}
	for i := range all {
		b, answers = batch(s, all[i:i+1])
		if err := send(t, s, b, answers); err != nil {
			t.Fatal(err)
		}
	}
	wantStored(t, c, idsOf(all))
	got, err := storedRecords(t.Context(), c.client, "facts")
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range got {
		if int(r.Sequence) != i {
			t.Errorf("record %d: got sequence %d: what was refused counts", i, r.Sequence)
		}
	}
}

// TestClock: a batch that is refused for its time is encoded again, with a new one.
func TestClock(t *testing.T) {
	c, s, _ := one(t)
	failProduce(c, kerr.InvalidTimestamp, 1)
	all := records("WT1", 1, 1)
	b, answers := batch(s, all)
	err := send(t, s, b, answers)
	if retry.ReasonOf(err) != "clock" || retry.Delay(err) == 0 {
		t.Fatalf("got %v", err)
	}
	if err := s.Ready(); retry.ReasonOf(err) != "clock" {
		t.Errorf("Ready: got %v", err)
	}
	if err := send(t, s, b, answers); err != nil {
		t.Fatal(err)
	}
	wantStored(t, c, idsOf(all))
}

// TestWaits: while brokers say that it is not the batch's fault, it is sent again by the sink itself.
func TestWaits(t *testing.T) {
	for _, code := range []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.RequestTimedOut, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend,
		kerr.UnknownTopicOrPartition, kerr.KafkaStorageError,
	} {
		t.Run(code.Message, func(t *testing.T) {
			t.Parallel()
			c, s, _ := one(t)
			failProduce(c, code, 3)
			all := records("WT1", 1, 2)
			b, answers := batch(s, all)
			if err := send(t, s, b, answers); err != nil {
				t.Fatal(err)
			}
			wantStored(t, c, idsOf(all))
		})
	}
}

// TestNotReady: what only an operator can settle is told with what to do, and the batch is given back.
func TestNotReady(t *testing.T) {
	for _, tt := range []struct {
		code         *kerr.Error
		reason, says string
	}{
		{kerr.TopicAuthorizationFailed, "permission", "--operation Write"},
		{kerr.ClusterAuthorizationFailed, "permission", "--operation Write"},
		{kerr.UnsupportedCompressionType, "compression", "compression"},
	} {
		t.Run(tt.code.Message, func(t *testing.T) {
			t.Parallel()
			c, s, _ := one(t)
			fault := failProduce(c, tt.code, -1)
			all := records("WT1", 1, 2)
			b, answers := batch(s, all)
			err := send(t, s, b, answers)
			if retry.ReasonOf(err) != tt.reason || retry.Delay(err) < time.Second || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v", err)
			}
			if err := s.Ready(); retry.ReasonOf(err) != tt.reason {
				t.Errorf("Ready: got %v", err)
			}
			fault.Remove()
			if err := send(t, s, b, answers); err != nil {
				t.Fatal(err)
			}
			if err := s.Ready(); err != nil {
				t.Errorf("Ready: got %v", err)
			}
			wantStored(t, c, idsOf(all))
		})
	}
}

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
		{"as wanted", []kfake.Opt{many(4)}, func(c *Config) { c.Partitions = 4 }, nil, "", ""},
		{"missing", nil, func(*Config) {}, nil, "no_topic", "kafka-topics.sh --bootstrap-server"},
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
		{"coordinator is loading", []kfake.Opt{many(4)}, func(*Config) {}, &kfake.Fault{
			Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.CoordinatorLoadInProgress, Count: 3, TopLevel: true,
		}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, append(tt.options, kfake.NumBrokers(3))...)
			if tt.fault != nil {
				c.Fault(*tt.fault)
			}
			cfg := testConfig(c)
			tt.change(&cfg)
			s := makeSink(t, cfg, zapNop)
			run(t, s)
			err := s.Open(t.Context())
			if tt.reason == "" {
				if err != nil || s.Ready() != nil {
					t.Fatalf("Open: %v, Ready: %v", err, s.Ready())
				}
				if n := s.Limits().Lanes; cfg.Partitions > 0 && n != cfg.Partitions {
					t.Errorf("got %d lanes, want %d", n, cfg.Partitions)
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
			run(t, s)
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
	run(t, never)
	if err := never.Open(t.Context()); retry.ReasonOf(err) != "disconnected" {
		t.Errorf("Open of one that never was connected: got %v", err)
	}
}

func TestTemplate(t *testing.T) {
	c := startCluster(t, kfake.SeedTopics(2, "facts.twilio.AC1"), kfake.SeedTopics(3, "facts.twilio.AC2"))
	cfg := testConfig(c)
	cfg.Topic = "facts.{provider}.{account}"
	s := makeSink(t, cfg, zapNop, Origin{"twilio", "AC1"}, Origin{"twilio", "AC2"}, Origin{"twilio", "AC1"})
	run(t, s)
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

// TestLandedOfAnotherProcess: what an earlier process has sent is found from its mark on, and a topic of the same name is not taken for it.
func TestLandedOfAnotherProcess(t *testing.T) {
	c, s, _ := one(t)
	all := records("WT1", 1, 4)
	b, answers := batch(s, all[:2])
	if err := send(t, s, b, answers); err != nil {
		t.Fatal(err)
	}
	kept := s.Mark(nil)
	b, answers = batch(s, all[2:])
	if err := send(t, s, b, answers); err != nil {
		t.Fatal(err)
	}
	again, _ := opened(t, testConfig(c))
	var found []string
	if err := again.Landed(t.Context(), kept, func(id string) { found = append(found, id) }); err != nil || !slices.Equal(found, idsOf(all[2:])) {
		t.Errorf("got %v (%v), want %v", found, err, idsOf(all[2:]))
	}
	if err := errors.Join(c.DeleteTopic("facts"), c.CreateTopic("facts", 1, nil)); err != nil {
		t.Fatal(err)
	}
	third, _ := opened(t, testConfig(c))
	b, answers = batch(third, all) // more than there was
	if err := send(t, third, b, answers); err != nil {
		t.Fatal(err)
	}
	if err := third.Landed(t.Context(), kept, func(string) {}); !errors.Is(err, sink.ErrBrokerLost) {
		t.Errorf("got %v, want ErrBrokerLost", err)
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
	eventually(t, func() error { // the sink notices within a look
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

func TestCloseWithoutConnect(t *testing.T) {
	c := startCluster(t)
	if err := makeSink(t, testConfig(c), zapNop).Close(context.Background()); err != nil {
		t.Error(err)
	}
}
