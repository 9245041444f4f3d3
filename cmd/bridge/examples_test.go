package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/taskbridge/taskbridge/internal/spool"
)

// longRunning are the commands that run until a signal, with what they have said once they work.
var longRunning = map[string]string{
	"bridge run":                 "session is live",
	"bridge simulate taskrouter": `"api_key"`,
	"bridge tap":                 "following the stream",
}

// asksABridge are the commands for which one must be running.
var asksABridge = map[string]bool{
	"bridge agents": true, "bridge loglevel": true, "bridge tap": true, "bridge dlq list": true, "bridge dlq show": true, "bridge dlq replay": true,
	"bridge dlq purge": true,
}

// Every example of every command's help is run as a reader would run it, in a folder with her bridge.yaml. Addresses are replaced by free
// ones, and the demos are made short.
func TestExamples(t *testing.T) {
	n := 0
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Example) {
			example, _, _ := strings.Cut(strings.TrimSpace(line), "   #")
			if example == "" || strings.HasPrefix(example, "#") {
				continue
			}
			n++
			t.Run(example, func(t *testing.T) { runExample(t, example) })
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRootCommand(nil))
	if n < 18 {
		t.Errorf("got %d examples, want those of all commands", n)
	}
}

func runExample(t *testing.T, example string) {
	sim := simulate(t, "--workers", "5", "--rate", "50")
	dir := t.TempDir()
	broker, adminAddress := free(t), free(t)
	nats := fmt.Sprintf(`{embedded: {dir: "%s", port: %s}, stream: FACTS}`, filepath.Join(dir, "broker"), broker[strings.LastIndexByte(broker, ':')+1:])
	file := configure(t, sim, nats, "")
	replaceIn(t, file, `admin: {listen: "127.0.0.1:0"}`, fmt.Sprintf("admin: {listen: %q}", adminAddress))
	simulated := strings.TrimSuffix(sim.ControlURL, "/_sim")
	addresses := strings.NewReplacer("http://127.0.0.1:8090", simulated, "nats://127.0.0.1:4222", "nats://"+broker, "127.0.0.1:4223", broker,
		"port: 4223", "port: 0", "--source support", "--source simulator", "/tmp/taskbridge-evaluation", filepath.Join(dir, "evaluation"))
	copyConfigs(t, filepath.Join(filepath.Dir(file), "configs"), func(text string) string {
		return addresses.Replace(text) + "\nhealth: {listen: \"127.0.0.1:0\"}\nadmin: {listen: \"127.0.0.1:0\"}\n"
	})
	t.Chdir(filepath.Dir(file))

	args := words(addresses.Replace(example))
	if args[0] == "curl" {
		if len(args) != 4 || args[1] != "-d" {
			t.Fatalf("the test understands curl -d BODY URL, not %q", args)
		}
		response, err := client.Post(args[3], "application/json", strings.NewReader(args[2]))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode >= 300 {
			t.Errorf("got status %d", response.StatusCode)
		}
		return
	}
	output := ""
	if i := len(args) - 2; i > 0 && args[i] == ">" {
		args, output = args[:i], args[i+1]
	}
	cmd, _, err := newRootCommand(nil).Find(args[1:])
	if err != nil {
		t.Fatal(err)
	}
	name := cmd.CommandPath()
	folder := strings.Contains(example, " --spool ")
	if strings.HasPrefix(name, "bridge spool ") { // of a bridge that has been there
		p := start(t, "run", "-c", "bridge.yaml")
		p.stderr.line(t, "session is live")
		p.stop()
		if err := p.wait(t); err != nil {
			t.Fatal(err)
		}
	}
	if strings.HasPrefix(name, "bridge dlq ") {
		setAside(t, "spool", aLetter())
		withSpool(t, "spool", []string{"facts"}, func(c spool.Cursor) {
			if err := c.Save(nil); err != nil {
				t.Fatal(err)
			}
		})
	}
	switch {
	case name == "bridge demo":
		if i := slices.Index(args, "--brokers"); i > 0 {
			args[i+1] = fakeKafka(t)
		}
		args = append(args, "--duration", "1s", "--agents", "10", "--rate", "40")
	case name == "bridge simulate taskrouter":
		args = append(args, "--listen", "127.0.0.1:0")
	case asksABridge[name] && !strings.Contains(example, " -c ") && !folder && name != "bridge tap":
		args = append(args, "--admin", adminAddress)
	}
	if asksABridge[name] && !folder {
		running := write(t, ".", "running.yaml", read(t, "bridge.yaml"))
		start(t, "run", "-c", running).stderr.line(t, "session is live")
		// Who asks it has none of its secrets, and may be looking for what is wrong with its roster.
		replaceIn(t, "bridge.yaml", "api_secret_file: api-secret", `api_secret: "${TASKROUTER_API_SECRET}"`)
		replaceIn(t, "bridge.yaml", "agents: ["+strings.Join(sim.Workers, ", ")+"]", "agents: {file: nowhere}")
	} else {
		t.Setenv("TASKROUTER_API_SECRET", sim.APISecret)
	}
	if until := longRunning[name]; until != "" {
		p := start(t, args[1:]...)
		eventually(t, until, func() bool {
			select {
			case <-p.ended:
				t.Fatalf("ended: %v\n%s%s", p.err, p.stdout, p.stderr)
			default:
			}
			return strings.Contains(p.stdout.String()+p.stderr.String(), until)
		})
		p.stop()
		if err := p.wait(t); err != nil {
			t.Errorf("got %v, want a clean end", err)
		}
		return
	}
	code, stdout, stderr := exec(t, args[1:]...)
	if code != 0 || stdout == "" {
		t.Errorf("got exit code %d, %q and %s", code, stdout, stderr)
	}
	if output != "" {
		write(t, ".", output, stdout)
	}
}

// free is an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// copyConfigs copies the repository's evaluation.yaml, which examples name, to dir.
func copyConfigs(t *testing.T, dir string, change func(string) string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(repository, "configs/evaluation.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "evaluation.yaml", change(string(content)))
}

// repository is the folder of the repository, also after a test has changed the working folder.
var repository = func() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return dir
}()

// words splits a command line as a shell does, as far as the examples need it: at spaces, but not between single or double quotes.
func words(line string) []string {
	var all []string
	var word strings.Builder
	quote := rune(0)
	end := func() {
		if word.Len() > 0 {
			all = append(all, word.String())
			word.Reset()
		}
	}
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case quote == 0 && c == ' ':
			end()
		default:
			word.WriteRune(c)
		}
	}
	end()
	return all
}
