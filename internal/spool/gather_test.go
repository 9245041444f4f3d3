package spool

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// countedSyncs counts the groups, each of which is synced.
type countedSyncs struct {
	Files
	n atomic.Int64
}

func (c *countedSyncs) Open(name string, flag int) (File, error) {
	f, err := c.Files.Open(name, flag)
	return countedFile{f, &c.n}, err
}

type countedFile struct {
	File
	n *atomic.Int64
}

func (f countedFile) Sync() error {
	f.n.Add(1)
	return f.File.Sync()
}

// TestDiskGathers: what comes in a steady stream becomes durable in groups; a lone record, and one that somebody waits for, at once.
func TestDiskGathers(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		files := &countedSyncs{Files: OS}
		d, err := Open(Options{Dir: dir, Files: files})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}()
		c := cursorOf(t, d, "facts", CursorOptions{})
		appended := 1
		one := func() {
			if _, err := d.Append(Normal, numbered(appended)); err != nil {
				t.Fatal(err)
			}
			appended++
		}
		add(t, d, 0, 1) // the first segment is made
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		<-c.Ready()
		time.Sleep(gather)

		began, before := time.Now(), files.n.Load()
		one()
		<-c.Ready()
		if waited := time.Since(began); waited != 0 {
			t.Errorf("a lone record waited %v", waited)
		}
		const most = 10
		for time.Since(began) < most*gather {
			one()
			time.Sleep(gather / 20)
		}
		if groups := files.n.Load() - before; groups > most+1 || groups < most-1 {
			t.Errorf("got %d groups of a stream of %v, want one every %v", groups, most*gather, gather)
		}
		for range most {
			began := time.Now()
			one()
			if err := d.Sync(); err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(began); waited != 0 {
				t.Errorf("who waits for a record waited %v", waited)
			}
		}
	})
}
