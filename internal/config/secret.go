package config

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

const redacted = "<redacted>"

// Secret is text that no log, error or encoder prints: every way of formatting it gives "<redacted>". In the configuration it is only
// taken from an environment variable. The zero value is "not set".
type Secret struct {
	// A pointer, because fmt prints the unexported fields of foreign structs without asking their methods: of this one it finds an address.
	text *string
}

// NewSecret wraps text; empty text is the zero Secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal returns the text. Call it where the secret is used, and keep the result out of anything that is printed.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether the secret is not set.
func (s Secret) IsZero() bool { return s.text == nil }

// Equal reports whether the texts are the same.
func (s Secret) Equal(other Secret) bool { return s.Reveal() == other.Reveal() }

// Format implements fmt.Formatter for all verbs.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String implements fmt.Stringer, which loggers ask for.
func (Secret) String() string { return redacted }

// MarshalText covers JSON, YAML and XML.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Path is a file or folder named in the configuration; Load makes it start from the configuration file's folder unless it is absolute.
type Path string

// SecretFileAllowed is what a problem with a secret file should say is right.
const SecretFileAllowed = "a file with the secret in it that nobody but its owner and group can open"

// maxSecret bounds a secret file in bytes; the largest in use are PEM bundles of a few KiB.
const maxSecret = 64 << 10

// ReadSecret returns the content of file without one trailing line break, or value when file is empty. Call it again to reload.
//
// Only regular files are read: a pipe would hold the caller, who may be a session, until somebody writes. Files that others may read, write or
// execute are refused. The group's bits are not looked at: Kubernetes mounts secrets as root with mode 0440 and gives the process access through
// fsGroup. On Windows the mode says nothing and no file is refused; the caller warns.
func ReadSecret(value Secret, file Path) (Secret, error) {
	if file == "" {
		return value, nil
	}
	info, err := os.Stat(string(file))
	if err != nil {
		return Secret{}, fmt.Errorf("secret file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Secret{}, fmt.Errorf("secret file %s: not a regular file", file)
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 && runtime.GOOS != "windows" {
		return Secret{}, fmt.Errorf("secret file %s: others can access it (mode %04o); run: chmod 600 %s (Kubernetes: defaultMode 0440 and fsGroup)",
			file, mode, file)
	}
	data, err := readAtMost(string(file), maxSecret)
	if err != nil {
		return Secret{}, fmt.Errorf("secret file: %w", err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if text == "" {
		return Secret{}, fmt.Errorf("secret file %s: empty; write the secret into it", file)
	}
	return NewSecret(text), nil
}

func secretAllowed(name string) string {
	return fmt.Sprintf("put it into a file and set %s_file, or write %s: ${NAME} for an environment variable", name, name)
}
