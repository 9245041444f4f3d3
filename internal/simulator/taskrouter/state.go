package taskrouter

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// State is what the simulator saw clients do, also the body of GET /_sim/state. PresenceChanges, Evictions and ClientFrames are 0 for
// clients that only observe: see [State.OnlyObserved].
type State struct {
	Workers         []WorkerState  `json:"workers"`
	Dials           []Dials        `json:"dials"`            // by second, only those with any; refused ones too
	Refused         []StatusCount  `json:"refused"`          // upgrades, by status
	Posts           []PostCount    `json:"posts"`            // commands, by route and status
	Requests        []PostCount    `json:"requests"`         // by REST, likewise
	PresenceChanges int            `json:"presence_changes"` // times that a client's doing ended another session, or would set a worker of Flex offline
	Evictions       int            `json:"evictions"`        // sockets closed because of closeExistingSessions=true
	ClientFrames    int            `json:"client_frames"`    // text, binary and ping frames received
	Faults          []FaultApplied `json:"faults"`
	FaultSeconds    float64        `json:"fault_seconds"` // seconds times workers of faults that keep sessions from receiving: what gaps may be blamed on
}

// OnlyObserved is nil when clients have done nothing but observe; else it says what they have done.
func (s State) OnlyObserved() error {
	if s.PresenceChanges != 0 || s.Evictions != 0 || s.ClientFrames != 0 {
		return fmt.Errorf("clients did more than observe: %d presence changes, %d evictions, %d frames and pings sent to the vendor",
			s.PresenceChanges, s.Evictions, s.ClientFrames)
	}
	return nil
}

// WorkerState counts one worker's sockets, and says what the youngest one's client began with.
type WorkerState struct {
	Worker   string   `json:"worker"`
	Activity string   `json:"activity"` // name
	Now      int      `json:"now"`
	Max      int      `json:"max"` // most at the same time
	Opened   int      `json:"opened"`
	Answered []string `json:"answered"` // the first commands answered since the youngest socket came, as "GET Workers/{WK} v1", in the order of the answers
}

// Dials is the number of upgrade requests in one second.
type Dials struct {
	Second int64 `json:"second"` // since the epoch
	Count  int   `json:"count"`
}

// StatusCount counts answers of one HTTP status.
type StatusCount struct {
	Status int `json:"status"`
	Count  int `json:"count"`
}

// PostCount counts commands or REST requests, such as "GET Workers/{WK}", by HTTP status.
type PostCount struct {
	Route  string `json:"route"`
	Status int    `json:"status"`
	Count  int    `json:"count"`
}

// FaultApplied is an injected fault.
type FaultApplied struct {
	Fault
	At       time.Time `json:"at"`
	Affected int       `json:"affected"` // workers
	Seconds  float64   `json:"seconds"`  // for how long so far; 0 for kinds without duration and for a mute without end
}

// State returns a copy.
func (s *Simulator) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	st := State{
		Workers: []WorkerState{}, Dials: []Dials{}, Refused: []StatusCount{}, Posts: counts(s.posts), Requests: counts(s.requests), Faults: []FaultApplied{},
		PresenceChanges: s.presenceChanges, Evictions: s.evictions, ClientFrames: s.clientFrames,
	}
	for _, w := range s.world.workers {
		st.Workers = append(st.Workers, WorkerState{
			Worker: w.sid, Activity: s.world.activities[w.activity].FriendlyName, Now: len(w.sockets), Max: w.maxSockets, Opened: w.opened,
			Answered: slices.Clone(w.answered),
		})
	}
	for second, n := range s.dials {
		st.Dials = append(st.Dials, Dials{second, n})
	}
	slices.SortFunc(st.Dials, func(a, b Dials) int { return cmp.Compare(a.Second, b.Second) })
	for status, n := range s.refused {
		st.Refused = append(st.Refused, StatusCount{status, n})
	}
	slices.SortFunc(st.Refused, func(a, b StatusCount) int { return cmp.Compare(a.Status, b.Status) })
	for _, f := range s.faults {
		a := FaultApplied{Fault: f.Fault, At: f.at.UTC(), Affected: f.workers, Seconds: earlier(f.until, now).Sub(f.at).Seconds()}
		if f.Kind == "mute" && f.until.Equal(forever) {
			a.Seconds = 0 // the client ends it by dialling again
		}
		st.Faults = append(st.Faults, a)
		if kinds[f.Kind].deafens {
			st.FaultSeconds += a.Seconds * float64(a.Affected)
		}
	}
	return st
}

func counts(m map[postKey]int) []PostCount {
	c := []PostCount{}
	for k, n := range m {
		c = append(c, PostCount{k.route, k.status, n})
	}
	slices.SortFunc(c, func(a, b PostCount) int {
		return cmp.Or(cmp.Compare(a.Route, b.Route), cmp.Compare(a.Status, b.Status))
	})
	return c
}
