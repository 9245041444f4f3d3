// Package testpage is for tests that generate a page of docs: it is compared with the file in the repository, or written there by -update.
package testpage

import (
	"bytes"
	"flag"
	"os"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the generated pages instead of comparing them")

// Render fills the template in a file.
func Render(t testing.TB, file string, data any) string {
	t.Helper()
	page, err := template.ParseFiles(file)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := page.Execute(&text, data); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// Match fails t unless the file holds the page; with -update it writes the page there.
func Match(t testing.TB, file, page string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(text), page); diff != "" {
		t.Errorf("%s: run %s with -update and read the change (-file +generated):\n%s", file, t.Name(), diff)
	}
}
