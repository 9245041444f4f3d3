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

// value adds the values of the series of a gauge or counter that have that label; an empty label: of all. A name that is not told is -1, so that it is not taken
// for nothing.
func (m metrics) value(name, label, is string) float64 {
	family := m[name]
	if family == nil {
		return -1
	}
	sum := 0.0
	for _, series := range family.Metric {
		match := label == ""
		for _, pair := range series.Label {
			match = match || pair.GetName() == label && pair.GetValue() == is
		}
		if match {
			sum += series.GetGauge().GetValue() + series.GetCounter().GetValue()
		}
	}
	return sum
}
