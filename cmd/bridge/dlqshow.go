package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskbridge/taskbridge/internal/admin"
	"github.com/taskbridge/taskbridge/internal/deadletter"
	"github.com/taskbridge/taskbridge/internal/event"
)

func newDLQShowCommand() *cobra.Command {
	var f dlqFlags
	asJSON := false
	cmd := &cobra.Command{
		Use:   "show ID...",
		Short: "Show dead letters with their whole events",
		Long: `Show dead letters with their whole events, personal data that privacy lets through included. An ID is that of a letter, or of an event.

The running bridge tells where its letters are, and this command reads them there: the admin listener asks for no password, the files' owner is asked
for by the system. So run it as the user that the bridge runs as, on its machine.`,
		Example: `  bridge dlq show -c bridge.yaml facts.1795250000-42
  bridge dlq show --spool ./spool facts.1795250000-42 --json`,
		Args: cobra.MinimumNArgs(1),
	}
	f.where(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per letter and line: the letter, and the event as CloudEvents in JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(cmd, args, time.Now()); err != nil {
			return err
		}
		letters, err := f.letters(cmd)
		if err != nil {
			return err
		}
		list, err := f.list(cmd.Context(), letters, admin.LetterFilter{IDs: args[:1]}, 0)
		if err != nil {
			return err
		}
		found := map[string]bool{}
		_, err = deadletter.Each(list.Dir, deadletter.Filter{IDs: args}, func(l *deadletter.Letter) error {
			found[l.ID().String()], found[l.Record.Header.ID] = true, true
			return showLetter(cmd.OutOrStdout(), l, asJSON)
		})
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w: only the user that the bridge runs as may read events", err)
		}
		for _, id := range args {
			if !found[id] {
				err = errors.Join(err, fmt.Errorf("no dead letter %s: bridge dlq list tells those that are held", id))
			}
		}
		return err
	}
	return cmd
}

func showLetter(out io.Writer, l *deadletter.Letter, asJSON bool) error {
	told := describeLetter(l)
	document := event.AppendStructured(nil, &l.Record.Header, l.Record.Sequence(), l.Record.Data)
	if asJSON {
		return json.NewEncoder(out).Encode(struct {
			Letter admin.Letter    `json:"letter"`
			Event  json.RawMessage `json:"event"`
		}{told, document})
	}
	var b bytes.Buffer
	line := func(name, value string) { fmt.Fprintf(&b, "%-12s%s\n", name, value) }
	line("letter", told.ID)
	line("set aside", told.At.Local().Format(time.RFC3339))
	line("reason", plain(told.Reason))
	line("attempts", fmt.Sprintf("%d since %s", told.Attempts, told.FirstAt.Local().Format(time.RFC3339)))
	line("first error", told.FirstError)
	line("last error", told.LastError)
	line("event", strings.TrimSpace(fmt.Sprintf("%s of %s", told.Type, plain(told.Subject))))
	if err := json.Indent(&b, document, "", "  "); err != nil {
		return fmt.Errorf("letter %s: its event is not JSON: %w", told.ID, err)
	}
	b.WriteByte('\n')
	_, err := out.Write(b.Bytes())
	return err
}
