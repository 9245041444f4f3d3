package taskrouter

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics counts HTTP requests and tokens. One value serves all sources of a process; a nil one counts nothing.
type Metrics struct {
	requests *prometheus.CounterVec
	foreign  prometheus.Counter
	seconds  *prometheus.HistogramVec
	minted   prometheus.Counter
	refused  prometheus.Counter
}

var (
	routes      = []string{"upgrade", "worker", "reservations", "channels", "workers"}
	codeClasses = []string{"1xx", "2xx", "3xx", "4xx", "5xx", "other", "none"} // none: no answer
)

// NewMetrics registers the metrics with reg and creates all their series.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	m := &Metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "taskbridge_taskrouter_requests_total",
			Help: "HTTP requests to Twilio's event bridge and TaskRouter API, by route and class of the answer's status (none: no answer).",
		}, []string{"route", "code_class"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "taskbridge_taskrouter_request_duration_seconds", Help: "From an HTTP request to Twilio to the head of its answer, by route.",
			Buckets: []float64{.025, .05, .1, .25, .5, 1, 2.5, 5, 15},
		}, []string{"route"}),
		minted: f.NewCounter(prometheus.CounterOpts{
			Name: "taskbridge_taskrouter_tokens_minted_total", Help: "Access tokens signed for sessions.",
		}),
		foreign: f.NewCounter(prometheus.CounterOpts{
			Name: "taskbridge_taskrouter_foreign_urls_total",
			Help: "Next pages of listings that lay on another origin and were not fetched: credentials go to the configured one only.",
		}),
		refused: f.NewCounter(prometheus.CounterOpts{
			Name: "taskbridge_taskrouter_tokens_refused_total", Help: "Sessions whose token was refused (401, 403) and tried once more with a new one.",
		}),
	}
	for _, route := range routes {
		m.seconds.WithLabelValues(route)
		for _, c := range codeClasses {
			m.requests.WithLabelValues(route, c)
		}
	}
	return m
}

func (m *Metrics) request(route, codeClass string, took time.Duration) {
	if m != nil {
		m.requests.WithLabelValues(route, codeClass).Inc()
		m.seconds.WithLabelValues(route).Observe(took.Seconds())
	}
}

func (m *Metrics) tokenMinted() {
	if m != nil {
		m.minted.Inc()
	}
}

func (m *Metrics) tokenRefused() {
	if m != nil {
		m.refused.Inc()
	}
}

func (m *Metrics) foreignURL() {
	if m != nil {
		m.foreign.Inc()
	}
}
