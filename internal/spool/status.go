package spool

// Status is how a [Disk] is, for readiness and whoever asks.
type Status struct {
	// Failing says in one word why Append refuses: full (the bound, or the disk), stalled (the disk is too slow), read_only, failing (any other error
	// of the disk). Empty: it does not.
	Failing string
	Used    int64 // bytes in segments, with what is not written yet
	Max     int64 // the bound
	Clamped bool  // Max is less than what was asked for, because the disk has no more
	// Corrupt is how many records and files were found damaged since Open, at least.
	Corrupt int64
	// Cut is how many bytes were cut off at Open, because a crash had torn what was being written.
	Cut int64
	// Segments is the number of files; Forgotten names the cursors that no sink has opened: they hold what they have not got.
	Segments  int
	Forgotten []string
}

// Status may be called by any goroutine.
func (d *Disk) Status() Status {
	s := Status{Clamped: d.clamped, Corrupt: d.damage.corrupt.Load(), Cut: d.damage.cut.Load()}
	d.mu.Lock()
	s.Used, s.Max, s.Failing = d.used+d.staged, d.max, d.word
	switch {
	case s.Failing != "":
	case d.stalled > d.committed:
		s.Failing = "stalled"
	case d.refused && crowded(s.Used, d.normal):
		s.Failing = wordFull
	}
	d.mu.Unlock()
	d.state.Lock()
	defer d.state.Unlock()
	s.Segments = len(d.segments)
	for _, c := range d.cursors {
		if !c.opened {
			s.Forgotten = append(s.Forgotten, c.sink)
		}
	}
	return s
}
