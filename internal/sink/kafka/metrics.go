package kafka

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskbridge/taskbridge/internal/sink"
)

// Metrics are the sink's own; what all sinks share is measured by the publisher. Two sinks in one process need registerers with
// different constant labels.
type Metrics struct {
	connected, partitions prometheus.Gauge
	refreshes, epochs     prometheus.Counter
	errors                *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, ready func() error) *Metrics {
	m := sink.Meters{Kind: "kafka", Registerer: reg}
	m.Ready("topics_ready", "1 while the topics are verified and all their partitions take events.", ready)
	return &Metrics{
		connected:  m.Gauge("connected", "1 while a broker answers."),
		partitions: m.Gauge("partitions", "Partitions of all the sink's topics."),
		refreshes:  m.Counter("leader_lookups_total", "How often the leader of a partition was looked for, because its broker did not take a batch."),
		epochs:     m.Counter("epochs_total", "How often the producer began a new epoch, after it was asked what had landed."),
		errors:     m.Errors("publish_errors_total", "Batches that were given back or refused after they were sent, by reason.", reasons()),
	}
}
