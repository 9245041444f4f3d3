package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

// A record in a segment is, little endian:
//
//	 0  u32  length of what follows the checksum
//	 4  u32  CRC32C of the length and of what follows the checksum
//	 8  u8   version of this layout
//	 9  u8   kind
//	10  u16  zero
//	12  u32  length of the head
//	16  u64  position
//	24  u32  back: how many bytes before this record its group began
//	28  u32  Hash of the partition key
//	32  head: the sink it is for, then the header; texts and instants as variable-length integers, in the order of appendHead
//	    data
//
// A group is what was written at once, after everything before it was durable. So a valid record proves of all bytes before its group that
// they were durable once, however bad they look now: that tells damage from a write that a crash tore.
//
// What a later version adds to the head comes after what is there, and is not looked at here. A kind that is not known is passed over; below
// kindAlive it has taken a position.
const (
	recordVersion = 1
	recordFixed   = 32
	recordPrefix  = 8

	kindEvent = 1
	kindAlive = 128 // the position is that of the next event; data is nanoseconds since 1970, i64
)

var (
	byteOrder  = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

var (
	errDamaged = errors.New("record is damaged")
	errNewer   = errors.New("written by a newer version of this program")
)

// frame is a record as it lies in a segment; head and data alias what it was parsed from.
type frame struct {
	kind       byte
	pos        Pos
	back       int64
	key        uint32
	size       int64
	head, data []byte
}

// takesPosition reports whether the frame is an event, or something that this version does not know but whose positions are used.
func (f *frame) takesPosition() bool { return f.kind < kindAlive }

// alive is what an alive record says; zero where f is none.
func (f *frame) alive() time.Time {
	if f.kind != kindAlive || len(f.data) < 8 {
		return time.Time{}
	}
	return time.Unix(0, int64(byteOrder.Uint64(f.data)))
}

// recordBound is at least as long as the record that appendRecord makes.
func recordBound(target string, h *event.Header, data int) int {
	texts := len(target) + len(h.ID) + len(h.Source) + len(h.Type) + len(h.Subject) + len(h.TimeSource) + len(h.Origin) + len(h.PartitionKey) +
		len(h.CorrelationID) + len(h.BridgeID) + len(h.Provider) + len(h.Account) + len(h.Agent)
	return recordFixed + 13*binary.MaxVarintLen32 + 2*binary.MaxVarintLen64 + texts + data
}

// aliveSize is exact.
const aliveSize = recordFixed + 8

func appendRecord(b []byte, pos Pos, back int, key uint32, target string, h *event.Header, data []byte) []byte {
	start := len(b)
	b = append(b, make([]byte, recordFixed)...)
	b = appendHead(b, target, h)
	head := len(b) - start - recordFixed
	b = append(b, data...)
	seal(b[start:], kindEvent, head, pos, back, key)
	return b
}

func appendAlive(b []byte, pos Pos, back int, t time.Time) []byte {
	start := len(b)
	b = append(b, make([]byte, recordFixed)...)
	b = byteOrder.AppendUint64(b, uint64(t.UnixNano()))
	seal(b[start:], kindAlive, 0, pos, back, 0)
	return b
}

// seal fills the fixed part of the record b.
func seal(b []byte, kind byte, head int, pos Pos, back int, key uint32) {
	byteOrder.PutUint32(b, uint32(len(b)-recordPrefix))
	b[8], b[9] = recordVersion, kind
	byteOrder.PutUint32(b[12:], uint32(head))
	byteOrder.PutUint64(b[16:], uint64(pos))
	byteOrder.PutUint32(b[24:], uint32(back))
	byteOrder.PutUint32(b[28:], key)
	byteOrder.PutUint32(b[4:], checksum(b))
}

func checksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, b[recordPrefix:])
}

// recordLength is how long the record is that begins with the bytes b, which are at least recordPrefix; 0: there can be none.
func recordLength(b []byte) int64 {
	n := int64(byteOrder.Uint32(b))
	if n < recordFixed-recordPrefix {
		return 0
	}
	return n + recordPrefix
}

// parseRecord reads the record that b is, neither more nor less.
func parseRecord(b []byte) (frame, error) {
	if len(b) < recordFixed || recordLength(b) != int64(len(b)) || byteOrder.Uint32(b[4:]) != checksum(b) {
		return frame{}, errDamaged
	}
	if b[8] > recordVersion {
		return frame{}, errNewer
	}
	head := int64(byteOrder.Uint32(b[12:]))
	if recordFixed+head > int64(len(b)) {
		return frame{}, errDamaged
	}
	return frame{
		kind: b[9], pos: Pos(byteOrder.Uint64(b[16:])), back: int64(byteOrder.Uint32(b[24:])), key: byteOrder.Uint32(b[28:]), size: int64(len(b)),
		head: b[recordFixed : recordFixed+head], data: b[recordFixed+head:],
	}, nil
}

func appendHead(b []byte, target string, h *event.Header) []byte {
	b = appendText(b, target)
	b = appendText(b, h.ID)
	b = appendText(b, h.Source)
	b = appendText(b, string(h.Type))
	b = appendText(b, h.Subject)
	b = binary.AppendVarint(b, int64(h.Time))
	b = appendText(b, string(h.TimeSource))
	b = binary.AppendVarint(b, int64(h.Recorded))
	b = appendText(b, string(h.Origin))
	b = appendText(b, h.PartitionKey)
	b = appendText(b, h.CorrelationID)
	b = appendText(b, h.BridgeID)
	b = appendText(b, string(h.Provider))
	b = appendText(b, h.Account)
	return appendText(b, h.Agent)
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// record is the event in f, with the sink it is for; empty: for all. It is a copy, whose texts share one allocation: who keeps it does not keep all that was
// read with it.
func (f *frame) record(epoch int64) (r Record, target string) {
	d := decoder{b: f.head, s: string(f.head)}
	target = d.text()
	r = Record{Pos: f.pos, Epoch: epoch, Key: f.key, Data: bytes.Clone(f.data)}
	h := &r.Header
	h.ID = d.text()
	h.Source = d.text()
	h.Type = event.Type(d.text())
	h.Subject = d.text()
	h.Time = event.Instant(d.varint())
	h.TimeSource = event.TimeSource(d.text())
	h.Recorded = event.Instant(d.varint())
	h.Origin = event.Origin(d.text())
	h.PartitionKey = d.text()
	h.CorrelationID = d.text()
	h.BridgeID = d.text()
	h.Provider = event.Provider(d.text())
	h.Account = d.text()
	h.Agent = d.text()
	return r, target
}

// decoder reads what AppendVarint, AppendUvarint and appendText wrote. What it reads has passed its checksum; so beyond the end there is
// only what an older version did not write: zero.
type decoder struct {
	b []byte
	s string // b, where its texts are cut from
	i int
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b[d.i:])
	if n <= 0 {
		d.i = len(d.b)
		return 0
	}
	d.i += n
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b[d.i:])
	if n <= 0 {
		d.i = len(d.b)
		return 0
	}
	d.i += n
	return v
}

func (d *decoder) text() string {
	n := d.uvarint()
	if n > uint64(len(d.b)-d.i) {
		d.i = len(d.b)
		return ""
	}
	d.i += int(n)
	return d.s[d.i-int(n) : d.i]
}
