package kafka

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// topicID tells a topic from one of the same name that was there before it. Zero: the broker does not tell.
type topicID [16]byte

// another reports whether the ids are those of two topics. Brokers before Kafka 3.1, which may be among newer ones during an upgrade, know none: zero.
func (t topicID) another(u topicID) bool { return t != u && t != topicID{} && u != topicID{} }

// topicInfo is what a broker says of a topic.
type topicInfo struct {
	err        error // kafkago.UnknownTopicOrPartition: there is none
	id         topicID
	partitions []partitionInfo
}

type partitionInfo struct {
	leader   int32 // broker, -1: none
	epoch    int32 // of its election; anyEpoch: the broker does not tell
	replicas int
}

// describe asks a broker about the sink's topics. The library would answer from its memory, which may be 6 s old, and knows no topic ids.
func (s *Sink) describe(ctx context.Context) (*topicsResponse, error) {
	return s.askTopics(ctx, time.Duration(s.cfg.RequestTimeout), s.transport, s.client.Addr, s.names)
}

func (s *Sink) askTopics(ctx context.Context, within time.Duration, t *kafkago.Transport, addr net.Addr, names []string) (*topicsResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	answer, err := t.RoundTrip(ctx, addr, &topicsRequest{clientID: s.cfg.ClientID, names: names})
	if err != nil {
		return nil, err
	}
	return answer.(*topicsResponse), nil
}

// topicsRequest is a metadata request in the newest version that both sides know: 12 has topic ids, and the library's own has not.
type topicsRequest struct {
	clientID string
	names    []string
	version  int16 // that the library would use
}

type topicsResponse struct {
	topics  map[string]topicInfo
	brokers []string // the addresses of all that there are, as far as this one knows
}

// ApiKey implements protocol.Message.
func (*topicsRequest) ApiKey() protocol.ApiKey { return protocol.Metadata } //nolint:staticcheck // the library's name

// ApiKey implements protocol.Message.
func (*topicsResponse) ApiKey() protocol.ApiKey { return protocol.Metadata } //nolint:staticcheck // the library's name

// Required implements protocol.RawExchanger.
func (r *topicsRequest) Required(versions map[protocol.ApiKey]int16) bool {
	r.version = versions[protocol.Metadata]
	return true
}

// withIDs is the version of the metadata request that is written here (Kafka 3.1).
const withIDs = 12

// withEpochs is the version of the metadata request since which leaders have an epoch (Kafka 2.1).
const withEpochs = 7

// RawExchange implements protocol.RawExchanger: it has the connection for itself.
func (r *topicsRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	answer, err := protocol.RoundTrip(rw, 0, 1, r.clientID, new(apiversions.Request))
	if err != nil {
		return nil, fmt.Errorf("ask for versions: %w", err)
	}
	for _, k := range answer.(*apiversions.Response).ApiKeys {
		if protocol.ApiKey(k.ApiKey) == protocol.Metadata && k.MaxVersion >= withIDs && k.MinVersion <= withIDs {
			return r.exchangeWithIDs(rw)
		}
	}
	if answer, err = protocol.RoundTrip(rw, r.version, 2, r.clientID, &metadata.Request{TopicNames: r.names}); err != nil {
		return nil, fmt.Errorf("ask for topics: %w", err)
	}
	out := &topicsResponse{topics: map[string]topicInfo{}}
	for _, b := range answer.(*metadata.Response).Brokers {
		out.brokers = append(out.brokers, net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))))
	}
	for _, t := range answer.(*metadata.Response).Topics {
		info := topicInfo{err: codeError(t.ErrorCode), partitions: make([]partitionInfo, len(t.Partitions))}
		for _, p := range t.Partitions {
			if int(p.PartitionIndex) < len(info.partitions) {
				epoch := p.LeaderEpoch
				if r.version < withEpochs {
					epoch = anyEpoch
				}
				info.partitions[p.PartitionIndex] = partitionInfo{p.LeaderID, epoch, len(p.ReplicaNodes)}
			}
		}
		out.topics[t.Name] = info
	}
	return out, nil
}

func codeError(code int16) error {
	if code == 0 {
		return nil
	}
	return kafkago.Error(code)
}

