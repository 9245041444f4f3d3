package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/bridge"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/testpage"
)

// openLabels have values that are not known here.
var openLabels = map[string]string{
	"sink":       "the sink's name in the configuration",
	"source":     "the source's name in the configuration",
	"version":    "of this program",
	"go_version": "of the compiler",
	// The heart's own are there from the start, a source's when they first occur.
	"reason of taskbridge_deadletters_put_total": "and the words of the sinks' tables, such as `too_large`",
	"reason of taskbridge_session_ends_total":    "and the words of the vendor's tables, such as `close_1006`, `upgrade_401`, `timeout`",
}

// metricGroups are the sections of docs/metrics.md: a prefix, what it is about. The first that fits counts.
var metricGroups = []struct{ prefix, title string }{
	{"taskbridge_taskrouter_", "Twilio TaskRouter"},
	{"taskbridge_jetstream_", "NATS JetStream, per sink"},
	{"taskbridge_kafka_", "Kafka, per sink"},
	{"taskbridge_spool_", "Spool"},
	{"taskbridge_deadletters_", "Dead letters"},
	{"taskbridge_", "The bridge"},
}

// alerts say what to alert on; empty: for dashboards and for looking into a problem.
var alerts = map[string]string{
	"taskbridge_sessions":                              "`taskbridge_sessions{state=\"refused\"} > 0` for 15 min: credentials or ids are wrong. `{state=\"lost\"} > 0` for 5 min: somebody is not heard.",
	"taskbridge_batches_in_flight":                     "",
	"taskbridge_beats_total":                           "",
	"taskbridge_broker_lost_total":                     "Any increase: confirmed events are missing on the broker.",
	"taskbridge_build_info":                            "",
	"taskbridge_busy_lanes":                            "",
	"taskbridge_deadletters_bytes":                     "",
	"taskbridge_deadletters_dropped_total":             "Any increase: dead letters are lost. Mend and replay them sooner, or raise `dead_letters.max_bytes`, `dead_letters.max_age`.",
	"taskbridge_deadletters_held":                      "Above 0: events wait for an operator, see docs/deadletters.md.",
	"taskbridge_deadletters_purged_total":              "",
	"taskbridge_deadletters_put_failures_total":        "Any increase: the disk does not take dead letters; their lanes wait.",
	"taskbridge_deadletters_put_total":                 "",
	"taskbridge_deadletters_replayed_total":            "",
	"taskbridge_dials_total":                           "",
	"taskbridge_events_total":                          "An increase of `{type=\"bridge.unmapped\"}`: the vendor sends something that is not known here.",
	"taskbridge_frames_total":                          "An increase of `{outcome=\"discarded\"}`: the spool is full, or its disk fails. `{outcome=\"unmapped\"}` as above. `{outcome=\"collided\"}`: consumers see an agent in an activity that she left within a second, until her next change.",
	"taskbridge_gap_seconds_total":                     "The share of time not covered: `rate(...[1h])` over the number of agents; alert above what you accept.",
	"taskbridge_gaps_total":                            "An increase of `{cause=\"evicted\"}`: another client closes our sessions. `{cause=\"spool_full\"}`: events are lost inside gaps.",
	"taskbridge_longest_silence_seconds":               "Above `bridge.silence_limit` for a minute: sessions that fell silent are not replaced.",
	"taskbridge_oldest_unconfirmed_age_seconds":        "Above 60: a broker does not take what is accepted.",
	"taskbridge_open_gaps":                             "Above 0 for 10 min.",
	"taskbridge_owed_gaps":                             "Above 0: even gap records have no room.",
	"taskbridge_publish_latency_seconds":               "The 99th percentile above what your consumers need.",
	"taskbridge_publish_retries_total":                 "",
	"taskbridge_published_total":                       "",
	"taskbridge_raw_payload_sources":                   "Above 0 where personal data must not be published.",
	"taskbridge_ready":                                 "0 for 5 min; `/readyz` says why.",
	"taskbridge_rejected_total":                        "Any increase: an event was set aside: `bridge dlq list`.",
	"taskbridge_roster_agents":                         "0 where there should be some.",
	"taskbridge_roster_last_success_timestamp_seconds": "Longer ago than a few of its `refresh` intervals: the roster is out of date.",
	"taskbridge_roster_refreshes_total":                "A steady increase of `{result=\"failed\"}`; the last roster that was read stays.",
	"taskbridge_session_ends_total":                    "A rate far above its usual one; the reason says where to look.",
	"taskbridge_session_records_left_out_total":        "",
	"taskbridge_session_renewals_total":                "",
	"taskbridge_session_start_seconds":                 "",
	"taskbridge_spool_bytes":                           "More than 0.8 of `taskbridge_spool_capacity_bytes`: frames will be discarded inside gaps of cause `spool_full`.",
	"taskbridge_spool_capacity_bytes":                  "",
	"taskbridge_spool_commit_events":                   "",
	"taskbridge_spool_commit_seconds":                  "A 0.99 quantile above 0.1 s: the disk is slow; above 1 s, frames are discarded inside gaps of cause `disk_stalled`.",
	"taskbridge_spool_corrupt_records_total":           "Any increase: the disk has lost accepted events. The log names them; the damaged bytes are in the folder quarantine.",
	"taskbridge_spool_cut_bytes_total":                 "",
	"taskbridge_spool_errors_total":                    "Any increase: the disk fails, is full or read-only.",
	"taskbridge_spool_failing":                         "Above 0 for 1 min: what is received is discarded inside gaps.",
	"taskbridge_spool_quarantined_bytes_total":         "",
	"taskbridge_spool_segments":                        "",
	"taskbridge_spool_skipped_records_total":           "Any increase: a sink was so far behind that it will not get some events; gap records say which.",
	"taskbridge_tail_checks_total":                     "",
	"taskbridge_unconfirmed_bytes":                     "",
	"taskbridge_unconfirmed_records":                   "",
	"taskbridge_jetstream_connected":                   "0 for 1 min.",
	"taskbridge_jetstream_disconnects_total":           "",
	"taskbridge_jetstream_duplicate_acks_total":        "",
	"taskbridge_jetstream_permission_violations_total": "Any increase: the NATS user lacks a right, see SECURITY.md.",
	"taskbridge_jetstream_publish_errors_total":        "",
	"taskbridge_jetstream_server_outdated":             "1: update the server.",
	"taskbridge_jetstream_stream_ready":                "0 for 1 min.",
	"taskbridge_kafka_connected":                       "0 for 1 min.",
	"taskbridge_kafka_epochs_total":                    "",
	"taskbridge_kafka_leader_lookups_total":            "",
	"taskbridge_kafka_partitions":                      "",
	"taskbridge_kafka_publish_errors_total":            "",
	"taskbridge_kafka_topics_ready":                    "0 for 1 min.",
	"taskbridge_taskrouter_foreign_urls_total":         "Any increase: a listing pointed elsewhere and was not followed.",
	"taskbridge_taskrouter_request_duration_seconds":   "",
	"taskbridge_taskrouter_requests_total":             "An increase of `{code_class=\"4xx\"}`: refused tokens or wrong ids, or Twilio's rate limit.",
	"taskbridge_taskrouter_tokens_minted_total":        "",
	"taskbridge_taskrouter_tokens_refused_total":       "Any increase: look at the API key.",
}

