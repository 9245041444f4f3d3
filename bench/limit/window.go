package limit

import (
	"sync"
	"sync/atomic"
)

// window bounds how many messages are out. Who finds it full waits until a quarter of it is free: to wake a goroutine for every answer would cost more than
// the rest of what this package does.
type window struct {
	size, low int64
	out       atomic.Int64
	mu        sync.Mutex
	free      sync.Cond
	closed    bool
}

func newWindow(size int) *window {
	w := &window{size: int64(size), low: int64(size) / 4 * 3}
	w.free.L = &w.mu
	return w
}

// take waits for room and takes it. False: the window was closed while it waited. Safe for concurrent use.
func (w *window) take() bool {
	for {
		out := w.out.Load()
		if out < w.size {
			if w.out.CompareAndSwap(out, out+1) {
				return true
			}
			continue
		}
		w.mu.Lock()
		for w.out.Load() > w.low && !w.closed {
			w.free.Wait()
		}
		closed := w.closed
		w.mu.Unlock()
		if closed {
			return false
		}
	}
}

// give gives one back. The step down to low is made exactly once each time, so nobody is left waiting: who looked before it is in Wait, or
// about to be and holds mu.
func (w *window) give() {
	if w.out.Add(-1) == w.low {
		w.mu.Lock()
		w.free.Broadcast()
		w.mu.Unlock()
	}
}

// close wakes all who wait.
func (w *window) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.free.Broadcast()
}
