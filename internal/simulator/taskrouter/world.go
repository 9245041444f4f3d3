package taskrouter

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

const (
	reservationTimeout = 120   // s
	taskTimeout        = 86400 // s
)

// Indices into world.activities.
const (
	offline = iota
	available
	unavailable // also the workspace's time-out activity
	onBreak
	training
	activityCount
)

var channelNames = [...]string{"default", "voice", "chat", "sms", "email"}

// world is the state of one workspace and the changes that can befall it. Every change is told to emit in the moment it is made, once per
// worker whose sockets carry it. A world does no I/O and is not safe for concurrent use.
type world struct {
	owner      owner
	activities [activityCount]activityPayload
	seed       uint64
	epoch      uint64 // part of the SIDs of tasks, reservations and transfers: a restarted simulator never reuses one
	serial     uint64
	rng        *rand.Rand
	now        func() time.Time
	emit       func(w *worker, e Entry, payload any)

	workers []*worker
	tasks   []*task // open ones
}

type worker struct {
	sid, name    string
	attributes   string
	activity     int
	activityAt   [activityCount]int64 // the second in which each activity last began
	created      int64
	updated      int64
	version      int64
	channels     []*channel
	reservations []*reservation // open ones, oldest first

	sockets    []*socket // these three are the Simulator's
	maxSockets int
	opened     int
}

type channel struct {
	worker       *worker
	kind         int // index into channelNames
	sid          string
	capacity     int
	available    int
	updated      int64
	lastReserved int64 // ms
	version      int64
}

type named struct{ sid, name string }

type task struct {
	sid           string
	attributes    string
	status        string
	reason        string
	workflow      named
	queue         named
	channel       int // index into channelNames
	priority      int
	created       int64
	updated       int64
	version       int64
	routingTarget *worker
	reservations  []*reservation // open ones, oldest first
	transfer      *transfer      // while under way
	leaving       *reservation   // the initiator's, after a transfer succeeded
}

type reservation struct {
	sid              string
	worker           *worker
	task             *task
	status           string
	canceledCode     int
	previousActivity int
	created          int64
	updated          int64
	version          int64
	transfer         *transfer // the one that made this reservation
}

type transfer struct {
	sid          string
	kind         string // WORKER or QUEUE
	mode         string // WARM or COLD
	to           string
	target       *worker // of kind WORKER
	status       string
	failedReason string
	created      int64
	updated      int64
	initiating   *reservation
	attempt      *reservation // pending at the target
	attemptAt    int64        // the second of the last failed attempt
	attempts     int
}

func newWorld(o owner, seed uint64, now func() time.Time, emit func(*worker, Entry, any)) *world {
	x := &world{
		owner: o, seed: seed, epoch: uint64(now().UnixNano()), rng: rand.New(rand.NewPCG(seed, 0x7461736b)), now: now, emit: emit,
	}
	for i, a := range [activityCount]struct {
		name  string
		ready bool
	}{{"Offline", false}, {"Available", true}, {"Unavailable", false}, {"Break", false}, {"Training", false}} {
		x.activities[i] = activityPayload{
			owner: o, SID: x.sid("WA", i+1), FriendlyName: a.name, Available: a.ready, DateCreated: 1760000000, DateUpdated: 1760000000,
		}
	}
	return x
}

// sid names what belongs to the workspace's configuration: the same for the same seed.
func (x *world) sid(prefix string, n int) string {
	return fmt.Sprintf("%s%016x%016x", prefix, x.seed, n)
}

// nextSID names what comes and goes. SIDs grow, so a list in order of creation is in order of SIDs.
func (x *world) nextSID(prefix string) string {
	x.serial++
	return fmt.Sprintf("%s%016x%016x", prefix, x.epoch, x.serial)
}

func (x *world) seconds() int64 { return x.now().Unix() }

// addWorker makes a worker and tells emit the activity that it begins with.
func (x *world) addWorker() *worker {
	n, now := len(x.workers)+1, x.seconds()
	w := &worker{sid: x.sid("WK", n), name: fmt.Sprintf("agent-%04d", n), activity: available, created: 1760000000, updated: now - 600, version: 1}
	w.attributes = x.workerAttributes(n)
	if x.rng.IntN(4) == 0 {
		w.activity = x.rng.IntN(activityCount)
	}
	w.activityAt[w.activity] = now - 600 + x.rng.Int64N(500)
	for i := range channelNames {
		w.channels = append(w.channels, &channel{
			worker: w, kind: i, sid: x.sid("WC", (n-1)*len(channelNames)+i+1), capacity: 2 + x.rng.IntN(3), available: 1,
			updated: 1760000000, lastReserved: (now-900)*1000 + 123,
		})
	}
	x.workers = append(x.workers, w)
	x.emitWorker(w, "worker.activity.update")
	return w
}

func (x *world) worker(sid string) *worker {
	if i := slices.IndexFunc(x.workers, func(w *worker) bool { return w.sid == sid }); i >= 0 {
		return x.workers[i]
	}
	return nil
}

