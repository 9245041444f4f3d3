package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/taskbridge/taskbridge/internal/ledger"
	"github.com/taskbridge/taskbridge/internal/trial"
)

func newDemoCommand() *cobra.Command {
	var (
		o      trial.Options
		sinks  string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run everything on this machine and judge what lands",
		Long: `Run everything on this machine: a simulated Twilio workspace, the bridge with its real source over real sockets, an embedded nats-server with file
storage in a temporary folder, an independent consumer, and a judge that holds what the consumer read against what the workspace emitted.

Time-outs are seconds where production has minutes: tokens live 10 s, so every session is renewed while you watch. The last line is the
judge's. With --sink kafka, events go to brokers that are there, into a topic that is created and deleted again; with --sink both, NATS and Kafka
get everything, and each is judged. Exit code 1: something is missing outside a published gap, stored twice, invented or out of order, gaps are
longer than the faults explain, or too little was emitted.`,
		Example: `  bridge demo
  bridge demo --duration 60s --faults   # malformed frames, closes, resets, silence, a broker restart
  bridge demo --agents 200 --rate 1000 --json
  bridge demo --sink kafka --brokers localhost:9092
  bridge demo --sink both --brokers localhost:9092,localhost:9093`,
		Args:        cobra.NoArgs,
		Annotations: stopsInOrder,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.Duration < time.Second:
				return usageError{fmt.Errorf("--duration %v: at least 1s", o.Duration)}
			case o.Agents < 1 || o.Agents > 5000:
				return usageError{fmt.Errorf("--agents %d: 1 to 5000", o.Agents)}
			case !(o.Rate > 0 && o.Rate <= 20*float64(o.Agents)): // so that NaN is neither
				return usageError{fmt.Errorf("--rate %v: above 0, and at most 20 per agent (here %d)", o.Rate, 20*o.Agents)}
			}
			if !slices.Contains([]string{trial.NATS, trial.Kafka, both}, sinks) {
				return usageError{fmt.Errorf("--sink %q: %s, %s or %s", sinks, trial.NATS, trial.Kafka, both)}
			}
			if (sinks == trial.NATS) != (len(o.Kafka) == 0) {
				return usageError{fmt.Errorf("--sink %s with %d --brokers: Kafka needs them, and nothing else does", sinks, len(o.Kafka))}
			}
			o.NoNATS = sinks == trial.Kafka
			dir, err := os.MkdirTemp("", "taskbridge-demo-")
			if err != nil {
				return fmt.Errorf("a folder for the broker's files: %w", err)
			}
			defer func() { _ = os.RemoveAll(dir) }() // the system's temporary folder: what is left there is not in anyone's way
			o.Dir = dir
			out := cmd.OutOrStdout()
			if asJSON {
				out = cmd.ErrOrStderr()
			}
			view := newDemoView(out, o, sinks)
			log := newLogger(loggingConfig{Level: "error", Format: "console"}, cmd.ErrOrStderr())
			verdicts, err := trial.Run(cmd.Context(), o, log, view.show)
			if cmd.Context().Err() != nil {
				return err // interrupted: there is nothing to judge
			}
			if asJSON {
				var figures any = verdicts
				if sinks != both {
					figures = verdicts[sinks]
				}
				if encoded := json.NewEncoder(cmd.OutOrStdout()).Encode(figures); err == nil {
					err = encoded
				}
				return err
			}
			for _, name := range slices.Sorted(maps.Keys(verdicts)) {
				if sinks == both {
					view.end(name+": ", verdicts[name], verdicts[name].Err())
				} else {
					view.end("", verdicts[name], err)
				}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.Duration, "duration", 20*time.Second, "how long to watch, once every session is live")
	f.IntVar(&o.Agents, "agents", 50, "agents in the simulated workspace")
	f.Float64Var(&o.Rate, "rate", 200, "events per second over all agents")
	f.BoolVar(&o.Faults, "faults", false, "disturb sockets and broker on the way")
	f.StringVar(&sinks, "sink", trial.NATS, "where events go: nats (embedded), kafka or both")
	f.StringSliceVar(&o.Kafka, "brokers", nil, "Kafka's brokers, host:port, without TLS and SASL")
	f.BoolVar(&asJSON, "json", false, "print the judge's figures as one JSON object (of --sink both: one per sink); progress goes to standard error")
	return cmd
}

// both is embedded NATS and Kafka, each with everything.
const both = "both"

