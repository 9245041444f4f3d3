//go:build !linux

package spool

import "math"

func (f osFile) Sync() error { return f.File.Sync() }

// Allocate does nothing: a segment grows with what is written, and a full disk is found at the write.
func (osFile) Allocate(int64) error { return nil }

// Free is not asked for here: a full disk is found at the write.
func (osFiles) Free(string) (int64, error) { return math.MaxInt64, nil }
