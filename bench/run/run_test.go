package run

import (
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/taskbridge/taskbridge/bench/report"
	"github.com/taskbridge/taskbridge/bench/wire"
)

func TestPeerConfig(t *testing.T) {
	var got struct {
		HTTP  struct{ Enabled *bool }
		Input struct {
			Broker struct {
				Inputs []struct{ Websocket struct{ URL string } }
			}
		}
		Pipeline struct {
			Threads    int
			Processors []struct{ Mapping string }
		}
		Output struct {
			JetStream struct {
				URLs        []string `yaml:"urls"`
				Subject     string
				Headers     map[string]string
				MaxInFlight int `yaml:"max_in_flight"`
			} `yaml:"nats_jetstream"`
		}
	}
	const agents = 12
	text := peerConfig("ws://127.0.0.1:1/ws", "nats://127.0.0.1:2", agents)
	if err := yaml.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	if got.HTTP.Enabled == nil || *got.HTTP.Enabled {
		t.Error("its HTTP listener is open to the network")
	}
	var urls, want []string
	for i, in := range got.Input.Broker.Inputs {
		urls = append(urls, in.Websocket.URL)
		want = append(want, "ws://127.0.0.1:1/ws?worker="+wire.Worker(uint32(i)))
	}
	if diff := cmp.Diff(want, urls); diff != "" || len(urls) != agents {
		t.Errorf("%d inputs (-want +got):\n%s", len(urls), diff)
	}
	out := got.Output.JetStream
	if got.Pipeline.Threads != -1 || len(got.Pipeline.Processors) != 2 || out.MaxInFlight != 1024 || out.Subject != "ev.${! @agent }" ||
		out.Headers["Nats-Msg-Id"] != "${! @id }" || len(out.URLs) != 1 || out.URLs[0] != "nats://127.0.0.1:2" {
		t.Errorf("got %+v and %+v", got.Pipeline, out)
	}
}

func TestQuantiles(t *testing.T) {
	var all []time.Duration
	for i := 1000; i > 0; i-- {
		all = append(all, time.Duration(i)*time.Millisecond)
	}
	if p50, p99, p999 := quantiles(all); p50 != 500 || p99 != 990 || p999 != 999 {
		t.Errorf("got %g, %g, %g", p50, p99, p999)
	}
	if p50, p99, p999 := quantiles([]time.Duration{time.Millisecond}); p50 != 1 || p99 != 1 || p999 != 1 {
		t.Errorf("of one: got %g, %g, %g", p50, p99, p999)
	}
	if p50, _, _ := quantiles(nil); p50 != 0 {
		t.Errorf("of none: got %g", p50)
	}
}

// Only what was measured in the same round at the same rate is compared.
func TestRatios(t *testing.T) {
	round := func(program string, number int, rate, cpu float64) Round {
		return Round{Program: program, Number: number, Rate: rate, ProgramCPU: cpu}
	}
	rounds := []Round{
		round("bridge", 1, 0, 6), round("limit", 1, 0, 2), round("bridge", 2, 0, 4), round("limit", 2, 0, 2),
		round("bridge", 1, 1000, 100), round("limit", 1, 1000, 10), round("bridge", 3, 0, 1000), round("peer", 3, 0, 1),
	}
	if diff := cmp.Diff([]float64{2, 3}, Ratios(rounds, 0, "bridge", "limit", cpu.of)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, c := range []struct {
		of   []float64
		want float64
	}{{[]float64{1}, 1}, {[]float64{1, 3}, 2}, {[]float64{1, 2, 9}, 2}} {
		if got := report.Median(c.of); got != c.want {
			t.Errorf("median of %v: got %g, want %g", c.of, got, c.want)
		}
	}
}

func TestWholeCycles(t *testing.T) {
	for n, want := range map[float64]uint64{1: 4000, 8000: 8000, 9_000: 8000, 399_999: 400_000} {
		if got := wholeCycles(n, 100); got != want {
			t.Errorf("%g: got %d, want %d", n, got, want)
		}
	}
}

func TestSteps(t *testing.T) {
	count := func(o Options) (n int) {
		t.Helper()
		if o.Sessions == nil {
			o.Sessions = []int{1000, 10_000}
		}
		o.Rounds = 2
		steps, err := (&runner{options: o, results: &Results{NotMeasured: map[string]string{}}}).steps()
		if err != nil {
			t.Fatal(err)
		}
		return len(steps)
	}
	for name, c := range map[string]struct{ got, want int }{
		"all":            {count(Options{}), 2*2 + 2*2*2 + 1 + 2*2 + 1 + 3*2*2 + outageRounds + 1 + 2*2},
		"quick":          {count(Options{Quick: true}), 2*2 + 1*2*2},
		"with a peer":    {count(Options{Peer: "connect", Only: []string{"flood"}}), 3 * 2},
		"Kafka floods":   {count(Options{Only: []string{"kafka-flood"}}), 1 + 2*2},
		"leader moves":   {count(Options{Only: []string{"kafka-move"}, Quick: true}), 1 + 2*2},
		"floods only":    {count(Options{Only: []string{"flood"}}), 2 * 2},
		"three sessions": {count(Options{Only: []string{"idle"}, Sessions: []int{1, 2, 3}}), 1 + 2*3},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %d steps, want %d", name, c.got, c.want)
		}
	}
	none := &runner{options: Options{Only: []string{"flood", "outage"}, Rounds: 1, Out: io.Discard}, noKafka: "no java", results: &Results{NotMeasured: map[string]string{}}}
	steps, err := none.steps()
	if diff := cmp.Diff(map[string]string{"outage": "no java"}, none.results.NotMeasured); diff != "" || len(steps) != 2 || err != nil {
		t.Errorf("without a Kafka: got %d steps, %v; not measured (-want +got):\n%s", len(steps), err, diff)
	}
	if _, err := (&runner{options: Options{Only: []string{"fluod"}}}).steps(); err == nil {
		t.Error("got no error for a part that there is not")
	}
}
