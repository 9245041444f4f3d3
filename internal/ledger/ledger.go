// Package ledger is the judge: it holds what a simulated vendor says it told against what a consumer found on the broker.
//
// It shares no code with internal/mapping on purpose: its table from vendor events to canonical ids is written a second time, from the
// documentation, because an error in a shared table would be invisible.
//
// The rules (each has a test in which it turns red):
//
//   - Unit. Entries of the ledger with the same id are one fact, told to several workers. It has landed if it is stored.
//   - Coverage of a worker runs from the first session.ready to the removal: session.lost with reason "removed". A later
//     session.ready begins it anew. Only covered entries are demanded and count as emitted, the others may land.
//   - Missing: a fact that is not stored, unless for each worker its entry was not covered, or lies in a published gap of that worker's
//     live feed, widened by [Slack] on both sides. A gap that was opened and not closed reaches to that worker's next session.ready, her
//     removal, or the end. A session.ready of unknown continuity in the midst of coverage is a gap too, from the worker's last event
//     before it.
//   - Duplicates: everything stored more than once per id.
//   - Out of order: per worker and partition key, by the ledger's sequence; events of origin socket only.
//   - Invented: stored ids that the ledger does not have, origin bridge aside; also an id stored with another type, partition key or
//     worker than the ledger says.
//   - Gaps together may not be longer than the faults explain: see [Judge.Fault]. Otherwise "all is gap" would pass.
//   - Enough must have been emitted, and every session must have become ready. Otherwise a bridge that does nothing would pass.
package ledger

import "time"

// Entry is one event that the vendor's side told one worker: a line of the simulator's ledger.
type Entry struct {
	Seq       int64     `json:"seq"` // the order on every socket of the worker
	At        time.Time `json:"at"`  // when it was first written to a socket; until then, when it happened
	Worker    string    `json:"worker"`
	EventType string    `json:"event_type"` // the vendor's word
	Resource  string    `json:"resource"`   // WR; WT for task.* and reservation.failed; WK, WC for worker.*; TT for task.transfer-*
	Task      string    `json:"task"`       // empty for worker.*
	Version   *int64    `json:"version"`    // of the resource; null where it has none
	// Stamp is "<date_status_changed>:<activity id>" for worker.activity.update, else date_updated (both in seconds).
	Stamp     string `json:"stamp"`
	Delivered int    `json:"delivered"` // sockets that it was written to; the initial state has 0
}
