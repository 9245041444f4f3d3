package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskbridge/taskbridge/bench/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Both logs give back what was stored, and are measured; how fast they are is no matter of a test.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	var progress strings.Builder
	res, err := Run(t.Context(), dir, 2, 50*time.Millisecond, &progress)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Rounds) != 2 || strings.Count(progress.String(), "\n") != 4 {
		t.Errorf("got %d rounds and progress\n%s\nwant 2, and a line for each log in each", len(res.Rounds), progress.String())
	}
	for i, round := range res.Rounds {
		for name, f := range map[string]Figures{"own": round.Own, "raft-wal": round.RaftWAL} {
			if f.Records <= 0 || f.PerSecond <= 0 || f.CPU <= 0 || f.P50 <= 0 || f.P99 < f.P50 || f.P999 < f.P99 {
				t.Errorf("round %d, %s: got %+v, want every figure, and percentiles that rise", i+1, name, f)
			}
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRunEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, t.TempDir(), 1, time.Hour, &strings.Builder{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

// faultyLog gives back something else than was stored.
type faultyLog struct {
	log
	fault func(record []byte, got func([]byte) error) error
}

func (f faultyLog) follow(ctx context.Context, got func([]byte) error) error {
	return f.log.follow(ctx, func(record []byte) error { return f.fault(record, got) })
}

// The measurement does not count what a log has got wrong.
func TestMeasureFindsFaults(t *testing.T) {
	fifth := func(record []byte) bool { return binary.LittleEndian.Uint64(record[8:]) == 5 }
	for name, fault := range map[string]func([]byte, func([]byte) error) error{
		"lost": func(record []byte, got func([]byte) error) error {
			if fifth(record) {
				return nil
			}
			return got(record)
		},
		"doubled": func(record []byte, got func([]byte) error) error {
			if fifth(record) {
				if err := got(record); err != nil {
					return err
				}
			}
			return got(record)
		},
		"cut": func(record []byte, got func([]byte) error) error { return got(record[:8]) },
	} {
		t.Run(name, func(t *testing.T) {
			l, err := openOwn(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.close() }()
			if _, err := measure(t.Context(), faultyLog{l, fault}, time.Hour); err == nil || !strings.Contains(err.Error(), "got ") {
				t.Errorf("got %v, want what the log has got wrong", err)
			}
		})
	}
}

func TestRaftWALRefusesAfterClose(t *testing.T) {
	l, err := openRaftWAL(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	if err := l.store(make([]byte, recordBytes)); !errors.Is(err, errClosed) {
		t.Errorf("got %v, want %v", err, errClosed)
	}
}

func TestPresent(t *testing.T) {
	res := Result{Appenders: appenders, RecordBytes: recordBytes, Rounds: []Round{
		{Own: Figures{PerSecond: 300e3, P50: .5, P99: 1, P999: 2, CPU: 2}, RaftWAL: Figures{PerSecond: 200e3, P50: 1, P99: 2, P999: 4, CPU: 4}},
		{Own: Figures{PerSecond: 150e3, P50: .5, P99: 1, P999: 2, CPU: 2}, RaftWAL: Figures{PerSecond: 100e3, P50: 1, P99: 2, P999: 4, CPU: 4}},
	}}
	target := res.Targets()[0]
	if target.Measured.Median != 1.5 || target.Verdict() != report.Reached {
		t.Errorf("got %+v, want the ratio 1.5 of records/s", target)
	}
	if table := res.Table().String(); !strings.Contains(table, "| p99, ms ") || !strings.Contains(table, "0.500 [0.500–0.500]") {
		t.Errorf("the table lacks figures:\n%s", table)
	}
	var svg strings.Builder
	if err := res.Rate().WriteBars(&svg); err != nil {
		t.Error(err)
	}
	if err := res.Wait().WriteLines(&svg); err != nil {
		t.Error(err)
	}
}
