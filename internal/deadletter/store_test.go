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
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

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

// Wherever the newest file is torn, the letters before are there, and the store goes on.
func TestTornTail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	put(t, s, letters(1, 2)...)
	good := s.bytes
	put(t, s, letter(3))
	_ = s.Close()
	name := path(dir, 1)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for size := good; size < int64(len(whole)); size++ {
		if err := os.WriteFile(name, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		same(t, fmt.Sprintf("read at %d", size), letters(1, 2), held(t, dir, Filter{}))
		s := open(t, Options{Dir: dir, sync: noSync})
		if got := s.Status(); got != (Status{Held: 2}) {
			t.Fatalf("at %d: got %+v, want the 2 whole letters and nothing lost", size, got)
		}
		if info, err := os.Stat(name); err != nil || info.Size() != good {
			t.Fatalf("at %d: got %d bytes, %v, want the file cut to %d", size, info.Size(), err, good)
		}
		put(t, s, letter(4))
		same(t, fmt.Sprintf("cut at %d", size), []Letter{letter(1), letter(2), letter(4)}, held(t, dir, Filter{}))
		_ = s.Close()
	}
}

// Whichever byte is damaged, the store opens and takes letters, gives no wrong letter, and says what it lacks.
func TestDamageAtEveryByte(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	put(t, s, letters(1, 3)...)
	_ = s.Close()
	name := path(dir, 1)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for at := range whole {
		for _, flip := range []byte{0x01, 0xff} {
			if flip == 0xff && at%5 != 0 {
				continue // the same seen from another side
			}
			damaged := bytes.Clone(whole)
			damaged[at] ^= flip
			if err := os.WriteFile(name, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			log := &countedLog{}
			s := open(t, Options{Dir: dir, Log: log.logger(), sync: noSync})
			read := held(t, dir, Filter{})
			for _, l := range read {
				if !reflect.DeepEqual(l, letter(int(l.Record.Pos))) { // cmp takes too long here
					t.Errorf("byte %d: got another letter than any that was put: %+v", at, l)
				}
			}
			if got := s.Status(); got.Held != len(read) || got.Held < 2 || got.Held < 3 && log.lines == 0 || got.Held+got.Dropped < 3 && at < len(whole)*2/3 {
				t.Fatalf("byte %d: got %+v, %d read and %d lines in the log, want at most one lost, and that told", at, got, len(read), log.lines)
			}
			put(t, s, letter(4))
			if n := len(held(t, dir, Filter{})); n != len(read)+1 {
				t.Fatalf("byte %d: got %d letters after another, want %d", at, n, len(read)+1)
			}
			_ = s.Close()
			for _, n := range []uint64{1, 2} {
				if err := os.Remove(path(dir, n)); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
			}
		}
	}
}

// noSync spares time where no power is lost.
func noSync(*os.File) error { return nil }

// countedLog counts the log's lines.
type countedLog struct{ lines int }

func (c *countedLog) logger() *zap.Logger {
	return zap.New(zapcore.NewNopCore(), zap.WrapCore(func(zapcore.Core) zapcore.Core {
		return zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), c, zapcore.DebugLevel)
	}))
}

func (c *countedLog) Write(p []byte) (int, error) { c.lines++; return len(p), nil }
func (c *countedLog) Sync() error                 { return nil }

