package spool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
)

// raftWAL is raft-wal behind a group commit: appenders put their records into the open batch, and one committer stores a batch while the next one fills. An
// appender's record stays where it is until it is durable, so that nothing is copied before raft-wal does.
type raftWAL struct {
	wal  *wal.WAL
	meta *metadb.BoltMetaDB // which WAL.Close leaves open

	mu     sync.Mutex
	open   *batch
	spare  *batch // emptied, to be used again
	closed bool
	wake   chan struct{} // something is in the open batch, or it is closed
	ended  chan struct{} // the committer has

	committed atomic.Uint64 // the last index that is durable
	durable   chan struct{} // signalled when that has risen
	read      atomic.Uint64 // the last index that was returned
	trimmed   uint64        // the last that was let go of; of trim alone
}

// batch holds at most one record of every appender.
type batch struct {
	logs   []*raft.Log
	memory [appenders]raft.Log
	group  *group
}

// group is what those wait for whose records are stored together.
type group struct {
	done chan struct{}
	err  error // set before done is closed
}

func newBatch() *batch {
	return &batch{logs: make([]*raft.Log, 0, appenders), group: &group{done: make(chan struct{})}}
}

var errClosed = errors.New("the log is closed")

func openRaftWAL(dir string) (log, error) {
	r := &raftWAL{
		meta: &metadb.BoltMetaDB{}, open: newBatch(), spare: newBatch(),
		wake: make(chan struct{}, 1), ended: make(chan struct{}), durable: make(chan struct{}, 1),
	}
	var err error
	if r.wal, err = wal.Open(dir, wal.WithLogger(hclog.NewNullLogger()), wal.WithMetaStore(r.meta), wal.WithCodec(rawCodec{})); err != nil {
		return nil, err
	}
	go r.commit()
	return r, nil
}

func (r *raftWAL) store(record []byte) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return errClosed
	}
	b := r.open
	entry := &b.memory[len(b.logs)]
	entry.Data = record
	b.logs = append(b.logs, entry)
	first, g := len(b.logs) == 1, b.group
	r.mu.Unlock()
	if first {
		r.wake <- struct{}{} // there is room: the committer took the signal of the batch before this one
	}
	<-g.done
	return g.err
}

// commit is the committer.
func (r *raftWAL) commit() {
	defer close(r.ended)
	for index := uint64(1); ; {
		<-r.wake
		r.mu.Lock()
		b := r.open
		if len(b.logs) == 0 {
			r.mu.Unlock()
			return
		}
		r.open = r.spare
		r.mu.Unlock()

		for _, entry := range b.logs {
			entry.Index = index
			index++
		}
		if b.group.err = r.wal.StoreLogs(b.logs); b.group.err == nil {
			r.committed.Store(index - 1)
			select {
			case r.durable <- struct{}{}:
			default:
			}
		}
		close(b.group.done)

		b.logs, b.group = b.logs[:0], &group{done: make(chan struct{})}
		r.mu.Lock()
		r.spare = b
		r.mu.Unlock()
	}
}

func (r *raftWAL) follow(ctx context.Context, got func([]byte) error) error {
	var entry raft.Log
	for {
		select {
		case <-r.durable:
		case <-ctx.Done():
			return nil
		}
		for last := r.committed.Load(); r.read.Load() < last; r.read.Add(1) {
			if err := r.wal.GetLog(r.read.Load()+1, &entry); err != nil {
				return err
			}
			if err := got(entry.Data); err != nil {
				return err
			}
		}
	}
}

func (r *raftWAL) trim() error {
	upTo := r.read.Load()
	if upTo <= r.trimmed+1 {
		return nil
	}
	upTo-- // an emptied log would begin a new segment
	err := r.wal.DeleteRange(r.trimmed+1, upTo)
	r.trimmed = upTo
	return err
}

// close is called when nothing is stored or read any more.
func (r *raftWAL) close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.wake <- struct{}{}
	<-r.ended
	return errors.Join(r.wal.Close(), r.meta.Close())
}

// rawCodec stores nothing but the data, and reads into the memory that it finds: raft-wal's own codec has more to do, and allocates for each record. v0.4.0
// notes its own codec in every segment whichever it was given, and so refuses to open such a log again; here nothing is opened twice.
type rawCodec struct{}

func (rawCodec) ID() uint64 { return wal.FirstExternalCodecID }

func (rawCodec) Encode(l *raft.Log, w io.Writer) error {
	if b, ok := w.(*bytes.Buffer); ok {
		b.Grow(len(l.Data))
	}
	_, err := w.Write(l.Data)
	return err
}

func (rawCodec) Decode(b []byte, l *raft.Log) error {
	l.Data = append(l.Data[:0], b...)
	return nil
}
