package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = event.InstantOf(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC))

// letter is the n-th of a sink's letters, a second after the one before.
func letter(n int) Letter {
	at := noon + event.Instant(n*1000)
	return Letter{
		Sink: "facts", Reason: "too_large", Attempts: n, FirstAt: at - 500, At: at, First: "no answer in time", Last: "message size exceeds maximum allowed",
		Record: spool.Record{
			Pos: spool.Pos(n), Epoch: 1795250000, Key: spool.Hash("WT1"), Data: fmt.Appendf(nil, `{"provider":"twilio","n":%d}`, n),
			Header: event.Header{
				ID: fmt.Sprintf("WR%d:created", n), Source: "/twilio/taskrouter/AC1/WS1", Type: event.ReservationCreated, Subject: "WR1", Time: at - 700,
				TimeSource: event.TimeVendor, Recorded: at - 600, Origin: event.OriginSocket, PartitionKey: "WT1", CorrelationID: "WT1", BridgeID: "b",
				Provider: event.Twilio, Account: "AC1", Agent: "WK1",
			},
		},
	}
}

func letters(from, to int) (all []Letter) {
	for n := from; n <= to; n++ {
		all = append(all, letter(n))
	}
	return all
}

func open(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Now == nil {
		o.Now = noon.Time
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func put(t testing.TB, s *Store, all ...Letter) {
	t.Helper()
	if err := s.Put(all); err != nil {
		t.Fatal(err)
	}
}

// held is what the folder holds, as any process would read it.
func held(t testing.TB, dir string, f Filter) (all []Letter) {
	t.Helper()
	if _, err := Each(dir, f, func(l *Letter) error { all = append(all, *l); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func same(t *testing.T, what string, want, got []Letter) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestPutOutlivesTheProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool", Dir)
	s := open(t, Options{Dir: dir})
	put(t, s, letters(1, 3)...)
	same(t, "beside the open store", letters(1, 3), held(t, dir, Filter{}))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{Dir: dir})
	put(t, s, letter(4))
	same(t, "after another opening", letters(1, 4), held(t, dir, Filter{}))
	if got := s.Status(); got != (Status{Held: 4}) {
		t.Errorf("got %+v, want 4 held", got)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Dir(dir): 0o700, filepath.Join(dir, "0000000001"+suffix): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: got %v, %v, want mode %o", path, info.Mode(), err, want)
		}
	}
}

// The record comes again after a crash between Put and the saving of its cursor, and is refused again.
func TestPutAgainAddsNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	put(t, s, letter(1))
	_ = s.Close()
	s = open(t, Options{Dir: dir})
	put(t, s, letters(1, 2)...)
	same(t, "letters", letters(1, 2), held(t, dir, Filter{}))
}

func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want ErrLocked with the folder's name", err)
	}
	_ = s.Close()
	open(t, Options{Dir: dir})
}

// tally counts flushes and lets them fail.
type tally struct {
	n      int
	broken error
}

func (c *tally) sync(f *os.File) error {
	c.n++
	if c.broken != nil {
		return c.broken
	}
	return f.Sync()
}

func TestManyShareAFlush(t *testing.T) {
	c := &tally{}
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, sync: c.sync})
	put(t, s, letters(1, 10_000)...)
	if n := len(held(t, dir, Filter{})); n != 10_000 {
		t.Errorf("got %d letters, want 10000", n)
	}
	if files := len(s.files); c.n != files || files > 2 {
		t.Errorf("got %d flushes for %d files, want one each and at most 2", c.n, files)
	}
}

// What a failed flush left is not taken for kept, and is not flushed again.
func TestPutFails(t *testing.T) {
	c := &tally{}
	dir := t.TempDir()
	reg := prometheus.NewRegistry()
	s := open(t, Options{Dir: dir, sync: c.sync, Registerer: reg})
	put(t, s, letter(1))
	c.broken = errors.New("input/output error")
	for range 3 {
		if err := s.Put(letters(2, 3)); !errors.Is(err, c.broken) {
			t.Errorf("got %v, want the disk's error", err)
		}
	}
	same(t, "while the disk fails", letters(1, 1), held(t, dir, Filter{}))
	if got := s.Status(); got != (Status{Held: 1, Failing: true}) || testutil.ToFloat64(s.metrics.failures) != 3 {
		t.Errorf("got %+v, want it failing with 1 letter, and 3 failures", got)
	}
	c.broken = nil
	put(t, s, letters(2, 3)...)
	same(t, "after", letters(1, 3), held(t, dir, Filter{}))
	if s.Status().Failing {
		t.Error("got failing, want it over")
	}
	if all, _ := serials(dir); len(all) != 2 {
		t.Errorf("got files %v, want the first and a new one", all)
	}
}

func TestNoSpaceForAFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	s := open(t, Options{Dir: dir})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(letters(1, 1)); err == nil || s.Status() != (Status{Failing: true}) {
		t.Errorf("got %v and %+v, want an error", err, s.Status())
	}
}

