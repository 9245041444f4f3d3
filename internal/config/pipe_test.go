//go:build unix

package config

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func pipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A pipe that nobody writes to does not hold who wants the secret.
func TestReadSecretRefusesPipes(t *testing.T) {
	for _, path := range []string{pipe(t), "/dev/zero", t.TempDir()} {
		if got, err := ReadSecret(Secret{}, Path(path)); err == nil || !strings.HasSuffix(err.Error(), path+": not a regular file") || !got.IsZero() {
			t.Errorf("%s: got %v, want an error", path, err)
		}
	}
}
