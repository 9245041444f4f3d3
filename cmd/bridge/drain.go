package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/taskbridge/taskbridge/internal/bridge"
	"github.com/taskbridge/taskbridge/internal/config"
)

func newDrainCommand() *cobra.Command {
	var (
		dir     string
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "drain -c FILE",
		Short: "Deliver what a bridge that is gone has left in its spool",
		Long: `Deliver what a bridge that is gone has left in its spool, and exit: when a pod is not to come back, before its volume is deleted. The configuration
says what the sinks are; they have the names that they had. No session is opened. Where the bridge ended without a stop, the gap of every agent who was
live is told too; it stays open until some bridge tells that she is live again.

The exit code is 0 when nothing is left, and 1 when the time is up or a signal came first; nothing is lost by that, and another drain goes on.`,
		Example: `  bridge drain -c bridge.yaml
  bridge drain -c bridge.yaml --spool ./spool --timeout 10m`,
		Args:        cobra.NoArgs,
		Annotations: stopsInOrder,
	}
	file := configFlag(cmd)
	cmd.Flags().StringVar(&dir, "spool", "", "the spool's `folder`, in place of spool.dir")
	cmd.Flags().DurationVar(&timeout, "timeout", 24*time.Hour, "how long to try")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(*file)
		if err != nil {
			return err
		}
		if dir != "" {
			c.Spool.Dir = config.Path(dir)
		}
		return c.drain(cmd.Context(), timeout, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// drain runs a bridge without sources whose stop begins at once, and so only delivers.
func (c *configuration) drain(ctx context.Context, timeout time.Duration, stdout, stderr io.Writer) (err error) {
	log, _ := newLeveledLogger(c.Logging, stderr)
	reg := prometheus.NewRegistry()
	servers, stopServers, err := c.servers(log)
	defer stopServers()
	if err != nil {
		return err
	}
	accepted, err := c.Spool.open(log.Named("spool"), reg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, accepted.Close()) }()
	letters, err := c.deadLetters(log.Named("deadletters"), reg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, letters.Close()) }()
	brokers, err := c.sinks(servers, log, reg)
	if err != nil {
		return err
	}
	o := c.options()
	o.Drain = timeout
	b, err := bridge.New(o, nil, accepted, asSinks(brokers), letters, log, reg)
	if err != nil {
		return err
	}
	connections, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	defer disconnect()
	for _, broker := range brokers {
		broker.Connect(connections)
	}
	stopped, stop := context.WithCancel(context.WithoutCancel(ctx))
	stop()
	ended := make(chan error, 1)
	go func() { ended <- b.Run(stopped) }()
	show := func() { _, _ = fmt.Fprintln(stdout, drainProgress(b, brokers)) }
	show()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			show()
		case err := <-ended:
			show()
			return err
		case <-ctx.Done():
			return fmt.Errorf("interrupted: events are still in the spool (%s); bridge drain goes on with them", bySink(undelivered(b)))
		}
	}
}

// drainProgress is a line: what is left, by sink.
func drainProgress(b *bridge.Bridge, brokers map[string]broker) string {
	var parts []string
	sinks := b.Status().Sinks
	for _, name := range slices.Sorted(maps.Keys(sinks)) {
		s := sinks[name]
		part := fmt.Sprintf("%s: %d events left", name, s.Unconfirmed)
		if s.Unconfirmed > 0 {
			part += fmt.Sprintf(", about %d KiB, the oldest of %s", s.Bytes>>10, s.Oldest)
			if err := brokers[name].Ready(); err != nil {
				part += fmt.Sprintf(" (waits: %v)", err)
			}
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}
