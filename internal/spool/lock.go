package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Lock leaves the file behind when it is let go: removing it would let two processes hold a lock each, on two files of one name.
func (osFiles) Lock(name string) (io.Closer, error) {
	f, err := lockFile(name)
	if errors.Is(err, errLocked) {
		holder := "another process"
		if b, err := os.ReadFile(filepath.Clean(name)); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
				holder = fmt.Sprintf("process %d", pid)
			}
		}
		return nil, fmt.Errorf("folder %s is in use by %s", filepath.Dir(name), holder)
	}
	if err != nil {
		return nil, err
	}
	// The number is for people; what counts is the lock, which ends with the process.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

var errLocked = errors.New("locked")
