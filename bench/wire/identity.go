// Package wire is what the generator, the limit and the verifier of the bench agree on: which event an agent's socket tells when, what it is called,
// and the frames that tell it.
//
// An agent has [Tasks] open tasks. Her events go round robin over them, so that her sequence number says which task an event is about and what
// happened to it: [Tasks] tasks are created, then accepted, wrapped up and completed, and [Cycle] events later none of them is open any more.
package wire

import (
	"errors"
	"strconv"
	"strings"
)

const (
	// Tasks is how many open tasks an agent has.
	Tasks = 10
	// Cycle is how many events the life of so many tasks has. Whole cycles leave no reservation open.
	Cycle = Tasks * verbs
)

const verbs = 4

// words are what happens to a reservation, in this order: in the vendor's event_type, and in an event's id.
var words = [verbs]struct{ wire, id string }{
	{"created", "created"}, {"accepted", "accepted"}, {"wrapup", "wrapping"}, {"completed", "completed"},
}

// Event is one of an agent's events.
type Event struct {
	Agent uint32 // its number, from 0
	Seq   uint64 // its place among the agent's events, from 0
}

// task is the number of the task, which the agent never has again.
func (e Event) task() uint64 { return e.Seq/Cycle*Tasks + e.Seq%Tasks }

// verb is the index of what happens to it.
func (e Event) verb() int { return int(e.Seq % Cycle / Tasks) }

// Later is the next event about the same task. False: there is none.
func (e Event) Later() (Event, bool) {
	if e.verb() == verbs-1 {
		return Event{}, false
	}
	return Event{e.Agent, e.Seq + Tasks}, true
}

// Earlier undoes [Event.Later]. False: there is none.
func (e Event) Earlier() (Event, bool) {
	if e.verb() == 0 {
		return Event{}, false
	}
	return Event{e.Agent, e.Seq - Tasks}, true
}

const (
	agentDigits = 8  // hexadecimal, in every SID
	taskDigits  = 24 // hexadecimal, in those of a task and its reservation
	sidLength   = 2 + agentDigits + taskDigits
)

// ID is the event's id, as the bridge makes it: the reservation's SID and the verb.
func (e Event) ID() string {
	b := append(make([]byte, 0, 48), "WR"...)
	b = appendHex(b, uint64(e.Agent), agentDigits)
	b = appendHex(b, e.task(), taskDigits)
	return string(append(append(b, ':'), words[e.verb()].id...))
}

// ErrForeign is an id that no event of this package has.
var ErrForeign = errors.New("not an event of the generator")

// ParseID undoes [Event.ID]. The error is [ErrForeign].
func ParseID(id string) (Event, error) {
	sid, word, _ := strings.Cut(id, ":")
	if len(sid) != sidLength || sid[:2] != "WR" {
		return Event{}, ErrForeign
	}
	agent, errAgent := strconv.ParseUint(sid[2:2+agentDigits], 16, 32)
	task, errTask := strconv.ParseUint(sid[2+agentDigits:], 16, 64)
	if errAgent != nil || errTask != nil {
		return Event{}, ErrForeign
	}
	for verb, w := range words {
		if w.id == word {
			return Event{uint32(agent), task/Tasks*Cycle + uint64(verb)*Tasks + task%Tasks}, nil
		}
	}
	return Event{}, ErrForeign
}

// Worker is the SID of an agent.
func Worker(agent uint32) string {
	b := append(make([]byte, 0, sidLength), "WK"...)
	return string(appendHex(b, uint64(agent), sidLength-2))
}

// ParseWorker undoes [Worker]. The error is [ErrForeign].
func ParseWorker(sid string) (agent uint32, err error) {
	if len(sid) != sidLength || sid[:2] != "WK" {
		return 0, ErrForeign
	}
	n, err := strconv.ParseUint(sid[2:], 16, 32)
	if err != nil {
		return 0, ErrForeign
	}
	return uint32(n), nil
}

// Name is the friendly name of an agent.
func Name(agent uint32) string {
	return string(appendHex([]byte("agent"), uint64(agent), agentDigits))
}

func appendHex(b []byte, n uint64, digits int) []byte {
	from := len(b)
	for range digits {
		b = append(b, '0')
	}
	putHex(b[from:], n)
	return b
}

// putHex writes n over all of b.
func putHex(b []byte, n uint64) {
	const digits = "0123456789abcdef"
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = digits[n&15]
		n >>= 4
	}
}

// putDecimal writes n over all of b.
func putDecimal(b []byte, n uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
}
