// Package deadletter keeps what a sink will never take: the whole record, with why, until an operator has mended the cause and replays it,
// throws it away, or it becomes too old or too much. A [Letter] is durable when [Store.Put] has returned nil; only then is its record done
// in the spool, so that at every moment the spool or this store has it.
//
// The store is a folder of append-only files beside the spool's, which one process writes and any process of the same user may read at the
// same time ([Each]). It holds payloads, as the spool does: folder 0700, files 0600. What is said of a letter in lists, logs and metrics is never
// its data.
//
// It is bounded, and the oldest letters go first: see [Options].
package deadletter

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// Dir is the name of the store's folder inside that of the spool.
const Dir = "deadletters"

// Letter is one record that one sink will never take.
type Letter struct {
	Sink   string // its name in the configuration
	Record spool.Record
	// Reason is a word from the table of the sink, fit for a metric label: too_large, other.
	Reason string
	// Attempts is how often the record was sent, FirstAt when the first of these failed, and At when it was set aside.
	Attempts    int
	FirstAt, At event.Instant
	// First and Last are the texts of the first and of the last error, both as [Redact] makes them.
	First, Last string
}

// ID names a letter: a sink refuses a record of the spool for good only once. An event that is replayed and refused again is a new record,
// and so a new letter.
type ID struct {
	Sink  string
	Epoch int64
	Pos   spool.Pos
}

// ID is the letter's name.
func (l *Letter) ID() ID { return ID{l.Sink, l.Record.Epoch, l.Record.Pos} }

// String is "<sink>.<epoch>-<position>", which [ParseID] reads.
func (i ID) String() string { return fmt.Sprintf("%s.%d-%d", i.Sink, i.Epoch, i.Pos) }

// ParseID reads what [ID.String] writes.
func ParseID(s string) (ID, error) {
	dot := strings.LastIndexByte(s, '.')
	epoch, pos, _ := strings.Cut(s[dot+1:], "-")
	e, err := strconv.ParseInt(epoch, 10, 64)
	p, err2 := strconv.ParseUint(pos, 10, 64)
	if dot < 1 || err != nil || err2 != nil {
		return ID{}, fmt.Errorf("%q is not the id of a dead letter: that is SINK.NUMBER-NUMBER, as bridge dlq list tells it", s)
	}
	return ID{s[:dot], e, spool.Pos(p)}, nil
}

// Filter chooses letters; its zero value all. Of each field that is set, one value must match.
type Filter struct {
	IDs     []string // of letters, or of their events
	Sinks   []string
	Types   []string // reservation.created, or all of a noun: reservation
	Agents  []string
	Reasons []string
	Since   time.Time // set aside then or later
	Until   time.Time // set aside then or earlier
}

// Match reports whether the filter chooses l.
func (f *Filter) Match(l *Letter) bool {
	h, at := &l.Record.Header, l.At.Time()
	return in(f.Sinks, l.Sink) && in(f.Agents, h.Agent) && in(f.Reasons, l.Reason) &&
		(in(f.Types, string(h.Type)) || in(f.Types, h.Type.Noun())) &&
		(in(f.IDs, h.ID) || in(f.IDs, l.ID().String())) &&
		(f.Since.IsZero() || !at.Before(f.Since)) && (f.Until.IsZero() || !at.After(f.Until))
}

// in reports whether the list is empty or has the value.
func in(list []string, value string) bool { return len(list) == 0 || slices.Contains(list, value) }
