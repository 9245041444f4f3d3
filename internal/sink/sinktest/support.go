package sinktest

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/taskbridge/taskbridge/internal/sink"
)

// Lines collect what is logged. The zero value is ready. Safe for concurrent use.
type Lines struct {
	mu  sync.Mutex
	all strings.Builder
}

// Write implements io.Writer.
func (l *Lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

// String is all that was logged.
func (l *Lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// Logger logs every level into the lines, as JSON.
func (l *Lines) Logger() *zap.Logger {
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(l), zap.DebugLevel))
}

// Gate is what answers pass on their way to a sink. Make it with [NewGate]. Safe for concurrent use.
type Gate struct {
	mu   sync.Mutex
	open chan struct{} // closed while answers may pass
}

// NewGate is an open gate.
func NewGate() *Gate {
	g := &Gate{open: make(chan struct{})}
	close(g.open)
	return g
}

// Wait returns when the gate is open that was there at the call.
func (g *Gate) Wait() {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
}

// Hold closes the gate, or opens it.
func (g *Gate) Hold(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		if on {
			g.open = make(chan struct{})
		}
	default:
		if !on {
			close(g.open)
		}
	}
}

const (
	patience = 90 * time.Second
	ending   = 10 * time.Second
)

// Connect connects s, and closes it at the end of the test.
func Connect(t *testing.T, s interface {
	sink.Sink
	Connect(ctx context.Context)
},
) {
	t.Helper()
	s.Connect(t.Context())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), ending)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// Eventually waits until what succeeds.
func Eventually(t *testing.T, what func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := until(ctx, what); err != nil {
		t.Fatal(err)
	}
}

// Answer waits for a batch's answer.
func Answer(t *testing.T, answers <-chan error) error {
	t.Helper()
	select {
	case err := <-answers:
		return err
	case <-time.After(patience):
		t.Fatal("no answer")
		return nil
	}
}

// DocumentedReasons are the reasons that docs/health.md explains in the table with that head, sorted. It is for packages a folder below this one's parent.
func DocumentedReasons(t *testing.T, head string) []string {
	t.Helper()
	return documented(t, "health.md", head, "sink_")
}

// DocumentedDeadLetters are the reasons that docs/deadletters.md explains for that kind of sink, sorted. It is for packages a folder below this one's parent.
func DocumentedDeadLetters(t *testing.T, kind string) []string {
	t.Helper()
	return documented(t, "deadletters.md", "reason ("+kind+")", "")
}

// documented are the words that begin the rows of a page's table with that head, without their prefix, sorted.
func documented(t *testing.T, page, head, prefix string) (words []string) {
	t.Helper()
	document, err := os.ReadFile("../../../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(document), "| "+head+" |")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, m := range regexp.MustCompile("(?m)^\\| `"+prefix+"([a-z_]+)` \\|").FindAllStringSubmatch(table, -1) {
		words = append(words, m[1])
	}
	slices.Sort(words)
	return words
}
