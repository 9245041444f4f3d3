package jetstream

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/format"
	"github.com/cloudevents/sdk-go/v2/binding/spec"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

func record(id string) spool.Record {
	at := event.InstantOf(time.Date(2026, 11, 21, 7, 0, 0, 123e6, time.UTC))
	return spool.Record{
		Pos: 17, Epoch: 1_790_000_000, Key: spool.Hash("WT1"),
		Header: event.Header{
			ID: id, Source: "/twilio/taskrouter/AC1/WS1", Type: event.ReservationAccepted, Subject: "WR1", Time: at, TimeSource: event.TimeVendor,
			Recorded: at + 5, Origin: event.OriginSocket, PartitionKey: "WT1", CorrelationID: "WT1", BridgeID: "bridge-0",
			Provider: event.Twilio, Account: "AC1", Agent: "WK1",
		},
		Data: []byte(`{"provider":"twilio"}`),
	}
}

// ceMessage is a NATS message as CloudEvents' NATS binding 1.0.3-wip, section 3, tells to read it, for the official SDK. The SDK's own
// binding for NATS is another module; its reading of the headers is the same.
type ceMessage struct{ *nats.Msg }

var ceSpecs = spec.WithPrefix("ce-")

func (m ceMessage) ReadEncoding() binding.Encoding {
	if strings.HasPrefix(strings.ToLower(m.Header.Get("content-type")), "application/cloudevents") {
		return binding.EncodingStructured
	}
	return binding.EncodingBinary
}

func (m ceMessage) ReadStructured(ctx context.Context, w binding.StructuredWriter) error {
	if m.ReadEncoding() != binding.EncodingStructured {
		return binding.ErrNotStructured
	}
	return w.SetStructuredEvent(ctx, format.JSON, bytes.NewReader(m.Data))
}

func (m ceMessage) ReadBinary(_ context.Context, w binding.BinaryWriter) error {
	if m.ReadEncoding() != binding.EncodingBinary {
		return binding.ErrNotBinary
	}
	version := ceSpecs.Version(m.Header.Get(ceSpecs.PrefixedSpecVersionName()))
	var errs []error
	for name, values := range m.Header {
		short, ours := strings.CutPrefix(name, "ce-")
		if attribute := version.Attribute(name); attribute != nil {
			errs = append(errs, w.SetAttribute(attribute, unescapeHeader(values[0])))
		} else if ours {
			errs = append(errs, w.SetExtension(short, unescapeHeader(values[0])))
		}
	}
	return errors.Join(append(errs, w.SetData(bytes.NewReader(m.Data)))...)
}

func (m ceMessage) GetAttribute(kind spec.Kind) (spec.Attribute, any) {
	a := ceSpecs.Version(m.Header.Get(ceSpecs.PrefixedSpecVersionName())).AttributeFromKind(kind)
	return a, unescapeHeader(m.Header.Get(a.PrefixedName()))
}

func (m ceMessage) GetExtension(name string) any { return unescapeHeader(m.Header.Get("ce-" + name)) }

func (ceMessage) Finish(error) error { return nil }

