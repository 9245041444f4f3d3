package spool

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

func TestDiskBounds(t *testing.T) {
	const bound = 64 << 10
	d := opened(t, Options{Dir: t.TempDir(), MaxBytes: bound, Reserve: 8 << 10})
	c := cursorOf(t, d, "facts", CursorOptions{})
	n := 0
	fill := func(class Class) error {
		for ; ; n++ {
			if _, err := d.Append(class, numbered(n)); err != nil {
				return err
			}
			if err := d.Sync(); err != nil {
				return err
			}
		}
	}
	if err := fill(Normal); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	if s := d.Status(); s.Used > bound-8<<10 || s.Used < bound-10<<10 || s.Failing != "full" || d.Room() {
		t.Errorf("full: got %+v, room %v", s, d.Room())
	}
	if err := fill(Reserve); !errors.Is(err, ErrFull) {
		t.Fatalf("reserve: got %v, want ErrFull", err)
	}
	if s := d.Status(); s.Used > bound || s.Used < bound-2<<10 {
		t.Errorf("reserve: got %+v", s)
	}
	got := take(t, c)
	if len(got) != n {
		t.Fatalf("got %d of %d", len(got), n)
	}
	finish(c, got)
	if d.Room() {
		t.Error("room before anything was freed")
	}
	if err := d.Checkpoint(func(io.Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := c.Save(nil); err != nil {
		t.Fatal(err)
	}
	if s := d.Status(); !d.Room() || s.Failing != "" {
		t.Errorf("freed: got %+v, room %v", s, d.Room())
	}
	add(t, d, n, n+1)
	large := numbered(1)
	large.Data = make([]byte, 16<<10)
	if _, err := d.Append(Normal, large); !errors.Is(err, ErrFull) {
		t.Errorf("a record larger than a segment: got %v", err)
	}
}

// TestDiskLoweredBound: the newest file, which nothing frees before there is a newer one, holds more than a bound that has been lowered.
func TestDiskLoweredBound(t *testing.T) {
	dir := t.TempDir()
	before := Options{Dir: dir, MaxBytes: 128 << 10, segmentBytes: 96 << 10}
	d := opened(t, before)
	cursorOf(t, d, "facts", CursorOptions{})
	add(t, d, 0, 400)
	if n := len(segmentsIn(t, dir)); n != 1 || d.Status().Used < 40<<10 {
		t.Fatalf("got %d segments, %+v; want one that is larger than the bound to come", n, d.Status())
	}
	closed(t, d)
	d = opened(t, Options{Dir: dir, MaxBytes: 32 << 10, Reserve: 2 << 10})
	c := cursorOf(t, d, "facts", CursorOptions{})
	finish(c, take(t, c))
	if err := errors.Join(d.Checkpoint(func(io.Writer) error { return nil }), c.Save(nil)); err != nil {
		t.Fatal(err)
	}
	add(t, d, 400, 410)
	if got := names(take(t, c)); got != count(400, 410) {
		t.Errorf("got %s", got)
	}
	if err := c.Save(nil); err != nil {
		t.Fatal(err)
	}
	if used := d.Status().Used; used > 32<<10 {
		t.Errorf("%d bytes are held, want the old file gone", used)
	}
	closed(t, d)
}

// scarce is a disk with that much space.
type scarce struct {
	Files
	free atomic.Int64
}

func (s *scarce) Free(string) (int64, error) { return s.free.Load(), nil }

// TestDiskLeavesRoom: segments do not take the last of the disk, without which cursors could not be saved, nor anything be removed.
func TestDiskLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := &scarce{Files: OS}
		files.free.Store(1 << 30)
		d := opened(t, Options{Dir: t.TempDir(), Files: files})
		c := cursorOf(t, d, "facts", CursorOptions{})
		add(t, d, 0, 20)
		files.free.Store(d.left())
		n := 20
		var err error
		for ; err == nil && n < 500; n++ { // until a segment has to be made
			if _, err = d.Append(Normal, numbered(n)); err == nil {
				synctest.Wait()
			}
		}
		if !errors.Is(err, ErrFull) || d.Status().Failing != "full" {
			t.Fatalf("got %v and %+v, want ErrFull", err, d.Status())
		}
		finish(c, take(t, c))
		if err := c.Save(nil); err != nil {
			t.Fatal(err)
		}
		files.free.Add(64 << 10)
		time.Sleep(2 * retryCap) // virtual
		synctest.Wait()
		if s := d.Status(); s.Failing != "" || !d.Room() {
			t.Errorf("with room: got %+v, room %v", s, d.Room())
		}
	})
}

