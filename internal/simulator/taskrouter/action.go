package taskrouter

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/websocket"
)

// Action is something that happens in the workspace at a test's wish, also the JSON body of POST /_sim/do. docs/simulator.md describes
// each.
type Action struct {
	Do          string   `json:"do"`
	Worker      string   `json:"worker,omitempty"`      // SID, as the next four
	Workers     []string `json:"workers,omitempty"`     // of task.create and task.offer
	Task        string   `json:"task,omitempty"`        //
	Reservation string   `json:"reservation,omitempty"` //
	Transfer    string   `json:"transfer,omitempty"`    //
	Activity    string   `json:"activity,omitempty"`    // name or SID
	Attributes  string   `json:"attributes,omitempty"`  // JSON text; empty: invented ones
	Channel     string   `json:"channel,omitempty"`     // unique name
	Capacity    *int     `json:"capacity,omitempty"`    // of a channel, at least 1
	Available   *bool    `json:"available,omitempty"`   // of a channel
	To          string   `json:"to,omitempty"`          // worker or queue SID
	Mode        string   `json:"mode,omitempty"`        // WARM (default) or COLD
	Reason      string   `json:"reason,omitempty"`
	Code        int      `json:"code,omitempty"`  // canceled_reason_code
	Text        string   `json:"text,omitempty"`  // of worker.send
	Count       int      `json:"count,omitempty"` // of step, 1 to 10,000, default 1
}

// Outcome names what an action has made.
type Outcome struct {
	Worker       string   `json:"worker,omitempty"`
	Task         string   `json:"task,omitempty"`
	Reservations []string `json:"reservations,omitempty"` // in the order of Action.Workers
	Transfer     string   `json:"transfer,omitempty"`
}

