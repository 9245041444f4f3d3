package jetstream

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskbridge/taskbridge/internal/sink"
)

// Metrics are the sink's own; what all sinks share is measured by the publisher. Two sinks in one process need registerers with
// different constant labels.
type Metrics struct {
	connected, outdated                 prometheus.Gauge
	ready                               prometheus.GaugeFunc
	disconnects, duplicates, permission prometheus.Counter
	errors                              *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, ready func() error) *Metrics {
	m := sink.Meters{Kind: "jetstream", Registerer: reg}
	return &Metrics{
		connected:   m.Gauge("connected", "1 while the connection to the NATS server is up."),
		ready:       m.Ready("stream_ready", "1 while the stream is verified and takes events.", ready),
		outdated:    m.Gauge("server_outdated", "1 while the server is older than the oldest supported version."),
		disconnects: m.Counter("disconnects_total", "Connections to the NATS server that were lost."),
		duplicates:  m.Counter("duplicate_acks_total", "Events that the server recognised as already stored."),
		permission:  m.Counter("permission_violations_total", "Permission violations that the server reported."),
		errors:      m.Errors("publish_errors_total", "Publishes that failed after they were sent, by reason.", reasons()),
	}
}
