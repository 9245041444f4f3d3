// Package source is the contract between the bridge and a vendor. A Source holds one session of one agent at a time and hands
// what it receives to an Intake; redialling, backoff, gaps and metrics are the bridge's, once for all vendors. It knows a vendor and
// no broker.
package source

import (
	"context"
	"time"
)

// Feed is one way in which facts about an agent arrive.
type Feed uint8

// Live is pushed by the vendor; State is one whole snapshot, its pages joined; Past is what back-fill brings.
const (
	Live Feed = iota
	State
	Past
)

var feedNames = [...]string{"live", "state", "past"}

// String is the feed's name in gap records.
func (f Feed) String() string { return feedNames[f] }

// Agent names one agent in a vendor's terms. It never changes while a session of hers lives; it is comparable.
type Agent struct {
	ID       string // the vendor's id, unique over all sources: Twilio worker SID, Amazon Connect agent id
	Source   string // name of the configured source that serves her
	Provider string // data.provider of her events
	URI      string // CloudEvents source of her events: /twilio/taskrouter/<AC>/<WS>
	Account  string
	Site     string // Twilio workspace SID, Amazon Connect instance id
}

// Frame is one message as it came.
type Frame struct {
	Feed     Feed
	Body     []byte    // borrowed for the call
	Received time.Time // wall clock of the read; of a State frame: when its first request was sent
}

// Intake takes what one session receives: one value per Serve. All Intakes of an agent share her mutex and her view. The
// bridge implements it. Any goroutine may call it; it never waits for a broker.
type Intake interface {
	// Up says that feed f delivers. since is when it began to be received, a gap's "to". renewBy is when a successor must have
	// taken over at the latest; zero: never.
	Up(f Feed, since, renewBy time.Time)
	// Down says that feed f failed while Serve goes on. The return of Serve downs all its feeds.
	Down(f Feed, cause error)
	// Beat is proof of life of feed f without content, read at the given time.
	Beat(f Feed, at time.Time)
	// Frame hands over one content frame, whatever its bytes are: what cannot be mapped is counted and told, not dropped.
	Frame(Frame)
}

// Source serves agents of one vendor account.
type Source interface {
	// Serve holds one session of agent a on the caller's goroutine and returns why it ended, never nil; after ctx was
	// canceled, that error is ctx's. Errors are marked (internal/retry) and carry a bounded reason; none holds a secret. Several Serves of
	// one agent may overlap, each with its own Intake. a is only read; a pointer, because the stack of every waiting session has what is passed.
	Serve(ctx context.Context, a *Agent, in Intake) error
}
