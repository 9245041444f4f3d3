package admin_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/admin"
)

// letters is a store that notes what it was asked.
type letters struct {
	list     admin.LetterList
	filter   admin.LetterFilter
	skip     int
	replayed []string
	purged   []string
	err      error
}

func (l *letters) List(_ context.Context, f admin.LetterFilter, skip int) (admin.LetterList, error) {
	l.filter, l.skip = f, skip
	return l.list, l.err
}

func (l *letters) Replay(_ context.Context, ids []string) (int, error) {
	l.replayed = ids
	return len(ids), l.err
}

func (l *letters) Purge(_ context.Context, ids []string) (int, error) {
	l.purged = ids
	return len(ids), l.err
}

func TestDeadLetters(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	store := &letters{list: admin.LetterList{Dir: "/spool/deadletters", More: true, Corrupt: 1, Letters: []admin.Letter{{
		ID: "facts.1-2", Sink: "facts", Reason: "too_large", Attempts: 3, FirstAt: at, At: at, FirstError: "a", LastError: "b", EventID: "WR1:created",
		Type: "reservation.created", Subject: "WR1", Agent: "WK1", Bytes: 7,
	}}}}
	p := process()
	p.DeadLetters = store
	url, client := startAdmin(t, p)
	f := admin.LetterFilter{
		IDs: []string{"facts.1-2", "WR1:created"}, Sinks: []string{"facts"}, Types: []string{"task"}, Agents: []string{"WK&1"}, Reasons: []string{"x", "y"},
		Since: at, Until: at.Add(time.Hour),
	}
	got, err := client.DeadLetters().List(t.Context(), f, 2000)
	if diff := cmp.Diff(store.list, got); err != nil || diff != "" {
		t.Errorf("list: got %v (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff(f, store.filter); diff != "" || store.skip != 2000 {
		t.Errorf("filter: skips %d (-asked +arrived):\n%s", store.skip, diff)
	}
	want := `{"dir":"/spool/deadletters","letters":[{"id":"facts.1-2","sink":"facts","reason":"too_large","attempts":3,` +
		`"first_failed_at":"2026-01-02T03:04:05.006Z","set_aside_at":"2026-01-02T03:04:05.006Z","first_error":"a","last_error":"b","event_id":"WR1:created",` +
		`"type":"reservation.created","subject":"WR1","agent":"WK1","bytes":7}],"more":true,"corrupt":1}` + "\n"
	if status, body := get(t, http.MethodGet, url+"/deadletters"); status != 200 || body != want {
		t.Errorf("got status %d and\n%s\nwant 200 and\n%s", status, body, want)
	}
	if diff := cmp.Diff(admin.LetterFilter{}, store.filter); diff != "" || store.skip != 0 {
		t.Errorf("no filter: skips %d (-want +got):\n%s", store.skip, diff)
	}

	for name, take := range map[string]func(context.Context, []string) (int, error){
		"replay": client.DeadLetters().Replay, "purge": client.DeadLetters().Purge,
	} {
		store.err = nil
		ids := []string{"facts.1-2", "facts.1-3"}
		if n, err := take(t.Context(), ids); n != 2 || err != nil {
			t.Errorf("%s: got %d, %v, want 2", name, n, err)
		}
		store.err = errors.New("spool is full")
		if n, err := take(t.Context(), ids); n != 2 || err == nil || err.Error() != "spool is full" {
			t.Errorf("%s: got %d, %v, want how many, and the bridge's own words", name, n, err)
		}
	}
	if want := []string{"facts.1-2", "facts.1-3"}; !slices.Equal(store.replayed, want) || !slices.Equal(store.purged, want) {
		t.Errorf("got %v replayed and %v purged, want %v", store.replayed, store.purged, want)
	}
}

func TestBadQuestionsAboutDeadLetters(t *testing.T) {
	store := &letters{}
	p := process()
	p.DeadLetters = store
	url, c := startAdmin(t, p)
	for _, query := range []string{"since=yesterday", "until=1", "skip=-1", "skip=x"} {
		if status, _ := get(t, http.MethodGet, url+"/deadletters?"+query); status != 400 {
			t.Errorf("%s: got status %d, want 400", query, status)
		}
	}
	if status, _ := get(t, http.MethodGet, url+"/deadletters/purge"); status != 405 {
		t.Errorf("GET: got status %d, want 405", status)
	}
	if _, err := c.DeadLetters().Purge(t.Context(), slices.Repeat([]string{"x"}, admin.MostLetters+1)); err == nil {
		t.Error("too many: got no error")
	}
	store.err = errors.New("no such folder")
	if status, body := get(t, http.MethodGet, url+"/deadletters"); status != 500 || !strings.Contains(body, "no such folder") {
		t.Errorf("got status %d and %s", status, body)
	}
	if _, err := c.DeadLetters().List(t.Context(), admin.LetterFilter{}, 0); err == nil || !strings.Contains(err.Error(), "HTTP status 500") {
		t.Errorf("client: got %v", err)
	}
}

// A web page must not replay or purge either.
func TestWebPagesDoNotTakeLetters(t *testing.T) {
	store := &letters{}
	p := process()
	p.DeadLetters = store
	url, _ := startAdmin(t, p)
	for _, action := range []string{"replay", "purge"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/deadletters/"+action, strings.NewReader(`{"ids":["facts.1-2"]}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", "https://example.org")
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != 403 || store.replayed != nil || store.purged != nil {
			t.Errorf("%s: got status %d, and %v, %v taken", action, response.StatusCode, store.replayed, store.purged)
		}
	}
}
