package wire

import (
	"encoding/binary"
	"regexp"
	"strconv"
	"strings"
)

// The account of all agents.
const (
	Account   = "AC00000000000000000000000000000001"
	Workspace = "WS00000000000000000000000000000001"
	Activity  = "WA00000000000000000000000000000002"
)

// form is a reservation event in full, as docs/protocols/twilio-taskrouter.md has it in sections 6.4 to 6.6. In brackets are what the verb decides,
// and fields of fixed width: the digits of an agent, those of a task, and moments, in seconds after the task's creation.
const form = `{"event_type":"reservation.<verb>","payload":{"account_sid":"` + Account + `","workspace_sid":"` + Workspace + `",` +
	`"sid":"WR[agent][task]","worker_sid":"WK000000000000000000000000[agent]","worker_name":"agent[agent]",` +
	`"worker_previous_activity_sid":"` + Activity + `","reservation_status":"<status>","reservation_timeout":120,` +
	`"date_created":<created>,"date_updated":<updated>,"version":<version>,` +
	`"task":{"sid":"WT[agent][task]","date_created":[0],"date_updated":[<task updated>],"attributes":"{\"selected_language\":\"en\"}",` +
	`"assignment_status":"<assignment>","workflow_sid":"WW00000000000000000000000000000001","workflow_name":"Default Fifo Workflow",` +
	`"queue_sid":"WQ00000000000000000000000000000001","queue_name":"Everyone","priority":0,"reason":null,"timeout":86400,` +
	`"task_channel_sid":"TC00000000000000000000000000000001","task_channel_unique_name":"voice","age":<age>,"addons":"{}",` +
	`"routing_target":null,"version":<version>,"virtual_start_time":[0]}}}`

// lives is what the verbs decide. A fresh reservation has dates of 0 (section 6.4).
var lives = [verbs]*strings.Replacer{
	life("created", "pending", "reserved", "0", "0", "0", "13"),
	life("accepted", "accepted", "assigned", "[13]", "[20]", "13", "20"),
	life("wrapup", "wrapping", "wrapping", "[13]", "[45]", "45", "45"),
	life("completed", "completed", "completed", "[13]", "[60]", "60", "60"),
}

func life(verb, status, assignment, created, updated, taskUpdated, age string) *strings.Replacer {
	version := map[string]string{"created": "0", "accepted": "1", "wrapup": "2", "completed": "3"}[verb]
	return strings.NewReplacer("<verb>", verb, "<status>", status, "<assignment>", assignment, "<created>", created, "<updated>", updated,
		"<task updated>", taskUpdated, "<age>", age, "<version>", version)
}

// Life is how old a task is when it is completed, in seconds: what [Stamp] is given is so long ago, for the last date to be now.
const Life = 60

// template is the frame of one verb: a whole unmasked text frame (RFC 6455, section 5.2) and where its fields are.
type template struct {
	frame         []byte
	agents, tasks []int
	dates         []date
}

type date struct {
	at    int
	after uint64 // the task's creation, in seconds
}

const (
	header     = 4 // FIN and opcode, 126, and two bytes of length
	dateDigits = 10
)

var templates = func() (all [verbs]template) {
	for verb := range all {
		all[verb] = compile(lives[verb].Replace(form))
	}
	return all
}()

var field = regexp.MustCompile(`\[(agent|task|\d+)\]`)

func compile(text string) (t template) {
	t.frame = make([]byte, header)
	for {
		found := field.FindStringSubmatchIndex(text)
		if found == nil {
			break
		}
		t.frame = append(t.frame, text[:found[0]]...)
		at, width := len(t.frame), dateDigits
		switch name := text[found[2]:found[3]]; name {
		case "agent":
			t.agents, width = append(t.agents, at), agentDigits
		case "task":
			t.tasks, width = append(t.tasks, at), taskDigits
		default:
			after, _ := strconv.ParseUint(name, 10, 64) // the expression has digits only
			t.dates = append(t.dates, date{at, after})
		}
		t.frame = append(t.frame, strings.Repeat("0", width)...)
		text = text[found[1]:]
	}
	t.frame = append(t.frame, text...)
	t.frame[0], t.frame[1] = 0x81, 126
	binary.BigEndian.PutUint16(t.frame[2:], uint16(len(t.frame)-header))
	return t
}

// AppendFrame appends the frame that tells e. created is when the task was, in seconds since 1970.
func AppendFrame(b []byte, e Event, created uint64) []byte {
	t := &templates[e.verb()]
	from := len(b)
	b = append(b, t.frame...)
	frame := b[from:]
	for _, at := range t.agents {
		putHex(frame[at:at+agentDigits], uint64(e.Agent))
	}
	t.stampTask(frame, e.task())
	t.stampDates(frame, created)
	return b
}

func (t *template) stampTask(frame []byte, task uint64) {
	for _, at := range t.tasks {
		putHex(frame[at+taskDigits-16:at+taskDigits], task)
	}
}

func (t *template) stampDates(frame []byte, created uint64) {
	for _, d := range t.dates {
		putDecimal(frame[d.at:d.at+dateDigits], created+d.after)
	}
}

// Page is one cycle of an agent's frames, one after the other, to be written at once. It is made again for each cycle in place, at less cost
// than frame by frame. Not safe for concurrent use.
type Page struct {
	agent   uint32
	created uint64
	frames  []byte
}

// NewPage makes room for the frames of an agent.
func NewPage(agent uint32) *Page { return &Page{agent: agent} }

// Cycle returns the frames of the agent's cycle n, from 0, for tasks that were created at created, in seconds since 1970. They are valid until the next call.
func (p *Page) Cycle(n, created uint64) []byte {
	if p.frames == nil {
		for i := range uint64(Cycle) {
			p.frames = AppendFrame(p.frames, Event{p.agent, n*Cycle + i}, created)
		}
		p.created = created
		return p.frames
	}
	rest := p.frames
	for i := range uint64(Cycle) {
		e := Event{p.agent, n*Cycle + i}
		t := &templates[e.verb()]
		t.stampTask(rest, e.task())
		if created != p.created {
			t.stampDates(rest, created)
		}
		rest = rest[len(t.frame):]
	}
	p.created = created
	return p.frames
}

// verbAt is where a message's verb begins, without the frame's header.
const verbAt = len(`{"event_type":"reservation.`)

// sidAt is where the reservation's SID begins, by verb.
var sidAt = func() (at [verbs]int) {
	for verb, t := range templates {
		at[verb] = t.agents[0] - len("WR") - header
	}
	return at
}()

// AppendIdentity appends the id of the event that a message tells, which it finds by the place of two fields and without a look at the rest. message is
// a frame of this package without its header; of others it returns false.
func AppendIdentity(b, message []byte) ([]byte, bool) {
	if len(message) < verbAt+2 {
		return b, false
	}
	var verb int
	switch [2]byte(message[verbAt:]) {
	case [2]byte{'c', 'r'}:
		verb = 0
	case [2]byte{'a', 'c'}:
		verb = 1
	case [2]byte{'w', 'r'}:
		verb = 2
	case [2]byte{'c', 'o'}:
		verb = 3
	default:
		return b, false
	}
	at := sidAt[verb]
	if len(message) < at+sidLength {
		return b, false
	}
	b = append(b, message[at:at+sidLength]...)
	return append(append(b, ':'), words[verb].id...), true
}

// MeanMessage is the mean size of the messages of a cycle, in bytes, without the frames' headers.
func MeanMessage() float64 {
	sum := 0
	for _, t := range templates {
		sum += len(t.frame) - header
	}
	return float64(sum) / verbs
}
