package spool

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/event"
)

// The vectors of Kafka's own test, UtilsTest.testMurmur2 in kafka-clients.
func TestHash(t *testing.T) {
	vectors := map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	}
	for key, want := range vectors {
		if got := int32(Hash(key)); got != want {
			t.Errorf("Hash(%q): got %d, want %d", key, got, want)
		}
	}
}

func encoded(id, key, data string) *event.Encoded {
	return &event.Encoded{Header: event.Header{ID: id, PartitionKey: key}, Data: []byte(data)}
}

func cursor(t *testing.T, m *Memory, name string) Cursor {
	t.Helper()
	c, err := m.Cursor(name, CursorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func positions(records []Record) []Pos {
	var p []Pos
	for _, r := range records {
		p = append(p, r.Pos)
	}
	return p
}

func TestMemoryRecord(t *testing.T) {
	now := time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC)
	m := NewMemory(MemoryOptions{Now: func() time.Time { return now }})
	c := cursor(t, m, "facts")
	e := encoded("id", "WT1", "{}")
	pos, err := m.Append(Normal, e)
	if err != nil {
		t.Fatal(err)
	}
	copy(e.Data, "XX") // the caller reuses its buffer
	got, err := c.Next(10)
	if err != nil {
		t.Fatal(err)
	}
	want := []Record{{
		Pos: pos, Epoch: now.Unix(), Key: Hash("WT1"), Header: event.Header{ID: "id", PartitionKey: "WT1"}, Data: []byte("{}"),
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Next differs (-want +got):\n%s", diff)
	}
	c.Done(pos)
	if string(got[0].Data) != "{}" {
		t.Errorf("data after Done: got %q, want it unchanged while it is held", got[0].Data)
	}
	if again, err := c.Read([]Pos{pos}); err != nil || len(again) != 0 {
		t.Errorf("Read of a done position: got %d records and %v, want it left out", len(again), err)
	}
}

func TestMemoryCursorRules(t *testing.T) {
	m := NewMemory(MemoryOptions{})
	cursor(t, m, "a")
	if _, err := m.Cursor("a", CursorOptions{}); err == nil {
		t.Error("second cursor of one name: got no error")
	}
	if _, err := m.Append(Normal, encoded("1", "k", "x")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Cursor("b", CursorOptions{}); err == nil {
		t.Error("cursor after the first Append: got no error")
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Append(Reserve, encoded("2", "k", "x")); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close: got %v, want ErrClosed", err)
	}
}

func TestMemoryDone(t *testing.T) {
	m := NewMemory(MemoryOptions{})
	c := cursor(t, m, "a")
	other := cursor(t, m, "b") // keeps the record
	pos, _ := m.Append(Normal, encoded("1", "k", "x"))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("Done before Next: got no panic")
			}
		}()
		c.Done(pos)
	}()
	if _, err := c.Next(1); err != nil {
		t.Fatal(err)
	}
	c.Done(pos)
	c.Done(pos) // does nothing, also not to the other cursor
	if n, _, _ := other.Pending(); n != 1 || m.Used() == 0 {
		t.Errorf("got %d records pending for the other cursor and %d bytes used, want its record kept", n, m.Used())
	}
}

func TestMemoryWithoutCursorHoldsNothing(t *testing.T) {
	m := NewMemory(MemoryOptions{Bytes: 4096, Reserve: 1})
	for range 100 {
		if _, err := m.Append(Normal, encoded("1", "k", "x")); err != nil {
			t.Fatalf("got %v, want nothing to be held", err)
		}
	}
}

