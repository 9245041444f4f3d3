package spool

import (
	"sync"
	"testing"

	"github.com/taskbridge/taskbridge/internal/event"
)

// BenchmarkDisk appends from many goroutines, each of which waits until its event is durable.
func BenchmarkDisk(b *testing.B) {
	for _, survives := range []Survival{PowerLoss, ProcessCrash} {
		for _, appenders := range []int{1, 16, 256} {
			b.Run([]string{"power_loss", "process_crash"}[survives]+"/"+[]string{1: "1", 16: "16", 256: "256"}[appenders], func(b *testing.B) {
				d, err := Open(Options{Dir: b.TempDir(), Survives: survives})
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = d.Close() }()
				e := &event.Encoded{Header: fullHeader(), Data: make([]byte, 1092)}
				e.Header.PartitionKey = "WT0123456789abcdef"
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
