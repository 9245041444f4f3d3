package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Read gives what the stream holds from sequence first to sequence last to take, in its order: message ids, and when they were stored. Payloads are
// not read: of a million events they would be more than a gigabyte.
func Read(ctx context.Context, js jetstream.JetStream, stream string, first, last uint64, take func(id string, stored time.Time, partition int)) error {
	if last < first {
		return nil
	}
	consumer, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first, HeadersOnly: true, MaxResetAttempts: 5,
	})
	if err != nil {
		return fmt.Errorf("read stream %s back: %w", stream, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(10_000))
	if err != nil {
		return fmt.Errorf("read stream %s back: %w", stream, err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read stream %s back: %w", stream, errors.Join(err, ctx.Err()))
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read stream %s back: %w", stream, err)
		}
		if meta.Sequence.Stream <= last {
			take(m.Headers().Get(nats.MsgIdHdr), meta.Timestamp, 0)
		}
		if meta.Sequence.Stream >= last {
			return nil
		}
	}
}