func TestDiskSkip(t *testing.T) {
	dir := t.TempDir()
	d := opened(t, Options{Dir: dir, MaxBytes: 64 << 10, Reserve: 8 << 10, SkipSlowest: true})
	slow := cursorOf(t, d, "slow", CursorOptions{})
	fast := cursorOf(t, d, "fast", CursorOptions{})
	n := 0
	skip := func() (got []Skipped) {
		err := d.Skip(func(s []Skipped) error {
			got = s
			_, err := d.Append(Reserve, numbered(10_000))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := skip(); got != nil {
		t.Errorf("with room: got %v", got)
	}
	var gap event.Encoded
	(&event.Event{
		ID: "gap", Type: event.SessionGap, Recorded: 900,
		Data: event.Data{Agent: &event.Agent{ID: "a0"}, Gap: &event.Gap{State: event.GapOpened, Feed: "live", From: 7}},
	}).Encode(&gap)
	if _, err := d.Append(Reserve, &gap); err != nil {
		t.Fatal(err)
	}
	for ; ; n++ {
		if _, err := d.Append(Normal, numbered(n)); err != nil {
			break
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	finish(fast, take(t, fast))
	queued, err := slow.Next(10)
	if err != nil {
		t.Fatal(err)
	}
	d.Reserve(0)
	add(t, d, n, n+20) // above seven eighths
	finish(fast, take(t, fast))
	got := skip()
	total := 0
	for i, s := range got {
		total += s.Records
		from := event.Instant(1000 + i)
		if i == 0 {
			from = 7 // the gap's
		}
		if s.Sink != "slow" || s.From != from || s.Header.Agent != fmt.Sprint("a", i) || s.To != s.Header.Recorded {
			t.Errorf("got %+v", s)
		}
	}
	if len(got) != 3 || total < 20 {
		t.Fatalf("got %d records of %d agents: %v", total, len(got), got)
	}
	if again, err := slow.Read(positions(queued)); err != nil || len(again) != 0 {
		t.Errorf("Read of what was skipped: got %s and %v", names(again), err)
	}
	finish(slow, queued) // does nothing
	if rest := names(take(t, slow)); !strings.HasPrefix(rest, fmt.Sprint(total, " ")) || strings.Contains(rest, "gap") {
		t.Errorf("after the skipped ones: got %s, want those that follow, and the gap told as part of the announced one", rest)
	}
	if rest := names(take(t, fast)); rest != "10000" {
		t.Errorf("the other sink got %s", rest)
	}
	segments := len(segmentsIn(t, dir))
	if err := fast.Save(nil); err != nil { // the slow one's publisher has no reason to
		t.Fatal(err)
	}
	if err := d.Checkpoint(func(io.Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if now := len(segmentsIn(t, dir)); now >= segments {
		t.Errorf("got %d segments, %d before", now, segments)
	}
}

// TestDiskReady lets appenders race with consumers that wait for Ready alone: a lost wake-up would hang them.
func TestDiskReady(t *testing.T) {
	const appenders, each = 4, 1000
	d := opened(t, Options{Dir: t.TempDir(), MaxBytes: 64 << 20, segmentBytes: 64 << 10})
	cursors := []Cursor{cursorOf(t, d, "a", CursorOptions{}), cursorOf(t, d, "b", CursorOptions{})}
	var wg sync.WaitGroup
	for a := range appenders {
		wg.Go(func() {
			for i := range each {
				if _, err := d.Append(Normal, numbered(a*each+i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, c := range cursors {
		wg.Go(func() {
			var last Pos
			for n := 0; n < appenders*each; {
				<-c.Ready()
				records, err := c.Next(7)
				if err != nil {
					t.Error(err)
					return
				}
				again, err := c.Read(positions(records))
				if err != nil || len(again) != len(records) {
					t.Errorf("Read: got %d of %d and %v", len(again), len(records), err)
				}
				for _, r := range records {
					if r.Pos <= last {
						t.Errorf("position %d after %d", r.Pos, last)
					}
					last = r.Pos
					c.Done(r.Pos)
				}
				n += len(records)
				if err := c.Save([]byte("m")); err != nil {
					t.Error(err)
				}
				c.Pending()
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if err := d.Checkpoint(func(io.Writer) error { return nil }); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	for _, c := range cursors {
		if n, _, _ := c.Pending(); n != 0 {
			t.Errorf("Pending: got %d, want 0", n)
		}
	}
}
