package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// wholeWay is the bridge from the intake of a message to Sink.Send, without network: sessions of 100 agents, the mapper of TaskRouter, the log on disk,
// and a publisher with a sink that answers at once. Nothing runs but the log's writer.
type wholeWay struct {
	*Bridge
	log       *spool.Disk
	publisher *publisher
	sink      nullSink
	traffic   traffic
}

func newWholeWay(tb testing.TB, log spool.Options) *wholeWay {
	tb.Helper()
	w := &wholeWay{}
	policy, err := mapping.NewPolicy(mapping.PrivacyConfig{}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	log.Dir = tb.TempDir()
	if w.log, err = spool.Open(log); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = w.log.Close() })
	w.sink.moved = make(chan struct{}, 1)
	w.Bridge, err = New(Options{BridgeID: "b"}, nil, w.log, map[string]sink.Sink{"null": &w.sink}, &letterBox{}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	w.publisher = w.publishers[0]
	w.traffic = newTraffic(tb, w.heart, mapping.NewTaskRouter(policy))
	return w
}

// deliver does what publisher.run does, until there is nothing left to do.
func deliver(ctx context.Context, p *publisher) {
	for {
		p.step(ctx)
		select {
		case <-p.cursor.Ready():
		case <-p.answered:
		default:
			return
		}
	}
}

// nullSink answers at once that everything is stored. Its limits are those of the sink for JetStream.
type nullSink struct {
	plainSink
	sent  atomic.Int64
	moved chan struct{} // signalled every 64 events
}

func (*nullSink) Limits() sink.Limits {
	return sink.Limits{Lanes: 1 << 14, InFlight: 4096, Records: 1, Bytes: 1 << 20}
}
func (*nullSink) Lane(r *spool.Record) int { return int(r.Key % (1 << 14)) }
func (s *nullSink) Send(b *sink.Batch) {
	b.FirstSent = time.UnixMilli(1)
	if s.sent.Add(int64(len(b.Records)))%64 == 0 {
		select {
		case s.moved <- struct{}{}:
		default:
		}
	}
	b.Done(nil)
}

// traffic is what 100 agents receive who work on 1,000 tasks at a time, of which each is created, accepted, wrapped up and completed. Every message tells one
// event.
type traffic struct {
	sessions [100]*session
	messages [4]vendorMessage // of one reservation's life
	told     int
	at       time.Time
}

// tasksAtATime are open together, and so are that many partition keys.
const tasksAtATime = 1000

// vendorMessage is one that the vendor sends, with the places of the numbers in its ids.
type vendorMessage struct {
	body          []byte
	agent, number []int
}

// idDigits is how many of an id's last digits are set.
const idDigits = 8

func newTraffic(tb testing.TB, h *heart, m mapping.Mapper) traffic {
	tb.Helper()
	t := traffic{at: time.Date(2026, 1, 2, 3, 4, 28, 0, time.UTC)}
	for i := range t.sessions {
		a := newAgent(h, mapping.NewView(source.Agent{
			ID: fmt.Sprintf("WK%032d", i), Source: "support", Provider: "twilio", URI: "/twilio/taskrouter/AC1/WS1", Account: "AC1", Site: "WS1",
		}), m)
		t.sessions[i] = a.newSession()
		t.sessions[i].Up(source.Live, t.at, time.Time{})
	}
	for i, word := range []string{"created", "accepted", "wrapping", "completed"} {
		text, err := os.ReadFile("../mapping/testdata/taskrouter/reservation." + word + ".json")
		if err != nil {
			tb.Fatal(err)
		}
		var golden struct {
			Frame struct{ Body json.RawMessage }
		}
		if err := json.Unmarshal(text, &golden); err != nil {
			tb.Fatal(err)
		}
		var body bytes.Buffer
		if err := json.Compact(&body, golden.Frame.Body); err != nil {
			tb.Fatal(err)
		}
		t.messages[i].body = body.Bytes()
		t.messages[i].agent = places(body.Bytes(), "WK00000000000000000000000000000001")
		t.messages[i].number = append(places(body.Bytes(), "WR00000000000000000000000000000001"), places(body.Bytes(), "WT00000000000000000000000000000001")...)
	}
	return t
}

// places is where the digits of id begin that are to be set.
func places(body []byte, id string) (at []int) {
	for from := 0; ; {
		i := bytes.Index(body[from:], []byte(id))
		if i < 0 {
			return at
		}
		from += i + len(id)
		at = append(at, from-idDigits)
	}
}

// next gives the next message to its agent's session.
func (t *traffic) next() {
	task, step := t.told%tasksAtATime, t.told/tasksAtATime%len(t.messages)
	m := &t.messages[step]
	m.set(m.number, t.told/tasksAtATime/len(t.messages)*tasksAtATime+task)
	m.set(m.agent, task%len(t.sessions))
	t.told++
	t.at = t.at.Add(100 * time.Millisecond) // an agent gets one every 10 s; in the time that ids are remembered they become 90
	t.sessions[task%len(t.sessions)].Frame(source.Frame{Body: m.body, Received: t.at})
}

func (m *vendorMessage) set(places []int, n int) {
	for _, at := range places {
		for i, rest := at+idDigits-1, n; i >= at; i, rest = i-1, rest/10 {
			m.body[i] = byte('0' + rest%10)
		}
	}
}
