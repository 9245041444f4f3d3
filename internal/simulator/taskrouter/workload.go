package taskrouter

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Every customer's phone number begins with CanaryPhone and every e-mail address ends in CanaryEmail. They occur in attributes (of
// workers and tasks) and in malformed frames, and nowhere else, so that a test can look for leaks of personal data.
const (
	CanaryPhone = "+35840555"
	CanaryEmail = "@people.example"
)

const tasksPerWorker = 2 // open at once, as a mean that the workload tends to

var (
	workflows = [...]named{
		{"WW00000000000000000000000000000001", "Default Fifo Workflow"},
		{"WW00000000000000000000000000000002", "Priority Customers"},
	}
	queues = [...]named{
		{"WQ00000000000000000000000000000001", "Everyone"},
		{"WQ00000000000000000000000000000002", "Second Line"},
		{"WQ00000000000000000000000000000003", "Sales"},
	}
	firstNames = [...]string{"Aino", "Ben", "Chiara", "Dmitri", "Elsa", "Farid", "Grace", "Hiroshi", "Ingrid", "João", "Katri", "Liam"}
	lastNames  = [...]string{"Virtanen", "Okafor", "Rossi", "Ivanova", "Lindqvist", "Haddad", "Murphy", "Tanaka", "Nielsen", "Almeida"}
	languages  = [...]string{"en", "fi", "sv", "de", "it"}
)

// step lets one thing happen: 1 ledger entry or a few that belong together.
func (x *world) step() {
	for !x.try() { // an attributes update is always possible, so this ends
	}
}

// try chooses what happens next and says whether the present state allowed it.
func (x *world) try() bool {
	target := tasksPerWorker * len(x.workers)
	switch roll := x.rng.IntN(100); {
	case roll < 12:
		return x.tryWorker(x.workers[x.rng.IntN(len(x.workers))])
	case roll < 13:
		x.failOutbound(x.workers[x.rng.IntN(len(x.workers))])
		return true
	case len(x.tasks) < target/2, len(x.tasks) < target && roll < 40:
		return x.tryNewTask()
	default:
		return x.tryTask(x.tasks[x.rng.IntN(len(x.tasks))])
	}
}

func (x *world) tryWorker(w *worker) bool {
	c := w.channels[x.rng.IntN(len(w.channels))]
	switch roll := x.rng.IntN(12); {
	case roll < 6:
		next := available
		if w.activity == available {
			if roll < 4 { // most of a shift is spent available
				return false
			}
			next = x.rng.IntN(activityCount)
		}
		if !x.mayBecome(w, next) {
			return false
		}
		x.setActivity(w, next)
	case roll < 8:
		x.setAttributes(w, x.workerAttributes(slices.Index(x.workers, w)+1))
	case roll < 10:
		x.setCapacity(c, c.capacity%4+1)
	default:
		if c.available == 1 && roll == 10 { // twice as likely to come back as to go
			return false
		}
		x.setAvailability(c, 1-c.available)
	}
	return true
}

func (x *world) tryNewTask() bool {
	t := x.makeTask()
	w := x.eligible(t, nil)
	if w == nil {
		return false
	}
	x.tasks = append(x.tasks, t)
	t.status = "reserved" // a task is reserved when its first worker hears of it, with version 0 (section 6.4)
	x.offer(t, w, nil)
	if x.rng.IntN(8) == 0 {
		if second := x.eligible(t, nil); second != nil {
			x.offer(t, second, nil)
		}
	}
	return true
}

// eligible finds a worker who can be offered t and is not too busy for it. Nil if there is none.
func (x *world) eligible(t *task, except *worker) *worker {
	start := x.rng.IntN(len(x.workers))
	for i := range x.workers {
		w := x.workers[(start+i)%len(x.workers)]
		if w != except && len(w.reservations) <= tasksPerWorker && w.canTake(t) {
			return w
		}
	}
	return nil
}

func (x *world) tryTask(t *task) bool {
	roll := x.rng.IntN(100)
	switch {
	case t.status == "pending":
		if w := x.eligible(t, nil); w != nil {
			x.offer(t, w, nil)
			return true
		}
		if roll < 20 { // no worker holds the task, so none is told
			x.cancel(t, "hangup", 0)
		}
		return false
	case t.status == "reserved":
		return x.tryReserved(t, t.reservations[x.rng.IntN(len(t.reservations))], roll)
	case t.transfer != nil:
		return x.tryTransfer(t.transfer, roll)
	case t.leaving != nil:
		switch {
		case roll < 20:
			x.update(t, x.taskAttributes())
		case roll < 50 && t.leaving.status == "accepted":
			x.wrapUp(t.leaving)
		default:
			x.leave(t.leaving)
		}
	case t.status == "assigned":
		r := t.reservations[0]
		switch {
		case roll < 22:
			x.update(t, x.taskAttributes())
		case roll < 65:
			x.wrapUp(r)
		case roll < 80:
			x.complete(t, "resolved by phone")
		case roll < 94:
			return x.tryStartTransfer(r)
		default:
			x.cancel(t, "task canceled by supervisor", 0)
		}
	default: // wrapping
		if roll < 10 {
			x.update(t, x.taskAttributes())
		} else {
			x.complete(t, "")
		}
	}
	return true
}

