package main

import (
	"context"
	"os"
	"runtime/debug"
	goruntime "runtime/metrics"
	"time"
)

const (
	lookAtMemory   = time.Second // between two looks at how much is allocated
	looksPerReturn = 10          // looks until what is not needed goes back
)

// tendMemory fits the Go runtime to what the process does, until ctx ends. The runtime lets a heap grow to twice what lives in it before it collects. With
// thousands of sessions that is as much again as they need, and what lives ends up scattered over all of it; under load it is so little that the collector
// takes a fifth of the CPU. So the heap may grow by a percentage that follows the rate of allocation, and while little is allocated, what is not needed
// goes back to the system. A GOGC that is set stays as it is; so does GOMEMLIMIT, which bounds either.
func tendMemory(ctx context.Context) {
	_, set := os.LookupEnv("GOGC")
	percent := usualPercent
	if !set {
		defer debug.SetGCPercent(usualPercent)
	}
	tick := time.NewTicker(lookAtMemory)
	defer tick.Stop()
	last := readMemory()
	returned := last
	for look := 1; ; look++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := readMemory()
		if fit := max(now.percent(last), percent*3/4); !set && fit != percent { // up at once, down in steps
			percent = fit
			debug.SetGCPercent(percent)
		}
		last = now
		if look%looksPerReturn == 0 {
			if now.unneeded(returned) {
				debug.FreeOSMemory()
				last = readMemory()
			}
			returned = last
		}
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

// A collection costs about a millisecond of CPU for each MiB that lives, and comes when the heap has grown by the percentage. So at 10 percent for each MiB
// that is allocated a second collections take 1 % of a core, whatever lives; what little lives in a small process may grow by leastExtra, or it would
// be collected all the time. And while the heap is marked, for some 10 ms on two cores, events wait: under load that is to be the lot of less than one of
// a hundred.
const (
	usualPercent  = 100 // the runtime's own, until something is known
	percentPerMiB = 10
	leastPercent  = 20
	secondsApart  = 3         // collections are to be, as far as mostExtra reaches
	leastExtra    = 8 << 20   // by which a heap may grow, in bytes, whatever is allocated
	mostExtra     = 128 << 20 // the same, at more than the usual percentage
	runtimeLeast  = 4 << 20   // what counts as living for the runtime where less does (heapMinimum in runtime/mgcpacer.go)
)

// percent is by how much the heap may grow between collections, from what was allocated since before, a second ago.
func (m memory) percent(before memory) int {
	live, allocated := max(m.live, runtimeLeast), m.allocated-before.allocated
	fit := max(leastPercent, allocated*percentPerMiB>>20, max(leastExtra, allocated*secondsApart)*100/live)
	if fit > usualPercent {
		fit = max(usualPercent, min(fit, mostExtra*100/live))
	}
	return int(fit)
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
