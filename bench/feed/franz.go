package feed

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/taskbridge/taskbridge/bench/kafka"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// theFranz is franz-go's producer as it comes: idempotent, acks=all, murmur2 of the key. A linger would only make it wait.
type theFranz struct {
	client  *kgo.Client
	confirm confirm
	ctx     context.Context //nolint:containedctx // of the records: send is given none
}

func openFranz(ctx context.Context, o Options, c confirm) (client, error) {
	k, err := kgo.NewClient(kgo.SeedBrokers(o.Brokers...), kgo.DefaultProduceTopic(o.Topic), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(2*window),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return nil, err
	}
	if err := k.Ping(ctx); err != nil {
		k.Close()
		return nil, err
	}
	return &theFranz{client: k, confirm: c, ctx: ctx}, nil
}

func (t *theFranz) send(records []spool.Record) {
	for i := range records {
		r := &records[i]
		pos := r.Pos
		t.client.Produce(t.ctx, &kgo.Record{Key: []byte(r.Header.PartitionKey), Value: structured(r), Headers: []kgo.RecordHeader{
			{Key: headerContentType, Value: []byte(contentType)}, {Key: kafka.HeaderID, Value: []byte(r.Header.ID)},
		}}, func(k *kgo.Record, err error) { t.confirm(int(k.Partition), pos, 1, err) })
	}
}

func (t *theFranz) close(context.Context) error {
	t.client.Close()
	return nil
}
