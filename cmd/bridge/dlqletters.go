package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/admin"
	"github.com/taskbridge/taskbridge/internal/deadletter"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// ownLetters are those of the running bridge, as its admin listener shows and changes them.
type ownLetters struct {
	store *deadletter.Store
	log   deadletter.Log
}

// List implements admin.DeadLetters.
func (l ownLetters) List(_ context.Context, f admin.LetterFilter, skip int) (admin.LetterList, error) {
	return listLetters(l.store.Dir, f, skip, admin.MostLetters)
}

// Replay implements admin.DeadLetters.
func (l ownLetters) Replay(_ context.Context, ids []string) (int, error) {
	parsed, err := parseLetterIDs(ids)
	if err != nil {
		return 0, err
	}
	return l.store.Replay(parsed, l.log)
}

// Purge implements admin.DeadLetters.
func (l ownLetters) Purge(_ context.Context, ids []string) (int, error) {
	parsed, err := parseLetterIDs(ids)
	if err != nil {
		return 0, err
	}
	return l.store.Purge(parsed)
}

// folderLetters are those in the spool folder of a bridge that does not run.
type folderLetters struct {
	spool string
	log   *zap.Logger
}

// List implements admin.DeadLetters.
func (l folderLetters) List(_ context.Context, f admin.LetterFilter, skip int) (admin.LetterList, error) {
	return listLetters(deadLettersDir(l.spool), f, skip, math.MaxInt)
}

// Replay implements admin.DeadLetters.
func (l folderLetters) Replay(_ context.Context, ids []string) (int, error) {
	return l.take(ids, func(store *deadletter.Store, ids []deadletter.ID) (n int, err error) {
		log, err := spool.Open(spool.Options{Dir: l.spool, Log: l.log})
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		return store.Replay(ids, log)
	})
}

// Purge implements admin.DeadLetters.
func (l folderLetters) Purge(_ context.Context, ids []string) (int, error) {
	return l.take(ids, (*deadletter.Store).Purge)
}

// take opens the store for as long as do needs it.
func (l folderLetters) take(ids []string, do func(*deadletter.Store, []deadletter.ID) (int, error)) (n int, err error) {
	parsed, err := parseLetterIDs(ids)
	if err != nil {
		return 0, err
	}
	// Without bounds: those of the bridge's configuration are not known here.
	store, err := deadletter.Open(deadletter.Options{Dir: deadLettersDir(l.spool), MaxBytes: math.MaxInt64, MaxAge: math.MaxInt64, Log: l.log})
	if errors.Is(err, deadletter.ErrLocked) {
		return 0, fmt.Errorf("%w: a bridge runs there; leave out --spool to ask it", err)
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return do(store, parsed)
}

// errPage ends the reading of a folder when a page is full.
var errPage = errors.New("page is full")

// listLetters reads the folder of a store, also beside the bridge that has it open.
func listLetters(dir string, f admin.LetterFilter, skip, most int) (admin.LetterList, error) {
	list := admin.LetterList{Dir: dir}
	var err error
	list.Corrupt, err = deadletter.Each(dir, deadletter.Filter(f), func(l *deadletter.Letter) error {
		if skip > 0 {
			skip--
			return nil
		}
		if len(list.Letters) == most {
			list.More = true
			return errPage
		}
		list.Letters = append(list.Letters, describeLetter(l))
		return nil
	})
	if errors.Is(err, errPage) {
		err = nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: a bridge makes that folder in the one that spool.dir names", err)
	}
	return list, err
}

// describeLetter is what is told of a letter: not what is in its event.
func describeLetter(l *deadletter.Letter) admin.Letter {
	h := &l.Record.Header
	return admin.Letter{
		ID: l.ID().String(), Sink: l.Sink, Reason: l.Reason, Attempts: l.Attempts, FirstAt: l.FirstAt.Time(), At: l.At.Time(), FirstError: l.First,
		LastError: l.Last, EventID: h.ID, Type: string(h.Type), Subject: h.Subject, Agent: h.Agent, Bytes: len(l.Record.Data),
	}
}

func parseLetterIDs(texts []string) ([]deadletter.ID, error) {
	ids := make([]deadletter.ID, len(texts))
	for i, text := range texts {
		var err error
		if ids[i], err = deadletter.ParseID(text); err != nil {
			return nil, err
		}
	}
	return ids, nil
}
