package sinktest

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
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

var documentedReason = regexp.MustCompile("(?m)^\\| `sink_([a-z_]+)` \\|")

// DocumentedReasons are the reasons that docs/health.md explains in the table with that head, sorted. It is for packages a folder below this one's parent.
func DocumentedReasons(t *testing.T, head string) (reasons []string) {
	t.Helper()
	document, err := os.ReadFile("../../../docs/health.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(document), "| "+head+" |")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, m := range documentedReason.FindAllStringSubmatch(table, -1) {
		reasons = append(reasons, m[1])
	}
	slices.Sort(reasons)
	return reasons
}
