package limit

import (
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Never more are out than the window has, and whoever waits gets on.
func TestWindow(t *testing.T) {
	const size, goroutines, each = 8, 16, 2000
	w := newWindow(size)
	out := make(chan struct{}, goroutines*each)
	var takers, giver sync.WaitGroup
	for range goroutines {
		takers.Go(func() {
			for range each {
				if !w.take() {
					t.Error("take: got false of an open window")
				}
				if n := w.out.Load(); n > size {
					t.Errorf("%d are out, at most %d may be", n, size)
				}
				out <- struct{}{}
			}
		})
	}
	giver.Go(func() {
		for range out {
			w.give()
		}
	})
	takers.Wait()
	close(out)
	giver.Wait()
	if n := w.out.Load(); n != 0 {
		t.Errorf("%d are still out", n)
	}
}

func TestCloseWakesWaiters(t *testing.T) {
	w := newWindow(1)
	if !w.take() {
		t.Fatal("take: got false of an empty window")
	}
	ended := make(chan bool)
	go func() { ended <- w.take() }()
	w.close()
	if <-ended {
		t.Error("take: got true of a full window that was closed")
	}
}
