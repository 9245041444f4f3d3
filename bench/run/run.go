// Package run is the bench itself: it sets a stage for each round, lets the programs do their work in turn, judges what landed, and writes down what it cost.
package run

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/taskbridge/taskbridge/bench/wire"
)

// Options say what to measure, and with which programs.
type Options struct {
	// Bridge, NATS and Peer are built programs: bridge, nats-server, and any Redpanda Connect; without the last one, its rounds are left out.
	Bridge, NATS, Peer string
	// Dir is where rounds keep their files: on a disk, as fsync costs nothing in memory.
	Dir string
	// Quick leaves out everything with more than 100 sessions, and has fewer and shorter rounds.
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
	// Only are the parts to run, all where it is empty: flood, paced, idle.
	Only []string
	// Out is told how it goes and what was found, as text.
	Out io.Writer
}

// runner is one run.
type runner struct {
	options Options
	self    string // this program
	results *Results
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
	r := &runner{options: o, self: self, results: &Results{
		Began: time.Now().UTC(), Quick: o.Quick, MessageBytes: wire.MeanMessage(), Versions: map[string]string{},
	}}
	if err := r.checkDir(); err != nil {
		return nil, err
	}
	if err := r.readVersions(ctx); err != nil {
		return nil, err
	}
	steps, err := r.steps()
	if err != nil {
		return nil, err
	}
	err = r.walk(ctx, steps)
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

// Parts are what a run has, in their order.
var Parts = []string{"flood", "paced", "idle"}

// steps are the run's.
func (r *runner) steps() ([]step, error) {
	parts := map[string]func() []step{"flood": r.flood, "paced": r.paced, "idle": r.idle}
	for _, name := range r.options.Only {
		if parts[name] == nil {
			return nil, fmt.Errorf("no part %q; there are %v", name, Parts)
		}
	}
	var all []step
	for _, name := range Parts {
		if len(r.options.Only) == 0 || slices.Contains(r.options.Only, name) {
			all = append(all, parts[name]()...)
		}
	}
	return all, nil
}
