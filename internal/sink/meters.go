package sink

import "github.com/prometheus/client_golang/prometheus"

// Meters registers the metrics of one kind of sink, which begin with taskbridge_ and its name. Two sinks in one process need registerers with different
// constant labels.
type Meters struct {
	Kind       string
	Registerer prometheus.Registerer
}

func (m Meters) name(of string) string { return "taskbridge_" + m.Kind + "_" + of }

// Gauge registers a gauge.
func (m Meters) Gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: m.name(name), Help: help})
	m.Registerer.MustRegister(g)
	return g
}

// Counter registers a counter.
func (m Meters) Counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: m.name(name), Help: help})
	m.Registerer.MustRegister(c)
	return c
}

// Ready registers a gauge that is 1 while ready returns nil.
func (m Meters) Ready(name, help string, ready func() error) prometheus.GaugeFunc {
	g := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: m.name(name), Help: help}, func() float64 {
		if ready() != nil {
			return 0
		}
		return 1
	})
	m.Registerer.MustRegister(g)
	return g
}

// Errors registers a counter by reason, with a series for each of the reasons from the start.
func (m Meters) Errors(name, help string, reasons map[string]bool) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.name(name), Help: help}, []string{"reason"})
	m.Registerer.MustRegister(c)
	for reason := range reasons {
		c.WithLabelValues(reason)
	}
	return c
}