func TestCorruptLetterIsToldAndNotReplayed(t *testing.T) {
	dir := t.TempDir()
	reg := prometheus.NewRegistry()
	s := open(t, Options{Dir: dir, Registerer: reg})
	put(t, s, letters(1, 3)...)
	content, err := os.ReadFile(path(dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	content[bytes.Index(content, []byte(`"n":2`))] = 'x'
	if err := os.WriteFile(path(dir, 1), content, 0o600); err != nil {
		t.Fatal(err)
	}
	corrupt, err := Each(dir, Filter{}, func(*Letter) error { return nil })
	if corrupt != 1 || err != nil {
		t.Errorf("got %d, %v, want 1 corrupt letter", corrupt, err)
	}
	log := &fakeLog{}
	if n, err := s.Replay([]ID{idOf(1), idOf(2), idOf(3)}, log); n != 2 || err != nil {
		t.Errorf("got %d, %v, want the two good ones replayed", n, err)
	}
	if got := s.Status(); got != (Status{Dropped: 1}) || testutil.ToFloat64(s.metrics.dropped.WithLabelValues(droppedCorrupt)) != 1 {
		t.Errorf("got %+v, want one dropped as corrupt", got)
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

// fakeLog is the spool as a replay sees it.
type fakeLog struct {
	appended []Letter // sink, header and data
	full     int      // refuses from this one on; 0: never
	broken   error    // of Sync
	synced   int
}

func (f *fakeLog) AppendFor(sink string, e *event.Encoded) (spool.Pos, error) {
	if f.full > 0 && len(f.appended)+1 >= f.full {
		return 0, spool.ErrFull
	}
	f.appended = append(f.appended, Letter{Sink: sink, Record: spool.Record{Header: e.Header, Data: bytes.Clone(e.Data)}})
	return spool.Pos(1000 + len(f.appended)), nil
}

func (f *fakeLog) Sync() error { f.synced = len(f.appended); return f.broken }

// brief is what a replay must keep of the letters.
func brief(all []Letter) (out []Letter) {
	for _, l := range all {
		out = append(out, Letter{Sink: l.Sink, Record: spool.Record{Header: l.Record.Header, Data: l.Record.Data}})
	}
	return out
}

func TestReplay(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	put(t, s, letters(1, 6)...)
	log := &fakeLog{}
	if n, err := s.Replay([]ID{idOf(2), idOf(99), idOf(1)}, log); n != 2 || err != nil {
		t.Errorf("got %d, %v, want 2", n, err)
	}
	same(t, "in the spool, with header and data as they were", brief([]Letter{letter(2), letter(1)}), log.appended)
	same(t, "left", letters(3, 6), held(t, dir, Filter{}))

	log = &fakeLog{full: 2}
	if n, err := s.Replay([]ID{idOf(3), idOf(4), idOf(5)}, log); n != 1 || !errors.Is(err, spool.ErrFull) {
		t.Errorf("full spool: got %d, %v, want 1 and ErrFull", n, err)
	}
	same(t, "left", letters(4, 6), held(t, dir, Filter{}))

	log = &fakeLog{broken: errors.New("disk")}
	if n, err := s.Replay([]ID{idOf(4)}, log); n != 0 || !errors.Is(err, log.broken) {
		t.Errorf("disk fails: got %d, %v, want 0 and its error", n, err)
	}
	same(t, "left, as nothing is known to be durable", letters(4, 6), held(t, dir, Filter{}))
	if got := testutil.ToFloat64(s.metrics.replayed); got != 3 {
		t.Errorf("got %v replayed, want 3", got)
	}
	_ = s.Close()
	s = open(t, Options{Dir: dir})
	same(t, "after another opening", letters(4, 6), held(t, dir, Filter{}))
	if _, err := s.Purge([]ID{idOf(5)}); err != nil || s.Status() != (Status{Held: 2}) {
		t.Errorf("got %v and %+v", err, s.Status())
	}
}

func TestPurge(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	put(t, s, letters(1, 3)...)
	if n, err := s.Purge([]ID{idOf(2), idOf(2), idOf(9)}); n != 1 || err != nil {
		t.Errorf("got %d, %v, want 1", n, err)
	}
	same(t, "left", []Letter{letter(1), letter(3)}, held(t, dir, Filter{}))
	if n, err := s.Purge([]ID{idOf(1), idOf(3)}); n != 2 || err != nil {
		t.Errorf("got %d, %v, want 2", n, err)
	}
	if all, _ := serials(dir); len(all) != 0 || s.bytes != 0 || testutil.ToFloat64(s.metrics.purged) != 3 {
		t.Errorf("got files %v with %d bytes, want none", all, s.bytes)
	}
	put(t, s, letter(4))
	same(t, "goes on", letters(4, 4), held(t, dir, Filter{}))
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

// A file of this version's first release: what is in it must be readable as long as the suffix stays.
func TestReadsTheFormat(t *testing.T) {
	want := letter(7)
	got := held(t, "testdata", Filter{})
	same(t, "testdata", []Letter{want}, got)
}

func TestFilter(t *testing.T) {
	l := letter(1)
	at := l.At.Time()
	for name, test := range map[string]struct {
		f    Filter
		want bool
	}{
		"all":           {Filter{}, true},
		"letter":        {Filter{IDs: []string{"x", "facts.1795250000-1"}}, true},
		"event":         {Filter{IDs: []string{"WR1:created"}}, true},
		"another event": {Filter{IDs: []string{"WR1"}}, false},
		"sink":          {Filter{Sinks: []string{"x", "facts"}}, true},
		"another sink":  {Filter{Sinks: []string{"x"}}, false},
		"type":          {Filter{Types: []string{"reservation.created"}}, true},
		"noun":          {Filter{Types: []string{"reservation"}}, true},
		"another type":  {Filter{Types: []string{"task"}}, false},
		"agent":         {Filter{Agents: []string{"WK1"}}, true},
		"another agent": {Filter{Agents: []string{"WK2"}}, false},
		"reason":        {Filter{Reasons: []string{"too_large"}}, true},
		"another":       {Filter{Reasons: []string{"other"}}, false},
		"since then":    {Filter{Since: at}, true},
		"since later":   {Filter{Since: at.Add(time.Millisecond)}, false},
		"until then":    {Filter{Until: at}, true},
		"until before":  {Filter{Until: at.Add(-time.Millisecond)}, false},
		"all must fit":  {Filter{Sinks: []string{"facts"}, Agents: []string{"WK2"}}, false},
	} {
		if got := test.f.Match(&l); got != test.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

func TestIDs(t *testing.T) {
	id := ID{"my.facts-2", 1795250000, 18446744073709551615}
	if got, err := ParseID(id.String()); got != id || err != nil {
		t.Errorf("got %v, %v, want %v", got, err, id)
	}
	for _, bad := range []string{"", "facts", "facts.", "facts.1", "facts.1-", "facts.a-1", ".1-1", "WR1:created", "facts.1-2-3"} {
		if _, err := ParseID(bad); err == nil || !strings.Contains(err.Error(), "bridge dlq list") {
			t.Errorf("%q: got %v, want an error that says where ids are told", bad, err)
		}
	}
}

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"message size exceeds\n maximum allowed":                           "message size exceeds maximum allowed",
		`bad message {"data":{"phone":"+1555"}}`:                           "bad message <redacted>",
		`bad message {"data":{"phone":"+15550100 and so on, cut somewhere`: "bad message <redacted>",
		`codes [1,2] and {"a":1} differ`:                                   "codes <redacted> differ",
		"dial nats://user:secret@host:4222":                                "dial nats://<redacted>@host:4222",
		"GET https://host/path?token=secret failed":                        "GET https://host/path?<redacted> failed",
		"refused eyJhbGciOiJIUzI1NiJ9.e30.x":                               "refused <redacted>",
		"drawn \x1b[31mred\x00":                                            "drawn [31mred",
		"Authorization: Bearer abc":                                        "Authorization: Bearer <redacted>",
		strings.Repeat("long text ", 100):                                  strings.Repeat("long text ", 30) + "…",
	} {
		if got := Redact(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
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
