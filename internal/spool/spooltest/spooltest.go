// Package spooltest is the suite that every log passes. It uses a log as the bridge and its publishers do, ends it in order and as a crash
// does, and looks at what the next process is given.
package spooltest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// Fixture is a place for one log. All of it is required.
type Fixture struct {
	// Open opens the log with what the processes before have left. A check has one open at a time.
	Open func() (spool.Log, error)
	// Sync returns when everything that was appended is durable, and can be had from the cursors.
	Sync func(spool.Log) error
	// Crash ends the process that has the log open: what was synced stays, and of the rest a beginning or nothing.
	Crash func(spool.Log)
	// Bytes and Reserve bound the log. They have room for at least 50 records of a kilobyte outside the reserve, and for no more than 5,000.
	Bytes, Reserve int64
}

// Check is one promise of the contract. Run returns what is broken, so that a test can show that a wrong log is found out.
type Check struct {
	Name string
	Run  func(*Fixture) error
}

// Checks are all promises.
var Checks = []Check{
	{"records come out as they went in", checkRecords},
	{"what is not done comes again", checkAgain},
	{"what is durable survives a crash", checkCrash},
	{"read gives what is open, as asked", checkRead},
	{"done is checked", checkDone},
	{"a sink gets what it wants", checkKeep},
	{"a new sink begins now", checkNow},
	{"pending", checkPending},
	{"views and what came after", checkRecover},
	{"alive is the newest in the order of the log", checkAlive},
	{"bounds", checkBounds},
	{"a checkpoint is overdue", checkOverdue},
	{"skip makes room", checkSkip},
	{"cursors come first, and once", checkOrder},
	{"close", checkClose},
}

// Run runs every check as a subtest, each with a fixture of its own.
func Run(t *testing.T, fixture func(*testing.T) *Fixture) {
	for _, c := range Checks {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.Run(fixture(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// process is a log that is open, with the cursors of one check.
type process struct {
	*Fixture
	log     spool.Log
	cursors map[string]spool.Cursor
}

// open opens the log with cursors of these names.
func (f *Fixture) open(sinks ...string) (*process, error) {
	l, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	p := &process{f, l, map[string]spool.Cursor{}}
	for _, sink := range sinks {
		if p.cursors[sink], err = l.Cursor(sink, spool.CursorOptions{}); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// numbered is an event that can be told by its number. Its agent is one of three, its key one of five.
func numbered(n int) *event.Encoded {
	return &event.Encoded{
		Header: event.Header{
			ID: fmt.Sprint(n), Source: "/source", Type: event.AgentActivityChanged, PartitionKey: fmt.Sprint("key ", n%5),
			Agent: fmt.Sprint("agent ", n%3), Recorded: event.Instant(1_000_000 + n), Origin: event.OriginSocket,
		},
		Data: []byte(strings.Repeat(fmt.Sprint(n, " "), 10)),
	}
}

// add appends the events from first up to before last, and makes them durable.
func (p *process) add(first, last int) ([]spool.Pos, error) {
	var at []spool.Pos
	for n := first; n < last; n++ {
		pos, err := p.log.Append(spool.Normal, numbered(n))
		if err != nil {
			return nil, fmt.Errorf("append %d: %w", n, err)
		}
		at = append(at, pos)
	}
	return at, p.Sync(p.log)
}

// take takes everything from a cursor, and checks that it is what was appended.
func (p *process) take(sink string) ([]spool.Record, error) {
	c := p.cursors[sink]
	var all []spool.Record
	for {
		records, err := c.Next(7)
		if err != nil {
			return nil, fmt.Errorf("next: %w", err)
		}
		all = append(all, records...)
		if len(records) == 0 && !c.Replaying() {
			break
		}
		if len(records) == 0 {
			<-c.Ready()
		}
	}
	for i := range all {
		r := &all[i]
		var n int
		if _, err := fmt.Sscan(r.Header.ID, &n); err != nil {
			return nil, err
		}
		want := numbered(n)
		if r.Header != want.Header || string(r.Data) != string(want.Data) || r.Key != spool.Hash(want.Header.PartitionKey) || r.Epoch == 0 {
			return nil, fmt.Errorf("event %d came out as %+v", n, r)
		}
		if i > 0 && r.Pos <= all[i-1].Pos {
			return nil, fmt.Errorf("position %d after %d", r.Pos, all[i-1].Pos)
		}
	}
	return all, nil
}

// expect takes everything from a cursor and compares the numbers.
func (p *process) expect(sink string, numbers ...int) ([]spool.Record, error) {
	got, err := p.take(sink)
	if err != nil {
		return nil, err
	}
	return got, same(sink, got, numbers)
}

func same(what string, got []spool.Record, numbers []int) error {
	var ids, want []string
	for _, r := range got {
		ids = append(ids, r.Header.ID)
	}
	for _, n := range numbers {
		want = append(want, fmt.Sprint(n))
	}
	if !slices.Equal(ids, want) {
		return fmt.Errorf("%s: got %v, want %v", what, ids, want)
	}
	return nil
}

// span is the numbers from first up to before last.
func span(first, last int) []int {
	var n []int
	for ; first < last; first++ {
		n = append(n, first)
	}
	return n
}

func done(c spool.Cursor, records []spool.Record) {
	for _, r := range records {
		c.Done(r.Pos)
	}
}

func positions(records []spool.Record) []spool.Pos {
	var p []spool.Pos
	for _, r := range records {
		p = append(p, r.Pos)
	}
	return p
}

// want is an error where the condition does not hold.
func want(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func refused(what string, got, expected error) error {
	return want(errors.Is(got, expected), "%s: got %v, want %v", what, got, expected)
}
