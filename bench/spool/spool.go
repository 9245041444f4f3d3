// Package spool compares the bridge's log on disk with github.com/hashicorp/raft-wal behind a group commit, side by side and in turns.
//
// Both do the same: 256 appenders have one record outstanding each, and append the next when that one is durable (fdatasync). A reader follows, and a
// record counts when it has returned it. What it has had is let go of once a second. Each reader checks that every appender's records come once and
// in order.
//
// A record is 1,092 bytes in both. raft-wal gets it as one piece. The bridge's log gets it as the bridge hands it over, a header and a document which
// are that long together, and so has the work of encoding the header.
package spool

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/taskbridge/taskbridge/bench/report"
)

const (
	appenders   = 256
	recordBytes = 1092
)

// Result is what was measured, round by round.
type Result struct {
	Appenders   int     `json:"appenders"`
	RecordBytes int     `json:"record_bytes"`
	Seconds     float64 `json:"seconds"` // length of each measurement
	Rounds      []Round `json:"rounds"`
}

// Round is both logs, one right after the other.
type Round struct {
	Calibration float64 `json:"calibration_mb_per_s"` // see report.Calibrate
	Own         Figures `json:"own"`
	RaftWAL     Figures `json:"raft_wal"`
}

// Figures are one log's of one round.
type Figures struct {
	Records   int64   `json:"records"`       // durable and returned by the reader
	PerSecond float64 `json:"per_second"`    // of them
	P50       float64 `json:"p50_ms"`        // from append to durable
	P99       float64 `json:"p99_ms"`        //
	P999      float64 `json:"p999_ms"`       //
	CPU       float64 `json:"cpu_us_record"` // user and system time of the process, with appenders and reader, in µs per record
}

// log is one of the two.
type log interface {
	// store returns when the record is durable. Every appender calls it from its own goroutine.
	store(record []byte) error
	// follow gives every durable record to got, in order, until ctx ends. got keeps none.
	follow(ctx context.Context, got func(record []byte) error) error
	// trim lets go of what got has had.
	trim() error
	close() error
}

// Run measures both logs that many times for the given length each, in turns, and begins each round with the other one. dir must exist; what is written to
// it, some hundred MB at a time, is removed. It ends early with an error when ctx ends, a log fails, or returns something else than what was stored.
func Run(ctx context.Context, dir string, rounds int, length time.Duration, progress io.Writer) (Result, error) {
	res := Result{Appenders: appenders, RecordBytes: recordBytes, Seconds: length.Seconds()}
	for n := range rounds {
		round := Round{Calibration: report.Calibrate()}
		turns := []struct {
			name string
			open func(dir string) (log, error)
			to   *Figures
		}{{"own", openOwn, &round.Own}, {"raft-wal", openRaftWAL, &round.RaftWAL}}
		if n%2 == 1 {
			turns[0], turns[1] = turns[1], turns[0]
		}
		for _, t := range turns {
			var err error
			if *t.to, err = fresh(ctx, dir, t.open, length); err != nil {
				return res, fmt.Errorf("round %d, %s: %w", n+1, t.name, err)
			}
			_, _ = fmt.Fprintf(progress, "spool: round %d of %d, %s: %s records/s, p99 %s ms, %s µs of CPU per record\n", n+1, rounds, t.name,
				report.Figure(t.to.PerSecond), report.Figure(t.to.P99), report.Figure(t.to.CPU))
		}
		res.Rounds = append(res.Rounds, round)
	}
	return res, nil
}

// fresh measures a log in a folder of its own.
func fresh(ctx context.Context, dir string, open func(dir string) (log, error), length time.Duration) (f Figures, err error) {
	dir, err = os.MkdirTemp(dir, "spool-*")
	if err != nil {
		return f, err
	}
	defer func() {
		if removing := os.RemoveAll(dir); err == nil {
			err = removing
		}
	}()
	l, err := open(dir)
	if err != nil {
		return f, err
	}
	f, err = measure(ctx, l, length)
	if closing := l.close(); err == nil {
		err = closing
	}
	return f, err
}
