package taskrouter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/taskbridge/taskbridge/internal/config"
)

const (
	workersPerPage = 1000            // the most that the API gives (protocol, section 14)
	largestPage    = 32 << 20        // bytes: a thousand workers with 4096 characters of attributes, escaped, and as much again
	listTimeout    = 2 * time.Minute // of one listing with all its pages, repeats and pauses
)

// Workers returns a function that reads from the REST API who the workspace's workers are, whatever their activity: their SIDs, each once. Not empty,
// expression (TargetWorkersExpression) tells which of them. It keeps to the request budget. A first page that fails is an error at once; a later one is
// asked for again for a while. Its errors are as those of Serve. Safe for concurrent use. The error is a [config.Problem]: it is not known where the
// REST API is.
func (s *Source) Workers(expression string) (func(context.Context) ([]string, error), error) {
	base, err := s.cfg.restURL()
	if err != nil {
		return nil, err
	}
	first := base.JoinPath("Workspaces", s.cfg.Workspace, "Workers")
	query := url.Values{"PageSize": {strconv.Itoa(workersPerPage)}}
	if expression != "" {
		query.Set("TargetWorkersExpression", expression)
	}
	first.RawQuery = query.Encode()
	return func(ctx context.Context) ([]string, error) {
		ctx, cancel := context.WithTimeout(ctx, listTimeout)
		defer cancel()
		sids, f := s.list(ctx, first, expression != "")
		if f != nil {
			return nil, f.mark()
		}
		return sids, nil
	}, nil
}

// CanList is the problem that [Source.Workers] would have; nil: none.
func (c *Config) CanList() error {
	_, err := c.restURL()
	return err
}

// list follows the pages from first on. Half a list is no list: whatever is wrong with a page, or missing from it, is a failure, so that nobody is
// taken for gone because of it.
func (s *Source) list(ctx context.Context, first *url.URL, filtered bool) ([]string, *failure) {
	var sids []string
	known, asked := map[string]bool{}, map[string]bool{}
	for next := first.String(); next != ""; {
		switch {
		case asked[next]:
			return nil, fail(again, "list", errors.New("list workers: a page leads back to one before it"))
		case len(asked) == mostPages:
			return nil, fail(again, "list", fmt.Errorf("list workers: more than %d pages", mostPages))
		}
		asked[next] = true
		var page gjson.Result
		read := func() *failure {
			var f *failure
			page, f = s.page(ctx, next, filtered)
			return f
		}
		var f *failure
		if len(asked) == 1 { // nothing would be lost: whoever called hears at once what is wrong, and tries again in its own time
			f = read()
		} else {
			f = persist(ctx, listRead, read)
		}
		if f != nil {
			return nil, f
		}
		workers, after := page.Get("workers"), page.Get("meta.next_page_url")
		if !workers.IsArray() || !after.Exists() || after.Type != gjson.Null && after.Type != gjson.String {
			return nil, fail(again, "list", errors.New("list workers: no workers or no meta.next_page_url in the answer"))
		}
		for _, w := range workers.Array() {
			sid := strings.Clone(w.Get("sid").Str) // as a part of the page it would keep all of it, megabytes, for as long as the roster lasts
			if !WorkerSID.MatchString(sid) {
				return nil, fail(again, "list", errors.New("list workers: a worker without a worker's SID"))
			}
			if !known[sid] { // a worker moves between pages when the order changes meanwhile
				known[sid] = true
				sids = append(sids, sid)
			}
		}
		next = after.Str
		if next != "" && !sameOrigin(first, next) {
			s.metrics.foreignURL()
			return nil, fail(again, "foreign_url", errors.New("list workers: the next page is on another origin, which is not given our credentials; "+
				"if it should be, name it in taskrouter_url"))
		}
	}
	return sids, nil
}

// sameOrigin reports whether text is a URL of u's scheme, host and port (RFC 6454).
func sameOrigin(u *url.URL, text string) bool {
	v, err := url.Parse(text)
	return err == nil && v.User == nil && v.Scheme == u.Scheme && strings.EqualFold(v.Hostname(), u.Hostname()) && port(v) == port(u)
}

func port(u *url.URL) string {
	if u.Port() == "" {
		return map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Port()
}

// page reads one page, as soon as the budget has room for it.
func (s *Source) page(ctx context.Context, target string, filtered bool) (gjson.Result, *failure) {
	if err := s.budget.wait(ctx, filtered); err != nil {
		return gjson.Result{}, fail(again, "list", fmt.Errorf("list workers: %w", err))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.cfg.RequestTimeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return gjson.Result{}, fail(again, "list", fmt.Errorf("list workers: %w", err))
	}
	secret, err := config.ReadSecret(s.cfg.APISecret, s.cfg.APISecretFile)
	if err != nil {
		return gjson.Result{}, fail(again, "api_secret", fmt.Errorf("list workers: %w", err))
	}
	req.SetBasicAuth(s.cfg.APIKey, secret.Reveal())
	req.Header.Set("Accept", "application/json")
	answer, header, f := s.exchange(req, "workers", listRead)
	s.budget.answered(header, f)
	return answer, f
}
