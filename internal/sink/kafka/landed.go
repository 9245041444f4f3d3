package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/taskbridge/taskbridge/internal/sink"
)

// Landed implements sink.Sink: every partition is read from the mark to its end, all of which must have a leader. Then a new epoch begins.
func (s *Sink) Landed(ctx context.Context, mark []byte, found func(id string)) error {
	err := patiently(ctx, func(ctx context.Context) error { return s.landed(ctx, mark, found) })
	if err != nil && !errors.Is(err, sink.ErrBrokerLost) {
		s.setFault(err)
		return err
	}
	if err := s.restart(ctx); err != nil {
		s.setFault(err)
		return err
	}
	s.mu.Lock()
	s.lost = nil      // reported with this, so not by the next Send too
	clear(s.troubles) // those of batches that have landed end here; what is sent again tells of the others
	s.mu.Unlock()
	s.setFault(nil)
	return err
}

func (s *Sink) landed(ctx context.Context, encoded []byte, found func(id string)) error {
	if encoded == nil {
		return nil
	}
	from, err := decodeMark(encoded)
	if err != nil {
		return err
	}
	topics, err := s.describe(ctx, s.names)
	if err != nil {
		return classify(err).tell("look up topics", toDescribe.on(s.names[0]), err)
	}
	var lost error
	there := map[string]topicInfo{}
	for _, name := range s.names {
		t, before := topics[name], from[name]
		switch {
		case errors.Is(t.err, kafkago.UnknownTopicOrPartition):
			lost = errors.Join(lost, fmt.Errorf("topic %s is gone: %w", name, sink.ErrBrokerLost))
			continue
		case t.err != nil:
			return classify(t.err).tell("look up topic "+name, toDescribe.on(name), t.err)
		case before.ends != nil && (t.id.another(before.id) || len(before.ends) > len(t.partitions)):
			lost = errors.Join(lost, fmt.Errorf("topic %s was re-created: %w", name, sink.ErrBrokerLost))
			s.forget(name)
		}
		there[name] = t
	}
	s.refresher.refresh(ctx, s.client.Addr, time.Now())
	ends, err := s.offsets(ctx, kafkago.LastOffset, there)
	if err != nil {
		return err
	}
	firsts, err := s.offsets(ctx, kafkago.FirstOffset, there)
	if err != nil {
		return err
	}
	for name, t := range there {
		before := from[name].ends
		for id := range t.partitions {
			if id < len(before) && before[id] > ends[name][id] {
				lost = errors.Join(lost, fmt.Errorf("partition %d of topic %s ends at %d, before %d: %w", id, name, ends[name][id], before[id], sink.ErrBrokerLost))
			}
		}
	}
	s.advance(ends, lost != nil)
	if lost != nil {
		return lost
	}
	for name, t := range there {
		if _, sent := from[name]; !sent {
			continue // the topic is new here: nothing was sent to it
		}
		for id := range t.partitions {
			at := firsts[name][id]
			if id < len(from[name].ends) {
				at = max(at, from[name].ends[id])
			}
			if err := s.readIDs(ctx, name, id, at, ends[name][id], found); err != nil {
				return classify(err).tell(fmt.Sprintf("read partition %d of topic %s", id, name), toRead.on(name), err)
			}
		}
	}
	return nil
}

// forget takes note that the loss of a topic is reported: what is looked at next is another one.
func (s *Sink) forget(topic string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seen, topic)
}

// advance notes where the partitions end; after a loss this may be before where they did.
func (s *Sink) advance(ends map[string][]int64, lost bool) {
	for _, p := range s.lanes {
		if p.id >= len(ends[p.topic]) {
			continue
		}
		if end := ends[p.topic][p.id]; lost {
			p.end.Store(end)
		} else {
			p.end.Store(max(p.end.Load(), end))
		}
	}
}

// fetchBytes bounds what is read at a time.
const fetchBytes = 8 << 20

// readIDs hands over the ids of the events from one offset to before another. What other programs have written has none, or one that nobody asks for.
func (s *Sink) readIDs(ctx context.Context, topic string, partition int, from, to int64, found func(id string)) error {
	for from < to {
		answer, err := s.client.Fetch(ctx, &kafkago.FetchRequest{
			Topic: topic, Partition: partition, Offset: from, MinBytes: 1, MaxBytes: fetchBytes, MaxWait: 200 * time.Millisecond,
		})
		if err != nil {
			return err
		}
		if answer.Error != nil {
			return answer.Error
		}
		batches, ok := answer.Records.(*protocol.RecordStream)
		if !ok {
			return fmt.Errorf("nothing comes from offset %d, and the end is at %d: %w", from, to, kafkago.LeaderNotAvailable)
		}
		next := from
		for _, b := range batches.Records {
			if next, err = readBatch(b, next, func(r *kafkago.Record) {
				if r.Offset < from || r.Offset >= to { // an answer begins with the batch that holds the offset
					return
				}
				for _, h := range r.Headers {
					if h.Key == headerID {
						found(string(h.Value))
					}
				}
			}); err != nil {
				return err
			}
		}
		if next == from {
			// What the batch had from here on is gone: compaction keeps a producer's last batch without its records. How far the batch goes the library does
			// not tell, so it comes again until what is asked for is behind it.
			next++
		}
		from = next
	}
	return nil
}

// readBatch hands over the records of a batch, and returns the offset behind them, or where the batch begins, if that is behind next. The markers with which
// other programs' transactions end are records too, in batches of their own, which have no headers. The library's reader of a whole answer skips them.
func readBatch(b protocol.RecordReader, next int64, take func(*kafkago.Record)) (int64, error) {
	if at, ok := b.(interface{ Offset() int64 }); ok {
		next = max(next, at.Offset())
	}
	for {
		r, err := b.ReadRecord()
		if errors.Is(err, io.EOF) {
			return next, nil
		}
		if err != nil {
			return next, err
		}
		take(r)
		next = max(next, r.Offset+1)
		if err := closeBoth(r); err != nil {
			return next, err
		}
	}
}

func closeBoth(r *kafkago.Record) error {
	var errs []error
	for _, b := range []kafkago.Bytes{r.Key, r.Value} {
		if b != nil {
			errs = append(errs, b.Close())
		}
	}
	return errors.Join(errs...)
}
