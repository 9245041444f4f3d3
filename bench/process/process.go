// Package process starts the programs of a measurement, ends them by their process id, and reads what they cost from /proc. Linux only.
package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a program that runs. Safe for concurrent use.
type Process struct {
	name  string
	cmd   *exec.Cmd
	input io.Closer // of the program, where it is held open; else nil
	ended chan struct{}

	mu    sync.Mutex
	tail  []string // of what it wrote
	fault error    // of its end
	over  bool     // it is meant to end
}

// Command is a program to start.
type Command struct {
	Path string
	Args []string
	Env  []string // more than this program's own
	Dir  string
	// Held: its standard input stays open until it is to end, so that it notes the end of this program, however that ends. Else there is none.
	Held bool
	// Ready is asked for every line that the program writes, to standard output or standard error, until it returns true. Nil: ready at once.
	Ready func(line string) bool
}

const (
	readyWithin = time.Minute // three Kafka nodes take most of it on a busy machine
	endsWithin  = 20 * time.Second
	tailLines   = 10
)

// Start starts a program in a process group of its own, so that a key pressed at the terminal reaches only this program, which ends the others in order.
// It returns when the program is ready. When ctx ends the program is ended; whoever starts one calls [Process.Stop] in any case.
func Start(ctx context.Context, c Command) (*Process, error) {
	p := &Process{name: filepath.Base(c.Path), ended: make(chan struct{})}
	if len(c.Args) > 0 {
		p.name += " " + c.Args[0]
	}
	p.cmd = exec.Command(c.Path, c.Args...)
	p.cmd.Env = append(p.cmd.Environ(), c.Env...)
	p.cmd.Dir = c.Dir
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if c.Held {
		input, err := p.cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		p.input = input
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	ready := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() { p.read(r, c.Ready, ready) })
	go func() {
		err := p.cmd.Wait()
		_ = w.Close() // never fails
		readers.Wait()
		p.mu.Lock()
		p.fault = err
		p.mu.Unlock()
		close(p.ended)
	}()
	timeout := time.NewTimer(readyWithin)
	defer timeout.Stop()
	var err error
	select {
	case <-ready:
		return p, nil
	case <-p.ended:
		return nil, p.Err()
	case <-timeout.C:
		err = fmt.Errorf("%s is not ready within %v; it wrote:\n%s", p.name, readyWithin, p.Tail())
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, errors.Join(err, p.Stop())
}

// read takes note of what the program writes.
func (p *Process) read(r io.Reader, isReady func(string) bool, ready chan<- struct{}) {
	if isReady == nil {
		close(ready)
	}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			p.mu.Lock()
			p.tail = append(p.tail, line)
			if len(p.tail) > tailLines {
				p.tail = slices.Delete(p.tail, 0, 1)
			}
			p.mu.Unlock()
			if isReady != nil && isReady(strings.TrimSuffix(line, "\n")) {
				close(ready)
				isReady = nil
			}
		}
		if err != nil {
			return
		}
	}
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Tail is the last of what the program wrote.
func (p *Process) Tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.tail, "")
}

// Err is nil while the program runs; later it says that, and why, it has ended, unless it was meant to.
func (p *Process) Err() error {
	select {
	case <-p.ended:
	default:
		return nil
	}
	p.mu.Lock()
	fault, over := p.fault, p.over
	p.mu.Unlock()
	if over {
		return nil
	}
	if fault == nil {
		return fmt.Errorf("%s has ended; it wrote:\n%s", p.name, p.Tail())
	}
	return fmt.Errorf("%s has ended: %w; it wrote:\n%s", p.name, fault, p.Tail())
}

// Stop asks the program to end, and kills it when it does not in 20 s. It is a no-op once the program has ended. Errors: it had ended before, or had
// to be killed.
func (p *Process) Stop() error {
	select {
	case <-p.ended: // its id may be another's by now
		return p.Err()
	default:
	}
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	p.signal(syscall.SIGTERM)
	if p.input != nil {
		_ = p.input.Close() // it may have been told
	}
	timeout := time.NewTimer(endsWithin)
	defer timeout.Stop()
	select {
	case <-p.ended:
		return nil
	case <-timeout.C:
	}
	p.signal(syscall.SIGKILL)
	<-p.ended
	return fmt.Errorf("%s did not end within %v and was killed; it wrote:\n%s", p.name, endsWithin, p.Tail())
}

// signal reaches the program and what it may have started.
func (p *Process) signal(s syscall.Signal) {
	_ = syscall.Kill(-p.PID(), s) // it has ended already
}
