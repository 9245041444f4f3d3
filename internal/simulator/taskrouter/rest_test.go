package taskrouter

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
)

// rest asks for a URL with the simulator's key; change, if not nil, spoils the request.
func rest(t *testing.T, s *Simulator, method, target string, form url.Values, change func(*http.Request)) (*http.Response, object) {
	t.Helper()
	if strings.HasPrefix(target, "/") {
		target = s.Ready().RESTURL + "/Workspaces/" + s.o.Workspace + target
	}
	r, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(s.o.APIKey, s.o.APISecret)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if change != nil {
		change(r)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer object
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return resp, answer
}

// walk reads a list to its end and returns the members' SIDs and the number of pages.
func walk(t *testing.T, s *Simulator, target, key string) (sids []string, pages int) {
	t.Helper()
	for next := any(target); next != nil; pages++ {
		resp, answer := rest(t, s, "GET", next.(string), nil, nil)
		if resp.StatusCode != 200 {
			t.Fatalf("%s: got %d %v", next, resp.StatusCode, answer)
		}
		for _, item := range answer[key].([]any) {
			sids = append(sids, item.(object)["sid"].(string))
		}
		meta := answer["meta"].(object)
		if meta["key"] != key || meta["page"] != float64(pages) {
			t.Fatalf("%s: got meta %v", next, meta)
		}
		next = meta["next_page_url"]
	}
	return sids, pages
}

func TestRESTListsArePaged(t *testing.T) {
	s := start(t, Options{Workers: 7})
	all := s.Ready().Workers
	sids, pages := walk(t, s, "/Workers?PageSize=3", "workers")
	if diff := cmp.Diff(all, sids); diff != "" || pages != 3 {
		t.Errorf("got %d pages: %s", pages, diff)
	}
	// A worker who leaves between two pages takes no other one with her.
	resp, first := rest(t, s, "GET", "/Workers?PageSize=3", nil, nil)
	do(t, s, Action{Do: "worker.remove", Worker: all[2]})
	rest2, second := rest(t, s, "GET", first["meta"].(object)["next_page_url"].(string), nil, nil)
	if got := second["workers"].([]any)[0].(object)["sid"]; resp.StatusCode != 200 || rest2.StatusCode != 200 || got != all[3] {
		t.Errorf("got %v first on the second page, want %s", got, all[3])
	}
	if sids, _ := walk(t, s, "/Workers", "workers"); len(sids) != 6 {
		t.Errorf("got %d workers after a removal, want 6", len(sids))
	}
	if added := do(t, s, Action{Do: "worker.add"}).Worker; added <= all[6] {
		t.Errorf("got %s for a new worker, want a SID after %s", added, all[6])
	}
	if sids, pages := walk(t, s, "/Activities?PageSize=2", "activities"); len(sids) != activityCount || pages != 3 {
		t.Errorf("got %d activities on %d pages", len(sids), pages)
	}
	if sids, _ := walk(t, s, "/Workers/"+all[0]+"/Channels", "channels"); len(sids) != len(channelNames) {
		t.Errorf("got %d channels", len(sids))
	}
}

// A page is never larger than the option says, and faults can strike the pages after the first alone.
func TestRESTLaterPages(t *testing.T) {
	s := start(t, Options{Workers: 5, PageSize: 2})
	sids, pages := walk(t, s, "/Workers?PageSize=1000", "workers")
	if diff := cmp.Diff(s.Ready().Workers, sids); diff != "" || pages != 3 {
		t.Errorf("got %d pages: %s", pages, diff)
	}
	if err := s.Inject(Fault{Kind: "fail", Route: "REST GET Workers?PageToken", Code: 500}); err != nil {
		t.Fatal(err)
	}
	resp, first := rest(t, s, "GET", "/Workers", nil, nil)
	later, _ := rest(t, s, "GET", first["meta"].(object)["next_page_url"].(string), nil, nil)
	if resp.StatusCode != 200 || later.StatusCode != 500 {
		t.Errorf("got %d for the first page and %d for the second, want 200 and 500", resp.StatusCode, later.StatusCode)
	}
	want := []PostCount{{"GET Workers", 200, 2}, {"GET Workers?PageToken", 200, 2}, {"GET Workers?PageToken", 500, 1}}
	if diff := cmp.Diff(want, s.State().Requests); diff != "" {
		t.Errorf("requests: %s", diff)
	}
	if _, err := New(Options{PageSize: 1001}, zap.NewNop()); err == nil {
		t.Error("a page size of 1001 is accepted")
	}
}

func TestRESTResourcesAndFilters(t *testing.T) {
	s := start(t, Options{Workers: 3})
	everyoneAvailable(t, s)
	me, other := s.Ready().Workers[0], s.Ready().Workers[1]
	do(t, s, Action{Do: "worker.activity", Worker: other, Activity: "Break"})
	do(t, s, Action{Do: "worker.attributes", Worker: me, Attributes: `{"site":"Oulu","skills":["sales"]}`})
	pending := do(t, s, Action{Do: "task.create", Workers: []string{me}, Channel: "voice"})
	done := do(t, s, Action{Do: "task.create", Workers: []string{me}})
	do(t, s, Action{Do: "task.cancel", Task: done.Task})

	for target, want := range map[string][]string{
		"/Workers?ActivityName=Break":                                                 {other},
		"/Workers?Available=false":                                                    {other},
		"/Workers?FriendlyName=agent-0001":                                            {me},
		"/Workers?TargetWorkersExpression=" + url.QueryEscape(`site == "Oulu"`):       {me},
		"/Workers?TargetWorkersExpression=" + url.QueryEscape(`skills HAS 'sales'`):   {me},
		"/Tasks?AssignmentStatus=canceled":                                            {done.Task},
		"/Tasks":                                                                      {pending.Task, done.Task},
		"/Workers/" + me + "/Reservations?ReservationStatus=pending":                  pending.Reservations,
		"/Workers/" + me + "/Reservations":                                            {pending.Reservations[0], done.Reservations[0]},
		"/Tasks/" + done.Task + "/Reservations":                                       done.Reservations,
		"/Tasks/" + done.Task + "/Reservations?WorkerSid=" + other:                    nil,
		"/Workers?ActivitySid=" + s.world.activities[onBreak].SID + "&Available=true": nil,
		"/Workers/" + other + "/Reservations":                                         nil,
		"/Activities?Available=true":                                                  {s.world.activities[available].SID},
		"/Workers?FriendlyName=agent-0001&ActivityName=Available&PageSize=1000":       {me},
	} {
		path, _, _ := strings.Cut(target, "?")
		key := strings.ToLower(path[strings.LastIndexByte(path, '/')+1:])
		if got, _ := walk(t, s, target, key); !cmp.Equal(want, got) {
			t.Errorf("%s: got %v, want %v", target, got, want)
		}
	}

	resp, w := rest(t, s, "GET", "/Workers/"+me, nil, nil)
	if w["sid"] != me || w["attributes"] != `{"site":"Oulu","skills":["sales"]}` || w["available"] != true {
		t.Errorf("worker: got %v", w)
	}
	if _, err := time.Parse(time.RFC3339, w["date_status_changed"].(string)); err != nil {
		t.Error(err)
	}
	etag := resp.Header.Get("ETag")
	change := url.Values{"Attributes": {`{"site":"Espoo"}`}}
	matching := func(r *http.Request) { r.Header.Set("If-Match", etag) }
	resp, w = rest(t, s, "POST", "/Workers/"+me, change, matching)
	if resp.StatusCode != 200 || w["attributes"] != `{"site":"Espoo"}` || resp.Header.Get("ETag") == etag {
		t.Errorf("update with the ETag: got %d %v, ETag %s as before", resp.StatusCode, w, etag)
	}
	if resp, _ := rest(t, s, "POST", "/Workers/"+me, change, matching); resp.StatusCode != 412 {
		t.Errorf("update with an old ETag: got %d, want 412", resp.StatusCode)
	}
	resp, task := rest(t, s, "GET", "/Tasks/"+pending.Task, nil, nil)
	if task["task_channel_unique_name"] != "voice" || task["assignment_status"] != "reserved" || resp.Header.Get("ETag") != `"0"` {
		t.Errorf("task: got %v, ETag %s", task, resp.Header.Get("ETag"))
	}
}

func TestRESTRefuses(t *testing.T) {
	s := start(t, Options{Workers: 1})
	me := s.Ready().Workers[0]
	for name, c := range map[string]struct {
		method, target string
		change         func(*http.Request)
		status         int
		code           float64
	}{
		"no credentials":      {"GET", "/Workers", func(r *http.Request) { r.Header.Del("Authorization") }, 401, 20003},
		"wrong secret":        {"GET", "/Workers", func(r *http.Request) { r.SetBasicAuth(s.o.APIKey, "wrong") }, 401, 20003},
		"another workspace":   {"GET", s.Ready().RESTURL + "/Workspaces/WS9/Workers", nil, 404, 20404},
		"unknown worker":      {"GET", "/Workers/WK9", nil, 404, 20404},
		"unknown task":        {"GET", "/Tasks/WT9", nil, 404, 20404},
		"unknown resource":    {"GET", "/TaskQueues", nil, 404, 20404},
		"another method":      {"DELETE", "/Workers/" + me, nil, 404, 20404},
		"page size":           {"GET", "/Workers?PageSize=1001", nil, 400, 20001},
		"page token":          {"GET", "/Workers?PageToken=x", nil, 400, 20001},
		"filter not known":    {"GET", "/Workers?TaskQueueName=Sales", nil, 400, 20001},
		"expression with OR":  {"GET", "/Workers?TargetWorkersExpression=" + url.QueryEscape("a == 1 OR b == 2"), nil, 400, 20001},
		"activity to nowhere": {"POST", "/Workers/" + me + "?ActivitySid=WA9", nil, 400, 20001},
	} {
		resp, answer := rest(t, s, c.method, c.target, nil, c.change)
		if message, _ := answer["message"].(string); resp.StatusCode != c.status || answer["code"] != c.code || message == "" || answer["more_info"] == nil {
			t.Errorf("%s: got %d %v, want %d with code %v", name, resp.StatusCode, answer, c.status, c.code)
		}
	}
}

func TestRESTLimits(t *testing.T) {
	s := start(t, Options{Workers: 1})
	resp, _ := rest(t, s, "GET", "/Workers", nil, nil)
	for _, name := range []string{"X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Config"} {
		if resp.Header.Get(name) == "" {
			t.Errorf("no %s in %v", name, resp.Header)
		}
	}
	l := limits{all: limit{perSecond: 5}, byExpression: limit{perSecond: 2}}
	now := time.Unix(1000, 0)
	var got []int
	for i := range 8 {
		refusal := new(statusError)
		errors.As(l.take(http.Header{}, i%2 == 0, now), &refusal)
		got = append(got, refusal.status)
	}
	// 0, 2 and 4 have an expression, of which two are free; after 4, the budget of all is spent.
	if diff := cmp.Diff([]int{0, 0, 0, 0, 429, 429, 429, 429}, got); diff != "" {
		t.Error(diff)
	}
	if err := l.take(http.Header{}, true, now.Add(time.Second)); err != nil {
		t.Errorf("a second later: %v", err)
	}

	if err := s.Inject(Fault{Kind: "fail", Route: "REST GET Workers", Code: 429, Count: 2}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{429, 429, 200} {
		if resp, _ := rest(t, s, "GET", "/Workers", nil, nil); resp.StatusCode != want {
			t.Errorf("request %d: got %d, want %d", i, resp.StatusCode, want)
		}
	}
	if diff := cmp.Diff([]PostCount{{"GET Workers", 200, 2}, {"GET Workers", 429, 2}}, s.State().Requests); diff != "" {
		t.Error(diff)
	}
}

func TestExpressions(t *testing.T) {
	const attributes = `{"site":"Oulu","level":3,"remote":true,"skills":["sales","fi"],"address":{"city":"Oulu"}}`
	for source, want := range map[string]bool{
		`1==1`:                                  true,
		`site == "Oulu"`:                        true,
		`site == 'Espoo'`:                       false,
		`site != "Espoo"`:                       true,
		`level == 3 AND remote == true`:         true,
		`level == 3 and remote == false`:        false,
		`level == "3"`:                          false,
		`skills HAS "fi"`:                       true,
		`skills HAS "sv"`:                       false,
		`site IN ["Espoo", "Oulu"]`:             true,
		`site IN ['Espoo']`:                     false,
		`"fi" IN skills`:                        true,
		`address.city == "Oulu"`:                true,
		`address.street == "x"`:                 false,
		`nothing.at.all == "x"`:                 false,
		`level IN [1, 3] AND address.city!='x'`: true,
	} {
		matches, err := parseExpression(source)
		if err != nil || matches(attributes) != want {
			t.Errorf("%s: got %v, %v, want %v", source, err == nil && !want, err, want)
		}
	}
	for _, source := range []string{``, `site`, `site ==`, `site > 3`, `(site == 1)`, `site == 1 OR site == 2`, `site == "x`, `site IN [1`, `== 1`, `a == ]`} {
		if _, err := parseExpression(source); err == nil {
			t.Errorf("%q: got no error", source)
		}
	}
}