func (w *worker) assigned(kind int) int {
	n := 0
	for _, r := range w.reservations {
		if r.task.channel == kind {
			n++
		}
	}
	return n
}

// What is told.

func (x *world) emitWorker(w *worker, eventType string) {
	stamp := seconds(w.updated)
	if eventType == "worker.activity.update" {
		stamp = seconds(w.activityAt[w.activity]) + ":" + x.activities[w.activity].SID
	}
	x.emit(w, Entry{EventType: eventType, Resource: w.sid, Version: new(w.version), Stamp: stamp}, x.workerPayload(w))
}

func (x *world) emitChannel(c *channel, eventType string) {
	c.worker.version++ // a change of a channel is one of its worker (section 6)
	c.worker.updated = c.updated
	x.emit(c.worker, Entry{EventType: eventType, Resource: c.sid, Version: new(c.version), Stamp: seconds(c.updated)}, x.channelPayload(c))
}

func (x *world) emitReservation(r *reservation, eventType string) {
	p := x.reservationPayload(r)
	if eventType == "reservation.created" {
		p.DateCreated, p.DateUpdated = 0, 0 // so in the recorded fixtures (section 6.4)
	}
	x.emit(r.worker, Entry{EventType: eventType, Resource: r.sid, Task: r.task.sid, Version: new(p.Version), Stamp: seconds(p.DateUpdated)}, p)
}

// emitTask tells everyone in to, usually the workers that hold a reservation on t. It is one fact: the entries differ in the worker only.
func (x *world) emitTask(t *task, eventType string, to []*reservation) {
	for _, r := range to {
		x.emit(r.worker, Entry{EventType: eventType, Resource: t.sid, Task: t.sid, Version: new(t.version), Stamp: seconds(t.updated)}, x.standaloneTask(t))
	}
}

func (x *world) emitTransfer(tr *transfer, eventType string) {
	t := tr.initiating.task
	p := standaloneTransfer{owner: x.owner, TaskSID: t.sid, transferPayload: tr.payload()}
	for _, r := range t.reservations {
		x.emit(r.worker, Entry{EventType: eventType, Resource: tr.sid, Task: t.sid, Stamp: seconds(tr.updated)}, p)
	}
}

func seconds(s int64) string { return strconv.FormatInt(s, 10) }

// Changes of a worker.

// mayBecome keeps two changes to one activity out of one second: a consumer could not tell them apart, because what names a change is
// the worker, the second and the activity.
func (x *world) mayBecome(w *worker, activity int) bool {
	return activity != w.activity && x.seconds() > w.activityAt[activity]
}

func (x *world) setActivity(w *worker, activity int) {
	w.activity = activity
	w.activityAt[activity] = x.seconds()
	x.touchWorker(w)
	x.emitWorker(w, "worker.activity.update")
}

func (x *world) setAttributes(w *worker, attributes string) {
	w.attributes = attributes
	x.touchWorker(w)
	x.emitWorker(w, "worker.attributes.update")
}

func (x *world) touchWorker(w *worker) {
	w.updated = x.seconds()
	w.version++
}

func (x *world) setCapacity(c *channel, capacity int) {
	c.capacity = capacity
	c.updated = x.seconds()
	c.version++
	x.emitChannel(c, "worker.capacity.update")
}

func (x *world) setAvailability(c *channel, available int) {
	c.available = available
	c.updated = x.seconds()
	c.version++
	x.emitChannel(c, "worker.channel.availability.update")
}

// Changes of tasks and reservations: docs/protocols/twilio-taskrouter.md, section 9.

func (x *world) setTaskStatus(t *task, status string) {
	if t.status != status {
		t.status = status
		t.touch(x.seconds())
	}
}

func (t *task) touch(now int64) {
	t.updated = now
	t.version++
}

// offer makes a pending reservation of w on t, through tr if that is not nil.
func (x *world) offer(t *task, w *worker, tr *transfer) {
	now := x.now()
	r := &reservation{
		sid: x.nextSID("WR"), worker: w, task: t, status: "pending", previousActivity: w.activity,
		created: now.Unix(), updated: now.Unix(), transfer: tr,
	}
	t.reservations = append(t.reservations, r)
	w.reservations = append(w.reservations, r)
	w.version++
	w.channels[t.channel].lastReserved = now.UnixMilli()
	if tr != nil {
		tr.attempt, tr.failedReason = r, ""
		tr.attempts++
	} else {
		x.setTaskStatus(t, "reserved")
	}
	x.emitReservation(r, "reservation.created")
}

func (x *world) setReservation(r *reservation, status string) {
	r.status = status
	r.updated = x.seconds()
	r.version++
}

// end takes r out of what is open.
func (x *world) end(r *reservation, status string) {
	x.setReservation(r, status)
	without := func(s *reservation) bool { return s == r }
	r.task.reservations = slices.DeleteFunc(r.task.reservations, without)
	r.worker.reservations = slices.DeleteFunc(r.worker.reservations, without)
}

