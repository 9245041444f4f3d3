package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain lets the test binary be the program itself, for tests of its process: see startProcess.
func TestMain(m *testing.M) {
	if os.Getenv("BRIDGE_TEST_AS_PROGRAM") != "" {
		main()
		return
	}
	// A nats-server that is shut down while it makes a stream, as a bridge does that is stopped soon after its start, leaves these of that stream.
	const server = "github.com/nats-io/nats-server/v2/server"
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(server+".(*fileStore).flushStreamStateLoop"), goleak.IgnoreAnyFunction(server+"/ats.Register.func1"))
}

// patience is how long a condition may take to come true; only a test that fails waits for so long.
const patience = 30 * time.Second

// output is written by the program and read by a test.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed at the next write
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// line waits for the first whole line that holds text, and returns it.
func (o *output) line(t *testing.T, text string) string {
	t.Helper()
	timeout := time.After(patience)
	for {
		o.mu.Lock()
		have, more := o.text.String(), o.more
		o.mu.Unlock()
		for line := range strings.Lines(have) {
			if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
				return line
			}
		}
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("no line with %q in:\n%s", text, have)
		}
	}
}

// program is one run of the program in this process.
type program struct {
	stdout, stderr *output
	stop           context.CancelFunc // the first signal
	abort          chan struct{}      // closing it: the second one
	ended          chan struct{}
	err            error // once ended is closed
}

func start(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &program{stdout: newOutput(), stderr: newOutput(), stop: cancel, abort: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.err = run(ctx, p.abort, args, p.stdout, p.stderr)
	}()
	t.Cleanup(func() {
		cancel()
		<-p.ended
	})
	return p
}

// wait returns the error of a program that ends, or was stopped.
func (p *program) wait(t *testing.T) error {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("the program has not ended; it wrote:\n%s%s", p.stdout, p.stderr)
	}
	return p.err
}

// exec runs the program to its end.
func exec(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := start(t, args...)
	err := p.wait(t)
	code = report(err, p.stderr)
	return code, p.stdout.String(), p.stderr.String()
}

// eventually asks until the answer is true.
func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !ask() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// client keeps no connection: an idle one would look like a leak.
var client = http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// write makes a file that only we can read, and returns its path.
func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// replaceIn changes a file, which must hold the old text.
func replaceIn(t *testing.T, file, old, text string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(content), old) {
		t.Fatalf("%s: %v, or %q is not in it", file, err, old)
	}
	write(t, filepath.Dir(file), filepath.Base(file), strings.ReplaceAll(string(content), old, text))
}
