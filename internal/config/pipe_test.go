//go:build unix

package config

import (
	"os"
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

// The configuration may come through a pipe, but not without end.
func TestLoadIsBounded(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, make([]byte, largestDocument+1), 0o600); err != nil {
		t.Fatal(err)
	}
	document, endless := pipe(t), pipe(t)
	for path, write := range map[string]func(*os.File){
		document: func(f *os.File) { _, _ = f.WriteString("name: x\n") },
		endless: func(f *os.File) {
			for err := error(nil); err == nil; {
				_, err = f.Write(make([]byte, 1<<16))
			}
		},
	} {
		go func() {
			if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
				write(f)
				_ = f.Close()
			}
		}()
	}
	for path, want := range map[string]string{
		document: "", endless: " is larger than 1MiB; is this the right file?", large: " is larger than 1MiB; is this the right file?",
		"/dev/zero": " is neither a regular file nor a pipe", t.TempDir(): " is neither a regular file nor a pipe",
	} {
		var into struct {
			Name string `yaml:"name"`
		}
		err := Load(path, &into)
		if want == "" && (err != nil || into.Name != "x") || want != "" && (err == nil || err.Error() != "read configuration: "+path+want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}
