package roster

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are the rosters' series, by configured source. One value serves all sources of a process.
type Metrics struct {
	agents    *prometheus.GaugeVec
	refreshes *prometheus.CounterVec
	succeeded *prometheus.GaugeVec
}

// NewMetrics registers the metrics with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	return &Metrics{
		agents: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "taskbridge_roster_agents", Help: "Agents on the source's roster, as last read.",
		}, []string{"source"}),
		refreshes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "taskbridge_roster_refreshes_total", Help: "Readings of the source's roster from a file or a listing, by result: ok, failed.",
		}, []string{"source", "result"}),
		succeeded: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "taskbridge_roster_last_success_timestamp_seconds",
			Help: "When the source's roster was last read from its file or listing, in seconds since the epoch; 0: never.",
		}, []string{"source"}),
	}
}

// Agents notes how many agents the source's roster has.
func (m *Metrics) Agents(source string, n int) { m.agents.WithLabelValues(source).Set(float64(n)) }

// start creates the series of a source whose roster is read.
func (m *Metrics) start(source string) {
	m.refreshes.WithLabelValues(source, "ok")
	m.refreshes.WithLabelValues(source, "failed")
	m.succeeded.WithLabelValues(source)
}

func (m *Metrics) read(source string, err error) {
	if err != nil {
		m.refreshes.WithLabelValues(source, "failed").Inc()
		return
	}
	m.refreshes.WithLabelValues(source, "ok").Inc()
	m.succeeded.WithLabelValues(source).SetToCurrentTime()
}
