package main

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the process's own series. What others count is registered by their packages. docs/metrics.md lists all; after a change:
// go test ./cmd/bridge -run TestMetricsDocument -update.
type metrics struct {
	raw prometheus.Gauge
}

// newMetrics registers them. ready is asked at every scrape.
func newMetrics(reg prometheus.Registerer, ready func() bool) *metrics {
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	f := promauto.With(reg)
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: "taskbridge", Name: name, Help: help}
	}
	f.NewGaugeVec(gauge("build_info", "1, with the version as a label."), []string{"version", "go_version"}).
		WithLabelValues(version, runtime.Version()).Set(1)
	f.NewGaugeFunc(gauge("ready", "1 while /readyz answers 200."), func() float64 {
		if ready() {
			return 1
		}
		return 0
	})
	return &metrics{
		raw: f.NewGauge(gauge("raw_payload_sources", "Sources whose payloads are published unchanged in data.raw (privacy.raw).")),
	}
}
