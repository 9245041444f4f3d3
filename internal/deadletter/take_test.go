package deadletter

import (
	"bytes"
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/spool"
)

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
