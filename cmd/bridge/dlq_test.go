package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskbridge/taskbridge/internal/admin"
	"github.com/taskbridge/taskbridge/internal/deadletter"
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/spool"
)

const letterCanary = "what a caller wrote"

// aLetter is the letter that the examples speak of.
func aLetter() deadletter.Letter {
	at := event.InstantOf(time.Now().Add(-8 * 24 * time.Hour))
	return deadletter.Letter{
		Sink: "facts", Reason: "too_large", Attempts: 3, FirstAt: at - 1000, At: at, First: "no answer in time", Last: "message size exceeds maximum allowed",
		Record: spool.Record{
			Pos: 42, Epoch: 1795250000, Data: []byte(`{"provider":"twilio","reason":"` + letterCanary + `"}`),
			Header: event.Header{
				ID: "WR1:created", Source: "/twilio/taskrouter/AC1/WS1", Type: event.ReservationCreated, Subject: "WR1", Time: at, TimeSource: event.TimeVendor,
				Recorded: at, Origin: event.OriginSocket, PartitionKey: "WT1", BridgeID: "b", Provider: event.Twilio, Account: "AC1", Agent: "WK1",
			},
		},
	}
}

// setAside puts letters into the folder of a bridge that does not run.
func setAside(t *testing.T, spool string, letters ...deadletter.Letter) {
	t.Helper()
	store, err := deadletter.Open(deadletter.Options{Dir: deadLettersDir(spool)})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(letters); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDLQOfAFolder(t *testing.T) {
	dir := t.TempDir()
	l := aLetter()
	var all []deadletter.Letter
	for n := range 2*admin.MostLetters + 10 {
		l.Record.Pos = spool.Pos(n)
		l.Record.Header.ID = fmt.Sprintf("WR%d:created", n)
		all = append(all, l)
	}
	other := aLetter()
	other.Sink, other.Record.Header.Agent, other.Record.Header.Type = "crm", "WK2", event.TaskUpdated
	setAside(t, dir, append(all, other)...)

	lines := func(args ...string) int {
		t.Helper()
		code, stdout, stderr := exec(t, append([]string{"dlq", "list", "--spool", dir, "--json"}, args...)...)
		if code != 0 || stderr != "" || strings.Contains(stdout, letterCanary) {
			t.Errorf("%v: got exit code %d and %s, or a payload", args, code, stderr)
		}
		return strings.Count(stdout, "\n")
	}
	for _, test := range []struct {
		args []string
		want int
	}{
		{nil, len(all) + 1},
		{[]string{"--sink", "crm"}, 1},
		{[]string{"--type", "task"}, 1},
		{[]string{"--type", "task,reservation.created"}, len(all) + 1},
		{[]string{"--agent", "WK1", "--sink", "crm"}, 0},
		{[]string{"--reason", "other"}, 0},
		{[]string{"--since", "9d", "--until", "7d"}, len(all) + 1},
		{[]string{"--since", "7d"}, 0},
		{[]string{"WR7:created", "facts.1795250000-8", "nothing"}, 2},
	} {
		if got := lines(test.args...); got != test.want {
			t.Errorf("%v: got %d letters, want %d", test.args, got, test.want)
		}
	}
	var ids []string
	for n := range 250 { // more than one question has room for
		ids = append(ids, fmt.Sprintf("WR%d:created", n))
	}
	for _, test := range []struct {
		args []string
		out  string
		left int
	}{
		{[]string{"--dry-run", "--sink", "crm"}, "1 dead letters would be purged\n", len(all) + 1},
		{[]string{"--sink", "crm"}, "1 dead letters were purged\n", len(all)},
		{ids, "250 dead letters were purged\n", len(all) - 250},
		{[]string{"--all", "--json"}, fmt.Sprintf(`{"purged":%d}`+"\n", len(all)-250), 0},
		{[]string{"--all"}, "0 dead letters were purged\n", 0},
	} {
		code, stdout, stderr := exec(t, append([]string{"dlq", "purge", "--spool", dir}, test.args...)...)
		if code != 0 || !strings.HasSuffix(stdout, test.out) || stderr != "" {
			t.Errorf("%v: got exit code %d, %q and %s, want %q", test.args[:1], code, stdout, stderr, test.out)
		}
		if got := lines(); got != test.left {
			t.Errorf("%v: got %d letters left, want %d", test.args[:1], got, test.left)
		}
	}
}

func TestDLQPrints(t *testing.T) {
	dir := t.TempDir()
	l := aLetter()
	l.Record.Header.Agent = "WK\x1b[2J"
	setAside(t, dir, l)
	_, stdout, _ := exec(t, "dlq", "list", "--spool", dir)
	want := `LETTER SET ASIDE TYPE AGENT EVENT BYTES ATTEMPTS REASON LAST ERROR
facts.1795250000-42 ` + l.At.Time().Local().Format(time.DateTime) + ` reservation.created "WK\x1b[2J" WR1:created 52 3 too_large message size exceeds maximum allowed
`
	if diff := cmp.Diff(want, regexp.MustCompile(` +`).ReplaceAllString(stdout, " ")); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	_, stdout, _ = exec(t, "dlq", "show", "--spool", dir, "WR1:created")
	for _, want := range []string{
		"letter      facts.1795250000-42\n", "attempts    3 since ", "first error no answer in time\n", "event       reservation.created of WR1\n{\n",
		`"sequence": "1795250000-0000000000000000042"`, `"reason": "` + letterCanary + `"`,
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("show: got\n%s\nwant %q in it", stdout, want)
		}
	}
	_, stdout, _ = exec(t, "dlq", "show", "--spool", dir, "--json", "facts.1795250000-42")
	var shown struct {
		Letter admin.Letter
		Event  json.RawMessage
	}
	if err := json.Unmarshal([]byte(stdout), &shown); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(describeLetter(&l), shown.Letter); diff != "" {
		t.Errorf("letter (-want +got):\n%s", diff)
	}
	e, sequence, err := event.ParseStructured(shown.Event)
	if err != nil || e.ID != "WR1:created" || sequence != l.Record.Sequence() {
		t.Errorf("event: got %+v, %s, %v", e, sequence, err)
	}
}

