// Package spool is the log between intake and publishers: what was appended is delivered to every cursor, in order, until the
// cursor says it is done. It knows neither vendors nor brokers.
//
// The log in this package, [Memory], lives in memory: what it holds is lost with the process.
package spool

import (
	"errors"
	"fmt"

	"github.com/taskbridge/taskbridge/internal/event"
)

// Pos is a record's position in its log. Positions rise in the order of Append and are never used twice.
type Pos uint64

// Record is one event in the log. It is immutable; whoever reads it must not change Data.
type Record struct {
	Pos    Pos
	Epoch  int64  // when the log was created, in seconds since 1970: makes Sequence rise across logs of one bridge
	Key    uint32 // Hash of the event's partition key: what shares a key keeps its order
	Header event.Header
	Data   []byte
}

// Sequence is the CloudEvents sequence attribute, "<log creation s>-<position, 19 digits>": text that sorts in append order per bridge.
func (r *Record) Sequence() string { return fmt.Sprintf("%010d-%019d", r.Epoch, r.Pos) }

// Size is what the record counts against the log's bound, in bytes.
func (r *Record) Size() int { return len(r.Data) + headerSize }

// headerSize is a flat estimate of a header's memory: its strings are mostly shared between events of an agent.
const headerSize = 512

// Class says which part of the log's bound an Append may use.
type Class uint8

// Normal is for everything that a vendor sent. Reserve is for the bridge's own session and gap records: they may use the part that is
// held back, because a full log must still be able to say what it discards.
const (
	Normal Class = iota
	Reserve
)

// ErrFull refuses an Append: the bound is reached. The caller opens a gap of cause spool_full.
var ErrFull = errors.New("spool is full: the broker has not confirmed enough; raise the bound or look at the sink")

// ErrClosed refuses an Append after Close.
var ErrClosed = errors.New("spool is closed")

// Log takes events and keeps them until every cursor is done with them. Safe for concurrent use.
type Log interface {
	// Cursor makes the delivery state of the named sink. Every cursor is made before the first Append.
	Cursor(sink string) (Cursor, error)
	// Append copies e and returns; it never waits for a sink. Errors: ErrFull, ErrClosed.
	Append(c Class, e *event.Encoded) (Pos, error)
	// Room reports whether an intake that was refused should begin again: after ErrFull, once an eighth of the bound is free.
	Room() bool
	Close() error
}

// Cursor is one sink's way through the log. It is used by one publisher goroutine.
type Cursor interface {
	// Ready is signalled when Next may have more; a signal may be spurious, none is lost.
	Ready() <-chan struct{}
	// Next returns up to limit further records in log order, each once. It never blocks.
	Next(limit int) ([]Record, error)
	// Read returns records again by position, for lanes, which queue positions and not bytes. A position that is done is an error.
	Read(p []Pos) ([]Record, error)
	// Done says that the record is delivered or set aside; in any order, each position once.
	Done(Pos)
	// Pending is how many records the sink has not confirmed, their bytes, and when the oldest of them was appended (ms; 0: none).
	Pending() (records int, bytes int64, oldest event.Instant)
}

// Hash is murmur2 of a partition key with the seed that Kafka's Java client uses, so that the hash also chooses the Kafka partition.
func Hash(key string) uint32 {
	const (
		m    = 0x5bd1e995
		r    = 24
		seed = 0x9747b28c
	)
	h := uint32(seed) ^ uint32(len(key))
	for len(key) >= 4 {
		k := uint32(key[0]) | uint32(key[1])<<8 | uint32(key[2])<<16 | uint32(key[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h = h*m ^ k
		key = key[4:]
	}
	switch len(key) {
	case 3:
		h ^= uint32(key[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(key[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}
