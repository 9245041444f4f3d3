//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package deadletter

import "os"

// lock does nothing here: the spool beside the folder has a lock of its own.
func lock(*os.File) error { return nil }

// syncFolder does nothing: a folder cannot be flushed here.
func syncFolder(*os.File) error { return nil }
