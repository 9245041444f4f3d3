package spool

import (
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/event"
)

// add appends records with these ids and returns the position after them.
func appendAll(t *testing.T, m *Memory, ids ...string) Pos {
	t.Helper()
	for _, id := range ids {
		if _, err := m.Append(Normal, encoded(id, id, "x")); err != nil {
			t.Fatal(err)
		}
	}
	_, next := m.Ends()
	return next
}

func next(t *testing.T, c Cursor) (ids []string, records []Record) {
	t.Helper()
	records, err := c.Next(100)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		ids = append(ids, r.Header.ID)
	}
	return ids, records
}

// folded is what Recover gives.
func folded(t *testing.T, m *Memory, loading error) (views string, ids []string, alive time.Time) {
	t.Helper()
	alive, err := m.Recover(func(r io.Reader) error {
		b, err := io.ReadAll(r)
		views = string(b)
		return errors.Join(err, loading)
	}, func(r *Record) { ids = append(ids, r.Header.ID) })
	if err != nil {
		t.Fatal(err)
	}
	return views, ids, alive
}

func checkIDs(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestMemoryGivesOutOnlyWhatIsDurable(t *testing.T) {
	m := NewMemory(MemoryOptions{Manual: true})
	c := cursor(t, m, "a")
	two := appendAll(t, m, "1")
	appendAll(t, m, "2")
	if ids, _ := next(t, c); ids != nil {
		t.Errorf("before Commit: got %v, want nothing", ids)
	}
	m.Commit(two)
	ids, _ := next(t, c)
	checkIDs(t, "after Commit of the first", ids, "1")
	m.Commit(1 << 40)
	ids, _ = next(t, c)
	checkIDs(t, "after Commit of all", ids, "2")
}

// What is durable, done and saved decides what the next process finds; the rest is lost or delivered again.
func TestMemoryCrash(t *testing.T) {
	m := NewMemory(MemoryOptions{Manual: true})
	c := cursor(t, m, "a")
	end := appendAll(t, m, "1", "2", "3", "4")
	m.Commit(end)
	_, records := next(t, c)
	c.Done(records[2].Pos)
	if err := c.Save([]byte("mark")); err != nil {
		t.Fatal(err)
	}
	c.Done(records[0].Pos) // done and not saved
	kept := appendAll(t, m, "5")
	lost := appendAll(t, m, "6")

	m = m.Crash(kept)
	c = cursor(t, m, "a")
	_, ids, _ := folded(t, m, nil)
	checkIDs(t, "folded", ids, "1", "2", "3", "4", "5")
	if string(c.Mark()) != "mark" || !c.Replaying() {
		t.Errorf("got mark %q, replaying %v; want the saved one, and true", c.Mark(), c.Replaying())
	}
	ids, records = next(t, c)
	checkIDs(t, "delivered", ids, "1", "2", "4", "5")
	if c.Replaying() {
		t.Error("still replaying after all was returned")
	}
	if pos, _ := m.Append(Normal, encoded("7", "7", "x")); pos <= records[3].Pos || pos > lost {
		t.Errorf("got position %d for the next record, want it behind %d", pos, records[3].Pos)
	}
	if n, _, _ := c.Pending(); n != 5 {
		t.Errorf("got %d pending, want 5", n)
	}
}

func TestMemoryCheckpointCountsOnceDurable(t *testing.T) {
	m := NewMemory(MemoryOptions{Manual: true})
	m.Commit(appendAll(t, m, "1", "2"))
	save := func(views string) {
		t.Helper()
		if err := m.Checkpoint(func(w io.Writer) error {
			appendAll(t, m, "during "+views)
			_, err := io.WriteString(w, views)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	save("first")
	end := appendAll(t, m, "3")
	m.Commit(end)
	save("second")
	appendAll(t, m, "4")

	early := m.Crash(end) // what the second tells of is not durable
	views, ids, _ := folded(t, early, nil)
	if views != "first" {
		t.Errorf("got views %q, want the first checkpoint's", views)
	}
	checkIDs(t, "folded", ids, "during first", "3")

	m.Commit(1 << 40)
	views, ids, _ = folded(t, m.Crash(1<<40), nil)
	if views != "second" {
		t.Errorf("got views %q, want the second checkpoint's", views)
	}
	checkIDs(t, "folded", ids, "during second", "4")
	// What a checkpoint is past and no cursor holds is gone; when it cannot be used, what is left is folded.
	_, ids, _ = folded(t, m.Crash(1<<40), errors.New("unusable"))
	checkIDs(t, "folded without the checkpoint", ids, "during second", "4")
}

func TestMemoryAliveIsTheLastInLogOrder(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	m := NewMemory(MemoryOptions{Manual: true})
	tell := func(s int) {
		t.Helper()
		if err := m.Alive(at(s)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, alive := folded(t, m.Crash(1), nil); !alive.IsZero() {
		t.Errorf("never told: got %v", alive)
	}
	tell(20)
	one := appendAll(t, m, "1")
	tell(10)
	two := appendAll(t, m, "2")
	tell(30)
	for end, want := range map[Pos]int{one - 1: 20, one: 10, two: 30} {
		if _, _, alive := folded(t, m.Crash(end), nil); !alive.Equal(at(want)) {
			t.Errorf("cut at %d: got %v, want %v", end, alive, at(want))
		}
	}
}

func TestMemoryCursorOptions(t *testing.T) {
	m := NewMemory(MemoryOptions{Manual: true})
	cursor(t, m, "a")
	m.Commit(appendAll(t, m, "1"))
	m = m.Crash(1 << 40)
	all, late := cursor(t, m, "all"), func() Cursor {
		c, err := m.Cursor("late", CursorOptions{Now: true})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}()
	some, err := m.Cursor("some", CursorOptions{Keep: func(h *event.Header) bool { return h.ID != "1" && h.ID != "3" }})
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, m, "2", "3")
	if _, err := m.AppendFor("late", encoded("4", "4", "x")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.AppendFor("nobody", encoded("5", "5", "x")); err == nil {
		t.Error("AppendFor a sink without cursor: got no error")
	}
	m.Commit(1 << 40)
	got := map[string][]string{}
	got["all"], _ = next(t, all)
	got["late"], _ = next(t, late)
	got["some"], _ = next(t, some)
	want := map[string][]string{"all": {"1", "2", "3"}, "late": {"2", "3", "4"}, "some": {"2"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	_, ids, _ := folded(t, m.Crash(1<<40), nil)
	checkIDs(t, "folded", ids, "1", "2", "3")
}

// Each of these faults must be seen, or a simulation that switches one on proves nothing.
func TestMemoryFaults(t *testing.T) {
	t.Run("a disk that had not kept what it said", func(t *testing.T) {
		m := NewMemory(MemoryOptions{Manual: true})
		c := cursor(t, m, "a")
		one := appendAll(t, m, "1")
		end := appendAll(t, m, "2")
		m.Commit(end)
		_, records := next(t, c)
		c.Done(records[1].Pos)
		_ = c.Save(nil)
		m = m.Crash(one)
		ids, _ := next(t, cursor(t, m, "a"))
		checkIDs(t, "delivered", ids, "1")
		if pos, _ := m.Append(Normal, encoded("3", "3", "x")); pos != end {
			t.Errorf("got position %d, want %d: a saved cursor is past what is lost", pos, end)
		}
	})
	t.Run("SaveAhead", func(t *testing.T) {
		m := NewMemory(MemoryOptions{Manual: true, SaveAhead: true})
		c := cursor(t, m, "a")
		m.Commit(appendAll(t, m, "1"))
		next(t, c)
		_ = c.Save(nil)
		if ids, _ := next(t, cursor(t, m.Crash(1<<40), "a")); ids != nil {
			t.Errorf("got %v, want nothing", ids)
		}
	})
	t.Run("CheckpointAhead", func(t *testing.T) {
		m := NewMemory(MemoryOptions{Manual: true, CheckpointAhead: true})
		appendAll(t, m, "1")
		_ = m.Checkpoint(func(w io.Writer) error { _, err := io.WriteString(w, "views"); return err })
		if views, _, _ := folded(t, m.Crash(1), nil); views != "views" {
			t.Errorf("got views %q, want those of records that are lost", views)
		}
	})
}
