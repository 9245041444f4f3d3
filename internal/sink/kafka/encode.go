package kafka

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// CloudEvents' Kafka binding 1.0.2: a content type of CloudEvents means structured mode (section 3.3); in binary mode every attribute is a header
// ce_<name> but datacontenttype, which is content-type (section 3.2). Structured mode may have such headers too (section 3.3.3): ours has the id, so that
// what landed can be read back without parsing values.
const (
	headerContentType     = "content-type"
	structuredContentType = "application/cloudevents+json"
	attributePrefix       = "ce_"
	headerID              = attributePrefix + "id"
)

// encoder makes record batches. It is immutable and safe for concurrent use.
type encoder struct {
	binary      bool
	compression compress.Compression
}

// producer is who wrote a batch, as the broker knows it: the same producer, epoch and first sequence are the same batch.
type producer struct {
	id    int64
	epoch int16
}

// The fields of a record batch that are stamped, from its beginning, which the size precedes (Kafka protocol, "Record Batch"). All of them lie outside
// the part that is compressed; the checksum is over all that follows it.
const (
	sizeBytes      = 4
	offsetCRC      = 17
	offsetChecked  = 21
	offsetProducer = 43
	offsetEpoch    = 51
	offsetSequence = 53
	batchBytes     = 61 // what a batch has before its records
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode writes the records as one batch into buf: its size, then version 2 of the format. at is the time of every record, because brokers refuse times far
// from their own; the event's is an attribute.
func (e *encoder) encode(buf *bytes.Buffer, records []spool.Record, at time.Time, by producer, sequence int32) error {
	set := protocol.RecordSet{Version: 2, Attributes: protocol.Attributes(e.compression), Records: &rendering{encoder: e, records: records, at: at}}
	if _, err := set.WriteTo(buf); err != nil {
		return fmt.Errorf("encode a batch: %w", err)
	}
	batch := buf.Bytes()[sizeBytes:]
	if len(batch) < batchBytes {
		return fmt.Errorf("encode a batch: %d bytes are too few", len(batch))
	}
	binary.BigEndian.PutUint64(batch[offsetProducer:], uint64(by.id))
	binary.BigEndian.PutUint16(batch[offsetEpoch:], uint16(by.epoch))
	binary.BigEndian.PutUint32(batch[offsetSequence:], uint32(sequence))
	binary.BigEndian.PutUint32(batch[offsetCRC:], crc32.Checksum(batch[offsetChecked:], castagnoli))
	return nil
}

// rendering hands out the records one by one. Each is valid until the next is asked for.
type rendering struct {
	*encoder
	records    []spool.Record
	at         time.Time
	out        protocol.Record
	key, value reader
	data       []byte
}

// ReadRecord implements protocol.RecordReader.
func (r *rendering) ReadRecord() (*protocol.Record, error) {
	if len(r.records) == 0 {
		return nil, io.EOF
	}
	rec := &r.records[0]
	r.records = r.records[1:]
	headers := r.out.Headers[:0]
	if r.binary {
		rec.Header.Attributes(rec.Sequence(), func(name, value string) {
			header := attributePrefix + name
			if name == "datacontenttype" {
				header = headerContentType
			}
			headers = append(headers, protocol.Header{Key: header, Value: []byte(value)})
		})
		r.value.Reset(rec.Data)
	} else {
		headers = append(headers, protocol.Header{Key: headerContentType, Value: []byte(structuredContentType)},
			protocol.Header{Key: headerID, Value: []byte(rec.Header.ID)})
		r.data = event.AppendStructured(r.data[:0], &rec.Header, rec.Sequence(), rec.Data)
		r.value.Reset(r.data)
	}
	r.key.Reset([]byte(rec.Header.PartitionKey))
	r.out = protocol.Record{Time: r.at, Key: &r.key, Value: &r.value, Headers: headers}
	return &r.out, nil
}

// reader is a protocol.Bytes that is used again.
type reader struct{ bytes.Reader }

// Close implements protocol.Bytes.
func (*reader) Close() error { return nil }

// partitionOf is the partition of n for a hash of the key, as the Java client chooses it: the sign bit of murmur2 is dropped.
func partitionOf(hash uint32, n int) int { return int(hash&0x7fffffff) % n }

// envelope is about how many bytes an event's attributes and the format add to its data; a batch has so many fewer of them.
const envelope = 1 << 10

// limits keep an encoded batch below the 1,048,588 bytes that brokers take by default: half is for data, half for envelopes. A batch that is too large all the
// same is answered with an error and halved.
func limits(lanes, inFlight int) sink.Limits {
	const batch = 900 << 10
	return sink.Limits{Lanes: lanes, InFlight: inFlight, Records: batch / 2 / envelope, Bytes: batch / 2}
}
