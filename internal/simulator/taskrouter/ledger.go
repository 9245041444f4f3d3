package taskrouter

import (
	"slices"
	"sync"
	"time"
)

// Entry is one event that the simulated service told one worker. Facts that several workers are told are one entry each, equal in
// everything but Seq, At, Worker and Delivered.
type Entry struct {
	Seq       int64     `json:"seq"` // from 1, without holes; the order on every socket of the worker
	At        time.Time `json:"at"`  // UTC: when it was first written to a socket; until then, when it happened
	Worker    string    `json:"worker"`
	EventType string    `json:"event_type"`
	Resource  string    `json:"resource"` // WR; WT for task.* and reservation.failed; WK, WC for worker.*; TT for task.transfer-*
	Task      string    `json:"task"`     // empty for worker.*
	Version   *int64    `json:"version"`  // of the resource; null for transfers, which have none
	// Stamp is "<date_status_changed>:<activity SID>" for worker.activity.update, else the payload's date_updated (seconds).
	Stamp     string `json:"stamp"`
	Delivered int    `json:"delivered"` // sockets that it was written to
}

// ledger has a lock of its own so that sockets can report deliveries while the simulator's is held.
type ledger struct {
	mu      sync.Mutex
	entries []Entry
}

func (l *ledger) append(e Entry) (seq int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Seq = int64(len(l.entries)) + 1
	l.entries = append(l.entries, e)
	return e.Seq
}

func (l *ledger) delivered(seq int64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &l.entries[seq-1]
	if e.Delivered == 0 {
		e.At = at
	}
	e.Delivered++
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

func (l *ledger) all() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries)
}
