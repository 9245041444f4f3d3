package jetstream

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the sink's own; what all sinks share is measured by the publisher. Two sinks in one process need registerers with
// different constant labels.
type Metrics struct {
	connected, outdated                 prometheus.Gauge
	ready                               prometheus.GaugeFunc
	disconnects, duplicates, permission prometheus.Counter
	errors                              *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, ready func() error) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "taskbridge_jetstream_" + name, Help: help})
		reg.MustRegister(g)
		return g
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "taskbridge_jetstream_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	m := &Metrics{
		connected: gauge("connected", "1 while the connection to the NATS server is up."),
		ready: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "taskbridge_jetstream_stream_ready", Help: "1 while the stream is verified and takes events.",
		}, func() float64 {
			if ready() != nil {
				return 0
			}
			return 1
		}),
		outdated:    gauge("server_outdated", "1 while the server is older than the oldest supported version."),
		disconnects: counter("disconnects_total", "Connections to the NATS server that were lost."),
		duplicates:  counter("duplicate_acks_total", "Events that the server recognised as already stored."),
		permission:  counter("permission_violations_total", "Permission violations that the server reported."),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "taskbridge_jetstream_publish_errors_total", Help: "Publishes that failed after they were sent, by reason.",
		}, []string{"reason"}),
	}
	reg.MustRegister(m.ready, m.errors)
	for reason := range reasons() {
		m.errors.WithLabelValues(reason)
	}
	return m
}
