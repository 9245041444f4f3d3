package page

import (
	"fmt"

	"github.com/taskbridge/taskbridge/bench/report"
	"github.com/taskbridge/taskbridge/bench/run"
)

func scheme(tls bool) string {
	if tls {
		return "TLS"
	}
	return "ws"
}

// base is the bridge without a session, as measured the same way.
func base(all []run.Idle, tls bool) (run.Idle, bool) {
	for _, i := range all {
		if i.Sessions == 0 && i.TLS == tls {
			return i, true
		}
	}
	for _, i := range all {
		if i.Sessions == 0 {
			return i, true
		}
	}
	return run.Idle{}, false
}

// perSession is what one of so many sessions takes, KiB; not ok: it was not measured.
func perSession(all []run.Idle, sessions int, tls bool) (kib float64, ok bool) {
	none, ok := base(all, tls)
	if !ok {
		return 0, false
	}
	for _, i := range all {
		if i.Sessions == sessions && i.TLS == tls {
			return i.PerSession(none), true
		}
	}
	return 0, false
}

func idleTable(all []run.Idle) report.Table {
	t := report.Table{Header: []string{"sessions", "scheme", "RSS MB", "KiB per session", "goroutines", "heap MB", "stacks MB", "of a core"}}
	for _, i := range all {
		each := "–"
		if kib, ok := perSession(all, i.Sessions, i.TLS); ok && i.Sessions > 0 {
			each = report.Figure(kib)
		}
		t.Rows = append(t.Rows, []string{
			fmt.Sprint(i.Sessions), scheme(i.TLS), report.Figure(float64(i.RSS) / 1e6), each, fmt.Sprintf("%.0f", i.Goroutines),
			report.Figure(i.Heap / 1e6), report.Figure(i.Stacks / 1e6), fmt.Sprintf("%.2f %%", 100*i.CPU),
		})
	}
	return t
}

// idleChart has a bar for each number of sessions that was measured with and without TLS.
func idleChart(all []run.Idle) report.Chart {
	c := report.Chart{Title: "What does a session at rest take?", X: "sessions", Y: "KiB of resident memory each"}
	c.Series = []report.Series{{Name: "ws"}, {Name: "TLS"}}
	for _, i := range all {
		ws, plain := perSession(all, i.Sessions, false)
		wss, secure := perSession(all, i.Sessions, true)
		if i.Sessions > 0 && !i.TLS && plain && secure {
			c.Names = append(c.Names, fmt.Sprint(i.Sessions))
			c.Series[0].Values = append(c.Series[0].Values, ws)
			c.Series[1].Values = append(c.Series[1].Values, wss)
		}
	}
	if len(c.Names) == 0 {
		c.Series = nil
	}
	return c
}

func stormTable(s *run.Storm) report.Table {
	return report.Table{Header: []string{"what", "measured"}, Rows: [][]string{
		{"sessions lost", fmt.Sprint(s.Sessions)},
		{"dials, as the vendor saw them", fmt.Sprint(s.Dials)},
		{"most dials within a second, beside the budget", fmt.Sprintf("%d, %.0f", s.Peak, s.Budget)},
		{"until all were live again", fmt.Sprintf("%.0f s", s.Seconds)},
		{"RSS before, after, at most, MB", fmt.Sprintf("%.1f, %.1f, %.1f", float64(s.Before)/1e6, float64(s.After)/1e6, float64(s.Highest)/1e6)},
	}}
}
