package bridge

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/source/taskrouter"
	"github.com/taskbridge/taskbridge/internal/testpage"
)

// step is what the bridge does next.
type step string

const (
	again     step = "again"
	notBefore step = "not before"
	renewed   step = "new token, then refused"
	refused   step = "refused"
	gaveUp    step = "repeated, then again" // of commands
	gaveWay   step = "repeated, then not before"

	orAgain     step = "again (later pages: repeated, then again)" // of listings
	orNotBefore step = "not before (later pages: repeated, then not before)"
	orPolitely  step = "not before 30 s (later pages: repeated, then not before 30 s)"
	paced       step = "the next request 1 s later"
)

// reaction is what follows one way in which a session ends or does not begin. Everything but code, what and meaning is measured.
type reaction struct {
	code    int    // close code or HTTP status; 0: see what
	what    string // instead of a code: a range of them, or another end
	covers  [2]int // the range
	meaning string
	next    step
	reason  string
	record  event.Type     // beside the gap; none: nothing is told
	cause   event.GapCause // of the gap
	times   int            // in a row, each soon after the session was live; of a listing, its requests; 0: once
	script  script         // of the vendor; for codes the group makes it
}

// group is a table of the page.
type group struct {
	Title string
	codes []int // all are driven, whether or not a row names them
	does  func(code int) script
	rows  []reaction
	check func(r reaction, t *testing.T, name string) // nil: reaction.check
}

var reactions = []group{
	{
		Title: "The upgrade is answered with an HTTP status", codes: append(span(200, 600), 999),
		does: func(status int) script { return script{upgrade: status} },
		rows: []reaction{
			{code: 400, meaning: "a parameter is wrong", next: refused, reason: "upgrade_400", record: event.SessionRefused},
			{code: 401, meaning: "token expired, or signed with another key", next: renewed, reason: "upgrade_401", record: event.SessionRefused},
			{code: 403, meaning: "the token lacks the right", next: renewed, reason: "upgrade_403", record: event.SessionRefused},
			{code: 404, meaning: "no such worker, or a wrong URL", next: refused, reason: "upgrade_404", record: event.SessionRefused},
			{code: 408, meaning: "time-out", next: again, reason: "upgrade_4xx"},
			{code: 409, meaning: "the state changed meanwhile", next: again, reason: "upgrade_409"},
			{code: 412, meaning: "the state changed meanwhile", next: again, reason: "upgrade_412"},
			{code: 429, meaning: "rate limit", next: notBefore, reason: "upgrade_429"},
			{code: 500, meaning: "the vendor's fault", next: again, reason: "upgrade_500"},
			{code: 502, meaning: "the vendor's fault", next: again, reason: "upgrade_502"},
			{code: 503, meaning: "overload or maintenance", next: notBefore, reason: "upgrade_503"},
			{code: 504, meaning: "the vendor's fault", next: again, reason: "upgrade_504"},
			{what: "other 2xx", covers: [2]int{200, 299}, meaning: "not a WebSocket server", next: refused, reason: "upgrade_2xx", record: event.SessionRefused},
			{what: "3xx", covers: [2]int{300, 399}, meaning: "never followed: the token would go elsewhere", next: refused, reason: "upgrade_3xx", record: event.SessionRefused},
			{what: "other 4xx", covers: [2]int{400, 499}, meaning: "will not change by itself", next: refused, reason: "upgrade_4xx", record: event.SessionRefused},
			{what: "other 5xx", covers: [2]int{500, 599}, meaning: "the vendor's fault", next: again, reason: "upgrade_5xx"},
			{what: "600 and above", covers: [2]int{600, 999}, meaning: "no HTTP status", next: again, reason: "upgrade_other"},
		},
	},
	{
		Title: "A command at the session's start is answered with an HTTP status", codes: append(span(300, 600), 999),
		does: func(status int) script { return script{command: status} },
		rows: []reaction{
			{code: 400, meaning: "bad JSON or parameter", next: refused, reason: "post_400", record: event.SessionRefused},
			{code: 401, meaning: "token expired", next: renewed, reason: "post_401", record: event.SessionRefused},
			{code: 403, meaning: "the token is not valid for this", next: renewed, reason: "post_403", record: event.SessionRefused},
			{code: 404, meaning: "no such worker", next: refused, reason: "post_404", record: event.SessionRefused},
			{code: 408, meaning: "time-out", next: gaveUp, reason: "snapshot"},
			{code: 409, meaning: "the state changed meanwhile", next: gaveUp, reason: "snapshot"},
			{code: 412, meaning: "the state changed meanwhile", next: gaveUp, reason: "snapshot"},
			{code: 429, meaning: "rate limit", next: gaveWay, reason: "post_429"},
			{code: 500, meaning: "the vendor's fault", next: gaveUp, reason: "snapshot"},
			{code: 502, meaning: "the vendor's fault", next: gaveUp, reason: "snapshot"},
			{code: 503, meaning: "overload or maintenance", next: gaveWay, reason: "post_503"},
			{code: 504, meaning: "the vendor's fault", next: gaveUp, reason: "snapshot"},
			{what: "3xx", covers: [2]int{300, 399}, meaning: "never followed: the token would go elsewhere", next: refused, reason: "post_3xx", record: event.SessionRefused},
			{what: "other 4xx", covers: [2]int{400, 499}, meaning: "will not change by itself", next: refused, reason: "post_4xx", record: event.SessionRefused},
			{what: "other 5xx", covers: [2]int{500, 599}, meaning: "the vendor's fault", next: gaveUp, reason: "snapshot"},
			{what: "600 and above", covers: [2]int{600, 999}, meaning: "no HTTP status", next: gaveUp, reason: "snapshot"},
		},
	},
	{
		Title: "The vendor's error numbers", // in the answer to a command; the status that comes with them decides
		rows: []reaction{
			apiError(20003, 401, "bad credentials", renewed),
			apiError(20101, 401, "invalid token", renewed),
			apiError(20104, 401, "token expired", renewed),
			apiError(20156, 401, "the token's lifetime is out of range", renewed),
			apiError(20157, 401, "the token's dates are out of range", renewed),
			apiError(20160, 403, "malformed grants or issuer", renewed),
			apiError(20404, 404, "not found", refused),
			apiError(20429, 429, "rate limit", gaveWay),
		},
	},
	{
		Title: "The vendor closes a live session's socket with a close code", codes: append(span(999, 1016), 2999, 3000, 3999, 4000, 4999, 5000),
		does: func(code int) script {
			return script{end: func(c *websocket.Conn) { closeWith(c, code) }}
		},
		rows: slices.Concat(closes(), []reaction{
			{code: 1013, meaning: "try again later", next: notBefore, reason: "close_1013", record: event.SessionLost, cause: event.CauseConnectionLost},
			{what: "3000 to 3999", covers: [2]int{3000, 3999}, meaning: "registered by others", next: again, reason: "close_other", record: event.SessionLost, cause: event.CauseConnectionLost},
			{what: "4000 to 4999", covers: [2]int{4000, 4999}, meaning: "private use: the vendor's own", next: again, reason: "close_4xxx", record: event.SessionLost, cause: event.CauseConnectionLost},
			{what: "any other", covers: [2]int{0, 5001}, meaning: "may not be on the wire", next: again, reason: "protocol_error", record: event.SessionLost, cause: event.CauseConnectionLost},
		}),
	},
	{Title: "A live session's socket ends otherwise", rows: otherEnds},
	{Title: "No session comes about", rows: noSession},
	{
		Title: "A listing of agents is answered over REST",
		codes: []int{302, 304, 400, 401, 403, 404, 405, 408, 409, 410, 412, 418, 429, 451, 500, 501, 502, 503, 504, 507, 599, 999},
		does:  func(code int) script { return script{listing: status(code, 0, "42")} },
		rows:  listings, check: reaction.checkListing,
	},
}

