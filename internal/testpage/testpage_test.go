package testpage

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// verdict notes what Match says instead of failing.
type verdict struct {
	testing.TB
	errors []string
}

func (v *verdict) Errorf(format string, args ...any) {
	v.errors = append(v.errors, fmt.Sprintf(format, args...))
}

func TestMatch(t *testing.T) {
	dir := t.TempDir()
	form, page := filepath.Join(dir, "page.tmpl"), filepath.Join(dir, "page.md")
	if err := os.WriteFile(form, []byte("{{range .}}- {{.}}\n{{end}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := Render(t, form, []string{"one", "two"})
	*update = true
	Match(t, page, text)
	*update = false
	v := &verdict{TB: t}
	Match(v, page, text)
	if len(v.errors) != 0 {
		t.Errorf("what was written does not match: %v", v.errors)
	}
	Match(v, page, Render(t, form, []string{"one", "three"}))
	if len(v.errors) != 1 || !strings.Contains(v.errors[0], "three") || !strings.Contains(v.errors[0], page) {
		t.Errorf("got %q of another page, want an error with the difference and the file", v.errors)
	}
}
