//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package deadletter

import (
	"errors"
	"os"
	"syscall"
)

// lock takes the folder for this process, until it is closed or the process ends.
func lock(folder *os.File) error {
	err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// syncFolder makes the names in the folder durable.
func syncFolder(folder *os.File) error { return folder.Sync() }
