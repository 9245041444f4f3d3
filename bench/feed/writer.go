package feed

import (
	"context"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/taskbridge/taskbridge/bench/kafka"
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// theWriter is kafka-go's own producer, which batches and sends by itself. It is not idempotent: a lost answer makes a duplicate.
type theWriter struct {
	writer    *kafkago.Writer
	transport *kafkago.Transport
	confirm   confirm
	ctx       context.Context //nolint:containedctx // of the messages: send is given none
}

func openWriter(ctx context.Context, o Options, c confirm) (client, error) {
	transport := &kafkago.Transport{MetadataTopics: []string{o.Topic}}
	return &theWriter{ctx: ctx, confirm: c, transport: transport, writer: &kafkago.Writer{
		Addr: kafkago.TCP(o.Brokers...), Topic: o.Topic, Balancer: kafkago.Murmur2Balancer{}, RequiredAcks: kafkago.RequireAll,
		Async: true, BatchSize: 1000, BatchTimeout: 10 * time.Millisecond, Transport: transport,
		Completion: func(messages []kafkago.Message, err error) {
			oldest, _ := messages[0].WriterData.(spool.Pos)
			c(messages[0].Partition, oldest, len(messages), err)
		},
	}}, nil
}

func (t *theWriter) send(records []spool.Record) {
	messages := make([]kafkago.Message, len(records))
	for i := range records {
		r := &records[i]
		messages[i] = kafkago.Message{
			Key: []byte(r.Header.PartitionKey), Value: structured(r), WriterData: r.Pos, Headers: []kafkago.Header{
				{Key: headerContentType, Value: []byte(contentType)}, {Key: kafka.HeaderID, Value: []byte(r.Header.ID)},
			},
		}
	}
	if err := t.writer.WriteMessages(t.ctx, messages...); err != nil {
		t.confirm(0, 0, 0, err)
	}
}

func (t *theWriter) close(context.Context) error {
	err := t.writer.Close()
	t.transport.CloseIdleConnections()
	return err
}

// What the bridge's sink writes, too.
const (
	headerContentType = "content-type"
	contentType       = "application/cloudevents+json"
)

// structured is the record's value, in memory of its own: a producer keeps it until it is answered.
func structured(r *spool.Record) []byte {
	const envelope = 1 << 10 // about
	return event.AppendStructured(make([]byte, 0, len(r.Data)+envelope), &r.Header, r.Sequence(), r.Data)
}
