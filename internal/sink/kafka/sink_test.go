package kafka

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("stored: %v (-want +got):\n%s", err, diff)
	}
}

// failProduce lets produce requests fail, without storing anything.
func failProduce(c *cluster, code *kerr.Error, times int) *kfake.FaultHandle {
	return c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "facts", Err: code, Count: times})
}

// TestToldTwice: an id that comes again in a new record is stored again: Kafka has no window of ids (docs/guarantees.md).
func TestToldTwice(t *testing.T) {
	c, s, _ := one(t)
	all := records("WT1", 1, 1)
	for pos := range 2 {
		all[0].Pos = spool.Pos(pos + 1)
		b, answers := batch(s, all)
		if err := deliver(t, s, b, answers); err != nil {
			t.Fatal(err)
		}
	}
	wantStored(t, c, slices.Concat(idsOf(all), idsOf(all)))
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

// TestNoNewProducer: after the question what has landed a producer that was fenced needs a new id. While nobody gives one, that is what stands in the way, and is told.
func TestNoNewProducer(t *testing.T) {
	c, s, _ := one(t)
	failProduce(c, kerr.ProducerFenced, 1)
	b, answers := batch(s, records("WT1", 1, 1))
	if err := send(t, s, b, answers); !errors.Is(err, sink.ErrUnsure) {
		t.Fatalf("got %v, want ErrUnsure", err)
	}
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.CoordinatorNotAvailable, Count: -1, TopLevel: true})
	if err := s.Landed(t.Context(), s.Mark([]*sink.Batch{b}), func(string) {}); retry.ReasonOf(err) != "starting" {
		t.Errorf("Landed: got %v", err)
	}
	if err := s.Ready(); retry.ReasonOf(err) != "starting" {
		t.Errorf("Ready: got %v", err)
	}
	fault.Remove()
	if got := landedSince(t, s, s.Mark([]*sink.Batch{b})); len(got) > 0 {
		t.Errorf("landed: %v", got)
	}
	b, answers = batch(s, records("WT1", 1, 1))
	if err := send(t, s, b, answers); err != nil {
		t.Error(err)
	}
}

func TestCloseWithoutConnect(t *testing.T) {
	c := startCluster(t)
	if err := makeSink(t, testConfig(c), zapNop).Close(context.Background()); err != nil {
		t.Error(err)
	}
}
