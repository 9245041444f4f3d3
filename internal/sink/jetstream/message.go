package jetstream

import (
	"net/url"
	"strconv"
	"strings"
	"unsafe"

	"github.com/nats-io/nats.go"
	"github.com/tidwall/gjson"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// The headers that JetStream acts on (NATS ADR-22 and ADR-4).
const (
	headerID             = "Nats-Msg-Id"
	headerExpectedStream = "Nats-Expected-Stream"
	headerStatus         = "Status"
)

// CloudEvents' NATS binding: a content type of CloudEvents means structured mode (NATS binding 1.0.3-wip, section 3); in binary mode every
// attribute, datacontenttype too, is a header of its own (section 3.1.3.1).
const (
	headerContentType     = "content-type"
	structuredContentType = "application/cloudevents+json"
	attributePrefix       = "ce-"
)

// renderer makes messages of records. It reuses its buffers, which is safe because the client library copies a message when it is published. For
// one goroutine.
type renderer struct {
	route   *sink.Route
	binary  bool
	stream  string
	msg     nats.Msg
	id      []string
	subject []byte
	reply   []byte
	data    []byte
}

func newRenderer(route *sink.Route, mode, stream string) *renderer {
	r := &renderer{route: route, binary: mode == Binary, stream: stream, id: make([]string, 1)}
	r.msg.Header = nats.Header{headerID: r.id, headerExpectedStream: {stream}}
	if !r.binary {
		r.msg.Header[headerContentType] = []string{structuredContentType}
	}
	return r
}

// render is valid until the next call.
func (r *renderer) render(rec *spool.Record, inbox string, seq uint64) *nats.Msg {
	r.subject = r.route.Append(r.subject[:0], rec)
	r.reply = strconv.AppendUint(append(append(r.reply[:0], inbox...), '.'), seq, 10)
	r.msg.Subject, r.msg.Reply = borrow(r.subject), borrow(r.reply)
	r.id[0] = escapeHeader(rec.Header.ID)
	if !r.binary {
		r.data = event.AppendStructured(r.data[:0], &rec.Header, rec.Sequence(), rec.Data)
		r.msg.Data = r.data
		return &r.msg
	}
	clear(r.msg.Header)
	r.msg.Header[headerID] = r.id
	r.msg.Header[headerExpectedStream] = []string{r.stream}
	rec.Header.Attributes(rec.Sequence(), func(name, value string) {
		if value != "" {
			r.msg.Header[attributePrefix+name] = []string{escapeHeader(value)}
		}
	})
	r.msg.Data = rec.Data
	return &r.msg
}

// borrow is b as text, for as long as b is not changed.
func borrow(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// escapeHeader percent-encodes what must not stand in a header's value: NATS binding 1.0.3-wip, section 3.1.3.2. The event's id as
// Nats-Msg-Id is treated alike, because the client library would turn a line break in it into a space, and two ids into one.
func escapeHeader(s string) string {
	clean := true
	for i := range len(s) {
		clean = clean && headerSafe(s[i])
	}
	if clean {
		return s
	}
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		if c := s[i]; headerSafe(c) {
			out = append(out, c)
		} else {
			out = append(out, '%', hex[c>>4], hex[c&0xf])
		}
	}
	return string(out)
}

func headerSafe(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }

// unescapeHeader undoes escapeHeader; a value that another program wrote is taken as it is where it cannot be undone.
func unescapeHeader(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

// answer is what the server says to a publish (JetStream API, io.nats.jetstream.api.v1.pub_ack_response).
type answer struct {
	seq         uint64 // the event's place in the stream; of a duplicate, the place of the first copy
	duplicate   bool
	code        int // of the error, like HTTP's; 0: none
	errCode     int
	description string
}

// parseAnswer reports whether the answer makes sense.
func parseAnswer(data []byte) (a answer, ok bool) {
	if !gjson.ValidBytes(data) {
		return a, false
	}
	refused := false
	gjson.Parse(borrow(data)).ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "error":
			a.code, a.errCode = int(v.Get("code").Int()), int(v.Get("err_code").Int())
			a.description = strings.Clone(v.Get("description").String())
			refused = true
		case "seq":
			a.seq = v.Uint()
		case "duplicate":
			a.duplicate = v.Bool()
		}
		return true
	})
	if refused {
		a.seq = 0
		return a, a.code != 0
	}
	return a, a.seq != 0
}
