package run

import (
	"context"
	"fmt"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// metrics are what the bridge tells of itself.
type metrics map[string]*dto.MetricFamily

func scrape(ctx context.Context, address string) (metrics, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics: %s", resp.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return families, nil
}

// value is a gauge or counter: of the series with that label, or where label is empty the sum of all. A name that is not told is -1, so that it
// is not taken for nothing.
func (m metrics) value(name, label, is string) float64 {
	if m[name] == nil {
		return -1
	}
	if label != "" {
		return m.by(name, label)[is]
	}
	sum := 0.0
	for _, series := range m[name].Metric {
		sum += number(series)
	}
	return sum
}

// by is a gauge or counter by the values of a label.
func (m metrics) by(name, label string) map[string]float64 {
	values := map[string]float64{}
	for _, series := range m[name].GetMetric() {
		for _, pair := range series.Label {
			if pair.GetName() == label {
				values[pair.GetValue()] += number(series)
			}
		}
	}
	return values
}

func number(series *dto.Metric) float64 {
	return series.GetGauge().GetValue() + series.GetCounter().GetValue()
}
