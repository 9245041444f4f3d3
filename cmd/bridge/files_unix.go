//go:build unix

package main

import "syscall"

// fileDescriptors is how many the process may have open.
func fileDescriptors() (limit uint64, known bool) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, false
	}
	return uint64(l.Cur), true //nolint:unconvert // signed on some BSDs
}
