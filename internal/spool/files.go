package spool

import (
	"io"
	"os"
	"path/filepath"
)

// Files are the file operations of a [Disk], so that tests can record, delay or fail each of them. Names are paths below the log's folder, or
// the folder itself. Safe for concurrent use.
type Files interface {
	// MkdirAll makes dir, and what is missing above it, for the owner alone.
	MkdirAll(dir string) error
	// Open opens a file for the owner alone; flag is that of [os.OpenFile].
	Open(name string, flag int) (File, error)
	// Rename moves from to to, in one step, in place of what was there.
	Rename(from, to string) error
	Remove(name string) error
	// List returns the names of the files in dir, without folders.
	List(dir string) ([]string, error)
	// SyncDir makes what was created, renamed and removed in dir survive a power loss.
	SyncDir(dir string) error
	// Free is how many bytes can be written below dir.
	Free(dir string) (int64, error)
	// Lock holds name until the result is closed or the process ends; a second holder gets an error that says who holds it.
	Lock(name string) (io.Closer, error)
}

// File is an open file of [Files]. ReadAt may run beside everything else; the others come from one goroutine at a time.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Truncate cuts the file to size bytes.
	Truncate(size int64) error
	// Allocate reserves disk space for the first size bytes, which read as zeros; nothing happens where that is not supported. After an error part of
	// the space may be taken.
	Allocate(size int64) error
	// Sync makes what was written survive a power loss, with the file's size, but not its name.
	Sync() error
	Size() (int64, error)
}

// OS are the files of the operating system.
var OS Files = osFiles{}

type osFiles struct{}

type osFile struct{ *os.File }

func (osFiles) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o700) }

func (osFiles) Open(name string, flag int) (File, error) {
	f, err := os.OpenFile(filepath.Clean(name), flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFiles) Rename(from, to string) error { return os.Rename(from, to) }

func (osFiles) Remove(name string) error { return os.Remove(name) }

func (osFiles) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// readFile reads all of a file.
func readFile(files Files, name string) ([]byte, error) {
	f, err := files.Open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if n == len(b) || err == io.EOF { //nolint:errorlint // ReadAt's own end of file is never wrapped
		return b[:n], nil
	}
	return nil, err
}

// replaceFile gives the file name the content b in one step: whoever opens it after a crash finds the old content or the new. Without
// durable it survives the process only.
func replaceFile(files Files, name string, b []byte, durable bool) error {
	temp := name + tempSuffix
	if err := writeFile(files, temp, b, durable); err != nil {
		return err
	}
	if err := files.Rename(temp, name); err != nil {
		return err
	}
	if !durable {
		return nil
	}
	return files.SyncDir(filepath.Dir(name))
}

// writeFile makes a new file. It never goes on with one that failed to sync before: what that holds is not known.
func writeFile(files Files, name string, b []byte, durable bool) error {
	if err := files.Remove(name); err != nil && !os.IsNotExist(err) {
		return err
	}
	f, err := files.Open(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil && durable {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}
