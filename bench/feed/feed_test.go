package feed

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/taskbridge/taskbridge/bench/kafka/kafkatest"
	"github.com/taskbridge/taskbridge/bench/verify"
	"github.com/taskbridge/taskbridge/bench/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every client brings every event once, a task's in order, with and without a rate.
func TestRun(t *testing.T) {
	c := kafkatest.Start(t)
	const events = agents * wire.Cycle
	for _, client := range []string{Sink, Writer, Franz} {
		for name, rate := range map[string]float64{"flood": 0, "paced": 20_000} {
			t.Run(client+" "+name, func(t *testing.T) {
				topic := client + "-" + name
				if err := c.Create(t.Context(), topic, 3); err != nil {
					t.Fatal(err)
				}
				o := Options{Client: client, Brokers: c.Brokers, Topic: topic, Events: events, Rate: rate}
				got, err := Run(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				if got.Seconds <= 0 || (len(got.Longest) > 0) != (rate > 0) {
					t.Errorf("got %+v", got)
				}
				ends, err := c.Ends(t.Context(), topic)
				if err != nil {
					t.Fatal(err)
				}
				check := verify.New(o.Load())
				if err := c.Read(t.Context(), topic, make([]int64, len(ends)), ends, check.Take); err != nil {
					t.Fatal(err)
				}
				if err := check.Report().Err(verify.ByTask); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestRefusedOptions(t *testing.T) {
	for _, o := range []Options{{Client: "other", Events: 4000}, {Client: Sink}, {Client: Sink, Events: 4001}, {Client: Sink, Events: 4000, Rate: -1}} {
		if _, err := Run(t.Context(), o); err == nil {
			t.Errorf("%+v: got no error", o)
		}
	}
}

// A stall counts from when the event was due, not from when it was sent at last; the longest of each partition is kept.
func TestWaits(t *testing.T) {
	began := time.Unix(1000, 0)
	ms := func(n int) time.Time { return began.Add(time.Duration(n) * time.Millisecond) }
	w := &waits{}
	w.begin(began, 1000) // event i is due after i ms, and has position i+1
	w.answered(1, 1, ms(3))
	w.answered(0, 2, ms(2))
	w.answered(1, 11, ms(90)) // waited 80
	w.answered(1, 91, ms(95))
	if diff := cmp.Diff([]float64{1, 80}, w.longest()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	flood := &waits{}
	flood.begin(began, 0)
	flood.answered(0, 1, ms(7))
	if got := flood.longest(); got != nil {
		t.Errorf("without a rate: got %v", got)
	}
}

func TestRecords(t *testing.T) {
	s, err := newSource()
	if err != nil {
		t.Fatal(err)
	}
	all := s.records(100, 2*agents)
	first, next := all[0], all[agents]
	if want := (wire.Event{Agent: 0, Seq: 1}).ID(); first.Header.ID != want || first.Pos != 101 {
		t.Errorf("got %s at %d, want %s at 101", first.Header.ID, first.Pos, want)
	}
	if !strings.HasPrefix(next.Header.ID, next.Header.PartitionKey) || next.Key == first.Key || len(next.Data) < 1000 {
		t.Errorf("got %+v", next.Header)
	}
}
