// Command bench tells how far the bridge is from the limit of its job on this machine: see package run. It is also the other programs of a measurement,
// as commands of its own. Linux only.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/taskbridge/taskbridge/bench/feed"
	"github.com/taskbridge/taskbridge/bench/generator"
	"github.com/taskbridge/taskbridge/bench/limit"
	"github.com/taskbridge/taskbridge/bench/page"
	"github.com/taskbridge/taskbridge/bench/report"
	"github.com/taskbridge/taskbridge/bench/run"
	"github.com/taskbridge/taskbridge/bench/spool"
)

const usage = `usage: bench COMMAND [FLAGS]; COMMAND -h tells the flags

  run         measure
  page        make bench/RESULTS.md of what was measured
  generator   the vendor's side: sockets that send as much as they are told to
  limit       the least that a program can do with what they send
  feed        events for a Kafka client alone`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet("bench "+args[0], flag.ContinueOnError)
	switch args[0] {
	case "run":
		return measure(ctx, flags, args[1:], out)
	case "page":
		return makePage(flags, args[1:])
	case "generator":
		return generate(ctx, flags, args[1:], out)
	case "limit":
		var o limit.Options
		brokers := brokersFlag(flags, "kafka")
		flags.StringVar(&o.Sockets, "sockets", "", "`URL` of the generator's sockets without a token: ws://…/ws")
		flags.IntVar(&o.Agents, "agents", 0, "how `many` of them to dial")
		flags.StringVar(&o.NATS, "nats", "", "`URL` of the broker, or")
		flags.StringVar(&o.Topic, "topic", "", "of Kafka")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		o.Kafka = brokers()
		return limit.Run(ctx, o)
	case "feed":
		return feedOne(ctx, flags, args[1:], out)
	}
	return errors.New(usage)
}

// brokersFlag is a flag with a list.
func brokersFlag(flags *flag.FlagSet, name string) func() []string {
	text := flags.String(name, "", "`host:port` of Kafka's brokers, joined by commas")
	return func() []string { return strings.Split(*text, ",") }
}

func feedOne(ctx context.Context, flags *flag.FlagSet, args []string, out io.Writer) error {
	var o feed.Options
	brokers := brokersFlag(flags, "brokers")
	flags.StringVar(&o.Client, "client", feed.Sink, strings.Join([]string{feed.Sink, feed.Writer, feed.Franz}, ", "))
	flags.StringVar(&o.Topic, "topic", "", "which is there")
	flags.Uint64Var(&o.Events, "events", 0, "how `many`")
	flags.Float64Var(&o.Rate, "rate", 0, "events per second; 0: as fast as the client takes them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.Brokers = brokers()
	result, err := feed.Run(ctx, o)
	return errors.Join(err, json.NewEncoder(out).Encode(result))
}

func generate(ctx context.Context, flags *flag.FlagSet, args []string, out io.Writer) error {
	file := flags.String("certificate", "", "serve wss, and write the certificate to trust to this `file`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var certificate *tls.Certificate
	if *file != "" {
		var err error
		if certificate, err = generator.Certificate(*file); err != nil {
			return err
		}
	}
	return generator.New().Run(ctx, certificate, generator.Announce(out))
}

func measure(ctx context.Context, flags *flag.FlagSet, args []string, out io.Writer) error {
	o := run.Options{Out: out}
	flags.StringVar(&o.Bridge, "bridge", "bin/bridge", "the built bridge, a `program`")
	flags.StringVar(&o.NATS, "nats", "bin/nats-server", "a nats-server, a `program`")
	flags.StringVar(&o.Peer, "peer", os.Getenv("PEER"), "a Redpanda Connect, a `program`, to measure too; default: $PEER")
	flags.StringVar(&o.Kafka, "kafka", "scripts/kafka", "what starts an Apache Kafka, a `program`")
	flags.StringVar(&o.Dir, "dir", "bin", "`folder` for the rounds' files, on a disk")
	flags.BoolVar(&o.Quick, "quick", false, "under three minutes: fewer, shorter rounds, and none with more than 100 sessions")
	flags.IntVar(&o.Rounds, "rounds", 0, "how `many` rounds; default: 5, or 3 with -quick")
	flags.IntVar(&o.Events, "events", 0, "about how `many` events a flood has; default: 600000, or 240000 with -quick")
	flags.Float64Var(&o.Busy, "busy", 0, "events per second over the idle sessions, afterwards; default: 20000")
	flags.DurationVar(&o.Settle, "settle", 0, "how long idle sessions rest before they are measured; default: 2m30s")
	flags.DurationVar(&o.Down, "down", 0, "how long one of two sinks is down; default: 2m")
	flags.Func("sessions", "`numbers` of idle sessions, joined by commas; default: 1000,10000", func(text string) error {
		for one := range strings.SplitSeq(text, ",") {
			n, err := strconv.Atoi(one)
			if err != nil {
				return err
			}
			o.Sessions = append(o.Sessions, n)
		}
		return nil
	})
	only := flags.String("only", "", "run only these `parts`, joined by commas: "+strings.Join(append(slices.Clone(run.Parts), spoolPart), ", "))
	file := flags.String("json", "", "write all figures to this `file`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *only != "" {
		o.Only = strings.Split(*only, ",")
	}
	spoolToo := len(o.Only) == 0 && !o.Quick || slices.Contains(o.Only, spoolPart)
	o.Only = slices.DeleteFunc(o.Only, func(part string) bool { return part == spoolPart })
	var f page.Figures
	var err error
	if f.Machine, err = report.Describe(ctx, o.Dir, "."); err != nil {
		return err
	}
	if *only != spoolPart {
		f.Run, err = run.Run(ctx, o)
	}
	if err == nil && spoolToo {
		f.Spool, err = besideRaftWAL(ctx, o.Dir, out)
	}
	if err == nil {
		f.Allocations, err = allocations(ctx)
	}
	if *file != "" { // also what there is of a run that failed
		err = errors.Join(err, keep(*file, &f))
	}
	return err
}

// spoolPart is the log beside raft-wal, which needs no other program.
const spoolPart = "spool"

func besideRaftWAL(ctx context.Context, dir string, out io.Writer) (*spool.Result, error) {
	dir, err := os.MkdirTemp(dir, "bench-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	result, err := spool.Run(ctx, dir, 7, 3*time.Second, out)
	return &result, err
}

var counted = regexp.MustCompile(`([0-9.]+) allocations per event`)

// allocations asks the test that counts them.
func allocations(ctx context.Context) (float64, error) {
	const module = "github.com/taskbridge/taskbridge"
	dir, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return 0, fmt.Errorf("count allocations: find the bridge's sources: %w", err)
	}
	c := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-run", "^TestWholeWayAllocations$", module+"/internal/bridge")
	c.Dir = strings.TrimSpace(string(dir))
	text, err := c.CombinedOutput()
	found := counted.FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("count allocations: %w: %s", err, text)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

func keep(file string, f *page.Figures) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// makePage makes the page of what runs have kept.
func makePage(flags *flag.FlagSet, args []string) error {
	dir := flags.String("dir", "bench", "`folder` for RESULTS.md and its drawings; its NOTES.md becomes a part of the page")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("name the files that bench run -json has written; of two with the same part the later counts")
	}
	var all page.Figures
	for _, name := range flags.Args() {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var f page.Figures
		if err := json.Unmarshal(text, &f); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all.Add(&f)
	}
	if all.Run == nil {
		all.Run = &run.Results{}
	}
	return all.Write(*dir)
}
