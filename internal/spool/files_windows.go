package spool

import (
	"errors"
	"syscall"
)

// SyncDir does nothing: NTFS journals its folders, and a folder cannot be flushed.
func (osFiles) SyncDir(string) error { return nil }

// isFull reports whether err says that the disk is full: ERROR_HANDLE_DISK_FULL or ERROR_DISK_FULL.
func isFull(err error) bool {
	return errors.Is(err, syscall.Errno(39)) || errors.Is(err, syscall.Errno(112))
}

// isReadOnly: ERROR_WRITE_PROTECT.
func isReadOnly(err error) bool { return errors.Is(err, syscall.Errno(19)) }