func TestMemoryBounds(t *testing.T) {
	size := int64((&Record{Data: []byte("x")}).Size())
	m := NewMemory(MemoryOptions{Bytes: 20 * size, Reserve: 4 * size})
	if got := m.Used(); got != 0 {
		t.Errorf("empty: got %d bytes used, want 0", got)
	}
	c := cursor(t, m, "a")
	add := func(class Class) error {
		_, err := m.Append(class, encoded("1", "k", "x"))
		return err
	}
	for i := range 16 {
		if err := add(Normal); err != nil {
			t.Fatalf("Append %d: %v", i, err)
		}
	}
	if got := m.Used(); got != 16*size {
		t.Errorf("16 held: got %d bytes used, want %d", got, 16*size)
	}
	if !m.Room() {
		t.Error("Room before any refusal: got false")
	}
	if err := add(Normal); !errors.Is(err, ErrFull) {
		t.Errorf("Normal beyond its part: got %v, want ErrFull", err)
	}
	for i := range 4 {
		if err := add(Reserve); err != nil {
			t.Errorf("Reserve %d: %v", i, err)
		}
	}
	if err := add(Reserve); !errors.Is(err, ErrFull) {
		t.Errorf("Reserve beyond the bound: got %v, want ErrFull", err)
	}
	records, err := c.Next(100)
	if err != nil || len(records) != 20 {
		t.Fatalf("Next: got %d records and %v, want 20", len(records), err)
	}
	slices.Reverse(records) // the order of Done does not matter, also not for freeing
	for i, r := range records {
		// 16 sizes are Normal, so room is back when at most 14 are held.
		if got, want := m.Room(), 20-i <= 14; got != want {
			t.Errorf("Room with %d held: got %v, want %v", 20-i, got, want)
		}
		c.Done(r.Pos)
	}
	if n, b, oldest := c.Pending(); n != 0 || b != 0 || oldest != 0 {
		t.Errorf("Pending: got %d, %d, %d, want nothing", n, b, oldest)
	}
	if err := add(Normal); err != nil {
		t.Errorf("Append after all was done: %v", err)
	}
}

