package testkafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// Record is one that a topic holds. Key and Value are nil where the record has none.
type Record struct {
	Partition  int
	Offset     int64
	Time       time.Time // to the millisecond
	Key, Value []byte
	Headers    []kafka.Header
}

// EndOffsets are the offsets after the last record, by partition. They are behind all that was confirmed before, also where another node leads since: a new
// leader tells its end only when it may show what the one before it had confirmed (KIP-207), unlike the watermark that comes with a fetch.
func (c *Cluster) EndOffsets(t testing.TB, topic string) (ends []int64) {
	t.Helper()
	_, ends = c.offsets(t, topic)
	return ends
}

// offsets are those of the first record and after the last, by partition.
func (c *Cluster) offsets(t testing.TB, topic string) (first, end []int64) {
	t.Helper()
	count := len(c.partitions(t, topic))
	ask := func(of func(partition int) kafka.OffsetRequest, into func(kafka.PartitionOffsets)) {
		t.Helper()
		requests := make([]kafka.OffsetRequest, count)
		for p := range requests {
			requests[p] = of(p)
		}
		attempt(t, "offsets of "+topic, func(ctx context.Context) error {
			answer, err := c.admin.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: requests}})
			if err != nil {
				return err
			}
			if got := len(answer.Topics[topic]); got != count {
				return fmt.Errorf("got offsets of %d partitions, want %d", got, count)
			}
			for _, p := range answer.Topics[topic] {
				if p.Error != nil {
					return p.Error
				}
				into(p)
			}
			return nil
		})
	}
	first, end = make([]int64, count), make([]int64, count)
	ask(kafka.FirstOffsetOf, func(p kafka.PartitionOffsets) { first[p.Partition] = p.FirstOffset })
	ask(kafka.LastOffsetOf, func(p kafka.PartitionOffsets) { end[p.Partition] = p.LastOffset })
	return first, end
}

// Read returns all that a topic holds now, by partition and offset. From, by partition, leaves out what is before: with the EndOffsets of a former moment it
// is what came since. A partition that from does not have is read from its first record, and so is everything when from is nil.
func (c *Cluster) Read(t testing.TB, topic string, from []int64) (records []Record) {
	t.Helper()
	first, end := c.offsets(t, topic)
	for p := range end {
		next := first[p]
		if p < len(from) {
			next = max(next, from[p])
		}
		for next < end[p] {
			var some []Record
			attempt(t, fmt.Sprintf("read %s/%d from %d", topic, p, next), func(ctx context.Context) (err error) {
				some, err = c.fetch(ctx, topic, p, next, end[p])
				return err
			})
			records = append(records, some...)
			next = some[len(some)-1].Offset + 1
		}
	}
	return records
}

// fetch returns one record at least.
func (c *Cluster) fetch(ctx context.Context, topic string, partition int, from, end int64) (records []Record, err error) {
	answer, err := c.admin.Fetch(ctx, &kafka.FetchRequest{
		Topic: topic, Partition: partition, Offset: from, MinBytes: 1, MaxBytes: 16 << 20, MaxWait: time.Second,
	})
	if err != nil {
		return nil, err
	}
	if answer.Error != nil {
		return nil, answer.Error
	}
	for {
		r, err := answer.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		record := Record{Partition: partition, Offset: r.Offset, Time: r.Time, Headers: r.Headers}
		if record.Key, err = content(r.Key); err != nil {
			return nil, err
		}
		if record.Value, err = content(r.Value); err != nil {
			return nil, err
		}
		if from <= r.Offset && r.Offset < end { // a batch begins before what was asked for
			records = append(records, record)
		}
	}
	if len(records) == 0 {
		return nil, errors.New("no record came")
	}
	return records, nil
}

func content(b kafka.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	defer func() { _ = b.Close() }()
	return kafka.ReadAll(b)
}
