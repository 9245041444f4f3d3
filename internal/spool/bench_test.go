package spool

import (
	"io"
	"strconv"
	"sync"
	"testing"

	"github.com/taskbridge/taskbridge/internal/event"
)

// benchBytes is the data of one record: a usual event.
const benchBytes = 1092

func benchEvent() *event.Encoded {
	e := &event.Encoded{Header: fullHeader(), Data: make([]byte, benchBytes)}
	e.Header.PartitionKey = "WT0123456789abcdef"
	return e
}

func openBench(b *testing.B, survives Survival) *Disk {
	b.Helper()
	d, err := Open(Options{Dir: b.TempDir(), Survives: survives})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	return d
}

// trimEvery is after how many records a benchmark lets go of the segments, so that it may run as long as it likes.
const trimEvery = 1 << 16

func trim(b *testing.B, d *Disk, cursors ...Cursor) {
	b.Helper()
	for _, c := range cursors {
		if err := c.Save(nil); err != nil {
			b.Fatal(err)
		}
	}
	if err := d.Checkpoint(func(io.Writer) error { return nil }); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkAppend appends from one goroutine as fast as the log takes it. Nothing waits for the disk, so that it is the cost of the log's own work.
func BenchmarkAppend(b *testing.B) {
	d, e := openBench(b, ProcessCrash), benchEvent()
	b.ReportAllocs()
	for n := 1; b.Loop(); n++ {
		if _, err := d.Append(Normal, e); err != nil {
			b.Fatal(err)
		}
		if n%trimEvery == 0 {
			trim(b, d)
		}
	}
}

// BenchmarkAppendNext is the whole life of a record: 64 at a time are appended, become durable, and are returned by a cursor and done.
func BenchmarkAppendNext(b *testing.B) {
	const together = 64
	d, e := openBench(b, ProcessCrash), benchEvent()
	c, err := d.Cursor("a", CursorOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for n := 1; b.Loop(); n++ {
		if _, err := d.Append(Normal, e); err != nil {
			b.Fatal(err)
		}
		if n%together != 0 {
			continue
		}
		if err := d.Sync(); err != nil {
			b.Fatal(err)
		}
		records, err := c.Next(together)
		if err != nil || len(records) != together {
			b.Fatalf("Next: got %d records, %v, want %d", len(records), err, together)
		}
		for i := range records {
			c.Done(records[i].Pos)
		}
		if n%trimEvery == 0 {
			trim(b, d, c)
		}
	}
}

// BenchmarkAppendSync appends from many goroutines, each of which waits until its event is durable.
func BenchmarkAppendSync(b *testing.B) {
	for _, survives := range []Survival{PowerLoss, ProcessCrash} {
		for _, appenders := range []int{1, 16, 256} {
			b.Run([]string{"power_loss", "process_crash"}[survives]+"/"+strconv.Itoa(appenders), func(b *testing.B) {
				d, e := openBench(b, survives), benchEvent()
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for a := range appenders {
					wg.Go(func() {
						for i := a; i < b.N; i += appenders {
							if _, err := d.Append(Normal, e); err != nil {
								b.Error(err)
								return
							}
							if err := d.Sync(); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}