func (x *world) tryReserved(t *task, r *reservation, roll int) bool {
	w := r.worker
	switch {
	case roll < 70:
		x.accept(r)
	case roll < 80:
		x.refuse(r, "rejected")
		if roll < 72 && x.mayBecome(w, onBreak) { // rejected with a WorkerActivitySid
			x.setActivity(w, onBreak)
		}
	case roll < 87:
		if !x.mayBecome(w, unavailable) {
			return false
		}
		x.refuse(r, "timeout")
		x.setActivity(w, unavailable)
	case roll < 91:
		x.cancel(t, "hangup", 1001)
	case roll < 95:
		x.cancel(t, "canceled through the API", 0)
	default:
		x.update(t, x.taskAttributes())
	}
	return true
}

func (x *world) tryStartTransfer(r *reservation) bool {
	mode := "WARM"
	if x.rng.IntN(2) == 0 {
		mode = "COLD"
	}
	var target *worker
	if x.rng.IntN(2) == 0 {
		if target = x.eligible(r.task, r.worker); target == nil {
			return false
		}
	}
	x.startTransfer(r, target, mode)
	return true
}

func (x *world) tryTransfer(tr *transfer, roll int) bool {
	t := tr.initiating.task
	if tr.attempt == nil {
		if roll < 15 {
			x.cancelTransfer(tr)
			return true
		}
		w := tr.target
		if w == nil {
			w = x.eligible(t, tr.initiating.worker)
		}
		if w == nil || tr.attempts == 3 || (tr.attempts == 1 && tr.target != nil) {
			x.failTransfer(tr, "no worker accepted in time")
			return true
		}
		x.offer(t, w, tr)
		return true
	}
	switch {
	case roll < 55:
		x.accept(tr.attempt)
	case roll < 90:
		if x.seconds() <= tr.attemptAt { // what names a failed attempt is the transfer and the second
			return false
		}
		status := "rejected"
		if roll < 70 {
			status = "timeout"
		}
		x.refuse(tr.attempt, status)
	default:
		x.cancelTransfer(tr)
	}
	return true
}

func (x *world) makeTask() *task {
	now := x.seconds()
	t := &task{
		sid: x.nextSID("WT"), attributes: x.taskAttributes(), status: "pending", created: now - x.rng.Int64N(60), updated: now,
		workflow: workflows[x.rng.IntN(len(workflows))], queue: queues[x.rng.IntN(len(queues))], channel: x.rng.IntN(len(channelNames)),
	}
	if x.rng.IntN(4) == 0 {
		t.priority = x.rng.IntN(10)
	}
	return t
}

type person struct {
	Name  string `json:"name"`
	Phone string `json:"phone"`
	Email string `json:"email"`
}

func (x *world) person() person {
	n := x.rng.IntN(10000)
	first, last := firstNames[x.rng.IntN(len(firstNames))], lastNames[x.rng.IntN(len(lastNames))]
	return person{first + " " + last, fmt.Sprintf("%s%04d", CanaryPhone, n), fmt.Sprintf("customer%04d%s", n, CanaryEmail)}
}

func (x *world) taskAttributes() string {
	return text(struct {
		Direction string `json:"direction"`
		From      person `json:"from"`
		Language  string `json:"selected_language"`
		Invoice   int    `json:"invoice"`
	}{"inbound", x.person(), languages[x.rng.IntN(len(languages))], 10000 + x.rng.IntN(90000)})
}

func (x *world) workerAttributes(n int) string {
	p := x.person()
	p.Email = fmt.Sprintf("agent%04d%s", n, CanaryEmail)
	return text(struct {
		person
		ContactURI string   `json:"contact_uri"`
		Languages  []string `json:"languages"`
		Level      int      `json:"level"`
	}{p, fmt.Sprintf("client:agent-%04d", n), []string{"en", languages[x.rng.IntN(len(languages))]}, 1 + x.rng.IntN(5)})
}

// text renders what this package itself has built and therefore cannot fail to render.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// due is how many ledger entries a workload of rate entries per second should have written after elapsed. It does not forget: what a
// stall kept back is made up for.
func due(rate float64, elapsed time.Duration) int { return int(rate * elapsed.Seconds()) }

// work runs the workload until ctx ends or StopWorkload is called.
func (s *Simulator) work(ctx context.Context) {
	const tick = 2 * time.Millisecond // a shorter sleep would only cost CPU
	start, written := time.Now(), 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		for want := due(s.o.Rate, time.Since(start)); written < want; {
			n := s.stepUnlessStopped()
			if n == 0 || ctx.Err() != nil {
				return
			}
			written += n
		}
		next := time.Duration(float64(written+1) / s.o.Rate * float64(time.Second))
		timer.Reset(max(tick, next-time.Since(start)))
	}
}

// stepUnlessStopped returns the number of entries written, 0 after StopWorkload.
func (s *Simulator) stepUnlessStopped() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return 0
	}
	before := s.ledger.len()
	s.world.step()
	return s.ledger.len() - before
}
