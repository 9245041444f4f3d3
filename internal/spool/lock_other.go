//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package spool

import (
	"os"
	"path/filepath"
)

// lockFile cannot keep a second process out here.
func lockFile(name string) (*os.File, error) {
	return os.OpenFile(filepath.Clean(name), os.O_RDWR|os.O_CREATE, 0o600)
}
