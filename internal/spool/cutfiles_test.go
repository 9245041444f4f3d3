package spool

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// cutFiles are Files in memory that know what a power cut may leave: of what was not synced, each write may be there, not there, or torn between
// sectors, and each change of a folder there or not. After a failed sync what was not synced stays so for ever, as in Linux.
type cutFiles struct {
	mu    sync.Mutex
	names map[string]*inode
	disk  map[string]*inode // the folder as it was synced last
	moves []move            // changes of the folder since
	ops   int               // that change something
	watch func(op int)      // called before each, with mu held
	fail  func(op string) error
	lie   func(op string) bool // a sync that does nothing
}

// inode is a file: what reading it gives, and what it is made of.
type inode struct {
	now    []byte
	synced []byte
	dirty  []edit
	doubt  []edit // its sync has failed
}

// edit is a write, or with data nil a change of the size.
type edit struct {
	off  int64
	data []byte
}

type move struct {
	from, to string // from "": to is new; to "": from is removed
	file     *inode
}

func newCutFiles() *cutFiles {
	return &cutFiles{names: map[string]*inode{}, disk: map[string]*inode{}}
}

const cutSector = 512

func (e edit) apply(b []byte, keep func() bool) []byte {
	if e.data == nil {
		return resized(b, e.off)
	}
	end := e.off + int64(len(e.data))
	if int64(len(b)) < end {
		b = resized(b, end)
	}
	for at := e.off; at < end; {
		next := min(end, (at/cutSector+1)*cutSector)
		if keep() {
			copy(b[at:next], e.data[at-e.off:next-e.off])
		}
		at = next
	}
	return b
}

