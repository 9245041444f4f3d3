package jetstream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskbridge/taskbridge/internal/sink"
)

// place is a position in a stream: when the stream was created and a sequence, big-endian, so that places compare as bytes and those in
// an earlier incarnation of the stream come first.
func place(created int64, seq uint64) []byte { return appendPlace(nil, created, seq) }

func appendPlace(b []byte, created int64, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, uint64(created)), seq)
}

const placeSize = 16

// Mark implements sink.Sink: the oldest Place of the open batches, else the newest sequence known, but for after a loss. Nil before the stream was first seen.
func (s *Sink) Mark(open []*sink.Batch) []byte {
	var mark []byte
	for _, b := range open {
		if b.Place != nil && (mark == nil || bytes.Compare(b.Place, mark) < 0) {
			mark = b.Place
		}
	}
	if mark != nil {
		return bytes.Clone(mark)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.resume != nil:
		return bytes.Clone(s.resume)
	case s.created == 0:
		return nil
	}
	return place(s.created, s.newest)
}

// Landed implements sink.Sink. Like Send it does not wait for the server: while that cannot be reached, or the stream is not usable, it
// returns an error. With a nil mark it finds nothing, and the next Mark is the stream's end as of the last look at it.
func (s *Sink) Landed(ctx context.Context, mark []byte, found func(id string)) error {
	s.mu.Lock()
	fault, conn := s.fault, s.conn
	s.mu.Unlock()
	switch {
	case fault != nil:
		return fault
	case mark == nil:
		return nil
	case len(mark) != placeSize:
		return fmt.Errorf("mark of %d bytes is not one of this sink's", len(mark))
	}
	created, seq := int64(binary.BigEndian.Uint64(mark)), binary.BigEndian.Uint64(mark[8:])

	js, err := jetstream.New(conn)
	if err != nil {
		return fmt.Errorf("landed: %w", err)
	}
	request, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := js.Stream(request, s.cfg.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s.verifyAgain(err)
		s.reported()
		return fmt.Errorf("stream %s is gone: %w", s.cfg.Stream, sink.ErrBrokerLost)
	}
	if err != nil {
		return fmt.Errorf("landed: look up stream: %w", err)
	}
	info := stream.CachedInfo()
	last := info.State.LastSeq
	var lost error
	switch {
	case info.Created.UnixNano() != created:
		lost = fmt.Errorf("stream %s was created at %v, not at %v: %w", s.cfg.Stream, info.Created, time.Unix(0, created).UTC(), sink.ErrBrokerLost)
		seq = 0
	case last < seq:
		lost = fmt.Errorf("stream %s ends at %d, before %d: %w", s.cfg.Stream, last, seq, sink.ErrBrokerLost)
		seq = last
	}
	if found != nil && seq < last {
		if err := s.readIDs(ctx, stream, seq+1, last, found); err != nil {
			return err
		}
	}
	if lost != nil {
		s.reported()
		s.mu.Lock()
		s.created, s.newest = info.Created.UnixNano(), last
		s.resume = place(s.created, seq)
		s.mu.Unlock()
		s.wake() // another stream may have other settings
	}
	return lost
}

// reported takes note that a loss was told, so that the next Send does not tell it too.
func (s *Sink) reported() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = nil
}

// readIDs hands over the ids of our events from first to last. After a fault it goes on where it was, as long as that is better than to begin again.
func (s *Sink) readIDs(ctx context.Context, stream jetstream.Stream, first, last uint64, found func(id string)) error {
	s.reading.Begin(s.log, int64(last-first)+1)
	defer s.reading.End()
	for {
		err := s.readFrom(ctx, stream, &first, last, found)
		if err == nil || !s.reading.Stuck(err, 0) {
			return err
		}
		select {
		case <-time.After(readAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

const (
	readAgain = 100 * time.Millisecond
	readIdle  = 30 * time.Second // for one message to come, while the server looks for it among those of others
)

// readFrom reads headers from *first on, which is then behind what was read.
func (s *Sink) readFrom(ctx context.Context, stream jetstream.Stream, first *uint64, last uint64, found func(id string)) error {
	request, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	consumer, err := stream.OrderedConsumer(request, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{s.wildcard}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: *first, HeadersOnly: true,
		// Without a bound a lost connection would be waited for without regard to ctx; the publisher asks again anyway.
		MaxResetAttempts:  1,
		InactiveThreshold: time.Minute,
	})
	if err != nil {
		return fmt.Errorf("landed: create consumer: %w", err)
	}
	if consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("landed: read: %w", err)
	}
	defer messages.Stop()
	for {
		msg, err := next(ctx, messages)
		if err != nil {
			return fmt.Errorf("landed: read: %w", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("landed: read: %w", err)
		}
		if meta.Sequence.Stream <= last {
			if id := msg.Headers().Get(headerID); id != "" {
				found(unescapeHeader(id))
			}
			s.reading.Advance(int64(meta.Sequence.Stream + 1 - *first))
			*first = meta.Sequence.Stream + 1
		}
		if meta.Sequence.Stream >= last || meta.NumPending == 0 {
			return nil
		}
	}
}

func next(ctx context.Context, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, readIdle)
	defer cancel()
	return messages.Next(jetstream.NextContext(ctx))
}
