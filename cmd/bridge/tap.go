package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/sink/jetstream"
)

// quietAfter is how many events may pass a tap without a match before it says so, once: an id with a typing error matches nothing, silently.
const quietAfter = 100

// tapFlags are what the command line says.
type tapFlags struct {
	file, sink, url, stream string
	fromStart               bool
	since                   string
	filter                  tapFilter
	asJSON                  bool
}

func newTapCommand() *cobra.Command {
	var f tapFlags
	cmd := &cobra.Command{
		Use:   "tap",
		Short: "Follow the events that land on the stream",
		Long: `Follow the events that land on the stream, one per line, until a signal stops it. It only reads: it takes nothing away from other consumers and
leaves nothing on the server.

The server and the stream are those of the configuration's sink, or --url and --stream. Filters of several kinds must all match.`,
		Example: `  bridge tap -c bridge.yaml
  bridge tap -c bridge.yaml --from-start --type session.gap            # every gap that the stream remembers
  bridge tap -c bridge.yaml --since 1h --agent WK00000000000000000000000000000000
  bridge tap --url nats://127.0.0.1:4222 --stream FACTS --type reservation --json`,
		Args:        cobra.NoArgs,
		Annotations: stopsInOrder,
		RunE:        func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	cmd.Flags().StringVarP(&f.file, "config", "c", "", "the configuration `file` whose sink is followed")
	cmd.Flags().StringVar(&f.sink, "sink", "", "`name` of the sink in the configuration; needed when it has several")
	cmd.Flags().StringVar(&f.url, "url", "", "NATS `URL`, without a configuration: a server that asks for no credentials")
	cmd.Flags().StringVar(&f.stream, "stream", "", "`name` of the stream, with --url")
	cmd.Flags().BoolVar(&f.fromStart, "from-start", false, "begin with the oldest event of the stream")
	cmd.Flags().StringVar(&f.since, "since", "", "begin with what was stored since a `time`: a span such as 10m or 2d, or 2026-01-02T15:04:05Z")
	cmd.Flags().StringSliceVar(&f.filter.types, "type", nil, "only these `types`: reservation.accepted, or all of a noun: reservation")
	cmd.Flags().StringVar(&f.filter.agent, "agent", "", "only the agent with this `id`")
	cmd.Flags().StringVar(&f.filter.task, "task", "", "only the task, or the chain of tasks, with this `id`")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print each event as it is stored: CloudEvents in JSON, one per line")
	cmd.MarkFlagsMutuallyExclusive("config", "url")
	cmd.MarkFlagsMutuallyExclusive("from-start", "since")
	cmd.MarkFlagsRequiredTogether("url", "stream")
	cmd.MarkFlagsOneRequired("config", "url")
	completeFrom(cmd, "type", typeFilters()...)
	return cmd
}

func (f *tapFlags) run(cmd *cobra.Command) error {
	if err := f.filter.check(); err != nil {
		return usageError{err}
	}
	from, err := f.start(time.Now())
	if err != nil {
		return usageError{err}
	}
	server, err := f.server()
	if err != nil {
		return err
	}
	out, log := cmd.OutOrStdout(), newLogger(loggingConfig{Level: "info", Format: "console"}, cmd.ErrOrStderr())
	var unmatched unmatched
	return jetstream.Follow(cmd.Context(), server, from, log, func(m jetstream.Stored) error {
		e, _, err := event.ParseStructured(m.Body)
		if err != nil {
			log.Warn("a message on the stream is no event", zap.String("subject", m.Subject), zap.Int("bytes", len(m.Body)))
			return nil
		}
		matches := f.filter.match(e)
		if unmatched.saw(matches) {
			log.Info("no event has matched so far: are the ids and types those of this stream?", zap.Int("others", quietAfter))
		}
		if !matches {
			return nil
		}
		if !f.asJSON {
			_, err = fmt.Fprintln(out, tapLine(e))
			return err
		}
		var line bytes.Buffer
		if err := json.Compact(&line, m.Body); err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, line.String())
		return err
	})
}

// unmatched counts the events before the first that matches.
type unmatched int

// saw reports whether it is time to say that nothing has matched, which is once.
func (u *unmatched) saw(matches bool) bool {
	if matches {
		*u = quietAfter // whatever comes now, something has
	}
	*u++
	return *u == quietAfter
}

func (f *tapFlags) start(now time.Time) (jetstream.Start, error) {
	since, err := moment("since", f.since, now)
	return jetstream.Start{Oldest: f.fromStart, Since: since}, err
}

// server is how to reach the stream.
func (f *tapFlags) server() (jetstream.Config, error) {
	if f.file == "" {
		var c jetstream.Config
		c.SetDefaults()
		c.URL, c.Stream = f.url, f.stream
		if err := config.Validate(&c); err != nil {
			return c, usageError{err}
		}
		return c, nil
	}
	var c struct {
		Sinks []sinkConfig `yaml:"sinks"`
	}
	if err := config.LoadPart(f.file, &c); err != nil {
		return jetstream.Config{}, usageError{err}
	}
	if len(c.Sinks) == 0 {
		return jetstream.Config{}, usageError{fmt.Errorf("%s: it has no sinks", f.file)}
	}
	var names []string
	var found []jetstream.Config
	for _, s := range c.Sinks {
		if s.NATS == nil {
			continue
		}
		names = append(names, s.Name)
		if f.sink == "" || f.sink == s.Name {
			found = append(found, *s.NATS)
		}
	}
	if len(names) == 0 {
		return jetstream.Config{}, usageError{fmt.Errorf("%s: it has no NATS sink; of Kafka, use a consumer of its own, such as kcat", f.file)}
	}
	if len(found) != 1 {
		return jetstream.Config{}, usageError{fmt.Errorf("choose a sink with --sink: %s", strings.Join(names, ", "))}
	}
	server := found[0]
	if server.Embedded != nil {
		if server.Embedded.Port == 0 {
			return server, usageError{errors.New("the embedded server takes any free port: set embedded.port, or name the server that the bridge's log tells with --url and --stream")}
		}
		server.URL, server.Embedded = fmt.Sprintf("nats://127.0.0.1:%d", server.Embedded.Port), nil
	}
	return server, nil
}

// tapFilter chooses events; its zero value all.
type tapFilter struct {
	types       []string // types or nouns
	agent, task string
}

func (f *tapFilter) check() error {
	if f.types != nil && len(f.types) == 0 {
		return fmt.Errorf("--type: missing; one or more of %s", strings.Join(typeFilters(), ", "))
	}
	for _, t := range f.types {
		if !slices.Contains(typeFilters(), t) {
			return fmt.Errorf("--type %s: not one of %s", t, strings.Join(typeFilters(), ", "))
		}
	}
	return nil
}

// typeFilters are the nouns and the types.
func typeFilters() []string {
	var all []string
	for _, t := range event.Types {
		all = append(all, t.Noun(), string(t))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (f *tapFilter) match(e *event.Event) bool {
	d := &e.Data
	return (f.types == nil || slices.Contains(f.types, string(e.Type)) || slices.Contains(f.types, e.Type.Noun())) &&
		(f.agent == "" || d.Agent != nil && d.Agent.ID == f.agent) &&
		(f.task == "" || d.Task != nil && (d.Task.ID == f.task || d.Task.ChainID == f.task))
}
