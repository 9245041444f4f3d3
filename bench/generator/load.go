package generator

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/taskbridge/taskbridge/bench/wire"
)

// load is one run of events over all sockets.
type load struct {
	sockets []*socket
	first   uint64 // sequence of every agent's first event
	each    uint64 // events per agent, whole cycles
	began   time.Time
	sent    atomic.Uint64
	behind  atomic.Int64 // furthest behind the schedule, ns
	stamps  []int64      // paced: when each event was sent, ns since 1970
	done    chan struct{}

	mu  sync.Mutex
	err error
}

// begin starts sending n events over the sockets that are open: rate per second over all sockets, one frame per write; rate 0 is a flood.
func (g *Generator) begin(n uint64, rate float64) (*load, error) {
	sockets, err := g.agents()
	if err != nil {
		return nil, err
	}
	if cycle := uint64(len(sockets)) * wire.Cycle; n == 0 || n%cycle != 0 || rate < 0 {
		return nil, fmt.Errorf("%d events at %g per second: not a multiple of %d, which leaves no task open, at a rate of 0 or more", n, rate, cycle)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.load != nil && !g.load.ended() {
		return nil, errors.New("the last load has not ended")
	}
	l := &load{sockets: sockets, first: g.next, each: n / uint64(len(sockets)), done: make(chan struct{})}
	g.next += l.each
	g.load = l
	if rate > 0 {
		l.stamps = make([]int64, n)
	}
	l.began = time.Now()
	g.loads.Go(func() {
		defer close(l.done)
		if rate > 0 {
			l.pace(g.ctx.Done(), rate)
		} else {
			l.flood(g.ctx.Done())
		}
	})
	return l, nil
}

func (l *load) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

// created is the moment of creation of tasks that are completed now, in seconds since 1970.
func created(now time.Time) uint64 { return uint64(now.Unix()) - wire.Life }

// flood writes to all sockets as fast as they take it.
func (l *load) flood(stop <-chan struct{}) {
	var wg sync.WaitGroup
	for _, s := range l.sockets {
		wg.Go(func() {
			page := wire.NewPage(s.agent)
			for cycle := l.first / wire.Cycle; cycle < (l.first+l.each)/wire.Cycle; cycle++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := s.send(page.Cycle(cycle, created(time.Now()))); err != nil {
					l.fail(fmt.Errorf("agent %d: %w", s.agent, err))
					return
				}
				l.sent.Add(wire.Cycle)
			}
		})
	}
	wg.Wait()
}

// pace sends event i of all at began + i/rate, agent after agent, so that the schedule does not drift; what is late is sent at once.
func (l *load) pace(stop <-chan struct{}, rate float64) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var (
		frame []byte
		since uint64 // when the tasks of this cycle were created
	)
	agents := uint64(len(l.sockets))
	for i := range l.each * agents {
		due := l.began.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		now := time.Now()
		for now.Before(due) {
			select {
			case <-stop:
				return
			default:
			}
			Sleep(due.Sub(now))
			now = time.Now()
		}
		if behind := int64(now.Sub(due)); behind > l.behind.Load() {
			l.behind.Store(behind)
		}
		if i%(agents*wire.Cycle) == 0 {
			since = created(now)
		}
		s := l.sockets[i%agents]
		frame = wire.AppendFrame(frame[:0], wire.Event{Agent: s.agent, Seq: l.first + i/agents}, since)
		l.stamps[i] = time.Now().UnixNano()
		if err := s.send(frame); err != nil {
			l.fail(fmt.Errorf("agent %d: %w", s.agent, err))
			return
		}
		l.sent.Add(1)
	}
}

// longestSleep bounds how long a pause does not notice the end of the program.
const longestSleep = 100 * time.Millisecond

// Sleep lasts for d, or less. It is the system's: the runtime's timers are rounded up to a millisecond when nothing else is to be done, which would make bursts
// of ten events out of 10,000 per second.
func Sleep(d time.Duration) {
	t := syscall.NsecToTimespec(int64(min(d, longestSleep)))
	_ = syscall.Nanosleep(&t, nil) // interrupted: the caller looks at the clock
}
