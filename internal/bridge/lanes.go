package bridge

import (
	"container/heap"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// lane is what the publisher knows of one of the sink's lanes while there is something in it. In order: batch, fresh, queue.
type lane struct {
	id      int
	batch   *sink.Batch    // out, or to be sent again
	fresh   []spool.Record // in hand: spares reading them again
	size    int            // bytes of data in fresh
	queue   []spool.Pos
	listed  bool // in ready or waiting
	retryAt time.Time
	backoff retry.Backoff
	trials  trials // of batch
}

func (p *publisher) lane(id int) *lane {
	l := p.lanes[id]
	if l == nil {
		l = lanePool.Get().(*lane)
		*l = lane{id: id, backoff: retryLane}
		p.lanes[id] = l
	}
	return l
}

// drop ends a lane that is in no list and has nothing left.
func (p *publisher) drop(l *lane) {
	delete(p.lanes, l.id)
	*l = lane{}
	lanePool.Put(l)
}

// Most lanes live for one event.
var lanePool = sync.Pool{New: func() any { return new(lane) }}

// newBatch makes a batch of the lane's. They are allocated many at once, and never used twice: a sink that answered the same batch again would
// confirm another.
func (p *publisher) newBatch(l *lane, records []spool.Record) {
	if len(p.batches) == 0 {
		p.batches = make([]sink.Batch, 64)
	}
	l.batch, p.batches = &p.batches[0], p.batches[1:]
	l.batch.Init(l.id, records, p.reporter)
}

// add puts record i at its lane's end: in hand while there is room, else queued.
func (p *publisher) add(l *lane, records []spool.Record, i int) {
	r := &records[i]
	switch {
	case len(l.queue) > 0:
		p.enqueue(l, r.Pos)
		return
	case l.batch == nil && p.fits(len(l.fresh), l.size, r): // goes with the next batch
		switch {
		case p.starting: // the broker is asked first, which may take as long as it is away
			l.fresh = append(l.fresh, own(r))
		case l.fresh == nil:
			l.fresh = records[i : i+1 : i+1] // shared with the log's answer until another record joins
		default:
			l.fresh = append(l.fresh, *r)
		}
	case p.starting, p.held+len(r.Data) > p.holds: // a start counts its window in positions
		p.enqueue(l, r.Pos)
		return
	default: // the lane is busy: a copy, so that it does not keep the log's memory around it
		l.fresh = append(l.fresh, own(r))
	}
	l.size += len(r.Data)
	p.held += len(r.Data)
	if l.batch == nil {
		p.list(l)
	}
}

// own is a copy of r that can be kept for long: the log's answer keeps all that was read with r, and the memory around it.
func own(r *spool.Record) spool.Record {
	c := *r
	c.Data = slices.Clone(r.Data)
	return c
}

// settle makes the records of a batch that failed the lane's own: while the broker is away, lanes wait with what they have, and each would keep a
// megabyte of the log.
func (l *lane) settle() {
	records := make([]spool.Record, len(l.batch.Records))
	for i := range records {
		records[i] = own(&l.batch.Records[i])
	}
	l.batch.Records = records
}

// maxHeld bounds the data in hand, in bytes. It spares reading again what comes while its lane is busy.
const maxHeld = 8 << 20

func (p *publisher) enqueue(l *lane, pos spool.Pos) {
	l.queue = append(l.queue, pos)
	p.queued++
}

// fits reports whether r may join a batch of n records and size bytes. One record always makes a batch.
func (p *publisher) fits(n, size int, r *spool.Record) bool {
	return n == 0 || n < p.limits.Records && size+len(r.Data) <= p.limits.Bytes
}

func (p *publisher) list(l *lane) {
	if !l.listed {
		l.listed = true
		p.ready = append(p.ready, l)
	}
}

// send sends for the lanes that are ready, as far as the sink's limit on batches out reaches.
func (p *publisher) send() {
	for len(p.ready) > 0 && !p.waits() && p.out < p.limits.InFlight {
		l := p.ready[0]
		p.ready = p.ready[1:]
		l.listed = false
		if l.empty() { // a check found its batch stored while it waited for a retry
			p.drop(l)
			continue
		}
		if l.batch == nil {
			records, err := p.take(l)
			if err != nil {
				p.logger.Error("reading the log failed", zap.String("sink", p.name), zap.Error(err))
				p.retryLater(l, 0)
				continue
			}
			if len(records) == 0 { // a check found all of them stored
				p.drop(l)
				continue
			}
			p.newBatch(l, records)
		}
		p.out++
		l.batch.Out()
		p.sink.Send(l.batch)
	}
	if len(p.ready) == 0 {
		p.ready = nil // gives back what a burst grew
	}
}

// take is the next batch's records: those in hand, or the head of the queue read again. None: nothing is left of the queue, because the log
// leaves out what is done.
func (p *publisher) take(l *lane) ([]spool.Record, error) {
	if len(l.fresh) > 0 {
		n, size := 1, len(l.fresh[0].Data)
		for n < len(l.fresh) && p.fits(n, size, &l.fresh[n]) {
			size += len(l.fresh[n].Data)
			n++
		}
		records := l.fresh[:n:n]
		if l.fresh = l.fresh[n:]; len(l.fresh) == 0 {
			l.fresh = nil
		}
		l.size -= size
		p.held -= size
		return records, nil
	}
	for len(l.queue) > 0 {
		asked := l.queue[:min(len(l.queue), p.limits.Records)]
		records, err := p.cursor.Read(asked)
		if err != nil {
			return nil, err
		}
		n, size := 0, 0
		for n < len(records) && p.fits(n, size, &records[n]) {
			size += len(records[n].Data)
			n++
		}
		gone := len(asked)
		if n < len(records) {
			gone = slices.Index(asked, records[n].Pos)
		}
		l.queue = l.queue[gone:]
		p.queued -= gone
		if n > 0 {
			return records[:n], nil
		}
	}
	return nil, nil
}

// dataSize is how many bytes of data the records have.
func dataSize(records []spool.Record) (n int) {
	for i := range records {
		n += len(records[i].Data)
	}
	return n
}

// clear ends the lane's batch and lets the lane go on.
func (p *publisher) clear(l *lane) {
	l.batch, l.trials = nil, trials{}
	l.backoff = retryLane
	p.goOn(l)
}

func (p *publisher) goOn(l *lane) {
	if l.empty() && !l.listed {
		p.drop(l)
		return
	}
	p.list(l)
}

func (l *lane) empty() bool { return l.batch == nil && len(l.queue) == 0 && len(l.fresh) == 0 }

// retryLater keeps the lane's batch as it is, to be sent again first.
func (p *publisher) retryLater(l *lane, atLeast time.Duration) {
	l.listed, l.retryAt = true, p.now().Add(max(atLeast, l.backoff.Next(-1, p.rand)))
	heap.Push(&p.waiting, l)
}

// wake lists the lanes whose retry is due.
func (p *publisher) wake() {
	for now := p.now(); len(p.waiting) > 0 && !now.Before(p.waiting[0].retryAt); {
		p.ready = append(p.ready, heap.Pop(&p.waiting).(*lane))
	}
}

// next is the time until something is due without a signal.
func (p *publisher) next() time.Duration {
	now := p.now()
	var wait time.Duration
	soonest := func(at time.Time) {
		if d := max(at.Sub(now), time.Millisecond); wait == 0 || d < wait {
			wait = d
		}
	}
	if len(p.waiting) > 0 {
		soonest(p.waiting[0].retryAt)
	}
	if p.waits() && p.out == 0 {
		soonest(p.askAt)
	}
	return wait
}

// retries is a heap of lanes, the one whose retry is due first on top: while the broker is away thousands of them wait, and the publisher looks at them
// with every step.
type retries []*lane

func (r retries) Len() int           { return len(r) }
func (r retries) Less(i, j int) bool { return r[i].retryAt.Before(r[j].retryAt) }
func (r retries) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *retries) Push(l any)        { *r = append(*r, l.(*lane)) }

func (r *retries) Pop() any {
	all := *r
	last := all[len(all)-1]
	all[len(all)-1] = nil
	*r = all[:len(all)-1]
	return last
}
