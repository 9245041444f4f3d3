package mapping

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

// Memory is how long the id of a told event is remembered. The vendors' own repeats (two sockets at a renewal, a snapshot after a
// reconnect) come within seconds; back-fill overlaps by minutes.
const Memory = event.Instant(15 * time.Minute / time.Millisecond)

// Told remembers ids of events: at 1,000 events a second some 900,000, of which a reservation's share one entry. So there is no text and no pointer in it.
// The zero value remembers nothing. Not safe for concurrent use.
type Told struct {
	entries map[event.Digest]entry
	Swept   event.Instant // when old ones were last forgotten
}

// entry is what is remembered of one subject.
type entry struct {
	at    event.Instant // recorded time of the newest
	verbs verbs
}

// verbs are the verbs that were told of a subject, by their bits.
type verbs uint32

// verbOrder gives each verb its bit. Checkpoints keep these bits: what is added comes last, and nothing leaves.
var verbOrder = []event.Type{
	"", // an id that is not <subject>:<verb>: the digest is of all of it
	event.ReservationCreated, event.ReservationAccepted, event.ReservationWrapping, event.ReservationCompleted, event.ReservationRejected,
	event.ReservationTimedOut, event.ReservationCanceled, event.ReservationRescinded, event.ReservationFailed, event.ReservationEndedUnseen,
}

var verbBits = func() map[string]verbs {
	bits := map[string]verbs{}
	for i, t := range verbOrder {
		bits[t.Verb()] = 1 << i
	}
	return bits
}()

// ended are the verbs after which a reservation is over.
var ended = verbsOf(
	event.ReservationRejected, event.ReservationTimedOut, event.ReservationCanceled, event.ReservationRescinded,
	event.ReservationCompleted, event.ReservationEndedUnseen,
)

func verbsOf(types ...event.Type) (v verbs) {
	for _, t := range types {
		v |= verbBits[t.Verb()]
	}
	return v
}

// placeOf is where an id is remembered.
func placeOf(id string) (event.Digest, verbs) {
	subject, verb, _ := strings.Cut(id, ":")
	if bit, ok := verbBits[verb]; ok && verb != "" {
		return event.DigestOf(subject), bit
	}
	return event.DigestOf(id), verbBits[""]
}

// Has reports whether id is remembered.
func (t *Told) Has(id string) bool {
	if len(t.entries) == 0 {
		return false
	}
	digest, verb := placeOf(id)
	return t.entries[digest].verbs&verb != 0
}

// any reports whether any of these was told of the subject.
func (t *Told) any(subject string, of verbs) bool {
	return len(t.entries) > 0 && t.entries[event.DigestOf(subject)].verbs&of != 0
}

// Add remembers id, of an event that was recorded at at.
func (t *Told) Add(id string, at event.Instant) {
	if t.entries == nil {
		t.entries = map[event.Digest]entry{}
	}
	digest, verb := placeOf(id)
	was := t.entries[digest]
	t.entries[digest] = entry{max(was.at, at), was.verbs | verb}
}

// Forget drops what was told more than [Memory] before now, but for the subjects to keep (nil: none), which it asks for only then. It does so when the
// last pass is a minute ago. A whole pass over the map, rather than a queue, because some stay: what is old leaves in one go and what stays costs
// nothing between passes.
func (t *Told) Forget(now event.Instant, keep func() map[event.Digest]bool) {
	if now-t.Swept < event.Instant(time.Minute/time.Millisecond) {
		return
	}
	t.Swept = now
	var kept map[event.Digest]bool
	for digest, e := range t.entries {
		if now-e.at <= Memory {
			continue
		}
		if kept == nil && keep != nil {
			kept, keep = keep(), nil
		}
		if !kept[digest] {
			delete(t.entries, digest)
		}
	}
}

// Clone is a copy.
func (t *Told) Clone() Told { return Told{maps.Clone(t.entries), t.Swept} }

// toldBytes is one entry in a checkpoint: the digest, i64 recorded time (ms since 1970), u32 verbs, little endian.
const toldBytes = 16 + 8 + 4

var errTold = errors.New("what was told is not whole")

// GobEncode makes of many small entries one value: one by one they would take a reflection each.
func (t Told) GobEncode() ([]byte, error) {
	b := make([]byte, 0, 8+len(t.entries)*toldBytes)
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Swept))
	for digest, e := range t.entries {
		b = binary.LittleEndian.AppendUint64(b, digest[0])
		b = binary.LittleEndian.AppendUint64(b, digest[1])
		b = binary.LittleEndian.AppendUint64(b, uint64(e.at))
		b = binary.LittleEndian.AppendUint32(b, uint32(e.verbs))
	}
	return b, nil
}

// GobDecode is the way back.
func (t *Told) GobDecode(b []byte) error {
	if len(b) < 8 || (len(b)-8)%toldBytes != 0 {
		return errTold
	}
	*t = Told{Swept: event.Instant(binary.LittleEndian.Uint64(b))}
	if len(b) > 8 {
		t.entries = make(map[event.Digest]entry, (len(b)-8)/toldBytes)
	}
	for e := range slices.Chunk(b[8:], toldBytes) {
		digest := event.Digest{binary.LittleEndian.Uint64(e), binary.LittleEndian.Uint64(e[8:])}
		t.entries[digest] = entry{event.Instant(binary.LittleEndian.Uint64(e[16:])), verbs(binary.LittleEndian.Uint32(e[24:]))}
	}
	return nil
}
