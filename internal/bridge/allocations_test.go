//go:build !race

// The race detector allocates as well.

package bridge

import (
	"sync/atomic"
	"testing"

	"github.com/taskbridge/taskbridge/internal/spool"
)

// TestWholeWayAllocations counts what the bridge allocates from a message to Sink.Send. The log's writer takes the same groups every time, so that the
// figure does not depend on the disk or on the scheduler.
func TestWholeWayAllocations(t *testing.T) {
	// What it was when this was written last, rounded up: more is a step back, and less belongs here.
	const most = 2.9
	const together = 256 // in two groups: at flood, about as many are appended while the disk syncs
	disk := &heldDisk{Files: spool.OS, entered: make(chan struct{}), resume: make(chan struct{})}
	w := newWholeWay(t, spool.Options{Files: disk})
	round := func() {
		disk.hold.Store(true)
		w.traffic.next()
		<-disk.entered
		for range together - 1 {
			w.traffic.next()
		}
		disk.resume <- struct{}{}
		if err := w.log.Sync(); err != nil {
			t.Fatal(err)
		}
		deliver(t.Context(), w.publisher)
	}
	if err := w.log.Sync(); err != nil { // what the sessions have told
		t.Fatal(err)
	}
	deliver(t.Context(), w.publisher)
	before := w.sink.sent.Load()
	const rounds = 40 // a lap of all tasks and more
	for range rounds {
		round()
	}
	got := testing.AllocsPerRun(rounds, round) / together
	if sent, want := w.sink.sent.Load()-before, int64(2*rounds+1)*together; sent != want {
		t.Fatalf("got %d events sent, want %d, one for each message", sent, want)
	}
	t.Logf("%.2f allocations per event", got)
	if got > most {
		t.Errorf("got %.2f allocations per event, want %.2f at most", got, most)
	}
}

// heldDisk holds up the next sync until it may go on.
type heldDisk struct {
	spool.Files
	hold            atomic.Bool
	entered, resume chan struct{}
}

func (d *heldDisk) Open(name string, flag int) (spool.File, error) {
	f, err := d.Files.Open(name, flag)
	return heldFile{f, d}, err
}

type heldFile struct {
	spool.File
	disk *heldDisk
}

func (f heldFile) Sync() error {
	if f.disk.hold.Swap(false) {
		f.disk.entered <- struct{}{}
		<-f.disk.resume
	}
	return f.File.Sync()
}
