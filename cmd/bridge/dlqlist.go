package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskbridge/taskbridge/internal/admin"
)

func newDLQListCommand() *cobra.Command {
	var f dlqFlags
	asJSON := false
	cmd := &cobra.Command{
		Use:   "list [ID...]",
		Short: "List dead letters",
		Long: `List dead letters in the order in which they were set aside: which event of which agent, why and after how many attempts. What is in the event is not
shown; bridge dlq show does that. An ID is that of a letter, or of an event. Filters of several kinds must all match.`,
		Example: `  bridge dlq list
  bridge dlq list -c bridge.yaml --reason too_large --since 2d
  bridge dlq list -c bridge.yaml --type reservation --json
  bridge dlq list --spool ./spool                                # of a bridge that does not run`,
	}
	f.where(cmd)
	f.which(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per letter and line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(cmd, args, time.Now()); err != nil {
			return err
		}
		letters, err := f.letters(cmd)
		if err != nil {
			return err
		}
		_, err = f.print(cmd, letters, asJSON)
		return err
	}
	return cmd
}

// print lists what was chosen and returns how many letters it is.
func (f *dlqFlags) print(cmd *cobra.Command, letters admin.DeadLetters, asJSON bool) (n int, err error) {
	show, flush := letterTable(cmd.OutOrStdout())
	if asJSON {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		show, flush = func(l *admin.Letter) error { return encoder.Encode(l) }, func() error { return nil }
	}
	corrupt := 0
	err = f.each(cmd.Context(), letters, false, func(list admin.LetterList) (bool, error) {
		for i := range list.Letters {
			if err := show(&list.Letters[i]); err != nil {
				return false, err
			}
		}
		n += len(list.Letters)
		corrupt = max(corrupt, list.Corrupt)
		return true, nil
	})
	if err != nil {
		return n, err
	}
	if corrupt > 0 {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%d dead letters are damaged and cannot be read\n", corrupt)
	}
	return n, flush()
}

// letterTable prints letters for people, a line each.
func letterTable(out io.Writer) (show func(*admin.Letter) error, flush func() error) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { _, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) } // Flush tells the error
	row("LETTER", "SET ASIDE", "TYPE", "AGENT", "EVENT", "BYTES", "ATTEMPTS", "REASON", "LAST ERROR")
	return func(l *admin.Letter) error {
		row(l.ID, l.At.Local().Format(time.DateTime), plain(l.Type), plain(l.Agent), plain(l.EventID), strconv.Itoa(l.Bytes), strconv.Itoa(l.Attempts),
			plain(l.Reason), l.LastError)
		return nil
	}, w.Flush
}
