package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
	"github.com/taskbridge/taskbridge/internal/spool"
	"github.com/taskbridge/taskbridge/internal/testkafka"
)

// queue is the queue of a broker that stands still, or of the network before it: a produce request waits there when its sender has given up or is dead, of which
// nothing tells the broker.
type queue struct {
	dialer net.Dialer
	holds  atomic.Bool       // produce requests wait
	late   chan *lateRequest // whose client has closed the connection
}

func newQueue() *queue { return &queue{late: make(chan *lateRequest, 1)} }

func (q *queue) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := q.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &lateRequest{Conn: c, queue: q}, nil
}

// lateRequest is a client's connection. From a request on that waits, all waits, and the connection outlives the client.
type lateRequest struct {
	net.Conn
	queue *queue
	bytes []byte
}

// Write implements net.Conn. The client writes a small request in one piece: its size, what it asks for, in which version.
func (l *lateRequest) Write(b []byte) (int, error) {
	if len(l.bytes) == 0 && (!l.queue.holds.Load() || len(b) < 8 || protocol.ApiKey(binary.BigEndian.Uint16(b[4:])) != protocol.Produce) {
		return l.Conn.Write(b)
	}
	l.bytes = append(l.bytes, b...)
	return len(b), nil
}

// Close implements net.Conn.
func (l *lateRequest) Close() error {
	if len(l.bytes) == 0 {
		return l.Conn.Close()
	}
	l.queue.late <- l
	return nil
}

// arrive lets the request go on to the broker.
func (l *lateRequest) arrive(t *testing.T) {
	t.Helper()
	if err := l.Conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Conn.Write(l.bytes); err != nil {
		t.Fatal(err)
	}
}

// answer is what the broker says to it in the end.
func (l *lateRequest) answer(t *testing.T) error {
	t.Helper()
	_, answer, err := protocol.ReadResponse(l.Conn, protocol.Produce, int16(binary.BigEndian.Uint16(l.bytes[6:])))
	if err := errors.Join(err, l.Conn.Close()); err != nil {
		t.Fatal(err)
	}
	return codeError(answer.(*produce.Response).Topics[0].Partitions[0].ErrorCode)
}

// late is a sink that has sent the first record, and has given up the others while they are under way, with its mark.
func (tt testTopic) late(t *testing.T, all []spool.Record) (*Sink, []byte, *lateRequest) {
	t.Helper()
	tt.cfg.RequestTimeout = config.Duration(500 * time.Millisecond)
	s, q := makeSink(t, tt.cfg, zap.NewNop()), newQueue()
	s.transport.Dial = q.dial
	sinktest.Connect(t, s)
	sinktest.Eventually(t, func() error { return s.Open(t.Context()) })
	b, answers := batch(s, all[:1])
	if err := deliver(t, s, b, answers); err != nil {
		t.Fatal(err)
	}
	q.holds.Store(true)
	b, answers = batch(s, all[1:])
	if err := send(t, s, b, answers); retry.ReasonOf(err) != "timeout" {
		t.Fatalf("got %v, want a timeout", err)
	}
	q.holds.Store(false)
	return s, s.Mark([]*sink.Batch{b}), <-q.late
}

// sendAfter sends what has not landed since the mark: all of it.
func sendAfter(t *testing.T, s *Sink, mark []byte, all []spool.Record) {
	t.Helper()
	sinktest.Eventually(t, func() error {
		return s.Landed(t.Context(), mark, func(id string) { t.Errorf("%s has landed", id) })
	})
	b, answers := batch(s, all)
	sinktest.Eventually(t, func() error { return send(t, s, b, answers) })
}

// TestLateRequest: a request that arrives after the broker was asked what it holds. One of the same process is refused, because a new epoch has begun. One of a
// process that is dead is stored a second time, behind what is newer: that is what remains (docs/guarantees.md). TestRealBroker has the same on a real one.
func TestLateRequest(t *testing.T) { lateRequests(t, fakeTopic) }

func lateRequests(t *testing.T, in func(*testing.T) testTopic) {
	all := records("WT1", 1, 6)
	t.Run("of the same process", func(t *testing.T) {
		tt := in(t)
		s, mark, late := tt.late(t, all[:4])
		sendAfter(t, s, mark, all[1:4])
		late.arrive(t)
		if err := late.answer(t); !errors.Is(err, kafkago.InvalidProducerEpoch) {
			t.Errorf("got %v, want it to be refused", err)
		}
		b, answers := batch(s, all[4:])
		if err := deliver(t, s, b, answers); err != nil {
			t.Error(err)
		}
		tt.want(t, idsOf(all))
	})
	t.Run("of a dead process", func(t *testing.T) {
		tt := in(t)
		s, mark, late := tt.late(t, all[:4])
		closeNow(t, s)
		next, _ := opened(t, tt.cfg)
		sendAfter(t, next, mark, all[1:4])
		b, answers := batch(next, all[4:])
		if err := deliver(t, next, b, answers); err != nil {
			t.Fatal(err)
		}
		late.arrive(t)
		if err := late.answer(t); err != nil {
			t.Errorf("got %v, want it to be stored", err)
		}
		tt.want(t, slices.Concat(idsOf(all), idsOf(all[1:4])))
	})
}

func closeNow(t *testing.T, s *Sink) {
	t.Helper()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// realReplaced: a dead process's request that waits in the queue of a broker which others have replaced by the time of the question is stored nowhere.
func realReplaced(t *testing.T, c *testkafka.Cluster) {
	all, tt := records("WT1", 1, 4), realTopic(t, c)
	leader := c.Leaders(t, tt.cfg.Topic)[0]
	s, mark, late := tt.late(t, all)
	closeNow(t, s)
	c.Pause(t, leader)
	late.arrive(t) // in its queue
	next, _ := opened(t, tt.cfg)
	sendAfter(t, next, mark, all[1:])
	c.Continue(t, leader)
	if err := late.answer(t); err == nil {
		t.Error("it was stored")
	} else {
		t.Log(err)
	}
	for c.Leaders(t, tt.cfg.Topic)[0] != leader {
		c.MoveLeaders(t, tt.cfg.Topic) // what it holds is then what everybody reads
	}
	tt.want(t, idsOf(all))
}
