package spool_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/spool"
	"github.com/taskbridge/taskbridge/internal/spool/spooltest"
)

// onDisk is a fixture whose crash is a folder that is copied while the log goes on.
func onDisk(t *testing.T) *spooltest.Fixture {
	dir := filepath.Join(t.TempDir(), "0")
	f := &spooltest.Fixture{Bytes: 128 << 10, Reserve: 16 << 10}
	f.Open = func() (spool.Log, error) {
		return spool.Open(spool.Options{Dir: dir, MaxBytes: f.Bytes, Reserve: f.Reserve, SkipSlowest: true}.WithSegments(16 << 10))
	}
	f.Sync = func(l spool.Log) error { return l.(*spool.Disk).Sync() }
	f.Crash = func(l spool.Log) {
		next := dir + "-next"
		if err := os.CopyFS(next, os.DirFS(dir)); err != nil {
			t.Error(err)
		}
		_ = l.Close()
		dir = next
	}
	return f
}

func TestDiskSuite(t *testing.T) { spooltest.Run(t, onDisk) }

// broken is a log with one promise left out.
type broken struct {
	spool.Log
	cursor func(spool.Cursor) spool.Cursor
}

func (b *broken) Cursor(sink string, o spool.CursorOptions) (spool.Cursor, error) {
	c, err := b.Log.Cursor(sink, o)
	if err != nil || b.cursor == nil {
		return c, err
	}
	return b.cursor(c), nil
}

type forgetful struct{ spool.Cursor }

func (f forgetful) Save([]byte) error { return nil }

type eager struct{ spool.Cursor }

func (e eager) Next(limit int) ([]spool.Record, error) {
	records, err := e.Cursor.Next(limit)
	for _, r := range records {
		e.Done(r.Pos)
	}
	return records, err
}

type deaf struct{ spool.Log }

func (deaf) AppendFor(string, *event.Encoded) (spool.Pos, error) { return 0, errors.New("deaf") }

// TestSuiteFindsOut: the suite sees what a wrong log does.
func TestSuiteFindsOut(t *testing.T) {
	for name, wrong := range map[string]func(spool.Log) spool.Log{
		"saves nothing": func(l spool.Log) spool.Log {
			return &broken{l, func(c spool.Cursor) spool.Cursor { return forgetful{c} }}
		},
		"done without asking": func(l spool.Log) spool.Log { return &broken{l, func(c spool.Cursor) spool.Cursor { return eager{c} }} },
		"for one sink alone":  func(l spool.Log) spool.Log { return deaf{l} },
	} {
		found := 0
		for _, c := range spooltest.Checks {
			f := onDisk(t)
			var last spool.Log
			open, sync, crash := f.Open, f.Sync, f.Crash
			f.Open = func() (spool.Log, error) {
				l, err := open()
				last = l
				if err != nil {
					return nil, err
				}
				return wrong(l), nil
			}
			f.Sync = func(spool.Log) error { return sync(last) }
			f.Crash = func(spool.Log) { crash(last) }
			if c.Run(f) != nil {
				found++
			}
			if last != nil {
				_ = last.Close()
			}
		}
		if found == 0 {
			t.Errorf("%s: not found out", name)
		}
	}
}
