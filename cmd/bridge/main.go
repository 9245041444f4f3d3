// Command bridge holds the sessions of contact-centre agents and publishes what they tell. Run `bridge --help`.
//
// This package alone knows every other: config.go composes the configuration, wire.go turns it into sources and sinks, and each command has
// a file of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// version is set at build time: -ldflags '-X main.version=v1.2.3'.
var version = "devel"

// lastWords is how long a command may take to say what is lost after a second signal.
const lastWords = 2 * time.Second

func main() {
	ctx, stop := context.WithCancel(context.Background())
	abort := make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		stop()
		<-signals
		close(abort)
		time.Sleep(lastWords) // a command that is stuck, or has nothing to lose, says nothing
		os.Exit(1)
	}()
	err := run(ctx, abort, os.Args[1:], os.Stdout, os.Stderr)
	os.Exit(report(err, os.Stderr))
}

// run is the program without its process. The end of ctx is the first signal: stop in order. The closing of abort is the second one: say
// what is lost and return at once.
func run(ctx context.Context, abort <-chan struct{}, args []string, stdout, stderr io.Writer) error {
	root := newRootCommand(abort)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return execute(ctx, root, args)
}

// usageError is one that the caller of the program can mend: the command line or the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// report tells the error and returns the exit code: 0 for none, 2 for a usageError, 1 for all others. There is no prefix, so that a
// configuration's problems begin with FILE:LINE:COLUMN, as editors like it.
func report(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintln(stderr, err) // there is nowhere else to tell it
	if errors.As(err, new(usageError)) {
		return 2
	}
	return 1
}
