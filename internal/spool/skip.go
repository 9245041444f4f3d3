package spool

import "github.com/taskbridge/taskbridge/internal/event"

// Skip implements [Log]. One call at a time; without Options.SkipSlowest it makes only the room that costs nobody anything. The segment that is being written is never skipped. A gap record among what is
// skipped, also one that an earlier Skip has made, widens what is announced to all that it covers: so nothing that it says is lost, and the records that
// say it do not grow with every Skip until the log holds nothing else.
func (d *Disk) Skip(announce func([]Skipped) error) error {
	d.skipping.Lock()
	defer d.skipping.Unlock()
	if !d.tight() {
		return nil
	}
	d.release()
	if !d.SkipSlowest || !d.tight() || d.stale() > 0 {
		return nil
	}
	c, p, open := d.slowest()
	if c == nil {
		return nil
	}
	var skipped []Skipped
	index := map[[2]string]int{}
	err := d.read(p.seg, open, func(f *frame) {
		r, target := f.record(d.epoch)
		if r.Pos < p.fresh && !c.wants(&r.Header, target) {
			return
		}
		from, to := covers(&r)
		who := [2]string{r.Header.Source, r.Header.Agent}
		i, known := index[who]
		if !known {
			i, index[who] = len(skipped), len(skipped)
			skipped = append(skipped, Skipped{Sink: c.sink, From: from, To: to})
		}
		s := &skipped[i]
		s.Header, s.From, s.To = r.Header, min(s.From, from), max(s.To, to)
		if r.Header.Type != event.SessionGap {
			s.Records++
		}
	})
	if err != nil {
		return err
	}
	if err := announce(skipped); err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	n := c.skip(p, open)
	d.metrics.skipped.WithLabelValues(c.sink).Add(float64(n))
	// Nobody else may come to save it: a publisher that cannot ask its broker has nothing new, and a sink that is not configured has no publisher.
	return c.saveAgain()
}

// covers is the stretch of an agent's time of which a record tells.
func covers(r *Record) (from, to event.Instant) {
	from, to = r.Header.Recorded, r.Header.Recorded
	if r.Header.Type != event.SessionGap {
		return from, to
	}
	e, err := (&event.Encoded{Header: r.Header, Data: r.Data}).Decode()
	if err != nil || e.Data.Gap == nil {
		return from, to
	}
	if e.Data.Gap.To != 0 {
		to = e.Data.Gap.To
	}
	return e.Data.Gap.From, to
}

// tight reports whether room is to be made.
func (d *Disk) tight() bool {
	d.mu.Lock()
	full := crowded(d.used+d.staged, d.normal) // what Room asks for, or a refused intake would wait beside a log that is not skipped
	d.mu.Unlock()
	return full || d.scarce()
}

// scarce reports whether the disk has no room for another segment: it may be full before the bound is reached, and a log that takes nothing at all could not
// even say what it skips.
func (d *Disk) scarce() bool {
	free, err := d.Files.Free(d.Dir)
	return err == nil && free < d.left()+d.segment-d.spareBytes.Load()-d.idle.bytes()
}

// slowest finds the oldest segment in which something is open, and of the cursors that hold it the one that has most open there.
func (d *Disk) slowest() (c *diskCursor, p *part, open []Pos) {
	d.state.Lock()
	defer d.state.Unlock()
	for i := range len(d.segments) - 1 {
		for _, one := range d.cursors {
			if part, pos := one.openIn(i); len(pos) > len(open) {
				c, p, open = one, part, pos
			}
		}
		if c != nil {
			return c, p, open
		}
	}
	return nil, nil, nil
}

// openIn is what the cursor has not done of its part i.
func (c *diskCursor) openIn(i int) (*part, []Pos) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.parts[i]
	open := make([]Pos, 0, p.open)
	for pos := p.next(0); pos < p.end; pos = p.next(pos + 1) {
		open = append(open, pos)
	}
	return p, open
}

// skip counts what is still open of these positions as done.
func (c *diskCursor) skip(p *part, open []Pos) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pos := range open {
		if p.finish(pos) {
			n++
		}
	}
	c.saved = false
	return n
}
