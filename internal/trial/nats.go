package trial

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// streamReader reads a stream.
type streamReader struct {
	url  string
	next uint64 // sequence to go on from; 0: the beginning
}

func (r *streamReader) read(ctx context.Context, take func(body []byte, stored time.Time, sequence uint64)) error {
	conn, err := nats.Connect(r.url, nats.NoReconnect())
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	ordered, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(r.next, 1),
	})
	if err != nil {
		return err
	}
	messages, err := ordered.Messages(jetstream.PullHeartbeat(time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	for {
		m, err := messages.Next()
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		take(m.Data(), meta.Timestamp, meta.Sequence.Stream)
		r.next = meta.Sequence.Stream + 1
	}
}
