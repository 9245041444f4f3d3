package run

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A hundred events a second; from second 20 to second 41 one broker stores nothing, then five hundred a second until it has caught up.
func TestOutage(t *testing.T) {
	const rate, seconds, killed, started, back, drain = 100, 80, 20, 40, 41, 500
	at := func(s float64) int64 { return int64(s * 1e9) }
	var stamps, flowing, held []int64
	next := float64(back)
	for i := range rate * seconds {
		sent := float64(i) / rate
		latency := 0.002
		if sent >= killed && sent < back {
			latency = 0.003
		}
		stored := sent + 0.002
		if sent >= killed && stored < next {
			stored = next
			next += 1.0 / drain
		}
		stamps, flowing, held = append(stamps, at(sent)), append(flowing, at(sent+latency)), append(held, at(stored))
	}
	held[5*rate] += at(2) // that it was late once before is no part of the outage
	x := &Outage{Rate: rate}
	x.judge(stamps, flowing, held, time.Unix(killed, 0), time.Unix(started, 0))
	near := func(name string, got, want float64) {
		t.Helper()
		if got < want*0.97 || got > want*1.03 {
			t.Errorf("%s: got %g, want about %g", name, got, want)
		}
	}
	near("down", x.Down, back-killed)
	near("p99 before", x.Before, 2)
	near("p99 meanwhile", x.During, 3)
	near("p99 afterwards", x.After, 2)
	near("backlog", float64(x.Backlog), rate*(back-killed))
	near("events/s of the drain", x.Drain, drain)
	// 2,100 events wait, and a hundred come each second: 400 a second are caught up, but for those that waited a second or less.
	near("seconds of the drain", x.Seconds, (rate*(back-killed)-rate)/float64(drain-rate))
}

// Where nothing had to wait there is no drain.
func TestOutageThatDelaysNothing(t *testing.T) {
	stamps := []int64{1e9, 2e9, 3e9}
	stored := []int64{1e9 + 1e6, 2e9 + 1e6, 3e9 + 1e6}
	x := &Outage{Rate: 1}
	x.judge(stamps, stored, stored, time.Unix(2, 0), time.Unix(3, 0))
	if x.Drain != 0 || x.Backlog != 0 || x.Down != 1 {
		t.Errorf("got %+v", x)
	}
}

func TestPlace(t *testing.T) {
	for _, c := range []struct {
		at, from place
		want     uint64
	}{{nil, nil, 0}, {place{5}, nil, 5}, {place{5}, place{3}, 2}, {place{5, 7}, place{5, 0}, 7}} {
		if diff := cmp.Diff(c.want, c.at.since(c.from)); diff != "" {
			t.Errorf("%v since %v (-want +got):\n%s", c.at, c.from, diff)
		}
	}
}