func resized(b []byte, size int64) []byte {
	if int64(len(b)) >= size {
		return b[:size:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

func always() bool { return true }

// killed is what a process that ends leaves: everything.
func (f *cutFiles) killed() *cutFiles {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.copied()
}

// copied is called with mu held.
func (f *cutFiles) copied() *cutFiles {
	same := map[*inode]*inode{}
	twin := func(n *inode) *inode {
		if n != nil && same[n] == nil {
			same[n] = &inode{slices.Clone(n.now), slices.Clone(n.synced), slices.Clone(n.dirty), slices.Clone(n.doubt)}
		}
		return same[n]
	}
	c := newCutFiles()
	for name, n := range f.names {
		c.names[name] = twin(n)
	}
	for name, n := range f.disk {
		c.disk[name] = twin(n)
	}
	for _, m := range f.moves {
		c.moves = append(c.moves, move{m.from, m.to, twin(m.file)})
	}
	return c
}

// cut is one of the states that a power cut may leave.
func (f *cutFiles) cut(rnd *rand.Rand) *cutFiles {
	f.mu.Lock()
	defer f.mu.Unlock()
	// Often all or nothing: a coin for each of many would hardly ever give those.
	chance := []float64{0, 0.5, 0.9, 1}[rnd.IntN(4)]
	keep := func() bool { return rnd.Float64() < chance }
	names := map[string]*inode{}
	for name, n := range f.disk {
		names[name] = n
	}
	for _, m := range f.moves {
		if !keep() {
			continue
		}
		if m.from != "" && names[m.from] == m.file {
			delete(names, m.from)
		}
		if m.to != "" {
			names[m.to] = m.file
		}
	}
	after := newCutFiles()
	for name, n := range names {
		b := slices.Clone(n.synced)
		for _, e := range slices.Concat(n.doubt, n.dirty) {
			switch rnd.IntN(3) {
			case 0:
				if keep() {
					b = e.apply(b, always)
				}
			case 1:
				b = e.apply(b, keep) // torn, or the size alone
			}
		}
		twin := &inode{now: b, synced: slices.Clone(b)}
		after.names[name], after.disk[name] = twin, twin
	}
	return after
}

// do counts an operation, and says whether it fails.
func (f *cutFiles) do(op string) error {
	if f.watch != nil {
		f.watch(f.ops)
	}
	f.ops++
	if f.fail != nil {
		return f.fail(op)
	}
	return nil
}

func (f *cutFiles) MkdirAll(string) error { return nil }

func (f *cutFiles) Open(name string, flag int) (File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.names[name]
	switch {
	case n != nil && flag&os.O_EXCL != 0:
		return nil, os.ErrExist
	case n == nil && flag&os.O_CREATE == 0:
		return nil, os.ErrNotExist
	case n == nil:
		if err := f.do("create"); err != nil {
			return nil, err
		}
		n = &inode{}
		f.names[name] = n
		f.moves = append(f.moves, move{"", name, n})
	}
	return &cutFile{f, n}, nil
}

func (f *cutFiles) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.do("rename"); err != nil {
		return err
	}
	n := f.names[from]
	if n == nil {
		return os.ErrNotExist
	}
	delete(f.names, from)
	f.names[to] = n
	f.moves = append(f.moves, move{from, to, n})
	return nil
}

func (f *cutFiles) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.names[name]
	if n == nil {
		return os.ErrNotExist
	}
	if err := f.do("remove"); err != nil {
		return err
	}
	delete(f.names, name)
	f.moves = append(f.moves, move{name, "", n})
	return nil
}

func (f *cutFiles) List(dir string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for name := range f.names {
		if filepath.Dir(name) == dir {
			names = append(names, filepath.Base(name))
		}
	}
	return names, nil
}

func (f *cutFiles) SyncDir(string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.do("sync_dir"); err != nil {
		return err
	}
	if f.lie != nil && f.lie("sync_dir") {
		return nil
	}
	f.disk, f.moves = map[string]*inode{}, nil
	for name, n := range f.names {
		f.disk[name] = n
	}
	return nil
}

func (f *cutFiles) Free(string) (int64, error) { return 1 << 40, nil }

func (f *cutFiles) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

type cutFile struct {
	files *cutFiles
	*inode
}

func (f *cutFile) ReadAt(b []byte, off int64) (int, error) {
	f.files.mu.Lock()
	defer f.files.mu.Unlock()
	if off >= int64(len(f.now)) {
		return 0, io.EOF
	}
	n := copy(b, f.now[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *cutFile) WriteAt(b []byte, off int64) (int, error) {
	f.files.mu.Lock()
	defer f.files.mu.Unlock()
	err := f.files.do("write")
	if err != nil {
		b = b[:len(b)/2] // as a disk that becomes full
	}
	f.edit(edit{off, append([]byte{}, b...)})
	return len(b), err
}

func (f *cutFile) edit(e edit) {
	f.dirty = append(f.dirty, e)
	f.now = e.apply(f.now, always)
}

func (f *cutFile) resize(op string, size int64) error {
	f.files.mu.Lock()
	defer f.files.mu.Unlock()
	if err := f.files.do(op); err != nil {
		return err
	}
	if op == "truncate" || size > int64(len(f.now)) {
		f.edit(edit{size, nil})
	}
	return nil
}

func (f *cutFile) Truncate(size int64) error { return f.resize("truncate", size) }

func (f *cutFile) Allocate(size int64) error { return f.resize("allocate", size) }

func (f *cutFile) Sync() error {
	f.files.mu.Lock()
	defer f.files.mu.Unlock()
	if err := f.files.do("sync"); err != nil {
		f.doubt, f.dirty = append(f.doubt, f.dirty...), nil
		return err
	}
	if f.files.lie != nil && f.files.lie("sync") {
		return nil
	}
	for _, e := range f.dirty {
		f.synced = e.apply(f.synced, always)
	}
	f.dirty = nil
	return nil
}

func (f *cutFile) Size() (int64, error) {
	f.files.mu.Lock()
	defer f.files.mu.Unlock()
	return int64(len(f.now)), nil
}

func (f *cutFile) Close() error { return nil }

// flaky fails now and then, and seldom for long.
func flaky(rnd *rand.Rand) func(op string) error {
	left := 0
	return func(string) error {
		if left > 0 {
			left--
		} else if rnd.IntN(60) == 0 {
			left = rnd.IntN(4)
		} else {
			return nil
		}
		return []error{syscall.EIO, syscall.ENOSPC, syscall.EROFS}[rnd.IntN(3)]
	}
}

var errViolated = errors.New("promise broken")