// Each error says what to do next.
func TestDLQErrors(t *testing.T) {
	t.Setenv("BRIDGE_TEST_SECRET", "hunter2")
	dir := t.TempDir()
	file := write(t, dir, "bridge.yaml", good+fmt.Sprintf("admin: {listen: %q}\n", free(t)))
	off := write(t, dir, "off.yaml", good+"admin: {listen: off}\n")
	held := filepath.Join(dir, "held")
	setAside(t, held, aLetter())
	store, err := deadletter.Open(deadletter.Options{Dir: deadLettersDir(held)}) // as a running bridge has it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	unknown := filepath.Join(dir, "unknown")
	setAside(t, unknown, aLetter())
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "say what to do: bridge dlq list, show, replay or purge"},
		{[]string{"fly"}, 2, "unknown command \"fly\" for \"bridge dlq\""},
		{[]string{"list", "--type", "reservations"}, 2, "--type reservations: not a type or noun"},
		{[]string{"list", "--since", "yesterday"}, 2, "--since yesterday: a span such as 10m"},
		{[]string{"list", "--spool", dir, "-c", file}, 2, "[config spool] were all set"},
		{[]string{"list", "-c", file}, 1, "is a bridge running there, and its admin.listen not off? When none runs: --spool " + filepath.Join(dir, "spool") + "\n"},
		{[]string{"list", "--admin", free(t)}, 1, "When none runs: --spool DIR, the folder that spool.dir names"},
		{[]string{"list", "-c", off}, 2, "admin.listen is off"},
		{[]string{"list", "--spool", dir}, 1, "a bridge makes that folder in the one that spool.dir names"},
		{[]string{"show", "--spool", held}, 2, "requires at least 1 arg"},
		{[]string{"show", "--spool", held, "WR2:created"}, 1, "no dead letter WR2:created: bridge dlq list tells those that are held"},
		{[]string{"purge", "--spool", held}, 2, "say which letters: IDs, filters, or --all"},
		{[]string{"replay", "--spool", held, "--all", "--sink", "facts"}, 2, "say which letters: IDs, filters, or --all"},
		{[]string{"purge", "--spool", held, "--all"}, 1, "a bridge runs there; leave out --spool to ask it"},
		{[]string{"replay", "--spool", held, "--all"}, 1, "a bridge runs there; leave out --spool to ask it"},
		{[]string{"replay", "--spool", unknown, "--all"}, 1, `append for "facts": there is no such cursor`},
	} {
		code, _, stderr := exec(t, append([]string{"dlq"}, test.args...)...)
		if code != test.code || !strings.Contains(stderr, test.want) {
			t.Errorf("%v: got exit code %d and %s, want %d and %q", test.args, code, stderr, test.code, test.want)
		}
	}
	if os.Geteuid() == 0 {
		t.Log("root may read every file: a folder of another user is not tried")
		return
	}
	if err := os.Chmod(filepath.Join(deadLettersDir(held), "0000000001.letters1"), 0); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := exec(t, "dlq", "show", "--spool", held, "WR1:created"); code != 1 || !strings.Contains(stderr, "permission denied") {
		t.Errorf("another user's: got exit code %d and %s", code, stderr)
	}
}

