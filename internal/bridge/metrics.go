package bridge

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
)

// Metrics are the heart's series. Labels come from fixed sets: agents are in logs and records, never in labels.
type Metrics struct {
	sessions *prometheus.GaugeVec
	dials    prometheus.Counter
	ends     *prometheus.CounterVec
	frames   [6]prometheus.Counter // by outcome
	beats    prometheus.Counter
	events   map[event.Type]prometheus.Counter
	gaps     *prometheus.CounterVec
	openGaps prometheus.Gauge

	startSeconds prometheus.Histogram
	renewals     prometheus.Counter
	silence      prometheus.Gauge
	gapSeconds   *prometheus.CounterVec
	owed         prometheus.Gauge
	leftOut      prometheus.Counter

	publishSeconds *prometheus.HistogramVec
	published      *prometheus.CounterVec
	retries        *prometheus.CounterVec
	rejected       *prometheus.CounterVec
	checks         *prometheus.CounterVec
	brokerLost     *prometheus.CounterVec
	records        *prometheus.GaugeVec
	bytes          *prometheus.GaugeVec
	oldest         *prometheus.GaugeVec
	inFlight       *prometheus.GaugeVec
	lanes          *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "taskbridge", Name: name, Help: help}, labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Namespace: "taskbridge", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		sessions: gauge("sessions", "Agents of the roster by the state of their session: connecting, live, renewing, lost, refused.", "state"),
		dials:    counter("dials_total", "Sessions dialled.").WithLabelValues(),
		ends:     counter("session_ends_total", "Sessions that ended without being replaced, by reason; each is followed by another dial.", "reason"),
		beats:    counter("beats_total", "Proofs of life without content received.").WithLabelValues(),
		events:   map[event.Type]prometheus.Counter{},
		gaps:     counter("gaps_total", "Gaps opened, by cause.", "cause"),
		openGaps: gauge("open_gaps", "Agents with a gap that is open now.").WithLabelValues(),
		startSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Namespace: "taskbridge", Name: "session_start_seconds", Help: "From the dial of a session to the moment from which it received.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		renewals:   counter("session_renewals_total", "Sessions that were replaced by a successor before their token expired.").WithLabelValues(),
		silence:    gauge("longest_silence_seconds", "Longest time in which a live session has told nothing, not even a heartbeat; 0 without live sessions.").WithLabelValues(),
		gapSeconds: counter("gap_seconds_total", "Length of the gaps that were closed, by cause.", "cause"),
		owed:       gauge("owed_gaps", "Gaps not told yet because the log had no room even for their record.").WithLabelValues(),
		leftOut:    counter("session_records_left_out_total", "Session records not told because the log was full; gap records carry the facts.").WithLabelValues(),
		publishSeconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "taskbridge", Name: "publish_latency_seconds", Help: "From the receipt of a frame to the broker's confirmation of its event.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60, 600},
		}, []string{"sink"}),
		published:  counter("published_total", "Events confirmed by the broker.", "sink"),
		retries:    counter("publish_retries_total", "Batches sent again after a failure.", "sink"),
		rejected:   counter("rejected_total", "Events the broker will never take; they are set aside.", "sink"),
		checks:     counter("tail_checks_total", "Times the broker was asked what it holds, because it might not recognise a repeat.", "sink"),
		brokerLost: counter("broker_lost_total", "Times the broker's log was found re-created or cut: confirmed events are missing there.", "sink"),
		records:    gauge("unconfirmed_records", "Events accepted and not confirmed by the broker.", "sink"),
		bytes:      gauge("unconfirmed_bytes", "Bytes of events accepted and not confirmed by the broker.", "sink"),
		inFlight:   gauge("batches_in_flight", "Batches sent to the broker and not answered.", "sink"),
		lanes:      gauge("busy_lanes", "Lanes with something to deliver, out or waiting for a retry.", "sink"),
		oldest:     gauge("oldest_unconfirmed_age_seconds", "Age of the oldest event not confirmed by the broker; 0 when there is none.", "sink"),
	}
	frames := counter("frames_total", "Content frames received, by outcome; collided: an agent was back in an activity within a second, which cannot be told because its id was.", "outcome")
	for i, o := range mapping.Outcomes {
		m.frames[i] = frames.WithLabelValues(o.String())
	}
	for _, s := range states {
		m.sessions.WithLabelValues(string(s))
	}
	events := counter("events_total", "Events accepted by the log, by canonical type.", "type")
	for _, t := range event.Types {
		m.events[t] = events.WithLabelValues(string(t))
	}
	for _, c := range event.GapCauses {
		m.gaps.WithLabelValues(string(c))
		m.gapSeconds.WithLabelValues(string(c))
	}
	for _, reason := range ownReasons {
		m.ends.WithLabelValues(reason)
	}
	return m
}

func (m *Metrics) frame(o mapping.Outcome) { m.frames[o].Inc() }
