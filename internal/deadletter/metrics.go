package deadletter

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the store's series.
type metrics struct {
	put, dropped               *prometheus.CounterVec
	replayed, purged, failures prometheus.Counter
	held, bytes                prometheus.Gauge
}

// Why letters are dropped: the label reason of taskbridge_deadletters_dropped_total.
const (
	droppedAge     = "age"
	droppedSize    = "size"
	droppedCorrupt = "corrupt"
)

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "taskbridge", Subsystem: "deadletters", Name: name, Help: help}
	}
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: "taskbridge", Subsystem: "deadletters", Name: name, Help: help}
	}
	m := &metrics{
		put:      f.NewCounterVec(counter("put_total", "Events set aside because a broker will never take them, by reason."), []string{"reason"}),
		dropped:  f.NewCounterVec(counter("dropped_total", "Dead letters that are lost: too old, pushed out by newer ones, or damaged on disk."), []string{"reason"}),
		replayed: f.NewCounter(counter("replayed_total", "Dead letters given back to the spool by an operator.")),
		purged:   f.NewCounter(counter("purged_total", "Dead letters thrown away by an operator.")),
		failures: f.NewCounter(counter("put_failures_total", "Times the disk did not take dead letters; their events stay in the spool and are tried again.")),
		held:     f.NewGauge(gauge("held", "Dead letters held.")),
		bytes:    f.NewGauge(gauge("bytes", "What the files of dead letters take, in bytes.")),
	}
	m.put.WithLabelValues("other")
	for _, reason := range []string{droppedAge, droppedSize, droppedCorrupt} {
		m.dropped.WithLabelValues(reason)
	}
	return m
}