func (x *world) forget(t *task) {
	x.tasks = slices.DeleteFunc(x.tasks, func(o *task) bool { return o == t })
}

// accept also rescinds what others were offered of the same task, and completes the transfer that r came by.
func (x *world) accept(r *reservation) {
	t := r.task
	x.setReservation(r, "accepted")
	x.setTaskStatus(t, "assigned")
	x.emitReservation(r, "reservation.accepted")
	if tr := r.transfer; tr != nil {
		tr.status, tr.updated, tr.attempt = "complete", x.seconds(), nil
		t.transfer, t.leaving = nil, tr.initiating
		x.emitTransfer(tr, "task.transfer-completed")
		return
	}
	for _, o := range slices.Clone(t.reservations) {
		if o != r {
			x.end(o, "rescinded")
			x.emitReservation(o, "reservation.rescinded")
		}
	}
}

// refuse ends a pending reservation: status is "rejected" or "timeout".
func (x *world) refuse(r *reservation, status string) {
	t := r.task
	x.end(r, status)
	if len(t.reservations) == 0 {
		x.setTaskStatus(t, "pending")
	}
	x.emitReservation(r, "reservation."+status)
	if tr := r.transfer; tr != nil {
		tr.attempt = nil
		tr.updated, tr.attemptAt = x.seconds(), x.seconds()
		tr.failedReason = "target worker did not accept: " + status
		x.emitTransfer(tr, "task.transfer-attempt-failed")
	}
}

func (x *world) update(t *task) {
	t.attributes = x.taskAttributes()
	t.touch(x.seconds())
	x.emitTask(t, "task.updated", t.reservations)
}

func (x *world) wrapUp(r *reservation) {
	t := r.task
	x.setReservation(r, "wrapping")
	if t.leaving != r {
		x.setTaskStatus(t, "wrapping")
	}
	x.emitReservation(r, "reservation.wrapup")
	if t.leaving != r {
		x.emitTask(t, "task.wrapup", t.reservations)
	}
}

// leave completes the reservation of a worker who has transferred the task away.
func (x *world) leave(r *reservation) {
	r.task.leaving = nil
	x.end(r, "completed")
	x.emitReservation(r, "reservation.completed")
}

func (x *world) complete(t *task, reason string) {
	t.reason = reason
	x.setTaskStatus(t, "completed")
	x.emitTask(t, "task.completed", t.reservations)
	for _, r := range slices.Clone(t.reservations) {
		x.end(r, "completed")
		x.emitReservation(r, "reservation.completed")
	}
	x.forget(t)
}

// cancel ends t and its reservations; code 0 means no canceled_reason_code.
func (x *world) cancel(t *task, reason string, code int) {
	t.reason = reason
	x.setTaskStatus(t, "canceled")
	holders := slices.Clone(t.reservations)
	for _, r := range holders {
		r.canceledCode = code
		x.end(r, "canceled")
		x.emitReservation(r, "reservation.canceled")
	}
	x.emitTask(t, "task.canceled", holders)
	x.forget(t)
}

// failOutbound tells w that a task aimed at it could not be reserved in time (section 6.7): there never was a reservation.
func (x *world) failOutbound(w *worker) {
	t := x.makeTask()
	t.attributes, t.routingTarget, t.status = "", w, "canceled"
	t.reason = "routing target could not be reserved in time"
	t.touch(x.seconds())
	e := Entry{EventType: "reservation.failed", Resource: t.sid, Task: t.sid, Version: new(t.version), Stamp: seconds(t.updated)}
	x.emit(w, e, x.standaloneTask(t))
}

// Transfers. The task stays assigned, and its initiator keeps the reservation until the transfer has succeeded and the initiator leaves.

// startTransfer aims at target, or at a queue when target is nil.
func (x *world) startTransfer(r *reservation, target *worker, mode string) {
	now := x.seconds()
	tr := &transfer{
		sid: x.nextSID("TT"), kind: "QUEUE", mode: mode, to: queues[1].sid, target: target, status: "initiated", created: now, updated: now, initiating: r,
	}
	if target != nil {
		tr.kind, tr.to = "WORKER", target.sid
	}
	r.task.transfer = tr
	x.emitTransfer(tr, "task.transfer-initiated")
}

func (x *world) failTransfer(tr *transfer, reason string) {
	tr.status, tr.failedReason, tr.updated = "failed", reason, x.seconds()
	tr.initiating.task.transfer = nil
	x.emitTransfer(tr, "task.transfer-failed")
}

func (x *world) cancelTransfer(tr *transfer) {
	tr.status, tr.failedReason, tr.updated = "canceled", "", x.seconds()
	tr.initiating.task.transfer = nil
	x.emitTransfer(tr, "task.transfer-canceled")
	if r := tr.attempt; r != nil {
		x.end(r, "canceled")
		x.emitReservation(r, "reservation.canceled")
	}
}