func idOf(n int) ID { l := letter(n); return l.ID() }

// The cap holds, and it is the oldest that go.
func TestSizeCap(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, MaxBytes: 1 << 20})
	const n = 4000
	for i := 1; i <= n; i += 10 {
		put(t, s, letters(i, i+9)...)
		if s.bytes > s.MaxBytes {
			t.Fatalf("after %d letters: got %d bytes, want at most %d", i, s.bytes, s.MaxBytes)
		}
	}
	got := held(t, dir, Filter{})
	first := int(got[0].Record.Pos)
	same(t, "the newest", letters(first, n), got)
	if s.bytes < s.MaxBytes*15/16 {
		t.Errorf("got %d bytes, want not much less than %d", s.bytes, s.MaxBytes)
	}
	want := Status{Held: n - first + 1, Dropped: first - 1}
	if status := s.Status(); status != want || testutil.ToFloat64(s.metrics.dropped.WithLabelValues(droppedSize)) != float64(first-1) {
		t.Errorf("got %+v, want %+v, all of it for its size", status, want)
	}
	if gauge := testutil.ToFloat64(s.metrics.held); int(gauge) != want.Held {
		t.Errorf("got the gauge at %v, want %d", gauge, want.Held)
	}
}

// A letter above the cap is kept alone: it is the newest.
func TestLargestLetter(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, MaxBytes: 1 << 20})
	large := letter(2)
	large.Record.Data = bytes.Repeat([]byte("x"), 2<<20)
	put(t, s, letter(1), large)
	if got := held(t, dir, Filter{}); len(got) != 1 || !bytes.Equal(got[0].Record.Data, large.Record.Data) {
		t.Errorf("got %d letters, want the large one", len(got))
	}
	put(t, s, letter(3))
	same(t, "letters", letters(3, 3), held(t, dir, Filter{}))
}

// No letter becomes older than the limit, and none goes more than a thirtieth of it earlier.
func TestAge(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Options{Dir: dir, MaxAge: 30 * time.Hour, Now: time.Now})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { s.Run(ctx); close(ended) }()
		for n := 1; n <= 200; n++ {
			l := letter(n)
			l.At = event.InstantOf(time.Now())
			put(t, s, l)
			time.Sleep(20 * time.Minute) // virtual
			synctest.Wait()
			for i, l := range held(t, dir, Filter{}) {
				age := time.Since(l.At.Time())
				if age > 30*time.Hour+time.Minute {
					t.Fatalf("letter %d is %v old", l.Record.Pos, age)
				}
				if i == 0 && n > 100 && age < 28*time.Hour {
					t.Fatalf("the oldest letter is %v old, want nearly 30 h", age)
				}
			}
		}
		cancel()
		<-ended
		got := s.Status()
		if got.Held+got.Dropped != 200 || testutil.ToFloat64(s.metrics.dropped.WithLabelValues(droppedAge)) != float64(got.Dropped) {
			t.Errorf("got %+v, want every letter held or dropped for its age", got)
		}
		_ = s.Close()
		time.Sleep(31 * time.Hour)
		if s := open(t, Options{Dir: dir, MaxAge: 30 * time.Hour, Now: time.Now}); s.Status().Held != 0 {
			t.Errorf("got %+v after a long stop, want none held", s.Status())
		}
		if all, _ := serials(dir); len(all) != 0 {
			t.Errorf("got files %v, want none", all)
		}
	})
}

// Readers see whole letters only, while a bridge writes, rolls, removes and drops.
func TestReadBesideAWriter(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, MaxBytes: 1 << 20})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := 1; n <= 3000; n += 5 {
			if err := s.Put(letters(n, n+4)); err != nil {
				t.Error(err)
			}
			if _, err := s.Purge([]ID{idOf(n)}); err != nil {
				t.Error(err)
			}
		}
	}()
	for done := false; !done; {
		select {
		case <-ended:
			done = true
		default:
		}
		last := 0
		for _, l := range held(t, dir, Filter{}) {
			n := int(l.Record.Pos)
			if !reflect.DeepEqual(letter(n), l) || n <= last {
				t.Fatalf("letter %d after %d: %+v", n, last, l)
			}
			last = n
		}
	}
}

func TestClosed(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	put(t, s, letter(1))
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	_, purge := s.Purge([]ID{idOf(1)})
	_, replay := s.Replay([]ID{idOf(1)}, &fakeLog{})
	for _, err := range []error{s.Put(letters(2, 2)), purge, replay} {
		if !errors.Is(err, errClosed) {
			t.Errorf("got %v, want errClosed", err)
		}
	}
}

func TestOtherFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"0000000001.letters2", "readme", "x" + suffix} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("of another version"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, Options{Dir: dir})
	put(t, s, letter(1))
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"0000000001.letters1", "0000000001.letters2", "readme", "x.letters1"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("got %v, %v, want %v", names, err, want)
	}
}
