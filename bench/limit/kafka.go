package limit

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/taskbridge/taskbridge/bench/kafka"
	"github.com/taskbridge/taskbridge/bench/wire"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// topic is a topic of Kafka. An agent's events are those of one partition, by the hash of her SID.
type topic struct {
	client     *kafkago.Client
	transport  *kafkago.Transport
	producer   int64
	partitions []*partition
	stop       func() bool
	sending    sync.WaitGroup
}

// partition has one batch that is filled while another is out.
type partition struct {
	mu     sync.Mutex
	change sync.Cond
	filled *batch
	closed bool
}

// answersWithin is how long a broker may take; nothing is sent again here.
const answersWithin = 30 * time.Second

func openKafka(ctx context.Context, o Options, fail context.CancelCauseFunc) (_ broker, err error) {
	t := &topic{transport: &kafkago.Transport{MetadataTopics: []string{o.Topic}}}
	t.client = &kafkago.Client{Addr: kafkago.TCP(o.Kafka...), Timeout: answersWithin, Transport: t.transport}
	defer func() {
		if err != nil {
			t.transport.CloseIdleConnections()
		}
	}()
	known, err := t.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{o.Topic}})
	if err == nil {
		err = known.Topics[0].Error
	}
	if err != nil {
		return nil, fmt.Errorf("look up topic %s: %w", o.Topic, err)
	}
	id, err := t.client.InitProducerID(ctx, &kafkago.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1})
	if err == nil {
		err = id.Error
	}
	if err != nil {
		return nil, fmt.Errorf("get a producer id: %w", err)
	}
	t.producer = int64(id.Producer.ProducerID)
	for n := range known.Topics[0].Partitions {
		p := &partition{filled: new(batch)}
		p.filled.reset()
		p.change.L = &p.mu
		t.partitions = append(t.partitions, p)
		t.sending.Go(func() {
			if err := t.send(ctx, o.Topic, n, p); err != nil {
				fail(fmt.Errorf("partition %d: %w", n, err))
			}
		})
	}
	t.stop = context.AfterFunc(ctx, t.end)
	return t, nil
}

// end wakes all who wait.
func (t *topic) end() {
	for _, p := range t.partitions {
		p.mu.Lock()
		p.closed = true
		p.change.Broadcast()
		p.mu.Unlock()
	}
}

func (t *topic) close() {
	t.stop()
	t.end()
	t.sending.Wait()
	t.transport.CloseIdleConnections()
}

func (t *topic) agent(number uint32) func(id, frame []byte) error {
	key := []byte(wire.Worker(number))
	p := t.partitions[int(spool.Hash(string(key))&0x7fffffff)%len(t.partitions)]
	return func(id, frame []byte) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		for p.filled.full() && !p.closed {
			p.change.Wait()
		}
		if p.closed {
			return errClosed
		}
		p.filled.add(key, frame, kafka.HeaderID, id)
		if p.filled.records == 1 || p.filled.full() {
			p.change.Broadcast()
		}
		return nil
	}
}

// send sends what was filled, one batch after the other, until the partition is closed. As many events as come while one is out are the next.
func (t *topic) send(ctx context.Context, name string, number int, p *partition) error {
	other, sequence := new(batch), int32(0)
	for {
		p.mu.Lock()
		for p.filled.records == 0 && !p.closed {
			p.change.Wait()
		}
		if p.closed {
			p.mu.Unlock()
			return nil
		}
		b := p.filled
		other.reset()
		p.filled = other
		p.change.Broadcast()
		p.mu.Unlock()
		answer, err := t.client.RawProduce(ctx, &kafkago.RawProduceRequest{
			Topic: name, Partition: number, RequiredAcks: kafkago.RequireAll,
			RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(b.seal(time.Now().UnixMilli(), t.producer, 0, sequence))},
		})
		if err == nil {
			err = answer.Error
		}
		if err != nil {
			return err
		}
		sequence += int32(b.records)
		other = b
	}
}
