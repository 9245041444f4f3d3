package main

import (
	"context"
	"os"
	"runtime/debug"
	goruntime "runtime/metrics"
	"time"
)

// lookAtMemory is how often tendMemory looks.
const lookAtMemory = 10 * time.Second

// tendMemory fits the Go runtime to what the process does, until ctx ends. The runtime lets a heap grow to twice what lives in it before it collects, and
// keeps what it has once had for long; with thousands of sessions at rest that is as much again as they need, and under load it is so little that the
// collector takes a fifth of the CPU. So while little is allocated, what is not needed goes back to the system; and while much is, the heap may grow
// further between collections, by an amount that is bounded. A GOGC that is set stays as it is; so does GOMEMLIMIT, which bounds either.
func tendMemory(ctx context.Context) {
	_, set := os.LookupEnv("GOGC")
	percent := usualPercent
	if !set {
		defer debug.SetGCPercent(usualPercent)
	}
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
		if fit := now.percent(before); !set && fit != percent {
			percent = fit
			debug.SetGCPercent(percent)
		}
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

const (
	usualPercent = 100       // of what lives, that a heap may grow by before it is collected: the runtime's own default
	mostPercent  = 400       // under load
	mostExtra    = 128 << 20 // under load, in bytes: a heap that is larger than this keeps the usual percentage
)

// percent is by how much the heap may grow: by more than usual when more than all that lives was allocated since before.
func (m memory) percent(before memory) int {
	if m.allocated-before.allocated <= max(m.live, mostExtra/2) {
		return usualPercent
	}
	return max(usualPercent, int(min(mostPercent, mostExtra*100/max(m.live, 1))))
}

// leastGivenBack spares a small process the collection, in bytes.
const leastGivenBack = 4 << 20

// unneeded reports whether much is held beside what lives, and little was allocated since before.
func (m memory) unneeded(before memory) bool {
	beside := m.free
	if m.objects > m.live {
		beside += m.objects - m.live
	}
	enough := max(leastGivenBack, m.live/8)
	return beside > enough && m.allocated-before.allocated < enough
}
