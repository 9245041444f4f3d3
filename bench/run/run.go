// Package run is the bench itself: it sets a stage for each round, lets the programs do their work in turn, judges what landed, and writes down what it cost.
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/taskbridge/taskbridge/bench/kafka"
	"github.com/taskbridge/taskbridge/bench/wire"
)

// Options say what to measure, and with which programs.
type Options struct {
	// Bridge, NATS and Peer are built programs: bridge, nats-server, and any Redpanda Connect; without the last one, its rounds are left out.
	Bridge, NATS, Peer string
	// Kafka is scripts/kafka, which starts an Apache Kafka. Where it cannot, the parts that need one are not measured, and the results say why.
	Kafka string
	// Dir is where rounds keep their files: on a disk, as fsync costs nothing in memory.
	Dir string
	// Quick leaves out everything with more than 100 sessions, and Kafka where Only does not name it, and has fewer and shorter rounds.
	Quick bool
	// Rounds of floods and of paced loads, each program once in each; 0: 5, or 3 where Quick.
	Rounds int
	// Events of a flood, about; 0: 600,000, or 240,000 where Quick.
	Events int
	// Sessions are the numbers of sessions whose cost is measured; empty: 1,000 and 10,000. Settle is how long they rest before, 0: two and a half minutes, as
	// Go collects every two minutes whatever happens.
	Sessions []int
	Settle   time.Duration
	// Busy is the events per second over all sessions, for 20 s, when the cost of many sessions under load is measured; 0: 20,000.
	Busy float64
	// Down is how long a sink's broker is down in the part outage; 0: two minutes.
	Down time.Duration
	// Only are the parts to run; empty: all, or flood and paced where Quick.
	Only []string
	// Out is told how it goes and what was found, as text.
	Out io.Writer
}

// runner is one run.
type runner struct {
	options Options
	self    string // this program
	results *Results
	kafka   *kafka.Cluster // of one node, while it runs
	noKafka string         // why there can be none; empty: there can
	topics  int            // made so far
}

// step is one stretch of a run.
type step struct {
	title string
	takes time.Duration // about
	run   func(ctx context.Context) error
}

// Run measures, and returns what it found until something failed. A stream that does not hold what was sent fails the run.
func Run(ctx context.Context, o Options) (*Results, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if o.Rounds == 0 {
		o.Rounds = 5
		if o.Quick {
			o.Rounds = 3
		}
	}
	if len(o.Sessions) == 0 {
		o.Sessions = []int{1_000, 10_000}
	}
	if o.Settle == 0 {
		o.Settle = 150 * time.Second
	}
	if o.Busy == 0 {
		o.Busy = 20_000
	}
	if o.Down == 0 {
		o.Down = 2 * time.Minute
	}
	r := &runner{options: o, self: self, results: &Results{
		Began: time.Now().UTC(), Quick: o.Quick, MessageBytes: wire.MeanMessage(), Versions: map[string]string{},
		NotMeasured: map[string]string{},
	}}
	if err := r.checkDir(); err != nil {
		return nil, err
	}
	if err := r.readVersions(ctx); err != nil {
		return nil, err
	}
	r.lookForKafka(ctx)
	steps, err := r.steps()
	if err != nil {
		return nil, err
	}
	err = errors.Join(r.walk(ctx, steps), r.stopKafka())
	r.summarize()
	return r.results, err
}

// checkDir refuses a file system in memory: spool and broker would be measured without a disk.
func (r *runner) checkDir() error {
	const tmpfs = 0x01021994 // statfs(2)
	var fs syscall.Statfs_t
	if err := syscall.Statfs(r.options.Dir, &fs); err != nil {
		return fmt.Errorf("-dir %s: %w", r.options.Dir, err)
	}
	if fs.Type == tmpfs {
		return fmt.Errorf("-dir %s is in memory: name a folder on a disk", r.options.Dir)
	}
	return nil
}

// readVersions asks the programs.
func (r *runner) readVersions(ctx context.Context) error {
	for name, args := range map[string][]string{
		"bridge": {r.options.Bridge, "version"}, "broker": {r.options.NATS, "--version"}, "peer": {r.options.Peer, "--version"},
	} {
		if args[0] == "" {
			continue
		}
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, out)
		}
		r.results.Versions[name] = strings.TrimSpace(string(out))
	}
	return nil
}

// walk takes one step after the other, and says before each how long it is to go, by how long those before it took.
func (r *runner) walk(ctx context.Context, steps []step) error {
	var whole, done time.Duration
	for _, s := range steps {
		whole += s.takes
	}
	began := time.Now()
	for i, s := range steps {
		left := whole - done
		if done > 0 {
			left = time.Duration(float64(left) * float64(time.Since(began)) / float64(done))
		}
		r.say("[%d/%d, about %v to go] %s\n", i+1, len(steps), left.Round(time.Second), s.title)
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
		done += s.takes
	}
	return nil
}

// part is what a run may have, by name.
type part struct {
	name  string
	steps func(*runner) []step
	needs needs
	full  bool // not of a quick run, unless it is named
}

// needs is what a part has to find running, apart from what a stage starts.
type needs int

const (
	nothing   needs = iota
	oneNode         // a warm Kafka of one node
	someKafka       // a Kafka that it starts by itself
)

// parts in their order: what ends a warm broker comes last.
var parts = []part{
	{name: "flood", steps: (*runner).flood},
	{name: "paced", steps: (*runner).paced},
	{name: "idle", steps: (*runner).idle},
	{name: "kafka-flood", steps: (*runner).kafkaFlood, needs: oneNode, full: true},
	{name: "kafka-paced", steps: (*runner).kafkaPaced, needs: oneNode, full: true},
	{name: "kafka-sink", steps: (*runner).kafkaSink, needs: oneNode, full: true},
	{name: "outage", steps: (*runner).outages, needs: oneNode, full: true},
	{name: "kafka-move", steps: (*runner).kafkaMove, needs: someKafka, full: true},
}

// Parts are the names of what a run has, in their order.
var Parts = func() (names []string) {
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}()

// wanted are the parts to run.
func (r *runner) wanted() (all []part) {
	for _, p := range parts {
		if slices.Contains(r.options.Only, p.name) || len(r.options.Only) == 0 && (!p.full || !r.options.Quick) {
			all = append(all, p)
		}
	}
	return all
}

// steps are the run's.
func (r *runner) steps() (all []step, err error) {
	for _, name := range r.options.Only {
		if !slices.Contains(Parts, name) {
			return nil, fmt.Errorf("no part %q; there are %v", name, Parts)
		}
	}
	warm := false
	for _, p := range r.wanted() {
		switch {
		case p.needs != nothing && r.noKafka != "":
			r.results.NotMeasured[p.name] = r.noKafka
			r.say("%s: not measured: %s\n", p.name, r.noKafka)
			continue
		case p.needs == oneNode && !warm:
			all = append(all, r.warmUp())
			warm = true
		}
		all = append(all, p.steps(r)...)
	}
	return all, nil
}
