package sinktest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// toy is a broker and its sink in one: it answers on goroutines of its own, recognises repeats for as long as it lives, and has a switch
// for every way to be wrong.
type toy struct {
	wrong string

	mu     sync.Mutex
	log    []string
	known  map[string]bool
	era    uint64 // of the log
	out    map[*sink.Batch]error
	held   bool
	sends  int
	late   string
	resume []byte // the mark after a loss
	closed bool
	lanes  int           // as last opened
	next   int           // as they are
	told   bool          // that they changed
	change chan struct{} // closed at every change of out
}

const toyLimit = 100_000

func newToy(wrong string) *toy {
	return &toy{wrong: wrong, known: map[string]bool{}, out: map[*sink.Batch]error{}, era: 1, next: 64, change: make(chan struct{})}
}

func (b *toy) fixture() *Fixture {
	return &Fixture{
		Sink:     b,
		TooLarge: toyLimit + 1,
		Stored: func(context.Context) ([]string, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return slices.Clone(b.log), nil
		},
		Hold: func(on bool) {
			b.mu.Lock()
			b.held = on
			b.mu.Unlock()
			if !on {
				b.answer(nil)
			}
		},
		Cut:     func() { b.answer(errors.New("connection lost")) },
		Restart: func() error { b.answer(errors.New("restarted")); return nil },
		Change: func() error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.next = 48
			return nil
		},
		Recreate: func() error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.log, b.known = nil, map[string]bool{}
			b.era++
			return nil
		},
	}
}

// answer answers everything that is out: with err, or with what became of it.
func (b *toy) answer(err error) {
	b.mu.Lock()
	if err == nil && b.held {
		b.mu.Unlock()
		return
	}
	out := b.out
	b.out = map[*sink.Batch]error{}
	close(b.change)
	b.change = make(chan struct{})
	if err != nil && b.wrong == "forgets lost answers" {
		out = nil
	}
	b.mu.Unlock()
	for batch, result := range out {
		if err != nil {
			result = err
		}
		if result != nil && b.wrong == "changes a failed batch" {
			batch.Records[0].Data = nil
		}
		batch.Done(result)
	}
}

func (b *toy) Limits() sink.Limits {
	return sink.Limits{Lanes: b.lanes, InFlight: 32, Records: 1, Bytes: toyLimit}
}

func (b *toy) Open(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lanes, b.told = b.next, false
	return nil
}

func (b *toy) Lane(r *spool.Record) int {
	if b.wrong == "lane by record" {
		return int(r.Pos) % b.lanes
	}
	return int(r.Key % uint32(b.lanes))
}

func (b *toy) Send(batch *sink.Batch) {
	b.mu.Lock()
	b.sends++
	b.resume = nil
	r := &batch.Records[0]
	var err error
	switch {
	case b.closed && b.wrong != "sends after close":
		err = errors.New("closed")
	case b.lanes != b.next && !b.told && b.wrong != "keeps its lanes":
		b.told = true
		err = sink.ErrLanes
	case !batch.FirstSent.IsZero() && time.Since(batch.FirstSent) > time.Minute && b.wrong != "never unsure":
		err = sink.ErrUnsure
	case len(r.Data) > toyLimit && b.wrong == "unsure of what it rejected" && b.known[r.Header.ID]:
		err = sink.ErrUnsure
	case len(r.Data) > toyLimit:
		b.known[r.Header.ID] = true
		err = &sink.Rejected{Pos: []spool.Pos{r.Pos}, Err: errors.New("too large")}
		if b.wrong == "rejects another" {
			err = &sink.Rejected{Pos: []spool.Pos{r.Pos + 1}, Err: errors.New("too large")}
		}
	default:
		if batch.FirstSent.IsZero() || b.wrong == "stamps again" {
			batch.FirstSent, batch.Place = time.Now(), b.place()
		}
		b.store(r.Header.ID)
	}
	b.out[batch] = err
	held := b.held
	b.mu.Unlock()
	if !held {
		go b.answer(nil)
	}
}