// Without a bridge the event is in the spool afterwards, for its sink alone, as it was; the next start delivers it.
func TestDLQReplayOfAFolder(t *testing.T) {
	dir := t.TempDir()
	l := aLetter()
	setAside(t, dir, l)
	sinks := []string{"facts", "crm"}
	withSpool(t, dir, sinks, func(c spool.Cursor) {
		if err := c.Save(nil); err != nil {
			t.Fatal(err)
		}
	})
	if code, stdout, stderr := exec(t, "dlq", "replay", "--spool", dir, "--all"); code != 0 || stdout != "1 dead letters were replayed\n" || stderr != "" {
		t.Errorf("got exit code %d, %q and %s", code, stdout, stderr)
	}
	if code, stdout, _ := exec(t, "dlq", "list", "--spool", dir, "--json"); code != 0 || stdout != "" {
		t.Errorf("got exit code %d and %s, want no letter left", code, stdout)
	}
	var got [][]spool.Record
	folded := withSpool(t, dir, sinks, func(c spool.Cursor) {
		records, err := c.Next(10)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, records)
	})
	if len(got[0]) != 1 || len(got[1]) != 0 {
		t.Fatalf("got %v, want the event for facts alone", got)
	}
	r := got[0][0]
	if diff := cmp.Diff(l.Record.Header, r.Header); diff != "" || !bytes.Equal(r.Data, l.Record.Data) || r.Key != spool.Hash("WT1") {
		t.Errorf("got key %d and %s (-want +got):\n%s", r.Key, r.Data, diff)
	}
	if folded != 0 {
		t.Errorf("got %d records folded into the views, want none: these know the event", folded)
	}
}

