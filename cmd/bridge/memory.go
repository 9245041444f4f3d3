package main

import (
	"context"
	"runtime/debug"
	goruntime "runtime/metrics"
	"time"
)

// lookAtMemory is how often giveBack looks.
const lookAtMemory = time.Minute

// giveBack returns to the system what a burst has left: after thousands of sessions were dialled, or a backlog was delivered, the Go runtime keeps
// about as much again as is in use. It does so only in quiet minutes: a busy process needs that memory, and not the extra collection.
func giveBack(ctx context.Context) {
	tick := time.NewTicker(lookAtMemory)
	defer tick.Stop()
	before := readMemory()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := readMemory()
		if now.unneeded(before) {
			debug.FreeOSMemory()
			now = readMemory()
		}
		before = now
	}
}

// memory is the heap, in bytes, as runtime/metrics tells it.
type memory struct {
	allocated uint64 // ever
	live      uint64 // when it was last collected
	objects   uint64 // live ones, and those not collected yet
	free      uint64 // held for new objects
}

func readMemory() memory {
	s := []goruntime.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
	goruntime.Read(s)
	return memory{s[0].Value.Uint64(), s[1].Value.Uint64(), s[2].Value.Uint64(), s[3].Value.Uint64()}
}

// leastGivenBack spares a small process the collection, in bytes.
const leastGivenBack = 8 << 20

// unneeded reports whether much is held beside what lives, and little was allocated since before.
func (m memory) unneeded(before memory) bool {
	beside := m.free
	if m.objects > m.live {
		beside += m.objects - m.live
	}
	return beside > max(leastGivenBack, m.live/4) && m.allocated-before.allocated < max(leastGivenBack, m.live)
}
