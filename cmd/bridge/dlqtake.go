package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskbridge/taskbridge/internal/admin"
)

func newDLQReplayCommand() *cobra.Command {
	return newDLQTakeCommand("replayed", admin.DeadLetters.Replay, &cobra.Command{
		Use:   "replay [ID...]",
		Short: "Deliver dead letters again, after what was wrong is mended",
		Long: `Deliver dead letters again, after what was wrong is mended: each goes back to the spool, for its sink alone and under the event's own id and key, and is
then removed. What the broker refuses once more becomes a new dead letter. An ID is that of a letter, or of an event; filters of several kinds must all
match, and at least one, or --all, must say which letters are meant.

A replayed event comes after newer ones of its task or agent, which were delivered meanwhile: consumers must compare revisions, as docs/events.md says. If
the bridge dies in between, a letter may be replayed twice, both times under the same id.`,
		Example: `  bridge dlq replay -c bridge.yaml --reason too_large --dry-run
  bridge dlq replay -c bridge.yaml facts.1795250000-42
  bridge dlq replay --all --json
  bridge dlq replay --spool ./spool --reason too_large   # of a bridge that does not run: its next start delivers`,
	})
}

func newDLQPurgeCommand() *cobra.Command {
	return newDLQTakeCommand("purged", admin.DeadLetters.Purge, &cobra.Command{
		Use:   "purge [ID...]",
		Short: "Throw dead letters away",
		Long: `Throw dead letters away: their events are lost for the sink that refused them. An ID is that of a letter, or of an event; filters of several kinds
must all match, and at least one, or --all, must say which letters are meant.`,
		Example: `  bridge dlq purge -c bridge.yaml --until 7d --dry-run
  bridge dlq purge -c bridge.yaml facts.1795250000-42
  bridge dlq purge --spool ./spool --all                # of a bridge that does not run`,
	})
}

// newDLQTakeCommand is a command that takes letters out of the store. done is what has become of them then.
func newDLQTakeCommand(done string, take func(admin.DeadLetters, context.Context, []string) (int, error), cmd *cobra.Command) *cobra.Command {
	var (
		f                   dlqFlags
		all, dryRun, asJSON bool
	)
	f.where(cmd)
	f.which(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every letter")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only list which letters it would be")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print their number as JSON; with --dry-run one JSON object per letter and line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		now := time.Now()
		if err := f.check(cmd, args, now); err != nil {
			return err
		}
		if f.chosen() == all {
			return usageError{errors.New("say which letters: IDs, filters, or --all")}
		}
		letters, err := f.letters(cmd)
		if err != nil {
			return err
		}
		if dryRun {
			n, err := f.print(cmd, letters, asJSON)
			if err == nil && !asJSON {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d dead letters would be %s\n", n, done)
			}
			return err
		}
		if f.filter.Until.IsZero() {
			f.filter.Until = now // what is refused again meanwhile is not taken again
		}
		n := 0
		err = f.each(cmd.Context(), letters, true, func(list admin.LetterList) (bool, error) {
			var ids []string
			for _, l := range list.Letters {
				ids = append(ids, l.ID)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), dlqTimeout)
			defer cancel()
			k, err := take(letters, ctx, ids)
			n += k
			return k > 0, err
		})
		format := "%[2]d dead letters were %[1]s\n"
		if asJSON {
			format = "{%[1]q:%[2]d}\n"
		}
		_, printErr := fmt.Fprintf(cmd.OutOrStdout(), format, done, n)
		return errors.Join(err, printErr)
	}
	return cmd
}
