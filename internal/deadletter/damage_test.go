package deadletter

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

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