func (r *topicsRequest) exchangeWithIDs(rw io.ReadWriter) (*topicsResponse, error) {
	const correlation = 3
	// Kafka protocol, "Metadata API", version 12, with request header 2.
	b := binary.BigEndian.AppendUint16(make([]byte, 4), uint16(protocol.Metadata))
	b = binary.BigEndian.AppendUint16(b, withIDs)
	b = binary.BigEndian.AppendUint32(b, correlation)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.clientID)))
	b = append(b, r.clientID...)
	b = append(b, 0)                                    // tags
	b = binary.AppendUvarint(b, uint64(len(r.names)+1)) // topics
	for _, name := range r.names {
		b = append(b, make([]byte, len(topicID{}))...)
		b = binary.AppendUvarint(b, uint64(len(name)+1))
		b = append(b, name...)
		b = append(b, 0) // tags
	}
	b = append(b, 0, 0, 0) // no creation, no list of what the user may do, tags
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	if _, err := rw.Write(b); err != nil {
		return nil, fmt.Errorf("ask for topics: %w", err)
	}
	var size [4]byte
	if _, err := io.ReadFull(rw, size[:]); err != nil {
		return nil, fmt.Errorf("ask for topics: %w", err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxMetadata {
		return nil, fmt.Errorf("ask for topics: an answer of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(rw, body); err != nil {
		return nil, fmt.Errorf("ask for topics: %w", err)
	}
	d := newDecoder(body)
	if got := d.int32(); d.err == nil && got != correlation {
		return nil, fmt.Errorf("ask for topics: answer %d to request %d", got, correlation)
	}
	out := d.topics()
	if d.err != nil {
		return nil, fmt.Errorf("ask for topics: %w", d.err)
	}
	return out, nil
}

// maxMetadata bounds an answer in bytes: a partition takes some 60.
const maxMetadata = 16 << 20

// decoder reads a flexible message; the first error stays, and what is read after it is zero.
type decoder struct {
	b   []byte
	err error
}

func newDecoder(b []byte) *decoder { return &decoder{b: b} }

// topics reads the answer after its correlation id.
func (d *decoder) topics() *topicsResponse {
	d.tags()
	d.int32() // throttle
	out := &topicsResponse{topics: map[string]topicInfo{}}
	for range d.length() {
		d.int32() // broker
		host, port := d.text(), d.int32()
		out.brokers = append(out.brokers, net.JoinHostPort(host, strconv.Itoa(int(port))))
		d.text() // rack
		d.tags()
	}
	d.text()  // cluster
	d.int32() // controller
	for range d.length() {
		info := topicInfo{err: codeError(d.int16())}
		name := d.text()
		copy(info.id[:], d.take(len(info.id)))
		d.take(1)                                           // internal
		info.partitions = make([]partitionInfo, d.length()) // no more than there are bytes left
		for range info.partitions {
			d.int16() // error: the leader says as much
			index, p := d.int32(), partitionInfo{leader: d.int32()}
			p.epoch = d.int32()
			p.replicas = d.int32s()
			d.int32s() // in sync
			d.int32s() // offline
			d.tags()
			if index >= 0 && int(index) < len(info.partitions) {
				info.partitions[index] = p
			}
		}
		d.int32() // what the user may do
		d.tags()
		out.topics[name] = info
	}
	d.tags()
	return out
}

// take returns the next n bytes.
func (d *decoder) take(n int) []byte {
	if n > len(d.b) && d.err == nil {
		d.err = io.ErrUnexpectedEOF
	}
	if d.err != nil {
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) int16() int16 {
	if b := d.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (d *decoder) int32() int32 {
	if b := d.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

// count is a number that counts bytes, or things of at least one byte.
func (d *decoder) count() int {
	v, n := binary.Uvarint(d.b)
	if (n <= 0 || v > uint64(len(d.b))) && d.err == nil {
		d.err = io.ErrUnexpectedEOF
	}
	if d.err != nil {
		return 0
	}
	d.b = d.b[n:]
	return int(v)
}

// length is of a list or text; one that is null has none.
func (d *decoder) length() int { return max(0, d.count()-1) }

func (d *decoder) text() string { return string(d.take(d.length())) }

func (d *decoder) int32s() int {
	n := d.length()
	d.take(4 * n)
	return n
}

func (d *decoder) tags() {
	for range d.count() {
		d.number()
		d.take(d.count())
	}
}

// number is one that is of no use here.
func (d *decoder) number() {
	_, n := binary.Uvarint(d.b)
	if n <= 0 && d.err == nil {
		d.err = io.ErrUnexpectedEOF
	}
	d.take(max(0, n))
}

// refresher makes the library look for the partitions' leaders at once, which it otherwise does every few seconds.
type refresher struct {
	transport *kafkago.Transport
	timeout   time.Duration

	mu    sync.Mutex
	began time.Time // the last one that succeeded
	wiped time.Time // when all connections were given up last
}

// refresh returns when the library knows the leaders as they were after since, or could not find out. One is under way at a time.
//
// Asked for a topic that it does not know, which may be created, the library asks a broker and then renews what it remembers; connections stay. The name is
// one that no topic can have. When that fails, all connections are given up, and with them what is remembered.
func (r *refresher) refresh(ctx context.Context, addr net.Addr, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.began.After(since) {
		return
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	if _, err := r.transport.RoundTrip(ctx, addr, &metadata.Request{TopicNames: []string{"no topic!"}, AllowAutoTopicCreation: true}); err != nil {
		r.wipe()
		return
	}
	r.began = began
}

// reset gives up all connections, unless that was done after since: when one has ended, those to the same broker that are idle have ended too, and the library
// would find that out one batch at a time.
func (r *refresher) reset(since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wiped.Before(since.Add(-resetEvery)) {
		r.wipe()
	}
}

// resetEvery is the shortest time between two resets: the batches that a broker's end has hit tell of it one after the other.
const resetEvery = 20 * time.Millisecond

func (r *refresher) wipe() {
	r.wiped = time.Now()
	r.transport.CloseIdleConnections()
}
