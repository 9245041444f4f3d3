package spool

import (
	"errors"
	"os"
	"syscall"
)

// lockFile opens the file so that nobody else can open it for writing.
func lockFile(name string) (*os.File, error) {
	path, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	const access, share = syscall.GENERIC_READ | syscall.GENERIC_WRITE, syscall.FILE_SHARE_READ
	h, err := syscall.CreateFile(path, access, share, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	const sharingViolation = syscall.Errno(32)
	if errors.Is(err, sharingViolation) {
		return nil, errLocked
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), name), nil
}
