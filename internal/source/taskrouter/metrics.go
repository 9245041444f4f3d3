package taskrouter

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts HTTP requests. One value serves all sources of a process.
type Metrics struct {
	requests *prometheus.CounterVec
	foreign  prometheus.Counter
}

var (
	routes      = []string{"upgrade", "worker", "reservations", "channels", "workers"}
	codeClasses = []string{"1xx", "2xx", "3xx", "4xx", "5xx", "other", "none"} // none: no answer
)

// NewMetrics registers the metrics with reg and creates all their series.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "taskbridge_taskrouter_requests_total",
		Help: "HTTP requests to Twilio's event bridge and TaskRouter API, by route and class of the answer's status (none: no answer).",
	}, []string{"route", "code_class"}), foreign: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "taskbridge_taskrouter_foreign_urls_total",
		Help: "Next pages of listings that lay on another origin and were not fetched: credentials go to the configured one only.",
	})}
	reg.MustRegister(m.requests, m.foreign)
	for _, route := range routes {
		for _, c := range codeClasses {
			m.requests.WithLabelValues(route, c)
		}
	}
	return m
}

func (m *Metrics) request(route, codeClass string) {
	if m != nil {
		m.requests.WithLabelValues(route, codeClass).Inc()
	}
}

func (m *Metrics) foreignURL() {
	if m != nil {
		m.foreign.Inc()
	}
}
