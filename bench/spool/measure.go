package spool

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/taskbridge/taskbridge/bench/process"
)

const (
	trimEvery = time.Second
	// warmUp is the part of a measurement's length that passes before it: files are created, buffers grow.
	warmUp = 0.1
	// catchUp is how long the reader may take for what is left when the appenders have stopped.
	catchUp = 30 * time.Second
)

// measure lets the appenders and the reader run, and counts what happens meanwhile.
func measure(ctx context.Context, l log, length time.Duration) (Figures, error) {
	runtime.GC() // not on the account of this one
	g, ctx := errgroup.WithContext(ctx)
	appending, stop := context.WithCancel(ctx)
	defer stop()
	following, finish := context.WithCancel(ctx)
	defer finish()

	var counting atomic.Bool
	var waits [appenders][]time.Duration
	var stored [appenders]uint64
	var wg sync.WaitGroup
	for a := range appenders {
		wg.Add(1)
		g.Go(func() error {
			defer wg.Done()
			record := make([]byte, recordBytes)
			binary.LittleEndian.PutUint64(record, uint64(a))
			for appending.Err() == nil {
				stored[a]++
				binary.LittleEndian.PutUint64(record[8:], stored[a])
				began := time.Now()
				if err := l.store(record); err != nil {
					return fmt.Errorf("store: %w", err)
				}
				if counting.Load() {
					waits[a] = append(waits[a], time.Since(began))
				}
			}
			return nil
		})
	}
	r := &reader{}
	g.Go(func() error { return l.follow(following, r.got) })
	g.Go(func() error { return trimming(appending, l) })

	f := Figures{}
	var err error
	if err = wait(ctx, time.Duration(warmUp*float64(length))); err == nil {
		counting.Store(true)
		from, began, cpu := r.count.Load(), time.Now(), process.OwnCPU()
		err = wait(ctx, length)
		f.Records = r.count.Load() - from
		f.PerSecond = float64(f.Records) / time.Since(began).Seconds()
		f.CPU = float64((process.OwnCPU() - cpu).Nanoseconds()) / 1e3 / float64(max(f.Records, 1))
		counting.Store(false)
	}
	stop()
	wg.Wait()
	if err == nil {
		err = r.catchUp(ctx, &stored)
	}
	finish()
	if failure := g.Wait(); failure != nil { // it ended ctx, so it is the reason for err
		err = failure
	}
	all := slices.Sorted(slices.Values(slices.Concat(waits[:]...)))
	f.P50, f.P99, f.P999 = percentile(all, 0.5), percentile(all, 0.99), percentile(all, 0.999)
	return f, err
}

// reader checks and counts what comes back.
type reader struct {
	count atomic.Int64
	last  [appenders]atomic.Uint64 // numbers
}

func (r *reader) got(record []byte) error {
	if len(record) < 16 {
		return fmt.Errorf("got a record of %d bytes", len(record))
	}
	a, n := binary.LittleEndian.Uint64(record), binary.LittleEndian.Uint64(record[8:])
	if a >= appenders || n != r.last[a].Load()+1 {
		return fmt.Errorf("got record %d of appender %d: not the one that follows", n, a)
	}
	r.last[a].Store(n)
	r.count.Add(1)
	return nil
}

// catchUp waits until the reader has had everything.
func (r *reader) catchUp(ctx context.Context, stored *[appenders]uint64) error {
	for deadline := time.Now().Add(catchUp); ; {
		missing := uint64(0)
		for a := range stored {
			missing += stored[a] - r.last[a].Load()
		}
		switch {
		case missing == 0:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("the reader did not get %d records that were stored", missing)
		}
		if err := wait(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

func trimming(ctx context.Context, l log) error {
	for {
		if err := wait(ctx, trimEvery); err != nil {
			return nil //nolint:nilerr // that it is over is no error
		}
		if err := l.trim(); err != nil {
			return fmt.Errorf("trim: %w", err)
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// percentile is the p'th part of sorted, in ms; 0 where nothing was measured.
func percentile(sorted []time.Duration, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(p*float64(len(sorted)-1))].Nanoseconds()) / 1e6
}