// family is one metric as it is after the start of a bridge.
type family struct {
	kind, help string
	labels     map[string][]string // values that are there from the start
}

// listing is a registry that remembers what it was given.
type listing struct {
	*prometheus.Registry
	described map[string]bool
}

func (l *listing) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc)
	go func() { c.Describe(descs); close(descs) }()
	for d := range descs {
		if m := descName.FindStringSubmatch(d.String()); m != nil {
			l.described[m[1]] = true
		}
	}
	return l.Registry.Register(c)
}

func (l *listing) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := l.Register(c); err != nil {
			panic(err)
		}
	}
}

var descName = regexp.MustCompile(`fqName: "(taskbridge_[a-z0-9_]+)"`)

// kafkaSink is a second sink, whose broker nobody reaches.
const kafkaSink = "  - name: topic\n    kafka: {brokers: [\"127.0.0.1:1\"]}\n"

// families are the metrics of a bridge with one source and a sink of each kind. One that has no series at the start is an error: a dashboard could not
// tell "never" from "not there".
func families(t *testing.T) map[string]family {
	t.Helper()
	t.Setenv("BRIDGE_TEST_SECRET", "hunter2")
	dir := t.TempDir()
	write(t, dir, "agents.txt", "WK00000000000000000000000000000001\n")
	// A roster that is read has series that a list has not.
	c, err := loadConfig(write(t, dir, "bridge.yaml", strings.Replace(good, "[WK00000000000000000000000000000001]", "{file: agents.txt}", 1)+kafkaSink))
	if err != nil {
		t.Fatal(err)
	}
	reg := &listing{prometheus.NewPedanticRegistry(), map[string]bool{}}
	accepted, err := c.Spool.open(zap.NewNop(), reg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = accepted.Close() }()
	brokers, err := c.sinks(nil, zap.NewNop(), reg)
	if err != nil {
		t.Fatal(err)
	}
	feeds, rosters, err := c.sources(zap.NewNop(), reg)
	if err != nil {
		t.Fatal(err)
	}
	rosters.begin(func(map[string][]source.Agent) error { return nil })
	rosters.tell(rosters.parts[0], nil)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	rosters.run(ended)
	letters, err := c.deadLetters(zap.NewNop(), reg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = letters.Close() }()
	if _, err := bridge.New(c.options(), feeds, accepted, asSinks(brokers), letters, zap.NewNop(), reg); err != nil {
		t.Fatal(err)
	}
	newMetrics(reg, func() bool { return false })
	gathered, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]family{}
	for _, f := range gathered {
		if !strings.HasPrefix(f.GetName(), "taskbridge_") {
			continue // the Go runtime's and the process's, which client_golang documents
		}
		one := family{strings.ToLower(f.GetType().String()), f.GetHelp(), map[string][]string{}}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				one.labels[l.GetName()] = append(one.labels[l.GetName()], l.GetValue())
			}
		}
		for name, values := range one.labels {
			slices.Sort(values)
			one.labels[name] = slices.Compact(values)
		}
		all[f.GetName()] = one
		delete(reg.described, f.GetName())
	}
	for name := range reg.described {
		t.Errorf("%s has no series at the start: create them where it is registered", name)
	}
	return all
}

