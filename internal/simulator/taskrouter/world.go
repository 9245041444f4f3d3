package taskrouter

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	reservationTimeout = 120   // s
	taskTimeout        = 86400 // s

	keepEnded = 5 * 60 // s: how long a finished task can be read (section 9)
	maxEnded  = 1000   // tasks; a fast workload must not fill the memory with what nobody reads
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
	hired   int     // workers ever added: none inherits a SID
	tasks   []*task // open ones
	ended   []*task // finished within the last keepEnded, oldest first, at most maxEnded
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

	// The rest is the Simulator's.
	sockets    []*socket
	upgrading  int // admitted, and not yet one of sockets
	maxSockets int
	opened     int
	answered   []string    // the first commands that were answered since the youngest socket came: route and apiVersion
	goes       *time.Timer // offline, for want of a socket; nil: she does not
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
	past          []*reservation // ended ones, in the order of their ends
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
	x.hired++
	n, now := x.hired, x.seconds()
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

// everyReservation lists those of every task that can still be read, in the order of SIDs.
func (x *world) everyReservation() []*reservation {
	var all []*reservation
	for _, tasks := range [][]*task{x.ended, x.tasks} {
		for _, t := range tasks {
			all = append(append(all, t.past...), t.reservations...)
		}
	}
	slices.SortFunc(all, func(a, b *reservation) int { return cmp.Compare(a.sid, b.sid) })
	return all
}

func (x *world) reservation(sid string) *reservation {
	for _, r := range x.everyReservation() {
		if r.sid == sid {
			return r
		}
	}
	return nil
}

func (x *world) task(sid string) *task {
	for _, tasks := range [][]*task{x.tasks, x.ended} {
		if i := slices.IndexFunc(tasks, func(t *task) bool { return t.sid == sid }); i >= 0 {
			return tasks[i]
		}
	}
	return nil
}

// transfer finds one that is under way.
func (x *world) transfer(sid string) *transfer {
	for _, t := range x.tasks {
		if t.transfer != nil && t.transfer.sid == sid {
			return t.transfer
		}
	}
	return nil
}
