package process

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func shell(script string, ready func(string) bool) Command {
	return Command{Path: "/bin/sh", Args: []string{"-c", script}, Ready: ready}
}

func TestStartAndStop(t *testing.T) {
	var seen string
	p, err := Start(t.Context(), shell("echo one; echo two >&2; exec sleep 600", func(line string) bool {
		seen = line
		return line == "two"
	}))
	if err != nil {
		t.Fatal(err)
	}
	if seen != "two" || p.Tail() != "one\ntwo\n" {
		t.Errorf("got ready at %q, and wrote %q", seen, p.Tail())
	}
	if err := p.Err(); err != nil {
		t.Errorf("got %v of a program that runs", err)
	}
	if u, err := p.Usage(); err != nil || u.RSS <= 0 || u.Peak < u.RSS {
		t.Errorf("got %+v, %v", u, err)
	}
	for range 2 { // the second is a no-op
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
	if _, err := p.Usage(); err == nil {
		t.Error("got the usage of a program that has ended")
	}
}

// What the program has started ends with it: a shell does not pass signals on.
func TestStopReachesTheGroup(t *testing.T) {
	p, err := Start(t.Context(), shell("sleep 600 & echo ready; wait", func(line string) bool { return line == "ready" }))
	if err != nil {
		t.Fatal(err)
	}
	// The output's pipe is held by the grandchild: were it left, this would not return.
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

// A program whose input is held runs until it is to end, although it reads.
func TestHeldInput(t *testing.T) {
	c := shell("echo ready; read line; echo over; exec sleep 600", func(line string) bool { return line == "ready" })
	c.Held = true
	p, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Err(); err != nil {
		t.Errorf("got %v while its input is open", err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

func TestProgramThatEnds(t *testing.T) {
	never := func(string) bool { return false }
	_, err := Start(t.Context(), shell("echo bad news; exit 3", never))
	if err == nil || !strings.Contains(err.Error(), "bad news") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v, want what it wrote and its status", err)
	}
	p, err := Start(t.Context(), shell("read line", nil)) // standard input is empty
	if err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if p.Err() == nil || p.Stop() == nil {
		t.Errorf("got %v and %v, want that it has ended by itself", p.Err(), p.Stop())
	}
}

func TestInterruptedStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Start(ctx, shell("echo; exec sleep 600", func(string) bool {
		cancel()
		return false
	}))
	if err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("got %v, want that it was interrupted", err)
	}
}

func TestCPU(t *testing.T) {
	stat := "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 25 7 7 20 0 9 0 100 1000 200"
	if got, err := cpuOf([]byte(stat)); got != 1750*time.Millisecond || err != nil {
		t.Errorf("got %v, %v, want 1.75s", got, err)
	}
	if got, err := cpuOf([]byte("42 (x) S 1")); err == nil {
		t.Errorf("got %v, want an error", got)
	}
}

func TestKilobytes(t *testing.T) {
	status := []byte("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n")
	rss, peak, none := kilobytes(status, "VmRSS:"), kilobytes(status, "VmHWM:"), kilobytes(status, "VmSwap:")
	if rss != 1<<20 || peak != 2<<20 || none != 0 {
		t.Errorf("got %d, %d and %d", rss, peak, none)
	}
}

func TestBusy(t *testing.T) {
	if got, err := Busy(); got <= 0 || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}
