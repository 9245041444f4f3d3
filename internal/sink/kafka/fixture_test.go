package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/tidwall/gjson"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
	"github.com/taskbridge/taskbridge/internal/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSinkSuite(t *testing.T) {
	sinktest.Run(t, func(t *testing.T) *sinktest.Fixture {
		c := startCluster(t, kfake.NumBrokers(3), kfake.SeedTopics(6, "facts"), kfake.DataDir(t.TempDir()))
		s, way := connect(t, testConfig(c), zap.NewNop())
		return &sinktest.Fixture{
			Sink:     s,
			TooLarge: 1 << 20,
			Stored:   func(ctx context.Context) ([]string, error) { return storedIDs(ctx, c.client, "facts") },
			Hold:     way.answers.Hold,
			Cut:      way.cut,
			Restart: func() error {
				c.restart()
				return nil
			},
			Recreate: func() error {
				return errors.Join(c.DeleteTopic("facts"), c.CreateTopic("facts", 6, nil))
			},
			Change: func() error { return c.grow("facts", 10) },
		}
	})
}

// cluster is a fake one, and a client of the test's own.
type cluster struct {
	*kfake.Cluster
	t       *testing.T
	options []kfake.Opt
	client  *kafkago.Client
	closed  bool
}

// stop ends all brokers.
func (c *cluster) stop() {
	if !c.closed {
		c.closed = true
		c.Close()
	}
}

func startCluster(t *testing.T, options ...kfake.Opt) *cluster {
	t.Helper()
	k, err := kfake.NewCluster(append(options, kfake.SleepOutOfOrder())...)
	if err != nil {
		t.Fatal(err)
	}
	transport := &kafkago.Transport{}
	c := &cluster{Cluster: k, t: t, options: options, client: &kafkago.Client{Addr: kafkago.TCP(k.ListenAddrs()...), Transport: transport, Timeout: 5 * time.Second}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		c.stop()
	})
	return c
}

// restart ends the brokers and starts them again with the same data and addresses.
func (c *cluster) restart() {
	var ports []int
	for _, a := range c.ListenAddrs() {
		_, port, _ := net.SplitHostPort(a)
		n, _ := strconv.Atoi(port)
		ports = append(ports, n)
	}
	c.Close()
	k, err := kfake.NewCluster(append(slices.Clone(c.options), kfake.SleepOutOfOrder(), kfake.Ports(ports...))...)
	if err != nil {
		c.t.Errorf("restart: %v", err)
		return
	}
	c.Cluster = k
}

// grow adds partitions to a topic.
func (c *cluster) grow(topic string, to int) error {
	answer, err := c.client.CreatePartitions(c.t.Context(), &kafkago.CreatePartitionsRequest{Topics: []kafkago.TopicPartitionsConfig{{Name: topic, Count: int32(to)}}})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func testConfig(c *cluster) Config {
	var cfg Config
	cfg.SetDefaults()
	cfg.Brokers, cfg.Topic = c.ListenAddrs(), "facts"
	return cfg
}

// make makes a sink that looks at its topics often; the caller connects it.
func makeSink(t *testing.T, cfg Config, log *zap.Logger, origins ...Origin) *Sink {
	t.Helper()
	s, err := New(cfg, origins, log, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s.lookEvery, s.doubtFor = 50*time.Millisecond, 100*time.Millisecond
	return s
}

// connect makes a sink whose connections go a way that a test can disturb, and closes it at the end.
func connect(t *testing.T, cfg Config, log *zap.Logger) (*Sink, *way) {
	t.Helper()
	s := makeSink(t, cfg, log)
	w := newWay()
	s.transport.Dial = w.dial
	sinktest.Connect(t, s)
	t.Cleanup(func() { w.answers.Hold(false) })
	return s, w
}

// opened is a sink that is ready, and its way.
func opened(t *testing.T, cfg Config) (*Sink, *way) {
	t.Helper()
	s, w := connect(t, cfg, zap.NewNop())
	sinktest.Eventually(t, func() error { return s.Open(t.Context()) })
	return s, w
}

// way is what lies between the sink and the brokers.
type way struct {
	answers *sinktest.Gate

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newWay() *way {
	return &way{answers: sinktest.NewGate(), conns: map[net.Conn]bool{}}
}

func (w *way) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[c] = true
	return &gated{Conn: c, way: w}, nil
}

// gated is a connection whose answers may be held, but for the first: without it the connection would not be there, and nothing could be sent.
type gated struct {
	net.Conn
	way    *way
	writes atomic.Int32
}

func (g *gated) Write(b []byte) (int, error) {
	g.writes.Add(1)
	return g.Conn.Write(b)
}

func (g *gated) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	if g.writes.Load() > 1 {
		g.way.answers.Wait()
	}
	g.way.mu.Lock()
	cut := !g.way.conns[g.Conn]
	g.way.mu.Unlock()
	if cut && err == nil {
		return 0, io.EOF
	}
	return n, err
}

func (g *gated) Close() error {
	g.way.mu.Lock()
	delete(g.way.conns, g.Conn)
	g.way.mu.Unlock()
	return g.Conn.Close()
}

// open are the connections that neither side has ended.
func (w *way) open() map[net.Conn]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.conns)
}

