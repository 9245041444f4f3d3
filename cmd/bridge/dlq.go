package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskbridge/taskbridge/internal/admin"
	"github.com/taskbridge/taskbridge/internal/config"
)

func newDLQCommand() *cobra.Command {
	dlq := &cobra.Command{
		Use:   "dlq",
		Short: "Look at what a broker will never take, mend it and replay it",
		Long: `An event that a broker will never take, because it is too large for instance, is set aside as a dead letter, so that what follows it is delivered.
docs/deadletters.md says how long letters are kept and how to mend what was wrong.

The commands ask the running bridge over its admin listener. With --spool they work on the spool folder itself: for a bridge that does not run.`,
		Example: `  bridge dlq list -c bridge.yaml
  bridge dlq show -c bridge.yaml facts.1795250000-42
  bridge dlq replay -c bridge.yaml facts.1795250000-42`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("say what to do: bridge dlq list, show, replay or purge")}
		},
	}
	dlq.AddCommand(newDLQListCommand(), newDLQShowCommand(), newDLQReplayCommand(), newDLQPurgeCommand())
	return dlq
}

// dlqFlags say whose letters are meant, and which.
type dlqFlags struct {
	file, spool  string
	client       func() (admin.Client, error)
	filter       admin.LetterFilter
	since, until string
}

// dlqTimeout bounds one question about dead letters: a replay waits for the bridge's disk.
const dlqTimeout = 2 * time.Minute

// where adds the flags that say whose letters are meant.
func (f *dlqFlags) where(cmd *cobra.Command) {
	f.client = adminFlags(cmd)
	cmd.Flags().StringVar(&f.spool, "spool", "", "the spool `folder` of a bridge that does not run")
	cmd.MarkFlagsMutuallyExclusive("spool", "config")
	cmd.MarkFlagsMutuallyExclusive("spool", "admin")
}

// which adds the flags that choose letters.
func (f *dlqFlags) which(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.filter.Sinks, "sink", nil, "only letters of these `sinks`")
	flags.StringSliceVar(&f.filter.Types, "type", nil, "only these `types`: reservation.accepted, or all of a noun: reservation")
	flags.StringSliceVar(&f.filter.Agents, "agent", nil, "only the agents with these `ids`")
	flags.StringSliceVar(&f.filter.Reasons, "reason", nil, "only these `reasons`, such as too_large")
	flags.StringVar(&f.since, "since", "", "only what was set aside since a `time`: a span such as 10m or 2d, or 2026-01-02T15:04:05Z")
	flags.StringVar(&f.until, "until", "", "only what was set aside until a `time`, in the same forms")
	completeFrom(cmd, "type", typeFilters()...)
}

// check turns arguments and flags into the filter.
func (f *dlqFlags) check(cmd *cobra.Command, ids []string, now time.Time) (err error) {
	f.file = cmd.Flag("config").Value.String()
	f.filter.IDs = ids
	for _, t := range f.filter.Types {
		if !slices.Contains(typeFilters(), t) {
			return usageError{fmt.Errorf("--type %s: not a type or noun of docs/events.md", t)}
		}
	}
	if f.filter.Since, err = moment("since", f.since, now); err == nil {
		f.filter.Until, err = moment("until", f.until, now)
	}
	if err != nil {
		return usageError{err}
	}
	return nil
}

// chosen reports whether the command line names any letters.
func (f *dlqFlags) chosen() bool {
	c := &f.filter
	return len(c.IDs)+len(c.Sinks)+len(c.Types)+len(c.Agents)+len(c.Reasons) > 0 || !c.Since.IsZero() || !c.Until.IsZero()
}

// moment reads the flag's time: one, or how long ago. Empty: the zero time.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	var ago config.Duration
	if ago.UnmarshalText([]byte(text)) != nil {
		return time.Time{}, fmt.Errorf("--%s %s: a span such as 10m or 2d, or a time such as 2026-01-02T15:04:05Z", flag, text)
	}
	return now.Add(-time.Duration(ago)), nil
}

// letters are those of the running bridge, or of the folder.
func (f *dlqFlags) letters(cmd *cobra.Command) (admin.DeadLetters, error) {
	if f.spool != "" {
		return folderLetters{f.spool, newLogger(loggingConfig{Level: "warn", Format: "console"}, cmd.ErrOrStderr())}, nil
	}
	client, err := f.client()
	if err != nil {
		return nil, err
	}
	return client.DeadLetters(), nil
}

// idsPerQuestion keeps a question within what the admin listener reads of a URL.
const idsPerQuestion = 100

// each calls do with the letters that were chosen, in the order in which they were set aside and a page at a time, until there are none or do
// returns false. removes says that do removes what it is given.
func (f *dlqFlags) each(ctx context.Context, letters admin.DeadLetters, removes bool, do func(admin.LetterList) (bool, error)) error {
	questions := [][]string{nil}
	if len(f.filter.IDs) > 0 {
		questions = slices.Collect(slices.Chunk(f.filter.IDs, idsPerQuestion))
	}
	for _, ids := range questions {
		filter := f.filter
		filter.IDs = ids
		for skip, more := 0, true; more; {
			list, err := f.list(ctx, letters, filter, skip)
			if err != nil {
				return err
			}
			goOn, err := do(list)
			if err != nil || !goOn {
				return err
			}
			if !removes {
				skip += len(list.Letters)
			}
			more = list.More
		}
	}
	return nil
}

func (f *dlqFlags) list(ctx context.Context, letters admin.DeadLetters, filter admin.LetterFilter, skip int) (admin.LetterList, error) {
	ctx, cancel := context.WithTimeout(ctx, dlqTimeout)
	defer cancel()
	list, err := letters.List(ctx, filter, skip)
	if dial := new(net.OpError); errors.As(err, &dial) && dial.Op == "dial" {
		err = fmt.Errorf("%w When none runs: --spool %s", err, f.folder())
	}
	return list, err
}

// folder is where the letters of a bridge that does not answer are, as far as the command line tells it.
func (f *dlqFlags) folder() string {
	if f.file != "" {
		var c struct {
			Spool spoolConfig `yaml:"spool"`
		}
		c.Spool.setDefaults(filepath.Dir(f.file))
		if err := config.LoadPart(f.file, &c); err == nil {
			return filepath.Clean(string(c.Spool.Dir))
		}
	}
	return "DIR, the folder that spool.dir names"
}
