package taskrouter

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// filter keeps what equals the parameters that are given.
func filter[T any](q *request, items []T, by map[string]func(T) string) []T {
	var found []T
	for _, item := range items {
		matches := true
		for name, value := range by {
			matches = matches && (!q.has(name) || value(item) == q.text(name))
		}
		if matches {
			found = append(found, item)
		}
	}
	return found
}

// filterWorkers is for both list forms.
func (q *request) filterWorkers() ([]*worker, error) {
	activity := func(w *worker) activityPayload { return q.world.activities[w.activity] }
	found := filter(q, q.world.workers, map[string]func(*worker) string{
		"FriendlyName": func(w *worker) string { return w.name },
		"ActivitySid":  func(w *worker) string { return activity(w).SID },
		"ActivityName": func(w *worker) string { return activity(w).FriendlyName },
		"Available":    func(w *worker) string { return strconv.FormatBool(activity(w).Available) },
	})
	if !q.has("TargetWorkersExpression") {
		return found, nil
	}
	matches, err := parseExpression(q.text("TargetWorkersExpression"))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(w *worker) bool { return !matches(w.attributes) }), nil
}

// restList is one page in the form of section 14. The page token is opaque to clients: it is the last SID of the page before.
func restList[T any](q *restRequest, key string, items []T, sid func(T) string) (any, error) {
	size, err := q.pageSize()
	if err != nil {
		return nil, err
	}
	size = min(size, q.largest)
	after, number := "", 0
	if token := q.text("PageToken"); token != "" {
		var ok bool
		if after, ok = strings.CutPrefix(token, "PA"); !ok {
			return nil, badRequest("PageToken is not one of next_page_url")
		}
		number, _ = strconv.Atoi(q.text("Page")) // informative
	}
	contents, more := cut(items, sid, after, size)
	pageURL := func(number int, token string) string {
		v := url.Values{"PageSize": {strconv.Itoa(size)}, "Page": {strconv.Itoa(number)}}
		for name := range q.params {
			if !slices.Contains(paging, name) {
				v.Set(name, q.text(name))
			}
		}
		if token != "" {
			v.Set("PageToken", token)
		}
		return q.origin + q.path + "?" + v.Encode()
	}
	meta := map[string]any{
		"key": key, "page": number, "page_size": size, "url": pageURL(number, q.text("PageToken")), "first_page_url": pageURL(0, ""),
		"next_page_url": nil, "previous_page_url": nil,
	}
	if more {
		meta["next_page_url"] = pageURL(number+1, "PA"+sid(contents[size-1]))
	}
	return map[string]any{key: contents, "meta": meta}, nil
}
