package spool

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the log's series. None has a label but from a fixed set, or the name of a sink.
type metrics struct {
	segments     prometheus.Gauge
	groupSeconds prometheus.Histogram
	groupRecords prometheus.Histogram
	corrupt      prometheus.Counter
	cut          prometheus.Counter
	quarantined  prometheus.Counter
	errors       *prometheus.CounterVec
	skipped      *prometheus.CounterVec
}

// operations are the values of the label of spool_errors_total.
var operations = []string{"create", "allocate", "write", "sync", "sync_dir", "truncate", "rename", "remove", "open", "read", "save", "checkpoint"}

func newMetrics() *metrics {
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: "taskbridge", Subsystem: "spool", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "taskbridge", Subsystem: "spool", Name: name, Help: help}
	}
	m := &metrics{
		segments: prometheus.NewGauge(gauge("segments", "Files of the log that are held.")),
		groupSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "taskbridge", Subsystem: "spool", Name: "commit_seconds",
			Help:    "How long it took to make one group of events durable.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
		}),
		groupRecords: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "taskbridge", Subsystem: "spool", Name: "commit_events", Help: "How many events were made durable at once.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096},
		}),
		corrupt: prometheus.NewCounter(counter("corrupt_records_total",
			"Records and files of the log found damaged or missing; they are left out. At least so many.")),
		cut: prometheus.NewCounter(counter("cut_bytes_total",
			"Bytes cut off at the log's end at a start: a crash had torn what was being written, and nothing of it was accepted.")),
		quarantined: prometheus.NewCounter(counter("quarantined_bytes_total", "Bytes of damaged records copied to the folder quarantine.")),
		errors:      prometheus.NewCounterVec(counter("errors_total", "Operations on the log's files that failed; what was accepted is tried again."), []string{"operation"}),
		skipped: prometheus.NewCounterVec(counter("skipped_records_total",
			"Events that a sink will not get because room was made for newer ones; gap records say which."), []string{"sink"}),
	}
	for _, op := range operations {
		m.errors.WithLabelValues(op)
	}
	return m
}

// register is called when d can be asked for its status.
func (m *metrics) register(reg prometheus.Registerer, d *Disk) error {
	figure := func(name, help string, of func(Status) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "taskbridge", Subsystem: "spool", Name: name, Help: help},
			func() float64 { return of(d.Status()) })
	}
	var err error
	for _, c := range []prometheus.Collector{
		m.segments, m.groupSeconds, m.groupRecords, m.corrupt, m.cut, m.quarantined, m.errors, m.skipped,
		figure("bytes", "What the log's files hold.", func(s Status) float64 { return float64(s.Used) }),
		figure("capacity_bytes", "The most that the log's files may hold.", func(s Status) float64 { return float64(s.Max) }),
		figure("failing", "1 while the log does not take what is received.", func(s Status) float64 {
			if s.Failing == "" {
				return 0
			}
			return 1
		}),
	} {
		err = errors.Join(err, reg.Register(c))
	}
	return err
}

func (m *metrics) failed(operation string) { m.errors.WithLabelValues(operation).Inc() }
