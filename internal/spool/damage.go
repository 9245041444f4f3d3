package spool

import (
	"fmt"
	"path/filepath"
	"sync/atomic"

	"go.uber.org/zap"
)

// damage reports what the disk has not kept, and sets it aside for whoever wants to look at it. It never stops the log.
type damage struct {
	disk    *Disk
	corrupt atomic.Int64 // records, at least
	cut     atomic.Int64 // bytes
}

// records reports a stretch of s without valid records, and copies it.
func (d *damage) records(s *segment, b stretch) {
	n := b.records()
	d.corrupt.Add(n)
	d.disk.metrics.corrupt.Add(float64(n))
	name := fmt.Sprintf("%s-%d", s.label(), b.from)
	err := d.copy(s, b, name)
	if err == nil {
		d.disk.metrics.quarantined.Add(float64(b.to - b.from))
	}
	d.disk.Log.Error("spool: damaged records are left out; their bytes are set aside", zap.String("segment", s.label()), zap.Int64("offset", b.from),
		zap.Int64("bytes", b.to-b.from), zap.Int64("records", n), zap.String("copy", name), zap.NamedError("copy_error", err))
}

func (d *damage) copy(s *segment, b stretch, name string) error {
	release, err := s.use(d.disk.Files)
	if err != nil {
		return err
	}
	defer release()
	sc := scanner{r: s.file, size: b.to}
	bytes, err := sc.bytes(b.from, b.to-b.from)
	if err != nil {
		return err
	}
	folder, err := d.folder()
	if err != nil {
		return err
	}
	return writeFile(d.disk.Files, filepath.Join(folder, name), bytes, d.disk.durable())
}

func (d *damage) folder() (string, error) {
	dir := d.disk.path(quarantineName)
	return dir, d.disk.Files.MkdirAll(dir)
}

// file moves a file that cannot be used away.
func (d *damage) file(name, consequence string) {
	d.corrupt.Add(1)
	d.disk.metrics.corrupt.Inc()
	folder, err := d.folder()
	if err == nil {
		err = d.disk.Files.Rename(d.disk.path(name), filepath.Join(folder, name))
	}
	d.disk.Log.Error("spool: a damaged file is set aside", zap.String("file", name), zap.String("consequence", consequence), zap.NamedError("move_error", err))
}

// torn reports what a crash has torn at the log's end. Nothing of it was accepted, so it is no damage.
func (d *damage) torn(bytes int64) {
	d.cut.Add(bytes)
	d.disk.metrics.cut.Add(float64(bytes))
	d.disk.Log.Warn("spool: what was being written when the last process ended is cut off; it was not accepted", zap.Int64("bytes", bytes))
}

// missing reports records that a cursor still has to deliver and that are in no segment.
func (d *damage) missing(sink string, n int) {
	d.corrupt.Add(int64(n))
	d.disk.metrics.corrupt.Add(float64(n))
	d.disk.Log.Error("spool: records that a sink has not got are gone with their segment", zap.String("sink", sink), zap.Int("records", n))
}

// checkpoint reports that views could not be loaded.
func (d *damage) checkpoint(err error) {
	d.corrupt.Add(1)
	d.disk.metrics.corrupt.Inc()
	d.disk.Log.Error("spool: the checkpoint cannot be loaded; the views are made from the records alone", zap.Error(err))
}