// TestMemoryModel drives the log and a reference of plain slices and maps with the same random steps.
func TestMemoryModel(t *testing.T) {
	for seed := range uint64(12) {
		if err := model(seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func model(seed uint64) error {
	type ref struct {
		next int            // index into all
		open map[Pos][]byte // handed out and not done
	}
	rnd := rand.New(rand.NewPCG(seed, 1))
	now := time.UnixMilli(1_000_000)
	m := NewMemory(MemoryOptions{Bytes: 64 << 10, Reserve: 8 << 10, Now: func() time.Time { return now }})
	var (
		cursors []Cursor
		refs    []*ref
		all     []Record
		times   []event.Instant
		done    = map[Pos]int{}
	)
	for i := range 1 + rnd.IntN(3) {
		c, err := m.Cursor(fmt.Sprint(i), CursorOptions{})
		if err != nil {
			return err
		}
		cursors, refs = append(cursors, c), append(refs, &ref{open: map[Pos][]byte{}})
	}
	for step := range 1000 {
		now = now.Add(time.Duration(rnd.IntN(10)) * time.Millisecond)
		i := rnd.IntN(len(cursors))
		c, r := cursors[i], refs[i]
		switch rnd.IntN(5) {
		case 0, 1:
			class, bound := Normal, 56<<10
			if rnd.IntN(8) == 0 {
				class, bound = Reserve, 64<<10
			}
			data := bytes.Repeat([]byte{byte(step)}, rnd.IntN(2000))
			held := 0
			for _, have := range all {
				if done[have.Pos] < len(cursors) {
					held += have.Size()
				}
			}
			want := held+len(data)+headerSize > bound
			pos, err := m.Append(class, &event.Encoded{Header: event.Header{ID: fmt.Sprint(step)}, Data: data})
			if errors.Is(err, ErrFull) != want {
				return fmt.Errorf("step %d: Append with %d held: got %v, want full: %v", step, held, err, want)
			}
			if err == nil {
				if len(all) > 0 && pos <= all[len(all)-1].Pos {
					return fmt.Errorf("step %d: position %d does not rise", step, pos)
				}
				all = append(all, Record{Pos: pos, Data: data})
				times = append(times, event.InstantOf(now))
			}
		case 2:
			got, err := c.Next(rnd.IntN(8))
			if err != nil {
				return err
			}
			for _, g := range got {
				want := all[r.next]
				if g.Pos != want.Pos || !bytes.Equal(g.Data, want.Data) {
					return fmt.Errorf("step %d: Next: got position %d, want %d", step, g.Pos, want.Pos)
				}
				r.next++
				r.open[g.Pos] = want.Data
			}
		case 3:
			if ask := slices.Sorted(maps.Keys(r.open)); len(ask) > 0 {
				pos := ask[rnd.IntN(len(ask))]
				c.Done(pos)
				delete(r.open, pos)
				done[pos]++
			}
		case 4:
			ask := slices.Sorted(maps.Keys(r.open))
			rnd.Shuffle(len(ask), func(i, j int) { ask[i], ask[j] = ask[j], ask[i] })
			got, err := c.Read(ask)
			if err != nil {
				return fmt.Errorf("step %d: Read of open positions: %w", step, err)
			}
			if diff := cmp.Diff(ask, positions(got)); diff != "" {
				return fmt.Errorf("step %d: Read differs (-want +got):\n%s", step, diff)
			}
			for _, g := range got {
				if !bytes.Equal(g.Data, r.open[g.Pos]) {
					return fmt.Errorf("step %d: Read of %d: wrong data", step, g.Pos)
				}
			}
		}
		records, size, oldest := 0, int64(0), event.Instant(0)
		for k, have := range all {
			if _, open := r.open[have.Pos]; open || k >= r.next {
				records++
				size += int64(have.Size())
				if oldest == 0 {
					oldest = times[k]
				}
			}
		}
		if n, b, o := c.Pending(); n != records || b != size || o != oldest {
			return fmt.Errorf("step %d: Pending: got %d, %d, %d, want %d, %d, %d", step, n, b, o, records, size, oldest)
		}
	}
	return nil
}

// TestMemoryReady lets several appenders race with a consumer that waits for Ready alone: a lost wake-up would hang it.
func TestMemoryReady(t *testing.T) {
	const appenders, each = 4, 2000
	m := NewMemory(MemoryOptions{})
	c := cursor(t, m, "a")
	other := cursor(t, m, "b")
	var wg sync.WaitGroup
	for a := range appenders {
		wg.Go(func() {
			for i := range each {
				if _, err := m.Append(Normal, encoded(fmt.Sprint(i), fmt.Sprint(a), "data")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	drain := func(c Cursor) {
		var last Pos
		for n := 0; n < appenders*each; {
			<-c.Ready()
			records, err := c.Next(7)
			if err != nil {
				t.Error(err)
				return
			}
			for _, r := range records {
				if r.Pos <= last {
					t.Errorf("position %d after %d", r.Pos, last)
				}
				last = r.Pos
				c.Done(r.Pos)
			}
			n += len(records)
		}
	}
	wg.Go(func() { drain(other) })
	drain(c)
	wg.Wait()
	if n, _, _ := c.Pending(); n != 0 {
		t.Errorf("Pending: got %d, want 0", n)
	}
}

func BenchmarkMemory(b *testing.B) {
	m := NewMemory(MemoryOptions{})
	c, err := m.Cursor("a", CursorOptions{})
	if err != nil {
		b.Fatal(err)
	}
	e := &event.Encoded{Header: event.Header{ID: "id", PartitionKey: "WT0123456789abcdef"}, Data: make([]byte, 1092)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Append(Normal, e); err != nil {
			b.Fatal(err)
		}
		if m.next%64 != 0 {
			continue
		}
		records, _ := c.Next(64)
		for _, r := range records {
			c.Done(r.Pos)
		}
	}
}

func TestMemoryReserveFollowsWhatItIsFor(t *testing.T) {
	size := int64((&Record{Data: []byte("x")}).Size())
	m := NewMemory(MemoryOptions{Bytes: 10 * size, Reserve: size})
	cursor(t, m, "a")
	fill := func() (n int) {
		for {
			if _, err := m.Append(Normal, encoded("1", "k", "x")); err != nil {
				return n
			}
			n++
		}
	}
	m.Reserve(4 * size)
	if n := fill(); n != 6 {
		t.Errorf("got room for %d records beside a reserve of 4 in 10, want 6", n)
	}
	m.Reserve(2 * size)
	if n := fill(); n != 2 {
		t.Errorf("got room for %d more, want 2", n)
	}
	m.Reserve(100 * size) // half at most, which is full already
	if _, err := m.Append(Reserve, encoded("1", "k", "x")); err != nil || fill() != 0 {
		t.Errorf("got %v, want room in the reserve alone", err)
	}
}

// TestMemoryWithoutRoomForReserve: who could not even be announced is not to be tried again before there is room.
func TestMemoryWithoutRoomForReserve(t *testing.T) {
	size := int64((&Record{Data: []byte("x")}).Size())
	m := NewMemory(MemoryOptions{Bytes: 10 * size, Reserve: 4 * size})
	cursor(t, m, "a")
	for i := range 10 {
		if _, err := m.Append(Reserve, encoded("1", "k", "x")); err != nil {
			t.Fatalf("Append %d: %v", i, err)
		}
	}
	if _, err := m.Append(Reserve, encoded("1", "k", "x")); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	if m.Room() {
		t.Error("got room after the reserve was refused")
	}
}