func (b *toy) store(id string) {
	switch {
	case b.known[id] && b.wrong != "stores repeats":
	case b.wrong == "loses" && b.sends%97 == 0:
	case b.wrong == "swaps" && b.late == "":
		b.late = id
	default:
		b.log = append(b.log, id)
		if key, _, _ := strings.Cut(id, "-"); strings.HasPrefix(b.late, key+"-") && b.late != id {
			b.log = append(b.log, b.late)
			b.known[b.late] = true
			b.late = ""
		}
	}
	b.known[id] = true
}

func (b *toy) place() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, b.era), uint64(len(b.log)))
}

func (b *toy) Mark(open []*sink.Batch) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	mark := b.place()
	if b.resume != nil && b.wrong != "skips after a loss" {
		return b.resume
	}
	if b.wrong == "marks the end" {
		return mark
	}
	for _, o := range open {
		if o.Place != nil && string(o.Place) < string(mark) {
			mark = o.Place
		}
	}
	return mark
}

func (b *toy) Landed(ctx context.Context, mark []byte, found func(string)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held && b.wrong != "ignores the context" {
		b.mu.Unlock()
		<-ctx.Done()
		b.mu.Lock()
		return ctx.Err()
	}
	if mark == nil {
		return nil
	}
	era, n := binary.BigEndian.Uint64(mark), int(binary.BigEndian.Uint64(mark[8:]))
	var lost error
	if (era != b.era || n > len(b.log)) && b.wrong != "misses the re-creation" {
		lost, n = sink.ErrBrokerLost, 0
		b.resume = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, b.era), 0)
	}
	switch b.wrong {
	case "finds nothing":
		return lost
	case "finds too much":
		n = 0
	case "finds nothing with a loss":
		if lost != nil {
			return lost
		}
	}
	if found == nil {
		return lost
	}
	for _, id := range b.log[min(n, len(b.log)):] {
		found(id)
	}
	return lost
}

func (b *toy) Close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	for b.wrong != "closes at once" && len(b.out) > 0 {
		change := b.change
		b.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			b.answer(ctx.Err())
			return ctx.Err()
		}
		b.mu.Lock()
	}
	b.mu.Unlock()
	return nil
}

func TestRun(t *testing.T) {
	Run(t, func(*testing.T) *Fixture { return newToy("").fixture() })
}

// TestChecksFindWrongSinks is the suite's negative control: for each way to be wrong, the check that is to find it does.
func TestChecksFindWrongSinks(t *testing.T) {
	tests := []struct {
		wrong, check, says string
		hangs              bool
	}{
		{"lane by record", "lanes", "another record of its key", false},
		{"loses", "delivers in order", "without", false},
		{"swaps", "delivers in order", "is stored after", false},
		{"stores repeats", "order and no repeats when answers are lost", "stored twice", false},
		{"changes a failed batch", "order and no repeats when answers are lost", "changed the batch's records", false},
		{"stamps again", "order and no repeats when answers are lost", "changed at a repeat", false},
		{"forgets lost answers", "order and no repeats when the broker restarts", "when time was up", true},
		{"rejects another", "rejected records are set aside", "not in the batch", false},
		{"unsure of what it rejected", "rejected records are set aside", "unsure about a batch", false},
		{"finds nothing", "landed finds what was stored after the mark", "without", false},
		{"finds too much", "landed finds what was stored after the mark", "want", false},
		{"marks the end", "landed finds what was stored unanswered", "without", false},
		{"ignores the context", "landed ends with its context", "succeeded", false},
		{"misses the re-creation", "a re-created log is noticed", "ErrBrokerLost", true},
		{"finds nothing with a loss", "a re-created log is noticed", "without", false},
		{"skips after a loss", "a re-created log is noticed", "after its first mark", false},
		{"keeps its lanes", "other lanes are told and taken in order", "before the sink has told", true},
		{"never unsure", "unsure when the broker may have forgotten", "want ErrUnsure", false},
		{"closes at once", "close waits for answers", "batches were out", false},
		{"closes at once", "close gives up with its context", "got no error", false},
		{"sends after close", "close waits for answers", "Send after Close", false},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s/%s", tt.wrong, tt.check), func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(Checks, func(c Check) bool { return c.Name == tt.check })
			if i < 0 {
				t.Fatalf("no check %q", tt.check)
			}
			patience := limit
			if tt.hangs {
				patience = time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := Checks[i].Run(ctx, newToy(tt.wrong).fixture())
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want it to say %q", err, tt.says)
			}
		})
	}
}
