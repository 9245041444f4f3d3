package trial

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/ledger"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// control is one way of breaking the pipeline.
type control struct {
	tamper func(s sink.Sink, url string) (sink.Sink, error)
	// alone reports whether the judge sees this fault and no other kind.
	alone func(ledger.Verdict) bool
}

var (
	drops = control{
		func(s sink.Sink, _ string) (sink.Sink, error) { return &dropper{Sink: s}, nil },
		func(v ledger.Verdict) bool {
			return v.Missing > 0 && v.Duplicates == 0 && v.OutOfOrder == 0 && v.Invented == 0
		},
	}
	doubles = control{
		newDoubler,
		func(v ledger.Verdict) bool {
			return v.Missing == 0 && v.Duplicates > 0 && v.OutOfOrder == 0 && v.Invented == 0
		},
	}
	swaps = control{
		func(s sink.Sink, _ string) (sink.Sink, error) {
			return &swapper{Sink: s, held: map[int][]spool.Record{}}, nil
		},
		func(v ledger.Verdict) bool { return v.Duplicates == 0 && v.OutOfOrder > 0 && v.Invented == 0 },
	}
)

// dropper confirms every fiftieth batch without sending it.
type dropper struct {
	sink.Sink
	n int
}

func (d *dropper) Send(b *sink.Batch) {
	if d.n++; d.n%50 == 0 {
		b.Done(nil)
		return
	}
	d.Sink.Send(b)
}

// doubler stores every fiftieth event twice: the copy has no message id, so the broker cannot recognise it.
type doubler struct {
	sink.Sink
	conn  *nats.Conn
	route *sink.Route
	n     int
}

func newDoubler(s sink.Sink, url string) (sink.Sink, error) {
	conn, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	route, err := sink.ParseRoute(sink.DefaultRoute)
	if err != nil {
		return nil, err
	}
	return &doubler{Sink: s, conn: conn, route: route}, nil
}

// Close implements sink.Sink.
func (d *doubler) Close(ctx context.Context) error {
	d.conn.Close()
	return d.Sink.Close(ctx)
}

func (d *doubler) Send(b *sink.Batch) {
	if d.n++; d.n%50 == 0 {
		r := &b.Records[0]
		body := event.AppendStructured(nil, &r.Header, r.Sequence(), r.Data)
		if err := d.conn.Publish(string(d.route.Append(nil, r)), body); err != nil {
			b.Done(err)
			return
		}
	}
	d.Sink.Send(b)
}

// swapper keeps every tenth batch back until the next of its lane was sent. What is never followed is lost: the last of a task.
type swapper struct {
	sink.Sink
	held map[int][]spool.Record
	n    int
}

func (s *swapper) Send(b *sink.Batch) {
	if late := s.held[b.Lane]; late != nil {
		delete(s.held, b.Lane)
		s.Sink.Send(b)
		again := sink.NewBatch(b.Lane, late, func(*sink.Batch, error) {})
		again.Out()
		s.Sink.Send(again)
		return
	}
	if s.n++; s.n%10 == 0 {
		s.held[b.Lane] = b.Records
		b.Done(nil)
		return
	}
	s.Sink.Send(b)
}