// metricsDocument is docs/metrics.md.
func metricsDocument(all map[string]family) string {
	var b strings.Builder
	b.WriteString(`# Metrics

What ` + "`/metrics`" + ` on the health listener tells, generated from the program by ` + "`go test ./cmd/bridge -run TestMetricsDocument -update`" + `.
Labels come from small fixed sets; agents are named in logs and by ` + "`bridge agents`" + `, never in a label. All series are there from the start
unless it is said otherwise. The series of the Go runtime (` + "`go_`" + `) and the process (` + "`process_`" + `) are those of every Go program.
`)
	done := map[string]bool{}
	for _, g := range slices.Backward(metricGroups) { // the general one first
		fmt.Fprintf(&b, "\n## %s\n", g.title)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			i := slices.IndexFunc(metricGroups, func(o struct{ prefix, title string }) bool { return strings.HasPrefix(name, o.prefix) })
			if metricGroups[i].title != g.title || done[name] {
				continue
			}
			done[name] = true
			f := all[name]
			fmt.Fprintf(&b, "\n**`%s`** (%s). %s\n", name, f.kind, f.help)
			for _, label := range slices.Sorted(maps.Keys(f.labels)) {
				if open := openLabels[label]; open != "" {
					fmt.Fprintf(&b, "- `%s`: %s\n", label, open)
					continue
				}
				values := "`" + strings.Join(f.labels[label], "`, `") + "`"
				if open := openLabels[label+" of "+name]; open != "" {
					values += ", " + open
				}
				fmt.Fprintf(&b, "- `%s`: %s\n", label, values)
			}
			if alert := alerts[name]; alert != "" {
				fmt.Fprintf(&b, "- Alert: %s\n", alert)
			}
		}
	}
	return b.String()
}

const metricsFile = "../../docs/metrics.md"

// Every metric is documented, with its type, labels and their values; nothing else is.
func TestMetricsDocument(t *testing.T) {
	all := families(t)
	for name := range all {
		if _, ok := alerts[name]; !ok {
			t.Errorf("%s: alerts does not say what to alert on", name)
		}
	}
	for name := range alerts {
		if _, ok := all[name]; !ok {
			t.Errorf("%s: alerts has it, the program has not", name)
		}
	}
	testpage.Match(t, metricsFile, metricsDocument(all))
}

var typeLine = regexp.MustCompile(`(?m)^# TYPE (taskbridge_[a-z0-9_]+) `)

// What a running bridge tells Prometheus is what the document lists, and promtool, where there is one, has nothing to say against it.
func TestMetricsOfARunningBridge(t *testing.T) {
	sim := simulate(t, "--workers", "2", "--rate", "50")
	file := configure(t, sim, fmt.Sprintf("{embedded: {dir: %q}, stream: FACTS}\n%s", t.TempDir(), kafkaSink), "")
	document, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// A roster that is read has series that a list has not.
	write(t, filepath.Dir(file), "agents.txt", strings.Join(sim.Workers, "\n"))
	write(t, filepath.Dir(file), "bridge.yaml", regexp.MustCompile(`agents: \[.*\]`).ReplaceAllString(string(document), "agents: {file: agents.txt}"))
	p := start(t, "run", "-c", file)
	health := p.healthURL(t)
	var text string
	eventually(t, "events are published", func() bool {
		_, text = get(t, health+"/metrics")
		return regexp.MustCompile(`(?m)^taskbridge_published_total\{.*\} [1-9]`).MatchString(text)
	})
	if document, err = os.ReadFile(metricsFile); err != nil {
		t.Fatal(err)
	}
	var documented, told []string
	for _, m := range regexp.MustCompile("(?m)^\\*\\*`(taskbridge_[a-z0-9_]+)`").FindAllStringSubmatch(string(document), -1) {
		documented = append(documented, m[1])
	}
	for _, m := range typeLine.FindAllStringSubmatch(text, -1) {
		told = append(told, m[1])
	}
	slices.Sort(documented)
	slices.Sort(told)
	if diff := cmp.Diff(documented, told); diff != "" {
		t.Errorf("metrics (-documented +told):\n%s", diff)
	}
	promtool := os.Getenv("BRIDGE_TEST_PROMTOOL")
	if promtool == "" {
		t.Log("BRIDGE_TEST_PROMTOOL names no promtool: names, units and help texts are not linted")
		return
	}
	lint := osexec.Command(promtool, "check", "metrics")
	lint.Stdin = strings.NewReader(text)
	if out, err := lint.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: got %v and\n%s", err, out)
	}
}