// Do returns when the action's events are on their way. An error says what was wrong with a; something may have happened nevertheless only
// where an action names several workers.
func (s *Simulator) Do(a Action) (Outcome, error) {
	act, ok := actions[a.Do]
	if !ok {
		return Outcome{}, badRequest("do %q must be one of %s", a.Do, strings.Join(slices.Sorted(maps.Keys(actions)), ", "))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return act(s, a)
}

// mostSteps bounds one step: nothing else happens meanwhile.
const mostSteps = 10_000

// Each is called with the simulator's lock held.
var actions = map[string]func(*Simulator, Action) (Outcome, error){
	"step": func(s *Simulator, a Action) (Outcome, error) {
		if a.Count < 0 || a.Count > mostSteps {
			return Outcome{}, badRequest("count must be 1 to %d", mostSteps)
		}
		for want := s.ledger.len() + max(1, a.Count); s.ledger.len() < want; {
			s.world.step()
		}
		return Outcome{}, nil
	},

	"worker.add": func(s *Simulator, _ Action) (Outcome, error) {
		return Outcome{Worker: s.world.addWorker().sid}, nil
	},
	"worker.remove": onWorker(func(s *Simulator, w *worker, _ Action) error {
		if err := s.world.removeWorker(w); err != nil {
			return err
		}
		for _, k := range slices.Clone(w.sockets) {
			s.detach(k)
			k.stop(ending{code: websocket.ClosePolicyViolation, reason: "worker deleted"})
		}
		return nil
	}),
	"worker.activity": onWorker(func(s *Simulator, w *worker, a Action) error {
		to, err := s.world.activityNamed(a.Activity)
		if err == nil {
			s.world.moveWorker(w, to, false)
		}
		return err
	}),
	"worker.attributes": onWorker(func(s *Simulator, w *worker, a Action) error {
		if a.Attributes == "" {
			a.Attributes = s.world.workerAttributes(slices.Index(s.world.workers, w) + 1)
		}
		err := checkAttributes(a.Attributes)
		if err == nil {
			s.world.setAttributes(w, a.Attributes)
		}
		return err
	}),
	"worker.channel": onWorker(func(s *Simulator, w *worker, a Action) error {
		kind := slices.Index(channelNames[:], a.Channel)
		if kind < 0 || (a.Capacity == nil && a.Available == nil) || (a.Capacity != nil && *a.Capacity < 1) {
			return badRequest("channel %q must be one of %s, with a capacity of at least 1, or available", a.Channel, strings.Join(channelNames[:], ", "))
		}
		if a.Capacity != nil {
			s.world.setCapacity(w.channels[kind], *a.Capacity)
		}
		if a.Available != nil {
			s.world.setAvailability(w.channels[kind], map[bool]int{true: 1}[*a.Available])
		}
		return nil
	}),
	"worker.send": onWorker(func(_ *Simulator, w *worker, a Action) error {
		for _, k := range w.sockets {
			k.enqueue(frame{kind: websocket.TextMessage, data: []byte(a.Text)})
		}
		return nil
	}),
	"worker.outbound-failed": onWorker(func(s *Simulator, w *worker, _ Action) error {
		s.world.failOutbound(w)
		return nil
	}),

	"task.create": func(s *Simulator, a Action) (Outcome, error) {
		workers, err := s.workersNamed(a.Workers)
		if err != nil {
			return Outcome{}, err
		}
		t := s.world.makeTask()
		if a.Attributes != "" {
			if err := checkAttributes(a.Attributes); err != nil {
				return Outcome{}, err
			}
			t.attributes = a.Attributes
		}
		if a.Channel != "" {
			if t.channel = slices.Index(channelNames[:], a.Channel); t.channel < 0 {
				return Outcome{}, badRequest("channel %q must be one of %s", a.Channel, strings.Join(channelNames[:], ", "))
			}
		}
		if len(workers) > 0 {
			t.status = "reserved" // with version 0, as the workload's
		}
		s.world.tasks = append(s.world.tasks, t)
		sids, err := s.world.offerTo(t, workers)
		return Outcome{Task: t.sid, Reservations: sids}, err
	},
	"task.offer": onTask(func(s *Simulator, t *task, a Action) (Outcome, error) {
		workers, err := s.workersNamed(a.Workers)
		if err != nil {
			return Outcome{}, err
		}
		sids, err := s.world.offerTo(t, workers)
		return Outcome{Reservations: sids}, err
	}),
	"task.update": onTask(func(s *Simulator, t *task, a Action) (Outcome, error) {
		if a.Attributes == "" {
			a.Attributes = s.world.taskAttributes()
		}
		err := checkAttributes(a.Attributes)
		if err == nil && !t.open() {
			err = conflict("Task %s is %s and cannot be updated", t.sid, t.status)
		}
		if err == nil {
			s.world.update(t, a.Attributes)
		}
		return Outcome{}, err
	}),
	"task.wrapup":   taskBecomes("wrapping"),
	"task.complete": taskBecomes("completed"),
	"task.cancel":   taskBecomes("canceled"),

	"reservation.accept": reservationBecomes("accepted"),
	"reservation.reject": func(s *Simulator, a Action) (Outcome, error) {
		activity, err := 0, error(nil)
		if a.Activity != "" {
			if activity, err = s.world.activityNamed(a.Activity); err != nil {
				return Outcome{}, err
			}
		}
		if _, err := reservationBecomes("rejected")(s, a); err != nil || a.Activity == "" {
			return Outcome{}, err
		}
		s.world.moveWorker(s.world.reservation(a.Reservation).worker, activity, false)
		return Outcome{}, nil
	},
	"reservation.timeout":  reservationBecomes("timeout"),
	"reservation.wrapup":   reservationBecomes("wrapping"),
	"reservation.complete": reservationBecomes("completed"),

	"transfer.start": func(s *Simulator, a Action) (Outcome, error) {
		r := s.world.reservation(a.Reservation)
		if r == nil {
			return Outcome{}, noSuch("reservation", a.Reservation)
		}
		tr, err := s.world.beginTransfer(r, a.To, a.Mode)
		if err != nil {
			return Outcome{}, err
		}
		o := Outcome{Transfer: tr.sid}
		if tr.attempt != nil {
			o.Reservations = []string{tr.attempt.sid}
		}
		return o, nil
	},
	"transfer.fail": onTransfer(func(x *world, tr *transfer) error {
		if tr.attempt != nil {
			return conflict("Transfer %s is offered: let reservation %s be rejected or time out first", tr.sid, tr.attempt.sid)
		}
		x.failTransfer(tr, "no worker accepted in time")
		return nil
	}),
	"transfer.cancel": onTransfer(func(x *world, tr *transfer) error {
		x.cancelTransfer(tr)
		return nil
	}),
}

func noSuch(what, sid string) error {
	return &statusError{status: http.StatusNotFound, message: fmt.Sprintf("there is no %s %q", what, sid)}
}

func onWorker(act func(*Simulator, *worker, Action) error) func(*Simulator, Action) (Outcome, error) {
	return func(s *Simulator, a Action) (Outcome, error) {
		w := s.world.worker(a.Worker)
		if w == nil {
			return Outcome{}, noSuch("worker", a.Worker)
		}
		return Outcome{}, act(s, w, a)
	}
}

func onTask(act func(*Simulator, *task, Action) (Outcome, error)) func(*Simulator, Action) (Outcome, error) {
	return func(s *Simulator, a Action) (Outcome, error) {
		t := s.world.task(a.Task)
		if t == nil {
			return Outcome{}, noSuch("task", a.Task)
		}
		return act(s, t, a)
	}
}

func taskBecomes(status string) func(*Simulator, Action) (Outcome, error) {
	return onTask(func(s *Simulator, t *task, a Action) (Outcome, error) {
		return Outcome{}, s.world.moveTask(t, status, a.Reason, a.Code)
	})
}

func reservationBecomes(status string) func(*Simulator, Action) (Outcome, error) {
	return func(s *Simulator, a Action) (Outcome, error) {
		r := s.world.reservation(a.Reservation)
		if r == nil {
			return Outcome{}, noSuch("reservation", a.Reservation)
		}
		return Outcome{}, s.world.moveReservation(r, status)
	}
}

func onTransfer(act func(*world, *transfer) error) func(*Simulator, Action) (Outcome, error) {
	return func(s *Simulator, a Action) (Outcome, error) {
		tr := s.world.transfer(a.Transfer)
		if tr == nil {
			return Outcome{}, noSuch("transfer under way", a.Transfer)
		}
		return Outcome{}, act(s.world, tr)
	}
}

// workersNamed requires s.mu.
func (s *Simulator) workersNamed(sids []string) ([]*worker, error) {
	var workers []*worker
	for _, sid := range sids {
		w := s.world.worker(sid)
		if w == nil {
			return nil, noSuch("worker", sid)
		}
		workers = append(workers, w)
	}
	return workers, nil
}

func (s *Simulator) serveAction(rw http.ResponseWriter, r *http.Request) {
	var a Action
	err := decodeStrictly(rw, r, &a)
	var o Outcome
	if err == nil {
		o, err = s.Do(a)
	}
	if err != nil {
		writeError(rw, err)
		return
	}
	writeJSON(rw, http.StatusOK, o)
}

// decodeStrictly refuses unknown members: a misspelt one would be a test that tests nothing.
func decodeStrictly(rw http.ResponseWriter, r *http.Request, into any) error {
	body := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxCommand))
	body.DisallowUnknownFields()
	if err := body.Decode(into); err != nil {
		return badRequest("the body: %v", err)
	}
	return nil
}