// TestMessageDecodedByCloudEvents sends in both modes through a server and lets the CloudEvents SDK read what the stream holds.
func TestMessageDecodedByCloudEvents(t *testing.T) {
	for _, mode := range []string{Structured, Binary} {
		t.Run(mode, func(t *testing.T) {
			server := startServer(t, t.TempDir(), 0)
			c := testConfig(server.URL())
			c.Mode = mode
			s := connect(t, c)
			first, second := record("WR1:accepted"), record("WR1:\"ü\" 100%")
			second.Header.CorrelationID = "" // an absent attribute is not sent
			for _, r := range []spool.Record{first, second} {
				if err := send(t, s, r); err != nil {
					t.Fatal(err)
				}
			}
			all, err := storedMessages(t.Context(), dial(t, server.URL()))
			if err != nil || len(all) != 2 {
				t.Fatalf("read back: got %d messages and %v, want 2", len(all), err)
			}
			if got, want := all[0].Subject, "contact.twilio.AC1.reservation.accepted.WK1"; got != want {
				t.Errorf("subject: got %s, want %s", got, want)
			}
			for i, r := range []spool.Record{first, second} {
				if got := unescapeHeader(all[i].Header.Get("Nats-Msg-Id")); got != r.Header.ID {
					t.Errorf("Nats-Msg-Id: got %q, want %q", got, r.Header.ID)
				}
				m := ceMessage{&nats.Msg{Header: all[i].Header, Data: all[i].Data}}
				e, err := binding.ToEvent(t.Context(), m)
				if err != nil {
					t.Fatal(err)
				}
				if err := e.Validate(); err != nil {
					t.Error(err)
				}
				got := map[string]any{
					"id": e.ID(), "source": e.Source(), "type": e.Type(), "subject": e.Subject(), "time": e.Time(),
					"datacontenttype": e.DataContentType(), "dataschema": e.DataSchema(), "data": string(e.Data()),
				}
				for name, value := range e.Extensions() {
					got[name] = value
				}
				want := map[string]any{
					"id": r.Header.ID, "source": r.Header.Source, "type": "taskbridge.reservation.accepted.v1", "subject": "WR1",
					"time": r.Header.Time.Time(), "datacontenttype": "application/json", "dataschema": "urn:taskbridge:event-data:1.0",
					"data": `{"provider":"twilio"}`, "timesource": "vendor", "recordedtime": "2026-11-21T07:00:00.128Z", "origin": "socket",
					"partitionkey": "WT1", "correlationid": r.Header.CorrelationID, "sequence": "1790000000-0000000000000000017", "bridgeid": "bridge-0",
				}
				if r.Header.CorrelationID == "" {
					delete(want, "correlationid")
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("event differs (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func FuzzEscapeHeader(f *testing.F) {
	f.Add("WR1:accepted")
	f.Add("a b\r\n\"%41\x7fé\xff")
	f.Fuzz(func(t *testing.T, s string) {
		e := escapeHeader(s)
		if strings.ContainsAny(e, " \"\r\n\t\x7f") || unescapeHeader(e) != s {
			t.Errorf("got %q for %q, and back %q", e, s, unescapeHeader(e))
		}
	})
}

func TestParseAnswer(t *testing.T) {
	tests := []struct {
		text string
		want answer
		ok   bool
	}{
		{`{"stream":"FACTS","seq":7}`, answer{seq: 7}, true},
		{`{"stream":"FACTS","seq":7,"duplicate":true}`, answer{seq: 7, duplicate: true}, true},
		{
			`{"error":{"code":400,"err_code":10054,"description":"too big"},"stream":"FACTS","seq":0}`,
			answer{code: 400, errCode: 10054, description: "too big"},
			true,
		},
		{`{"stream":"FACTS"}`, answer{}, false},
		{`{"stream":"FACTS","seq":7`, answer{}, false},
		{`+ACK`, answer{}, false},
		{``, answer{}, false},
	}
	for _, tt := range tests {
		got, ok := parseAnswer([]byte(tt.text))
		if got != tt.want || ok != tt.ok {
			t.Errorf("%s: got %+v, %v, want %+v, %v", tt.text, got, ok, tt.want, tt.ok)
		}
	}
}

func TestCodes(t *testing.T) {
	r := record("x")
	tests := []struct {
		code     int
		reason   string
		rejected bool
		check    bool
		after    time.Duration
	}{
		{10054, "too_large", true, false, 0},
		{10097, "headers_too_large", true, false, 0},
		{10077, "stream_full", false, false, time.Second},
		{10047, "no_resources", false, false, time.Second},
		{10158, "duplicate_in_process", false, false, 0},
		{10060, "wrong_stream", false, true, 0},
		{10999, "other", false, false, 0}, // of a later server
	}
	for _, tt := range tests {
		c, err := answered(&answer{code: 400, errCode: tt.code, description: "why"}, &r)
		var rejected *sink.Rejected
		if got := errors.As(err, &rejected); got != tt.rejected {
			t.Errorf("%d: rejected: got %v, want %v", tt.code, got, tt.rejected)
		}
		if rejected != nil && !cmp.Equal(rejected.Pos, []spool.Pos{r.Pos}) {
			t.Errorf("%d: rejected positions: got %v, want %v", tt.code, rejected.Pos, r.Pos)
		}
		if c.check != tt.check || retry.ReasonOf(err) != tt.reason || retry.Delay(err) != tt.after {
			t.Errorf("%d: got check %v, reason %s, after %v; want %v, %s, %v",
				tt.code, c.check, retry.ReasonOf(err), retry.Delay(err), tt.check, tt.reason, tt.after)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	route, err := sink.ParseRoute(sink.DefaultRoute)
	if err != nil {
		b.Fatal(err)
	}
	r, rec := newRenderer(route, Structured, "FACTS"), record("WR0123456789abcdef0123456789abcdef:accepted")
	rec.Data = bytes.Repeat([]byte("x"), 1000)
	b.ReportAllocs()
	for b.Loop() {
		r.render(&rec, "_INBOX.abcdefghijklmnopqrstuv", 123456)
	}
}