// withSpool opens the folder's spool with these cursors, and returns how many records its recovery gave.
func withSpool(t *testing.T, dir string, sinks []string, do func(spool.Cursor)) (folded int) {
	t.Helper()
	log, err := spool.Open(spool.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	var cursors []spool.Cursor
	for _, sink := range sinks {
		c, err := log.Cursor(sink, spool.CursorOptions{})
		if err != nil {
			t.Fatal(err)
		}
		cursors = append(cursors, c)
	}
	if _, err := log.Recover(func(io.Reader) error { return nil }, func(*spool.Record) { folded++ }); err != nil {
		t.Fatal(err)
	}
	for _, c := range cursors {
		do(c)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return folded
}

// A broker that takes only small events: the large ones are set aside, and the others delivered. When its limit is raised, a replay brings them with the
// ids that they had. Nobody but show tells what is in them.
func TestDLQOfARunningBridge(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the NATS server does not start")
	}
	conn, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	limits := jetstream.StreamConfig{Name: "FACTS", Subjects: []string{"contact.>"}, Duplicates: 2 * time.Minute}
	if _, err := js.CreateStream(t.Context(), limits); err != nil {
		t.Fatal(err)
	}
	sim := simulate(t, "--workers", "3", "--rate", "50")
	file := configure(t, sim, fmt.Sprintf(`{url: "%s", stream: FACTS}`, s.ClientURL()), "logging: {level: debug}\nprivacy: {task_attributes: {selected_language: keep}}\n")
	p := start(t, "run", "-c", file)
	health, address := p.healthURL(t), p.adminAddress(t)
	dlq := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := exec(t, append([]string{"dlq", args[0], "--admin", address}, args[1:]...)...)
		if code != 0 || stderr != "" {
			t.Fatalf("%v: got exit code %d and %s", args, code, stderr)
		}
		return stdout
	}
	// Smaller than the bridge would begin with: it looks at the stream again in half a minute, and until then sets aside what is refused.
	limits.MaxMsgSize = 1500
	eventually(t, "the first events are stored", func() bool { return stored(t, s.ClientURL())["all"] > 0 })
	if _, err := js.UpdateStream(t.Context(), limits); err != nil {
		t.Fatal(err)
	}
	var listed []admin.Letter
	eventually(t, "large events are set aside and small ones delivered", func() bool {
		listed = nil
		for line := range strings.Lines(dlq("list", "--json")) {
			var l admin.Letter
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			listed = append(listed, l)
		}
		return len(listed) >= 10 && stored(t, s.ClientURL())["all"] >= 10
	})
	l := listed[0]
	if l.Sink != "facts" || l.Reason != "too_large" || l.Attempts != 1 || l.Bytes < 500 || l.Agent == "" || !strings.Contains(l.LastError, "exceeds maximum") || time.Since(l.At) > time.Minute {
		t.Errorf("got %+v", l)
	}
	if _, body := get(t, health+"/readyz"); !strings.Contains(body, `{"code":"dead_letters","count":`) || !strings.Contains(body, `"ready":true`) {
		t.Errorf("/readyz: got %s, want a note", body)
	}
	if shown := dlq("show", l.ID); !strings.Contains(shown, `"account_id": "`+sim.Account) || !strings.Contains(shown, l.EventID) {
		t.Errorf("show: got %s, want the whole event", shown)
	}
	if out := dlq("purge", listed[1].ID); out != "1 dead letters were purged\n" {
		t.Errorf("purge: got %q", out)
	}
	if out := dlq("replay", "--dry-run", "--json", l.ID); !strings.HasPrefix(out, `{"id":"`+l.ID) {
		t.Errorf("dry run: got %q", out)
	}

	// Refused again: a new letter of the same event, and the command ends.
	if out := dlq("replay", l.ID); out != "1 dead letters were replayed\n" {
		t.Errorf("replay: got %q", out)
	}
	eventually(t, "the event is set aside again", func() bool {
		out := dlq("list", "--json", l.EventID)
		return strings.Count(out, "\n") == 1 && !strings.Contains(out, l.ID+`"`)
	})

	limits.MaxMsgSize = -1
	if _, err := js.UpdateStream(t.Context(), limits); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is refused any more and everything replayed", func() bool {
		dlq("replay", "--all")
		return dlq("list", "--json") == ""
	})
	found := map[string]int{}
	eventually(t, "all but the purged one are in the stream, once", func() bool {
		clear(found)
		for _, e := range ids(t, js) {
			found[e]++
		}
		for i, l := range listed {
			if found[l.EventID] == 0 && i != 1 {
				return false
			}
		}
		return true
	})
	for id, n := range found {
		if n > 1 || id == listed[1].EventID {
			t.Errorf("%s: got it %d times", id, n)
		}
	}
	text := p.told(t, health)
	p.stop()
	if err := p.wait(t); err != nil {
		t.Error(err)
	}
	if said := text + p.stderr.String(); leaks(said) != nil {
		t.Errorf("payloads in what the bridge tells: %q", leaks(said))
	}
	if !strings.Contains(text, "taskbridge_deadletters_purged_total 1\n") || !regexp.MustCompile(`taskbridge_deadletters_replayed_total [1-9]`).MatchString(text) {
		t.Errorf("metrics: want 1 purged and some replayed in\n%s", text)
	}
}

// ids are those of the stream's events, as headers tell them.
func ids(t *testing.T, js jetstream.JetStream) (all []string) {
	t.Helper()
	consumer, err := js.OrderedConsumer(t.Context(), "FACTS", jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	for {
		batch, err := consumer.FetchNoWait(500)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for msg := range batch.Messages() {
			n++
			all = append(all, msg.Headers().Get("Nats-Msg-Id"))
		}
		if n == 0 {
			return all
		}
	}
}
