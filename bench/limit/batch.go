package limit

import (
	"encoding/binary"
	"hash/crc32"
)

// batch is a record batch of Kafka's format 2, of an idempotent producer, made record by record: what a client library does with more generality. Its
// beginning is its size, as kafka-go wants it.
//
//	 0  i32  size of what follows                 27  i32  last offset's distance from the base
//	 4  i64  base offset                          31  i64  first record's time, ms since 1970
//	12  i32  size of what follows                 39  i64  last record's
//	16  i32  leader epoch, -1: not known          47  i64  producer id
//	20  i8   magic, 2                             55  i16  producer epoch
//	21  u32  CRC32C of what follows               57  i32  first sequence
//	25  i16  attributes, 0: no compression        61  i32  records
type batch struct {
	bytes   []byte
	records int
	fields  []byte // of a record; used again
}

const (
	headBytes = 65
	// batchBytes is when a batch is full. By default brokers take 1,048,588 bytes.
	batchBytes = 900 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (b *batch) reset() {
	if cap(b.bytes) == 0 {
		b.bytes = make([]byte, headBytes, batchBytes+64<<10)
	}
	b.bytes, b.records = b.bytes[:headBytes], 0
}

func (b *batch) full() bool { return len(b.bytes) >= batchBytes }

// add appends a record with one header. All have the time of the batch.
func (b *batch) add(key, value []byte, header string, content []byte) {
	f := append(b.fields[:0], 0)                 // attributes
	f = binary.AppendVarint(f, 0)                // time's distance from the first
	f = binary.AppendVarint(f, int64(b.records)) // offset's
	f = appendBytes(f, key)
	f = binary.AppendVarint(f, int64(len(value)))
	after := binary.AppendVarint(make([]byte, 0, 64), 1) // headers
	after = binary.AppendVarint(after, int64(len(header)))
	after = append(after, header...)
	after = appendBytes(after, content)
	b.fields = f
	b.bytes = binary.AppendVarint(b.bytes, int64(len(f)+len(value)+len(after)))
	b.bytes = append(append(append(b.bytes, f...), value...), after...)
	b.records++
}

func appendBytes(to, b []byte) []byte { return append(binary.AppendVarint(to, int64(len(b))), b...) }

// seal fills in the head and returns the whole.
func (b *batch) seal(ms, producer int64, epoch int16, sequence int32) []byte {
	h, put := b.bytes, binary.BigEndian
	put.PutUint32(h, uint32(len(h)-4))
	put.PutUint64(h[4:], 0)
	put.PutUint32(h[12:], uint32(len(h)-16))
	put.PutUint32(h[16:], 1<<32-1)
	h[20] = 2
	put.PutUint16(h[25:], 0)
	put.PutUint32(h[27:], uint32(b.records-1))
	put.PutUint64(h[31:], uint64(ms))
	put.PutUint64(h[39:], uint64(ms))
	put.PutUint64(h[47:], uint64(producer))
	put.PutUint16(h[55:], uint16(epoch))
	put.PutUint32(h[57:], uint32(sequence))
	put.PutUint32(h[61:], uint32(b.records))
	put.PutUint32(h[21:], crc32.Checksum(h[25:], castagnoli))
	return h
}
