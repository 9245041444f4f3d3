package kafka

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the sink's own; what all sinks share is measured by the publisher. Two sinks in one process need registerers with
// different constant labels.
type Metrics struct {
	connected, partitions prometheus.Gauge
	ready                 prometheus.GaugeFunc
	refreshes, epochs     prometheus.Counter
	errors                *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, ready func() error) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "taskbridge_kafka_" + name, Help: help})
		reg.MustRegister(g)
		return g
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "taskbridge_kafka_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	m := &Metrics{
		connected:  gauge("connected", "1 while a broker answers."),
		partitions: gauge("partitions", "Partitions of all the sink's topics."),
		ready: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "taskbridge_kafka_topics_ready", Help: "1 while the topics are verified and all their partitions take events.",
		}, func() float64 {
			if ready() != nil {
				return 0
			}
			return 1
		}),
		refreshes: counter("leader_lookups_total", "How often the leader of a partition was looked for, because its broker did not take a batch."),
		epochs:    counter("epochs_total", "How often the producer began a new epoch, after it was asked what had landed."),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "taskbridge_kafka_publish_errors_total", Help: "Batches that were given back or refused after they were sent, by reason.",
		}, []string{"reason"}),
	}
	reg.MustRegister(m.ready, m.errors)
	for reason := range reasons() {
		m.errors.WithLabelValues(reason)
	}
	return m
}