// cut ends the connections; answers that are held are lost.
func (w *way) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		_ = c.Close()
	}
	clear(w.conns)
}

// landing is a record as a broker has it.
type landing struct {
	Key, Value string
	Headers    map[string]string
	Time       time.Time
	Partition  int
	Producer   int64
	Epoch      int16
	Sequence   int32 // of the first of its batch
}

// storedRecords reads all partitions of a topic from the beginning, with the library's own reader.
func storedRecords(ctx context.Context, client *kafkago.Client, topic string) ([]landing, error) {
	meta, err := client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return nil, err
	}
	if meta.Topics[0].Error != nil {
		return nil, meta.Topics[0].Error
	}
	var all []landing
	for _, p := range meta.Topics[0].Partitions {
		for from := int64(0); ; {
			answer, err := client.Fetch(ctx, &kafkago.FetchRequest{Topic: topic, Partition: p.ID, Offset: from, MinBytes: 1, MaxBytes: 64 << 20, MaxWait: time.Millisecond})
			if err != nil {
				return nil, err
			}
			if answer.Error != nil {
				return nil, answer.Error
			}
			if from >= answer.HighWatermark {
				break
			}
			stream, ok := answer.Records.(*protocol.RecordStream)
			if !ok {
				return nil, fmt.Errorf("nothing from %d, before %d", from, answer.HighWatermark)
			}
			for _, one := range stream.Records {
				batch := one.(*protocol.RecordBatch)
				for {
					r, err := batch.ReadRecord()
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						return nil, err
					}
					key, _ := kafkago.ReadAll(r.Key)
					value, _ := kafkago.ReadAll(r.Value)
					headers := map[string]string{}
					for _, h := range r.Headers {
						headers[h.Key] = string(h.Value)
					}
					if r.Offset >= from {
						all = append(all, landing{string(key), string(value), headers, r.Time, p.ID, batch.ProducerID, batch.ProducerEpoch, batch.BaseSequence})
						from = r.Offset + 1
					}
				}
			}
		}
	}
	return all, nil
}

// storedIDs are the ids in the values: structured mode.
func storedIDs(ctx context.Context, client *kafkago.Client, topic string) ([]string, error) {
	client = fresh(client) // the library remembers partitions
	defer client.Transport.(*kafkago.Transport).CloseIdleConnections()
	all, err := storedRecords(ctx, client, topic)
	var ids []string
	for _, r := range all {
		ids = append(ids, gjson.Get(r.Value, "id").Str)
	}
	return ids, err
}

func fresh(c *kafkago.Client) *kafkago.Client {
	again := *c
	again.Transport = &kafkago.Transport{}
	return &again
}

// records makes n events with one key.
func records(key string, first, n int) []spool.Record {
	now := event.InstantOf(time.Unix(1_790_000_000, 0))
	var out []spool.Record
	for i := first; i < first+n; i++ {
		out = append(out, spool.Record{
			Pos: spool.Pos(i), Epoch: 1_790_000_000, Key: spool.Hash(key),
			Header: event.Header{
				ID: fmt.Sprintf("%s-%06d", key, i), Source: "/twilio/taskrouter/AC1/WS1", Type: event.TaskUpdated, Subject: key, Time: now,
				TimeSource: event.TimeVendor, Recorded: now, Origin: event.OriginSocket, PartitionKey: key, CorrelationID: key, BridgeID: "test",
				Provider: event.Twilio, Account: "AC1", Agent: "WK1",
			},
			Data: []byte(`{"provider":"twilio","pad":"` + strings.Repeat("x", 300) + `"}`),
		})
	}
	return out
}

func idsOf(all []spool.Record) (ids []string) {
	for i := range all {
		ids = append(ids, all[i].Header.ID)
	}
	return ids
}

// batch makes a batch of records that share a lane, with what it is answered.
func batch(s *Sink, all []spool.Record) (*sink.Batch, chan error) {
	answers := make(chan error, 1)
	return sink.NewBatch(s.Lane(&all[0]), all, func(_ *sink.Batch, err error) { answers <- err }), answers
}

// send sends the batch and returns what came of it.
func send(t *testing.T, s *Sink, b *sink.Batch, answers chan error) error {
	t.Helper()
	b.Out()
	s.Send(b)
	return sinktest.Answer(t, answers)
}

var zapNop = zap.NewNop()
