package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// fetchBytes bounds what is read at a time.
const fetchBytes = 8 << 20

// read hands over the ids of the events in the stretches. What other programs have written has none, or one that nobody asks for. After a fault it goes on where
// it was, as long as that is better than to begin again.
func (s *Sink) read(ctx context.Context, stretches []*stretch, found func(id string)) error {
	all := int64(0)
	for _, p := range stretches {
		all += max(0, p.end-p.next)
	}
	s.reading.Begin(s.log, all)
	defer s.reading.End()
	for _, p := range stretches {
		for wait := time.Duration(0); p.next < p.end; {
			before := p.next
			err := s.fetch(ctx, p, found)
			if p.next > before {
				s.reading.Advance(p.next - before)
				wait = 0
			}
			if err == nil {
				continue
			}
			c, failed, least := classify(err), time.Now(), time.Duration(0)
			err = c.tell("read "+p.String(), toRead.on(p.topic), err)
			if c.momentary() {
				least = passing
			}
			wait = min(max(2*wait, retryLeader), retryLeaderMost)
			if c.advice != "" || !s.reading.Stuck(err, least) || !sleep(ctx, wait) {
				return err
			}
			if c == disconnected {
				s.refresher.reset(failed)
			}
			s.refresher.refresh(ctx, s.client.Addr, failed)
		}
	}
	return nil
}

// fetch reads some of what is left of the stretch.
func (s *Sink) fetch(ctx context.Context, p *stretch, found func(id string)) error {
	answer, err := s.client.Fetch(ctx, &kafkago.FetchRequest{
		Topic: p.topic, Partition: p.id, Offset: p.next, MinBytes: 1, MaxBytes: fetchBytes, MaxWait: 200 * time.Millisecond,
	})
	switch {
	case err != nil:
		return err
	case errors.Is(answer.Error, kafkago.OffsetOutOfRange):
		return s.skip(ctx, p)
	case answer.Error != nil:
		return answer.Error
	}
	batches, ok := answer.Records.(*protocol.RecordStream)
	if !ok {
		return fmt.Errorf("nothing comes from offset %d, and the end is at %d: %w", p.next, p.end, kafkago.LeaderNotAvailable)
	}
	next := p.next
	for _, b := range batches.Records {
		if next, err = readBatch(b, next, func(r *kafkago.Record) {
			if r.Offset < p.next || r.Offset >= p.end { // an answer begins with the batch that holds the offset
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
	if next == p.next {
		// What the batch had from here on is gone: compaction keeps a producer's last batch without its records. How far the batch goes the library does
		// not tell, so it comes again until what is asked for is behind it.
		next++
	}
	p.next = next
	return nil
}

// skip goes on with the first offset that there is: what was to be read has become too old meanwhile.
func (s *Sink) skip(ctx context.Context, p *stretch) error {
	first, err := s.list(ctx, atFirst, p.topic, map[int]int32{p.id: anyEpoch})
	if err != nil {
		return err
	}
	if first[p.id] <= p.next {
		return fmt.Errorf("offset %d is not there any more, and the first is %d: %w", p.next, first[p.id], kafkago.LeaderNotAvailable)
	}
	p.next = first[p.id]
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
