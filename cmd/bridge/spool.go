package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/spool"
)

func newSpoolCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "spool",
		Short: "Look at a spool: what is accepted and not delivered everywhere",
		Long: `A spool is the folder in which a bridge keeps what it has accepted until every sink has confirmed it (spool.dir). The commands look at it
and let go of what is not to be delivered; bridge drain delivers what is in it, bridge dlq shows what a broker will never take.`,
		Example: "  bridge spool inspect ./spool",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("say what to do: bridge spool inspect or forget")}
		},
	}
	cmd.AddCommand(newSpoolInspectCommand(), newSpoolForgetCommand())
	return cmd
}

func newSpoolInspectCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect DIR",
		Short: "Show a spool's segments, sinks, damage and types of events",
		Long: `Show a spool's segments, sinks, damage and types of events. DIR is spool.dir of the configuration. Every record is read and its checksum compared;
nothing is changed, so it may be done beside a running bridge, whose newest records may then look torn. What is in the events is not shown.`,
		Example: `  bridge spool inspect ./spool
  bridge spool inspect ./spool --json`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := spool.Inspect(args[0])
		if err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
		}
		return printSpool(cmd.OutOrStdout(), args[0], &r, time.Now())
	}
	return cmd
}

func newSpoolForgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "forget DIR SINK",
		Short: "Let go of what a spool holds for a sink that is not to come back",
		Long: `Let go of what a spool holds for a sink that is not to come back: a sink that was renamed or taken out of the configuration keeps its place, and what it has
not got, until then. What other sinks have not got stays. The bridge must not run. A sink of that name that comes back later is a new
one.`,
		Example: "  bridge spool forget ./spool facts",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := spool.Forget(args[0], args[1]); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s holds nothing for %s any more\n", args[0], args[1])
			return err
		},
	}
}

func printSpool(out io.Writer, dir string, r *spool.Report, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) } // Flush tells the error
	ago := func(t time.Time) string { return fmt.Sprintf("%s (%s ago)", event.InstantOf(t), span(now.Sub(t))) }
	line("%s: %d records; segments: %d", dir, r.Records, len(r.Segments))
	if !r.Epoch.IsZero() {
		line("created %s", ago(r.Epoch))
	}
	if !r.Alive.IsZero() {
		line("everybody who was live was heard until %s", ago(r.Alive))
	}
	if r.Views > 0 {
		line("views: %v, records from position %d are newer", config.Size(r.Views), r.ViewsFrom)
	} else {
		line("views: none saved, a start reads all records")
	}
	line("damage: %d records corrupt, %d bytes at the end torn", r.Corrupt, r.Torn)
	for _, name := range r.Unusable {
		line("unusable: %s, the next start sets it aside", name)
	}
	line("\nSINK\tNOT CONFIRMED\tOLDEST\tFROM POSITION")
	for _, c := range r.Cursors {
		oldest := "-"
		if c.Oldest != 0 {
			oldest = ago(c.Oldest.Time())
		}
		line("%s\t%d\t%s\t%d", c.Sink, c.Pending, oldest, c.Next)
	}
	line("\nSEGMENT\tPOSITIONS\tRECORDS\tBYTES\tCORRUPT")
	for _, s := range r.Segments {
		positions := "-"
		if s.First != 0 {
			positions = fmt.Sprintf("%d to %d", s.First, s.Last)
		}
		line("%s\t%s\t%d\t%d\t%d", s.Name, positions, s.Records, s.Bytes, s.Corrupt)
	}
	types := slices.SortedFunc(maps.Keys(r.Types), func(a, b event.Type) int { return strings.Compare(string(a), string(b)) })
	if len(types) > 0 {
		line("\nTYPE\tRECORDS")
	}
	for _, t := range types {
		line("%s\t%d", t, r.Types[t])
	}
	return w.Flush()
}