// demoView shows a trial: on a terminal a few lines that are drawn over, elsewhere a line now and then.
type demoView struct {
	out      io.Writer
	terminal bool
	duration time.Duration
	began    time.Time // of the judged part
	drawn    int       // lines on the terminal to draw over
	note     string
	last     time.Time // of the last plain line
	rates    [8]rate   // a ring of samples for events per second
	samples  int
}

type rate struct {
	at     time.Time
	landed int
}

func newDemoView(out io.Writer, o trial.Options, sinks string) *demoView {
	v := &demoView{out: out, duration: o.Duration}
	if f, ok := out.(*os.File); ok {
		v.terminal = term.IsTerminal(int(f.Fd()))
	}
	v.printf("Taskbridge demo: %d agents, %g events/s: simulated TaskRouter sockets → bridge → %s → judge\n",
		o.Agents, o.Rate, map[string]string{trial.NATS: "NATS JetStream", trial.Kafka: "Kafka", both: "NATS JetStream and Kafka"}[sinks])
	return v
}

func (v *demoView) printf(format string, args ...any) { _, _ = fmt.Fprintf(v.out, format, args...) }

// show is called about four times a second.
func (v *demoView) show(p trial.Progress, note string) {
	now := time.Now()
	if v.began.IsZero() && p.Live == p.Agents {
		v.began = now
	}
	perSecond := v.rate(now, p.Landed)
	if note != "" {
		v.note = note
	}
	if v.terminal {
		v.draw(p, perSecond)
		return
	}
	if note != "" {
		v.printf("%5s  %s\n", v.elapsed(), note)
	}
	if now.Sub(v.last) >= 2*time.Second {
		v.last = now
		v.printf("%5s  sessions %d/%d  emitted %d  on the stream %d  %.0f/s  open gaps %d\n",
			v.elapsed(), p.Live, p.Agents, p.Emitted, p.Landed, perSecond, p.OpenGaps)
	}
}

// rate is events per second over the last samples.
func (v *demoView) rate(now time.Time, landed int) float64 {
	oldest := v.rates[v.samples%len(v.rates)]
	v.rates[v.samples%len(v.rates)] = rate{now, landed}
	v.samples++
	if oldest.at.IsZero() {
		return 0
	}
	return float64(landed-oldest.landed) / now.Sub(oldest.at).Seconds()
}

func (v *demoView) elapsed() time.Duration {
	if v.began.IsZero() {
		return 0
	}
	return min(time.Since(v.began), v.duration).Round(time.Second)
}

const barWidth = 40

func (v *demoView) draw(p trial.Progress, perSecond float64) {
	filled := min(barWidth, int(barWidth*v.elapsed()/max(v.duration, 1)))
	lines := []string{
		fmt.Sprintf("sessions  %d of %d live, %d with an open gap", p.Live, p.Agents, p.OpenGaps),
		fmt.Sprintf("events    %d emitted, %d on the stream, %d not yet confirmed, %.0f/s", p.Emitted, p.Landed, p.Unconfirmed, perSecond),
		fmt.Sprintf("progress  [%s%s] %v of %v", strings.Repeat("#", filled), strings.Repeat(".", barWidth-filled), v.elapsed(), v.duration),
		"          " + v.note,
		"latest    ",
	}
	for _, e := range p.Last {
		lines = append(lines, fmt.Sprintf("  %s  %-32s %s", e.Recorded.Time().Format("15:04:05.000"), e.Type, e.Subject))
	}
	if v.drawn > 0 {
		v.printf("\x1b[%dA", v.drawn) // cursor up
	}
	for _, line := range lines {
		v.printf("\x1b[K%s\n", line) // erase to the end of the line
	}
	for range v.drawn - len(lines) {
		v.printf("\x1b[K\n")
	}
	v.drawn = max(v.drawn, len(lines))
}

func (v *demoView) end(to string, d ledger.Verdict, err error) {
	word := "PASS"
	if err != nil {
		word = "FAIL"
	}
	v.printf("%s: %semitted %d, landed %d, missing %d, duplicates %d, out of order %d, invented %d, gaps %d (%.1f s), %.0f events/s, p50 %.1f ms, p99 %.1f ms\n",
		word, to, d.Emitted, d.Landed, d.Missing, d.Duplicates, d.OutOfOrder, d.Invented, d.Gaps, d.GapSeconds, d.EventsPerSecond, d.P50MS, d.P99MS)
}
