package kafka

import (
	"hash/crc32"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/taskbridge/taskbridge/internal/spool"
)

// What landed is found also between what the sink would never write itself.

// transact writes a record to the topic's first partition as another program would, in a transaction, which leaves a marker.
func transact(t *testing.T, brokers []string, topic string, commit kgo.TransactionEndTry) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID(t.Name()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	record := &kgo.Record{Topic: topic, Value: []byte("another program's"), Headers: []kgo.RecordHeader{{Key: headerID, Value: []byte("another")}}}
	if err := client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := client.EndTransaction(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
}

// landedSince are the ids that landed after the mark.
func landedSince(t *testing.T, s *Sink, mark []byte) (ids []string) {
	t.Helper()
	if err := s.Landed(t.Context(), mark, func(id string) { ids = append(ids, id) }); err != nil {
		t.Errorf("Landed: %v", err)
	}
	return ids
}

// amongTransactions: a partition that ends with a marker is read to its end, and from there on.
func amongTransactions(t *testing.T, s *Sink, brokers []string) {
	begin, all := s.Mark(nil), records("WT1", 1, 3)
	want := []string{}
	for i, r := range all {
		b, answers := batch(s, []spool.Record{r})
		if err := deliver(t, s, b, answers); err != nil {
			t.Fatal(err)
		}
		want = append(want, r.Header.ID, "another")
		transact(t, brokers, s.lanes[0].topic, kgo.TransactionEndTry(i%2 == 0))
		if diff := cmp.Diff(want, landedSince(t, s, begin)); diff != "" {
			t.Errorf("after %d transactions (-want +got):\n%s", i+1, diff)
		}
	}
	if got := landedSince(t, s, s.Mark(nil)); len(got) > 0 { // from behind the last marker
		t.Errorf("from the end: got %v", got)
	}
}

func TestTransactionsOfOthers(t *testing.T) {
	c, s, _ := one(t)
	amongTransactions(t, s, c.ListenAddrs())
}

// TestCompactedTail: compaction keeps the last batch of a producer without its records, and an answer ends with its segment.
func TestCompactedTail(t *testing.T) {
	c, s, _ := one(t)
	begin, all := s.Mark(nil), records("WT1", 1, 8)
	for part := range slices.Chunk(all, 4) {
		b, answers := batch(s, part)
		if err := deliver(t, s, b, answers); err != nil {
			t.Fatal(err)
		}
	}
	empty := kmsg.RecordBatch{PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: 3, ProducerID: 1}
	empty.Length = int32(len(empty.AppendTo(nil)) - 12) // after the length
	empty.CRC = int32(crc32.Checksum(empty.AppendTo(nil)[21:], castagnoli))
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		asked := r.(*kmsg.FetchRequest)
		if asked.Topics[0].Partitions[0].FetchOffset >= 4 {
			return nil, nil, false
		}
		answer := asked.ResponseKind().(*kmsg.FetchResponse)
		p := kmsg.NewFetchResponseTopicPartition()
		p.HighWatermark, p.RecordBatches = 8, empty.AppendTo(nil)
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.Partitions = "facts", []kmsg.FetchResponseTopicPartition{p}
		answer.Topics = []kmsg.FetchResponseTopic{topic}
		return answer, nil, true
	})
	if diff := cmp.Diff(idsOf(all[4:]), landedSince(t, s, begin)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestGapOfOffsets: where whole batches are gone, what follows is found.
func TestGapOfOffsets(t *testing.T) {
	c, s, _ := one(t)
	begin, all := s.Mark(nil), records("WT1", 1, 3)
	for i := range all {
		b, answers := batch(s, all[i:i+1])
		if err := deliver(t, s, b, answers); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := c.client.IncrementalAlterConfigs(t.Context(), &kafkago.IncrementalAlterConfigsRequest{
		Resources: []kafkago.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafkago.ResourceTypeTopic, ResourceName: "facts",
			Configs: []kafkago.IncrementalAlterConfigsRequestConfig{{Name: "cleanup.policy", Value: "compact", ConfigOperation: kafkago.ConfigOperationSet}},
		}},
	})
	if err != nil || answer.Resources[0].Error != nil {
		t.Fatal(err, answer)
	}
	c.Compact()
	if diff := cmp.Diff(idsOf(all[1:]), landedSince(t, s, begin)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLandedWaits: a leader that is new, and does not know yet how far it may be read, is asked again.
func TestLandedWaits(t *testing.T) {
	for key, code := range map[kmsg.Key]*kerr.Error{kmsg.ListOffsets: kerr.NotLeaderForPartition, kmsg.Fetch: kerr.OffsetNotAvailable} {
		c, s, _ := one(t)
		begin, all := s.Mark(nil), records("WT1", 1, 3)
		b, answers := batch(s, all)
		if err := deliver(t, s, b, answers); err != nil {
			t.Fatal(err)
		}
		c.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: "facts", Err: code, Count: 3})
		got := landedSince(t, s, begin)
		if diff := cmp.Diff(idsOf(all), got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", code, diff)
		}
	}
}
