// Package kafka is the sink for Apache Kafka and what speaks its protocol.
//
// A lane is a partition of a topic, and a lane's batch is one record batch of an idempotent producer, confirmed by all replicas in sync (acks=all) before
// it counts as delivered. While it is not confirmed, its bytes are kept and sent again as they are: the broker recognises them by producer, epoch and
// sequence. The producer id is a new one in every process and is kept nowhere; what an earlier process has sent is found by reading the partitions
// from the mark to their end (Landed). A partition is chosen by the Java client's hash of the key, so that a topic may be shared with Java producers.
//
// What is known of the brokers' behaviour, with its evidence, is in docs/decisions/0012-kafka.md; what their answers mean, in codes.go.
//
// Delivered means: on the leader and on all its replicas in sync, at least the topic's min.insync.replicas. It does not mean fsynced.
//
// The sink's user needs these rights on its topics: Write, Describe, Read (to find what landed), DescribeConfigs; and Create on them, or on the cluster,
// where the sink is to create topics.
package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// Sink publishes to the topics of one cluster. Make it with [New], then [Sink.Connect] it once, and [Sink.Close] it at the end.
type Sink struct {
	cfg       Config
	names     []string // of all topics, sorted
	topicOf   func(*spool.Record) string
	client    *kafkago.Client
	transport *kafkago.Transport
	refresher refresher
	encoder   encoder
	buffers   sync.Pool // *bytes.Buffer
	lookEvery time.Duration
	doubtFor  time.Duration
	reading   sink.Reading
	log       *zap.Logger
	metrics   *Metrics

	life  context.Context //nolint:containedctx // of the batches out: Send is given none
	end   context.CancelCauseFunc
	ended chan struct{} // closed when the watch has ended; nil: never connected
	look  chan struct{} // the topics are to be looked at now

	// Changed by Open and Landed, when nothing is out; on the publisher's goroutine.
	lanes      []*partition
	routes     map[string]route
	by         producer
	used       bool // by has written something
	renew      bool // by is of no use any more
	remembered time.Duration

	mu         sync.Mutex
	fault      error                  // why nothing can be sent; nil: the sink is open
	troubles   map[*partition]trouble // what stands in the way of one
	complaints sink.Complaints
	seen       map[string]topicID // as last opened or looked at
	counts     map[string]int     // partitions, as last opened
	moved      error              // wraps sink.ErrLanes until that was reported
	told       bool               // it was, and the sink was not opened since
	lost       error              // wraps sink.ErrBrokerLost until that was reported
	out        int
	closed     bool
	idle       chan struct{} // closed when closed and nothing is out
}

// route is where a topic's lanes are.
type route struct{ first, partitions int }

// partition is a lane. But for its end, it belongs to the goroutine that sends its batch, and to the publisher's while none is out.
type partition struct {
	topic string
	id    int
	by    producer
	next  int32         // sequence of the next record
	bytes *bytes.Buffer // of the batch that was sent and not confirmed; nil: there is none, or it is not encoded yet
	open  bool          // there is such a batch
	tries int           // of it
	end   atomic.Int64  // the highest offset known
}

func (p *partition) String() string { return partitionName(p.topic, p.id) }

func partitionName(topic string, id int) string {
	return fmt.Sprintf("partition %d of topic %s", id, topic)
}

var _ sink.Sink = (*Sink)(nil)

var (
	errNotOpen = retry.Reason(errors.New("not connected to Kafka yet"), "disconnected")
	errClosed  = errors.New("the sink is closed")
)

