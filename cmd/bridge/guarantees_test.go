package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/guarantees.md names the test that shows each promise: all of them exist.
func TestGuaranteesNameTestsThatExist(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(repository, "docs/guarantees.md"))
	if err != nil {
		t.Fatal(err)
	}
	defined := map[string]bool{}
	definition := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = filepath.WalkDir(repository, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(filepath.Clean(path))
		for _, m := range definition.FindAllSubmatch(source, -1) {
			defined[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+)`").FindAllSubmatch(page, -1)
	if len(named) < 20 {
		t.Errorf("got %d tests named, want one for each promise", len(named))
	}
	for _, m := range named {
		if !defined[string(m[1])] {
			t.Errorf("%s is named and does not exist", m[1])
		}
	}
}
