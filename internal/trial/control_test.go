package trial

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/ledger"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// TestControls runs pipelines that are broken on purpose: the judge must see each fault, and only that.
func TestControls(t *testing.T) {
	for _, c := range []struct {
		name   string
		tamper func(*testing.T, sink.Sink, string) sink.Sink
		count  func(ledger.Verdict) int
	}{
		{"drops", func(_ *testing.T, s sink.Sink, _ string) sink.Sink { return &dropper{Sink: s} }, func(v ledger.Verdict) int { return v.Missing }},
		{"doubles", newDoubler, func(v ledger.Verdict) int { return v.Duplicates }},
		{"swaps", func(_ *testing.T, s sink.Sink, _ string) sink.Sink {
			return &swapper{Sink: s, held: map[int][]spool.Record{}}
		}, func(v ledger.Verdict) int { return v.OutOfOrder }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tr := start(t, Options{Agents: 5, Rate: 200, Duration: time.Second, tamper: func(s sink.Sink, url string) sink.Sink { return c.tamper(t, s, url) }})
			tr.emit(t, 600)
			tr.simulator.StopWorkload()
			end := time.Now()
			until(t, "the judge sees it", func() bool {
				tr.readLedger()
				v := tr.judge.Verdict(end)
				return tr.Progress().Unconfirmed == 0 && c.count(v) > 0
			})
			v := tr.judge.Verdict(end)
			t.Logf("%+v", v)
			if v.Err() == nil {
				t.Error("the judge passed a broken pipeline")
			}
		})
	}
}

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

func newDoubler(t *testing.T, s sink.Sink, url string) sink.Sink {
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	route, err := sink.ParseRoute(sink.DefaultRoute)
	if err != nil {
		t.Fatal(err)
	}
	return &doubler{Sink: s, conn: conn, route: route}
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

// swapper keeps every tenth batch of a lane back until the next of that lane was sent.
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