func span(from, to int) (codes []int) {
	for code := from; code <= to; code++ {
		codes = append(codes, code)
	}
	return codes
}

func closes() (rows []reaction) {
	for code, meaning := range map[int]string{
		1000: "normal closure", 1001: "going away", 1002: "protocol error", 1003: "unsupported data", 1007: "invalid payload data",
		1008: "policy violation", 1009: "message too big", 1010: "mandatory extension", 1011: "internal error", 1012: "service restart",
	} {
		rows = append(rows, reaction{
			code: code, meaning: meaning, next: again, reason: fmt.Sprintf("close_%d", code), record: event.SessionLost, cause: event.CauseConnectionLost,
		})
	}
	slices.SortFunc(rows, func(a, b reaction) int { return a.code - b.code })
	return rows
}

func apiError(number, status int, meaning string, next step) reaction {
	r := reaction{
		what: fmt.Sprintf("%d, with status %d", number, status), meaning: meaning, next: next, reason: fmt.Sprintf("post_%d", status),
		script: script{command: status, number: number},
	}
	if next != gaveWay {
		r.record = event.SessionRefused
	}
	return r
}

// row is the one that holds for a code: that which names it, else the first range.
func (g group) row(code int) (reaction, bool) {
	i := slices.IndexFunc(g.rows, func(r reaction) bool { return r.code == code })
	if i < 0 {
		i = slices.IndexFunc(g.rows, func(r reaction) bool { return r.covers != [2]int{} && r.covers[0] <= code && code <= r.covers[1] })
	}
	if i < 0 {
		return reaction{}, false
	}
	return g.rows[i], true
}

// TestReactions: every way in which a session ends, caused in a scripted vendor, goes through the real source and the real fleet; what follows is what
// docs/reactions.md says.
func TestReactions(t *testing.T) {
	for _, g := range reactions {
		t.Run(g.Title, func(t *testing.T) {
			t.Parallel()
			check := g.check
			if check == nil {
				check = reaction.check
			}
			for _, r := range g.rows {
				if g.does == nil || r.code == 0 && r.covers == [2]int{} {
					check(r, t, r.what)
				}
			}
			for _, code := range g.codes {
				r, ok := g.row(code)
				if !ok {
					t.Errorf("%d: no row", code)
					continue
				}
				r.script = g.does(code)
				check(r, t, fmt.Sprint(code))
			}
		})
	}
}