// New checks cfg and reads its files; it does not connect. origins are whose events there will be: they make the topics.
func New(cfg Config, origins []Origin, log *zap.Logger, reg prometheus.Registerer) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	names, topicOf, err := cfg.topics(origins)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	transport, err := cfg.transport(names)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	timeout := time.Duration(cfg.RequestTimeout)
	s := &Sink{
		cfg: cfg, names: names, topicOf: topicOf, transport: transport,
		client:    &kafkago.Client{Addr: kafkago.TCP(cfg.Brokers...), Timeout: timeout, Transport: transport},
		refresher: refresher{transport: transport, timeout: timeout},
		encoder:   encoder{binary: cfg.Mode == Binary, compression: compressions[cfg.Compression]},
		buffers:   sync.Pool{New: func() any { return new(bytes.Buffer) }},
		lookEvery: lookEvery, doubtFor: doubtFor, log: log, look: make(chan struct{}, 1), renew: true,
		fault: errNotOpen, troubles: map[*partition]trouble{}, seen: map[string]topicID{}, counts: map[string]int{},
		idle: make(chan struct{}),
	}
	s.metrics = newMetrics(reg, s.Ready)
	return s, nil
}

// Connect begins to watch the topics and returns; that goes on until Close, whatever becomes of ctx, which only gives its values. Call it once, before Open.
func (s *Sink) Connect(ctx context.Context) {
	s.life, s.end = context.WithCancelCause(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	s.mu.Lock()
	s.ended = ended
	s.mu.Unlock()
	go func() {
		defer close(ended)
		s.watch(s.life)
	}()
}

// Limits implements sink.Sink.
func (s *Sink) Limits() sink.Limits { return limits(len(s.lanes), s.cfg.MaxInFlight) }

// Lane implements sink.Sink. An event for which there is no topic has the last lane, whose batches are all rejected.
func (s *Sink) Lane(r *spool.Record) int {
	to, ok := s.routes[s.topicOf(r)]
	if !ok {
		return len(s.lanes) - 1
	}
	return to.first + partitionOf(r.Key, to.partitions)
}

// Send implements sink.Sink. FirstSent and Place are stamped when the batch is about to be encoded, so a batch that was only refused here has neither.
func (s *Sink) Send(b *sink.Batch) {
	p, now := s.lanes[b.Lane], time.Now()
	s.mu.Lock()
	var err error
	switch {
	case s.closed:
		err = errClosed
	case s.lost != nil:
		err, s.lost = s.lost, nil
	case s.moved != nil:
		err, s.moved, s.told = s.moved, nil, true
	case p.topic == nowhere:
		err = noTopic(b)
	case !b.FirstSent.IsZero() && (!p.open || s.forgotten(b)):
		// What was sent at first is not known here any more, or not by the broker, as far as one can know.
		err = sink.ErrUnsure
	default:
		s.out++
	}
	s.mu.Unlock()
	if err != nil {
		b.Done(err)
		return
	}
	if b.FirstSent.IsZero() {
		b.FirstSent, b.Place = now, appendPlace(nil, p.end.Load())
		s.begin(p)
	}
	go s.deliver(p, b)
}

// begin makes ready for a batch that was not sent before. A producer that is another than the partition's last one begins with sequence 0.
func (s *Sink) begin(p *partition) {
	if p.by != s.by {
		p.by, p.next = s.by, 0
	}
	p.open, p.bytes, p.tries = true, nil, 0
	s.used = true
}

// Close implements sink.Sink.
func (s *Sink) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		if s.out == 0 {
			close(s.idle)
		}
	}
	out, ended := s.out, s.ended
	s.mu.Unlock()
	if ended == nil {
		return nil // never connected
	}
	var err error
	select {
	case <-s.idle:
	case <-ctx.Done():
		err = fmt.Errorf("%d batches were not confirmed: %w", out, ctx.Err())
		s.end(errClosed)
		<-s.idle // at once: nothing of a batch goes on after the end of its context
	}
	s.end(errClosed)
	<-ended
	s.transport.CloseIdleConnections()
	if b, ok := s.transport.SASL.(*bearer); ok {
		b.from.close()
	}
	return err
}

// answered ends a batch's Send.
func (s *Sink) answered(b *sink.Batch, err error) {
	if err != nil {
		s.metrics.errors.WithLabelValues(retry.ReasonOf(err)).Inc()
	}
	b.Done(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out--
	if s.closed && s.out == 0 {
		close(s.idle)
	}
}
