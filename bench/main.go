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
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/taskbridge/taskbridge/bench/generator"
	"github.com/taskbridge/taskbridge/bench/limit"
	"github.com/taskbridge/taskbridge/bench/run"
)

const usage = `usage: bench COMMAND [FLAGS]; COMMAND -h tells the flags

  run         measure
  generator   the vendor's side: sockets that send as much as they are told to
  limit       the least that a program can do with what they send`

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
	case "generator":
		return generate(ctx, flags, args[1:], out)
	case "limit":
		var o limit.Options
		flags.StringVar(&o.Sockets, "sockets", "", "`URL` of the generator's sockets without a token: ws://…/ws")
		flags.IntVar(&o.Agents, "agents", 0, "how `many` of them to dial")
		flags.StringVar(&o.NATS, "nats", "", "`URL` of the broker")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return limit.Run(ctx, o)
	}
	return errors.New(usage)
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
	flags.StringVar(&o.Dir, "dir", "bin", "`folder` for the rounds' files, on a disk")
	flags.BoolVar(&o.Quick, "quick", false, "under three minutes: fewer, shorter rounds, and none with more than 100 sessions")
	flags.IntVar(&o.Rounds, "rounds", 0, "how `many` rounds; default: 5, or 3 with -quick")
	flags.IntVar(&o.Events, "events", 0, "about how `many` events a flood has; default: 600000, or 240000 with -quick")
	flags.Float64Var(&o.Busy, "busy", 0, "events per second over the idle sessions, afterwards; default: 20000")
	flags.DurationVar(&o.Settle, "settle", 0, "how long idle sessions rest before they are measured; default: 2m30s")
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
	only := flags.String("only", "", "run only these `parts`, joined by commas: "+strings.Join(run.Parts, ", "))
	file := flags.String("json", "", "write all figures to this `file`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *only != "" {
		o.Only = strings.Split(*only, ",")
	}
	results, err := run.Run(ctx, o)
	if results != nil && *file != "" {
		// Also what there is of a run that failed.
		text, bad := json.MarshalIndent(results, "", "  ")
		if bad == nil {
			bad = os.WriteFile(*file, append(text, '\n'), 0o644)
		}
		err = errors.Join(err, bad)
	}
	return err
}
