// Package spool is the log between intake and publishers: what was appended is delivered to every cursor, in order, until the
// cursor says it is done, also by a later process. It knows neither vendors nor brokers.
//
// [Disk] keeps the log in files. [Memory] is its double for tests.
package spool

import (
	"errors"
	"io"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

// Pos is a record's position in its log. Positions rise in the order of Append and are never used twice, also not after a crash.
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
func (r *Record) Sequence() string {
	b := r.sequence()
	return string(b[:])
}

// sequence is apart so that Sequence is small enough to be inlined, and its text can stay on the caller's stack.
//
//go:noinline
func (r *Record) sequence() (b [30]byte) {
	b[10] = '-'
	pad(b[:10], uint64(r.Epoch))
	pad(b[11:], uint64(r.Pos))
	return b
}

// pad writes n in decimal over all of b, with zeros before it.
func pad(b []byte, n uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = '0' + byte(n%10)
		n /= 10
	}
}

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

// ErrFull refuses an Append: the bound is reached, or the disk is full. The caller opens a gap of cause spool_full.
var ErrFull = errors.New("spool is full: the broker has not confirmed enough; raise the bound or look at the sink")

// ErrStalled refuses an Append: the disk took nothing of what was appended before for a second, or fails. The caller opens a gap of cause
// disk_stalled.
var ErrStalled = errors.New("spool is stalled: the disk is too slow or fails")

// ErrClosed refuses an Append after Close.
var ErrClosed = errors.New("spool is closed")

// Log takes events and keeps them until every cursor is done with them. Safe for concurrent use but for Cursor and Recover, which come first, from one
// goroutine: every Cursor, then Recover once, then the first Append.
type Log interface {
	// Cursor opens the delivery state of the named sink: where an earlier process left it, or as the options say for a new name.
	Cursor(sink string, o CursorOptions) (Cursor, error)
	// Recover gives back what the views were: load reads the newest checkpoint, and is not called where there is none; then fold gets every record after the
	// place that the checkpoint noted, in order, also those that every sink is done with. When load fails, that is reported, and fold gets every
	// record the log holds: load must leave nothing behind when it fails. alive is what Alive was told last; zero: never.
	Recover(load func(io.Reader) error, fold func(*Record)) (alive time.Time, err error)
	// Append copies e and returns; it never waits for a sink. What was appended is durable after the next group commit, and is given to cursors
	// only then. It waits for its turn as long as the disk takes what came before, and at most two seconds for one that takes nothing. Errors: ErrFull, ErrStalled, ErrClosed.
	Append(c Class, e *event.Encoded) (Pos, error)
	// AppendFor is Append for one sink alone, by the name of its cursor: all others count the record as done; a name without a cursor is an error. A dead
	// letter is replayed with it. The views know the event since it was first appended, so Recover does not give it to fold.
	AppendFor(sink string, e *event.Encoded) (Pos, error)
	// Sync returns nil when everything appended before is durable, and else what stands in the way: ErrFull, ErrStalled, ErrClosed. It waits for the disk;
	// what was appended is not taken back after an error, and may become durable later.
	Sync() error
	// Alive notes, in order with the events appended, that every feed that is up was provably received until t. Like Append it does not wait for the
	// disk; its errors are Append's.
	Alive(t time.Time) error
	// Checkpoint keeps the views: save writes them, each with the position of its last event, while appending goes on. The checkpoint counts from the moment at
	// which everything appended before the end of save is durable; until then, and when save or the disk fails, the one before it stays.
	Checkpoint(save func(io.Writer) error) error
	// Overdue reports whether the next Checkpoint should not wait for its time: what every sink is done with, and the log keeps only because no checkpoint
	// is past it, takes a fifth of what Class Normal may use, or anything where more than seven eighths of that are used.
	Overdue() bool
	// Room reports whether an intake that was refused should begin again: after ErrFull once an eighth of the bound is free, after ErrStalled once the disk
	// has taken what was appended.
	Room() bool
	// Reserve changes, from now on, how many bytes of the bound only Class Reserve may use.
	Reserve(bytes int64)
	// Skip makes room where more than seven eighths of the bound are used, and does nothing otherwise. Where letting go of what is done is not enough, no Checkpoint is
	// overdue that would let go of more, and the log may skip: of the oldest segment that a cursor holds, it calls announce with what the slowest cursor has not done there; when that returns nil and what it appended is
	// durable, the cursor counts these records as done.
	Skip(announce func([]Skipped) error) error
	// Close makes durable what was appended and ends the log; cursors are saved by their owners before.
	Close() error
}

// Skipped is what one sink will not get of one agent, to make room.
type Skipped struct {
	Sink     string
	Header   event.Header  // of the last such record: whose it is
	From, To event.Instant // recorded times of the first and the last; a gap record among them counts with all that it covers
	Records  int
}

// CursorOptions say what a cursor delivers. The zero value delivers everything, from the oldest record that the log holds.
type CursorOptions struct {
	// Keep reports whether the sink wants a record; the others count as done. nil: all. It is asked once per record and process.
	Keep func(*event.Header) bool
	// Now makes a cursor that was never opened before begin with the next record to be appended, not with the oldest one held.
	Now bool
}

// Cursor is one sink's way through the log. It is used by one publisher goroutine, but for Save and Pending, which any goroutine may call.
type Cursor interface {
	// Ready is signalled when Next may have more; a signal may be spurious, none is lost.
	Ready() <-chan struct{}
	// Next returns up to limit further records in log order, each once per process: durable ones only, without those that were done or are not
	// wanted. It never waits for a record to come. Corrupt records are left out, counted and reported; an error is one of the disk, and asking again may help.
	Next(limit int) ([]Record, error)
	// Read returns records again by position, for lanes, which queue positions and not bytes: in the order asked, without those that are
	// done, were skipped to make room, or have become unreadable since; the last count as done.
	Read(p []Pos) ([]Record, error)
	// Replaying reports whether Next has yet to return some of what the log held for this cursor when it was opened.
	Replaying() bool
	// Done says that the record is delivered or set aside; in any order. It panics for a position that Next has not returned; for one that is done already, or
	// was skipped, it does nothing.
	Done(Pos)
	// Mark is what was saved last, also by an earlier process; nil: nothing was.
	Mark() []byte
	// Save makes durable what is done and mark beside it. mark must have been determined before the call: what is done meanwhile may be saved with it, what
	// was sent meanwhile may not be missed by it. One call at a time.
	Save(mark []byte) error
	// Pending is how many records the sink has not confirmed, about how many bytes they are, and when the oldest of them was received (ms; 0: none).
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
