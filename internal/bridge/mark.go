package bridge

import (
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/sink"
)

// saveEvery is how often a cursor is saved while something is delivered. What was delivered since is asked of the broker after a crash.
const saveEvery = time.Second

// place is from where the broker is to be asked what it holds; it is kept with the cursor. Until the start is over it is the mark that was loaded, because what
// an earlier process sent may have landed anywhere after it.
func (p *publisher) place() []byte {
	if p.starting {
		return p.mark
	}
	return p.sink.Mark(p.outstanding())
}

// outstanding lists the batches that were sent and are not done.
func (p *publisher) outstanding() []*sink.Batch {
	var open []*sink.Batch
	for _, l := range p.lanes {
		if l.batch != nil && !l.batch.FirstSent.IsZero() {
			open = append(open, l.batch)
		}
	}
	return open
}

// save keeps the cursor where something was delivered since, about once a second. The mark is determined here, on the publisher's goroutine; the disk is
// waited for on another one, so that it delays no send.
func (p *publisher) save() {
	p.mu.Lock()
	saving := p.saving
	p.unsaved = p.unsaved || p.failed
	p.failed = false
	p.mu.Unlock()
	if now := p.now(); !saving && p.unsaved && now.Sub(p.savedAt) >= saveEvery {
		p.unsaved, p.savedAt, p.saving = false, now, true // nobody else runs who would look at saving
		mark := p.place()
		p.background(func() {
			err := p.cursor.Save(mark)
			if err != nil {
				p.logger.Warn("saving the cursor failed, will be tried again", zap.String("sink", p.name), zap.Error(err))
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.saving, p.failed = false, err != nil
		})
	}
}

// finish keeps the cursor a last time, with what the closed sink has answered since run ended, and with what it did not want, about which the next process
// need not think again.
func (p *publisher) finish() error {
	p.collect()
	p.saves.Wait()
	return p.cursor.Save(p.place())
}
