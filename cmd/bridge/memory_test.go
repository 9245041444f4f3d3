package main

import (
	"context"
	"runtime/debug"
	goruntime "runtime/metrics"
	"testing"
	"testing/synctest"
	"time"
)

func TestUnneededMemory(t *testing.T) {
	const mib = 1 << 20
	tests := []struct {
		name        string
		now, before memory
		want        bool
	}{
		{"after a burst", memory{allocated: 1000 * mib, live: 60 * mib, objects: 60 * mib, free: 50 * mib}, memory{allocated: 999 * mib}, true},
		{"not collected yet", memory{allocated: 1000 * mib, live: 60 * mib, objects: 110 * mib}, memory{allocated: 999 * mib}, true},
		{"busy", memory{allocated: 1000 * mib, live: 60 * mib, objects: 60 * mib, free: 50 * mib}, memory{allocated: 900 * mib}, false},
		{"little to give", memory{allocated: 1000 * mib, live: 60 * mib, objects: 62 * mib, free: 5 * mib}, memory{allocated: 999 * mib}, false},
		{"small", memory{allocated: 10 * mib, live: 2 * mib, objects: 3 * mib, free: 2 * mib}, memory{allocated: 9 * mib}, false},
	}
	for _, tt := range tests {
		if got := tt.now.unneeded(tt.before); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestRoomForGarbage(t *testing.T) {
	const mib = 1 << 20
	tests := []struct {
		name            string
		live, allocated uint64 // since before
		want            int    // percent
	}{
		{"at rest", 60 * mib, mib, 20},
		{"dialling", 60 * mib, 3 * mib, 30},
		{"at work", 60 * mib, 10 * mib, 100},
		{"under load", 64 * mib, 1000 * mib, 200},
		{"small at rest", 10 * mib, 0, 80},
		{"small at work", 16 * mib, 20 * mib, 375},
		{"small under load", 8 * mib, 1000 * mib, 1600},
		{"never collected", 0, 1000 * mib, 3200},
		{"large under load", 500 * mib, 1000 * mib, 100},
	}
	for _, tt := range tests {
		before := memory{allocated: 10_000 * mib}
		now := memory{allocated: before.allocated + tt.allocated, live: tt.live}
		if got := now.percent(before); got != tt.want {
			t.Errorf("%s: got %d percent, want %d", tt.name, got, tt.want)
		}
	}
}

// TestMemoryIsGivenBack makes garbage that no collection of its own accord would come to.
func TestMemoryIsGivenBack(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	released := func() uint64 {
		s := []goruntime.Sample{{Name: "/memory/classes/heap/released:bytes"}}
		goruntime.Read(s)
		return s[0].Value.Uint64()
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		garbage := make([]byte, 256<<20)
		for i := range garbage {
			garbage[i] = 1
		}
		before := released()
		go tendMemory(ctx)
		time.Sleep(looksPerReturn*lookAtMemory + time.Second) // virtual
		synctest.Wait()
		if got := released() - before; int64(got) < 200<<20 {
			t.Errorf("gave back %d bytes of 256 MiB", int64(got))
		}
	})
}
