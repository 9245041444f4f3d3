package bridge

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/deadletter"
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// DeadLetters keeps what a sink will never take. [deadletter.Store] is one.
type DeadLetters interface {
	// Put returns nil when every letter is durable; only then are the records done in the log. After an error all are put again, as soon as their
	// records were sent again and refused again. Called from every publisher's goroutine, which sends nothing meanwhile.
	Put(letters []deadletter.Letter) error
}

// trials is what became of a lane's batch so far.
type trials struct {
	failed  int // sends that were answered with an error
	first   error
	firstAt time.Time
}

func (t *trials) fail(err error, now time.Time) {
	if t.failed == 0 {
		t.first, t.firstAt = err, now
	}
	t.failed++
}

// refusal is a lane whose batch the broker will not take as it is; nothing of it was stored.
type refusal struct {
	lane *lane
	*sink.Rejected
}

// doomed reports whether the broker will never take the batch's i-th record. It may not have said which one; of a single record that is
// clear.
func (r *refusal) doomed(i int) bool {
	records := r.lane.batch.Records
	if len(records) == 1 {
		return true
	}
	for _, pos := range r.Pos {
		if pos == records[i].Pos {
			return true
		}
	}
	return false
}

// setAside takes what the broker will never take out of the lanes' batches: into the dead letters first, and only then is it done in the log. Where
// these cannot be kept, the same records go again later. A batch of which the broker did not say whose fault it is is halved until
// one record is left.
func (p *publisher) setAside(refused []refusal) {
	var letters []deadletter.Letter
	rest := make([][]spool.Record, len(refused))
	texts := texts{}
	for i := range refused {
		r := &refused[i]
		for k, record := range r.lane.batch.Records {
			if r.doomed(k) {
				letters = append(letters, p.letter(r, record, texts))
			} else {
				rest[i] = append(rest[i], record)
			}
		}
	}
	if len(letters) > 0 {
		if err := p.letters.Put(letters); err != nil {
			p.logger.Error("events that the broker will never take cannot be set aside; they stay in the log and are tried again",
				zap.String("sink", p.name), zap.Int("events", len(letters)), zap.Error(err))
			for i := range refused { // as new ones: those that were rejected have ended
				l := refused[i].lane
				p.newBatch(l, l.batch.Records)
				p.retryLater(l, 0)
			}
			return
		}
		first := &letters[0]
		p.logger.Error("events set aside: the broker will never take them", zap.String("sink", p.name), zap.Int("events", len(letters)),
			zap.Stringer("first_letter", first.ID()), zap.String("id", first.Record.Header.ID), zap.String("type", string(first.Record.Header.Type)),
			zap.Int("bytes", len(first.Record.Data)), zap.String("reason", first.Reason), zap.String("error", first.Last))
		for i := range letters {
			p.cursor.Done(letters[i].Record.Pos)
			delete(p.unchecked, event.DigestOf(letters[i].Record.Header.ID))
		}
		p.meters.rejected.Add(float64(len(letters)))
	}
	for i, r := range refused {
		if len(rest[i]) == len(r.lane.batch.Records) {
			rest[i] = p.halve(r.lane)
		}
		p.reform(r.lane, rest[i])
	}
}

// letter is what is kept of a record that was refused for good.
func (p *publisher) letter(r *refusal, record spool.Record, texts texts) deadletter.Letter {
	t := &r.lane.trials
	return deadletter.Letter{
		Sink: p.name, Record: record, Reason: retry.ReasonOf(r.Err), Attempts: t.failed, First: texts.of(t.first), Last: texts.of(r.Err),
		FirstAt: event.InstantOf(t.firstAt), At: event.InstantOf(p.now()),
	}
}

// texts remembers what becomes of errors' texts: a flood of refusals repeats few of them, and each takes longer to clean than to keep.
type texts map[string]string

func (t texts) of(err error) string {
	text := err.Error()
	clean, known := t[text]
	if !known {
		clean = deadletter.Redact(text)
		t[text] = clean
	}
	return clean
}

// halve puts the second half of the lane's batch back in hand, before what is there, and returns the first.
func (p *publisher) halve(l *lane) []spool.Record {
	first, second := l.batch.Records[:len(l.batch.Records)/2], l.batch.Records[len(l.batch.Records)/2:]
	l.fresh = slices.Concat(second, l.fresh)
	l.size += dataSize(second)
	p.held += dataSize(second)
	return first
}

// reform replaces the lane's batch by a new one of records that are known not to be stored.
func (p *publisher) reform(l *lane, records []spool.Record) {
	if len(records) == 0 {
		p.clear(l)
		return
	}
	p.newBatch(l, records)
	p.goOn(l)
}
