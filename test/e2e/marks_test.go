package e2e

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// point is where a life may die.
type point string

const (
	afterRead        point = "after a frame was read"
	beforeSync       point = "after the write, before fsync"
	afterSync        point = "after fsync, before publish"
	afterSend        point = "after a batch was sent, others under way without an answer"
	beforeAnswer     point = "stored by the broker, before its answer counts"
	beforeCursor     point = "after answers, before the cursor is saved"
	beforeCheckpoint point = "before the views are saved"
	midRoll          point = "a new segment is allocated and has no header"
	midDelete        point = "before a segment is removed"
	afterDelete      point = "after a segment was removed"
	midReuse         point = "a removed segment's file is zeros and not the next one yet"
	midGap           point = "a gap is accepted and not durable"
)

// omission is what a life leaves out, for a negative control.
type omission string

const (
	tailCheck omission = "the tail check"
	gaps      omission = "gap records"
	syncs     omission = "fsync"
)

// pass dies where it is time to.
func (l *life) pass(p point) {
	if l.Dies == p && l.passed.Add(1) == l.After {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // it comes at once, but not before the call returns
	}
}

// listening reads a source's frames.
type listening struct {
	source.Source
	*life
}

func (s listening) Serve(ctx context.Context, a *source.Agent, in source.Intake) error {
	return s.Source.Serve(ctx, a, hearing{in, s.life})
}

type hearing struct {
	source.Intake
	*life
}

func (h hearing) Frame(f source.Frame) {
	if f.Feed == source.Live {
		h.pass(afterRead)
	}
	h.Intake.Frame(f)
}

// keeping is the log. What is appended through it is noted as accepted once it is durable.
type keeping struct {
	*spool.Disk
	*life

	mu   sync.Mutex // makes the order of what is noted that of the log
	last spool.Pos
}

func (k *keeping) Append(c spool.Class, e *event.Encoded) (spool.Pos, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	gap := e.Header.Type == event.SessionGap
	if gap && k.Without == gaps {
		return k.last, nil
	}
	k.accepted.append(e.Header.ID)
	pos, err := k.Disk.Append(c, e)
	if err != nil {
		k.accepted.refused()
		return pos, err
	}
	k.last = pos
	if gap {
		k.pass(midGap)
	}
	return pos, nil
}

// accepted knows what is durable from what passes to the disk, and nothing of how that is written: a record holds its id.
type accepted struct {
	file *os.File

	mu       sync.Mutex
	appended []string
}

// open drops what a life could not write to the end: SIGKILL ends a write between two pages.
func (a *accepted) open(name string) error {
	text, err := os.ReadFile(filepath.Clean(name))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	a.file, err = os.OpenFile(filepath.Clean(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return a.file.Truncate(int64(len(untorn(text))))
}

// untorn is text without a last line that has no end.
func untorn(text []byte) []byte { return text[:bytes.LastIndexByte(text, '\n')+1] }

func (a *accepted) append(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.appended = append(a.appended, id)
}

// refused takes the last one back.
func (a *accepted) refused() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.appended = a.appended[:len(a.appended)-1]
}

// found takes what b holds from what was appended.
func (a *accepted) found(b []byte) (ids []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.appended) > 0 {
		id := a.appended[0]
		i := bytes.Index(b, []byte(id))
		if i < 0 {
			break
		}
		b = b[i+len(id):]
		a.appended = a.appended[1:]
		ids = append(ids, id)
	}
	return ids
}

func (a *accepted) durable(ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := a.file.WriteString(strings.Join(ids, "\n") + "\n")
	return err
}

// lost takes back what will be written again.
func (a *accepted) lost(ids []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.appended = append(ids, a.appended...)
}

// files are the log's.
type files struct {
	spool.Files
	*life
}

func isSegment(name string) bool { return strings.HasSuffix(name, ".seg") }

// isIdle tells the file of a removed segment.
func isIdle(name string) bool { return strings.HasSuffix(name, ".seg.tmp") }

func (f files) Open(name string, flag int) (spool.File, error) {
	file, err := f.Files.Open(name, flag)
	if err != nil || !isSegment(name) && !isIdle(name) {
		return file, err
	}
	return &segment{File: file, life: f.life}, nil
}

func (f files) Rename(from, to string) error {
	switch base := filepath.Base(to); {
	case strings.HasPrefix(base, "cursor-"):
		f.pass(beforeCursor)
	case base == "checkpoint":
		f.pass(beforeCheckpoint)
	case isIdle(to):
		return f.removing(func() error { return f.Files.Rename(from, to) })
	case isIdle(from):
		f.pass(midReuse)
	}
	return f.Files.Rename(from, to)
}

func (f files) removing(remove func() error) error {
	f.pass(midDelete)
	err := remove()
	f.pass(afterDelete)
	return err
}

func (f files) Remove(name string) error {
	if !isSegment(name) {
		return f.Files.Remove(name)
	}
	return f.removing(func() error { return f.Files.Remove(name) })
}

// segment is a file of the log. The next one is made, and synced, while records are written to the one before: what is durable is known file by file.
type segment struct {
	spool.File
	*life
	written []string // since the last fsync; one goroutine at a time writes and syncs a file
}

func (s *segment) WriteAt(b []byte, off int64) (int, error) {
	if off == 0 && b[0] != 0 { // its header; the zeros that come first are written beforehand
		s.pass(midRoll)
	}
	n, err := s.File.WriteAt(b, off)
	if err != nil {
		s.failed()
		return n, err
	}
	s.written = append(s.written, s.accepted.found(b)...)
	return n, nil
}

func (s *segment) Sync() error {
	holds := len(s.written) > 0
	if holds {
		s.pass(beforeSync)
	}
	if err := s.sync(); err != nil {
		s.failed()
		return err
	}
	if err := s.accepted.durable(s.written); err != nil {
		return err
	}
	s.written = nil
	if holds {
		s.pass(afterSync)
	}
	return nil
}

func (s *segment) failed() {
	s.accepted.lost(s.written)
	s.written = nil
}

// failing is what the file Trouble of a life holds where its disk fails; else it is slow: slower than a stage takes to fill up.
const (
	failing = "failing"
	slow    = 30 * time.Second
)

func (s *segment) sync() error {
	if what, err := os.ReadFile(s.Trouble); err == nil {
		if string(what) == failing {
			return syscall.EIO
		}
		<-time.After(slow)
	}
	if s.Without == syncs {
		return nil
	}
	return s.File.Sync()
}

// confirming is the way to the broker.
type confirming struct {
	sink.Sink
	*life
}

func (c confirming) Send(b *sink.Batch) {
	own := sink.NewBatch(b.Lane, b.Records, func(_ *sink.Batch, err error) {
		c.out.Add(-1)
		if err == nil {
			c.pass(beforeAnswer)
		}
		b.Done(err)
	})
	own.FirstSent, own.Place = b.FirstSent, b.Place
	own.Out()
	out := c.out.Add(1)
	c.Sink.Send(own)
	b.FirstSent, b.Place = own.FirstSent, own.Place // read by the goroutine that sends alone
	if out > 1 {
		c.pass(afterSend)
	}
}

func (c confirming) Landed(ctx context.Context, mark []byte, found func(string)) error {
	if c.Without == tailCheck {
		found = func(string) {}
	}
	return c.Sink.Landed(ctx, mark, found)
}