func (r reaction) check(t *testing.T, name string) {
	t.Helper()
	if r.next == gaveUp {
		r.script.change = func(c *taskrouter.Config) { c.SnapshotTimeout = config.Duration(10 * time.Millisecond) }
	}
	x := drive(t, r.script, max(1, r.times))
	want := outcome{reason: r.reason, record: r.record, cause: r.cause, dials: 1}
	if r.script.agent != "" {
		want.dials = 0 // the vendor is not asked
	}
	// The jitter of the stage is a half; waits are rounded up to the fleet's tick.
	switch r.next {
	case again, gaveUp:
		want.wait = time.Second / 2 << (max(1, r.times) - 1)
	case notBefore:
		want.wait = 30 * time.Second
	case renewed:
		want.dials = 2
		fallthrough
	case refused:
		want.wait = 5 * time.Minute * 3 / 4
	case gaveWay:
		want.wait = retryAfter
	}
	if diff := cmp.Diff(want, x, cmp.AllowUnexported(outcome{})); diff != "" {
		t.Errorf("%s (-table +what happened):\n%s", name, diff)
	}
	if r.next == notBefore && r.script.upgrade != 0 {
		r.script.retryAfter = true
		if x := drive(t, r.script, 1); x.wait != retryAfter {
			t.Errorf("%s with Retry-After: dialled again after %v, want %v", name, x.wait, retryAfter)
		}
	}
}

// The protocol notes' numbers all have a row.
func TestReactionsAreComplete(t *testing.T) {
	notes, err := os.ReadFile("../../docs/protocols/twilio-taskrouter.md")
	if err != nil {
		t.Fatal(err)
	}
	_, errors, _ := strings.Cut(string(notes), "\n### 7.3 ")
	errors, _, _ = strings.Cut(errors, "\n### 7.4 ")
	var statuses []string
	for _, row := range regexp.MustCompile(`(?m)^\| ([0-9][0-9 ,/]*) \|`).FindAllStringSubmatch(errors, -1) {
		statuses = append(statuses, regexp.MustCompile(`[0-9]{3}`).FindAllString(row[1], -1)...)
	}
	_, lists, _ := strings.Cut(string(notes), "\n## 14. ")
	lists, _, _ = strings.Cut(lists, "\n## 15. ")
	numbers, listNumbers := errorNumbers(string(notes)), errorNumbers(lists)
	if len(statuses) != 11 || len(numbers) != 8 || len(listNumbers) != 3 {
		t.Fatalf("found the statuses %v, the error numbers %v, and %v for lists in the notes: is their form another one?", statuses, numbers, listNumbers)
	}
	for _, g := range []group{reactions[0], reactions[1], reactions[6]} {
		for _, s := range statuses {
			if !slices.ContainsFunc(g.rows, func(r reaction) bool { return fmt.Sprint(r.code) == s }) {
				t.Errorf("%s: status %s is in the notes and has no row of its own", g.Title, s)
			}
		}
	}
	for i, numbers := range map[int][]string{2: numbers, 6: listNumbers} {
		for _, n := range numbers {
			if !slices.ContainsFunc(reactions[i].rows, func(r reaction) bool { return strings.HasPrefix(r.what, n+",") }) {
				t.Errorf("%s: error number %s is in the notes and has no row", reactions[i].Title, n)
			}
		}
	}
}

// errorNumbers are the vendor's, each once.
func errorNumbers(notes string) []string {
	numbers := regexp.MustCompile(`\b20[0-9]{3}\b(/[0-9]{5})?`).FindAllString(notes, -1)
	numbers = strings.Split(strings.Join(numbers, "/"), "/")
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

type pageRow struct{ What, Meaning, Reason, Next, Told string }

// docs/reactions.md is the table, for operators.
func TestReactionsPage(t *testing.T) {
	type pageGroup struct {
		Title string
		Rows  []pageRow
	}
	var groups []pageGroup
	for _, g := range reactions {
		p := pageGroup{Title: g.Title}
		for _, r := range g.rows {
			row := pageRow{r.what, r.meaning, "", string(r.next), ""}
			if r.reason != "" {
				row.Reason = "`" + r.reason + "`"
			}
			if r.code != 0 {
				row.What = fmt.Sprint(r.code)
			}
			if r.record != "" {
				row.Told = "`" + string(r.record) + "`"
			}
			if r.cause != "" {
				row.Told += ", gap `" + string(r.cause) + "`"
			}
			p.Rows = append(p.Rows, row)
		}
		groups = append(groups, p)
	}
	testpage.Match(t, "../../docs/reactions.md", testpage.Render(t, "testdata/reactions.md.tmpl", groups))
}
