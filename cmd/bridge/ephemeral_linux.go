package main

import "syscall"

// The file systems that go with the machine or the container (statfs(2)): in memory, and a container's own layer.
const (
	tmpfs   = 0x01021994
	ramfs   = 0x858458f6
	overlay = 0x794c7630
)

// ephemeral reports whether what is written below dir goes with this machine or container.
func ephemeral(dir string) bool {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return false
	}
	switch uint32(fs.Type) { //nolint:unconvert // its width depends on the architecture
	case tmpfs, ramfs, overlay:
		return true
	}
	return false
}
