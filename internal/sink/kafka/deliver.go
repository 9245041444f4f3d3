package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/sink"
)

const (
	// deliverFor is how long one Send goes on while the brokers say that nothing is wrong with the batch but its time or place. Then the publisher
	// is told, and sends it again.
	deliverFor = 10 * time.Second
	// retryLeader is how long after the second look for a leader the third follows; each waits twice as long, up to retryLeaderMost. An election takes some 100 ms.
	retryLeader     = 2 * time.Millisecond
	retryLeaderMost = 100 * time.Millisecond
)

// deliver sends the batch until it is known what became of it, or nobody can tell for now.
func (s *Sink) deliver(p *partition, b *sink.Batch) {
	err := s.tryOn(p, b)
	if p.bytes != nil && !p.open {
		if p.tries == 1 { // else an attempt that was given up may still be reading it
			p.bytes.Reset()
			s.buffers.Put(p.bytes)
		}
		p.bytes = nil
	}
	s.answered(b, err)
}

func (s *Sink) tryOn(p *partition, b *sink.Batch) error {
	if p.bytes == nil {
		p.bytes = s.buffer()
		if err := s.encoder.encode(p.bytes, b.Records, time.Now(), p.by, p.next); err != nil {
			p.open = false
			return &sink.Rejected{Err: err}
		}
	}
	begin, wait := time.Now(), time.Duration(0)
	for {
		bad, err := s.produce(p, len(b.Records), b.Place)
		if err == nil {
			s.overcome(p)
			return nil
		}
		if s.life.Err() != nil {
			return errClosed
		}
		c, failed := classify(err), time.Now()
		told := c.tell("publish to "+p.String(), toWrite.on(p.topic), err)
		s.trouble(p, c, told)
		if (c.outcome != elsewhere && c.outcome != waiting) || time.Since(begin) > deliverFor || s.forgotten(b) {
			switch c.outcome {
			case stored:
				s.stored(p, len(b.Records), 0)
			case tooLarge, rejected:
				p.open = false // nothing was stored: the sequence is the next batch's
			case recode:
				p.bytes = nil
			case fenced:
				s.renewed(p)
			case again:
				if c == disconnected {
					s.refresher.reset(failed)
				}
			}
			return c.mark(told, b, bad)
		}
		if c.outcome == elsewhere {
			s.metrics.refreshes.Inc()
			s.refresher.refresh(s.life, s.client.Addr, failed)
		}
		if !sleep(s.life, max(wait, c.wait)) {
			return errClosed
		}
		wait = min(max(2*wait, retryLeader), retryLeaderMost)
	}
}

func (s *Sink) buffer() *bytes.Buffer { return s.buffers.Get().(*bytes.Buffer) }

// forgotten reports whether the brokers may not know the batch any more that was sent first so long ago. The last fifth of the time is for the way.
func (s *Sink) forgotten(b *sink.Batch) bool { return b.Age() > s.remembered/10*8 }

// produce sends the partition's batch once. bad are the indices of records that the broker named.
func (s *Sink) produce(p *partition, records int, place []byte) (bad []int, err error) {
	p.tries++
	answer, err := s.client.RawProduce(s.life, &kafkago.RawProduceRequest{
		Topic: p.topic, Partition: p.id, RequiredAcks: kafkago.RequireAll,
		RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(p.bytes.Bytes())},
	})
	if err != nil {
		return nil, err
	}
	if answer.Error != nil {
		for i := range answer.RecordErrors {
			bad = append(bad, i)
		}
		slices.Sort(bad)
		return bad, answer.Error
	}
	if from := placeOf(place); answer.BaseOffset >= 0 && answer.BaseOffset < from {
		s.lose(p.topic, fmt.Errorf("%v: a batch was stored at %d, before %d where the partition had ended: %w", p, answer.BaseOffset, from, sink.ErrBrokerLost))
		p.end.Store(0)
	}
	s.stored(p, records, answer.BaseOffset)
	return nil, nil
}

// stored takes note that the broker has the partition's batch.
func (s *Sink) stored(p *partition, records int, base int64) {
	p.open = false
	p.next = int32((int64(p.next) + int64(records)) & (1<<31 - 1)) // after 2^31-1 comes 0
	p.end.Store(max(p.end.Load(), base+int64(records)))
}

// renewed takes note that the producer is of no use any more: another one has its id and a higher epoch.
func (s *Sink) renewed(p *partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renew = true
	s.complain("another producer has the sink's id; a new one follows", errors.New(p.String()))
}

// restart makes what is sent from now on that of a producer with a higher epoch, which fences whatever is still under way of the one before, or of a new producer.
// Nothing is out, and it is known of every batch whether it was stored.
func (s *Sink) restart(ctx context.Context) error {
	for _, p := range s.lanes {
		p.open, p.bytes = false, nil
	}
	s.mu.Lock()
	renew := s.renew
	s.mu.Unlock()
	switch {
	case renew || s.by.epoch == 1<<15-1:
		id, err := s.initProducer(ctx)
		if err != nil {
			return err
		}
		s.by, s.used = producer{id: id}, false
		s.mu.Lock()
		s.renew = false
		s.mu.Unlock()
		s.log.Info("Kafka producer begins", zap.Int64("producer_id", id))
	case s.used:
		s.by.epoch++
		s.used = false
		s.metrics.epochs.Inc()
	}
	return nil
}

// initProducer gets a producer id that nobody had before.
func (s *Sink) initProducer(ctx context.Context) (id int64, err error) {
	err = patiently(ctx, func(ctx context.Context) error {
		answer, err := s.client.InitProducerID(ctx, &kafkago.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1})
		if err == nil {
			err = answer.Error
		}
		if err != nil {
			return classify(err).tell("get a producer id", toWrite.on(s.names[0]), err)
		}
		id = int64(answer.Producer.ProducerID)
		return nil
	})
	return id, err
}

// sleep reports whether d passed before the end of ctx.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
