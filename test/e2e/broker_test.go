package e2e

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// natsServer is the nats-server of the module that go.mod names, made once.
var natsServer = sync.OnceValues(func() (string, error) {
	path := filepath.Join(folder, "nats-server")
	out, err := exec.Command("go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build: %w: %s", err, out)
	}
	return path, err
})

// broker is a nats-server in a process of its own, whose files outlive it. Each start takes another port; bridges reach it through the gate, which
// keeps its address.
type broker struct {
	dir     string
	window  time.Duration // the duplicate window of the stream
	running *process
	address string // of its present port
	url     string
	gate    *gate
}

func newBroker(t *testing.T, window time.Duration) *broker {
	t.Helper()
	b := &broker{dir: t.TempDir(), window: window, gate: newGate(t)}
	b.allow(t)
	b.start(t)
	return b
}

// allow says what the bridge may not publish.
func (b *broker) allow(t *testing.T, but ...string) {
	t.Helper()
	write(t, b.dir, "nats.conf", fmt.Sprintf(`listen: "127.0.0.1:-1"
jetstream { store_dir: %q }
authorization { users: [{ user: bridge, password: any, permissions: { publish: { allow: ">", deny: [%s] } } }] }
no_auth_user: bridge
`, filepath.Join(b.dir, "jetstream"), strings.Join(but, ", ")))
	if b.running != nil {
		if err := b.running.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		b.running.stderr.wait(t, "Reloaded server configuration")
	}
}

var listens = regexp.MustCompile(`Listening for client connections on (\S+)`)

func (b *broker) start(t *testing.T) {
	t.Helper()
	path, err := natsServer()
	if err != nil {
		t.Fatal(err)
	}
	b.running = spawn(t, path, nil, "--config", filepath.Join(b.dir, "nats.conf"))
	b.running.stderr.wait(t, "Server is ready")
	b.address = listens.FindStringSubmatch(b.running.stderr.String())[1]
	b.url = "nats://" + b.address
	b.gate.lead(b.address)
}

// kill is kill -9.
func (b *broker) kill(t *testing.T) {
	t.Helper()
	b.running.kill(t)
	b.running = nil
	b.gate.lead("")
}

// doubt kills the broker when it has stored events whose confirmation the bridge has not got.
func (b *broker) doubt(t *testing.T) {
	t.Helper()
	b.gate.withhold()
	<-time.After(500 * time.Millisecond)
	b.kill(t)
	b.gate.pass()
}

// sink is its section of the configuration.
func (b *broker) sink() string {
	return fmt.Sprintf(`url: "nats://%s", duplicate_window: %v`, b.gate.listener.Addr(), b.window)
}

// gate stands between a bridge and its broker. While the broker is away it hangs up.
type gate struct {
	listener net.Listener
	running  sync.WaitGroup

	mu   sync.Mutex
	to   string
	held chan struct{} // closed when answers pass
	open map[net.Conn]bool
	came int // connections
}

func newGate(t *testing.T) *gate {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{listener: listener, held: make(chan struct{}), open: map[net.Conn]bool{}}
	close(g.held)
	g.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			g.running.Go(func() { g.join(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		g.pass()
		g.lead("")
		g.running.Wait()
	})
	return g
}

// lead cuts all connections; those to come lead to another address, "" to nobody.
func (g *gate) lead(to string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.to = to
	for conn := range g.open {
		_ = conn.Close()
	}
}

// count is how many connections were made.
func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.came
}

// withhold keeps back what the broker answers. What a cut finds kept back is lost.
func (g *gate) withhold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = make(chan struct{})
}

// pass undoes withhold.
func (g *gate) pass() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.held:
	default:
		close(g.held)
	}
}

func (g *gate) join(from net.Conn) {
	defer func() { _ = from.Close() }()
	g.mu.Lock()
	g.came++
	address := g.to
	g.mu.Unlock()
	if address == "" {
		return
	}
	to, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	g.mu.Lock()
	current := g.to == address
	if current {
		g.open[from], g.open[to] = true, true
	}
	g.mu.Unlock()
	if !current {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(delayed{g, from}, to)
		_ = from.Close()
	})
	_, _ = io.Copy(to, from)
	_ = to.Close()
	_ = from.Close()
	back.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, from)
	delete(g.open, to)
}

// delayed is written to once answers pass.
type delayed struct {
	g  *gate
	to net.Conn
}

func (h delayed) Write(p []byte) (int, error) {
	h.g.mu.Lock()
	passes := h.g.held
	h.g.mu.Unlock()
	<-passes
	return h.to.Write(p)
}
