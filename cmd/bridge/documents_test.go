package main

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/sink/kafka"
)

// certificate is one in PEM form.
func certificate() string {
	server := httptest.NewTLSServer(nil)
	server.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

var (
	yamlBlock         = regexp.MustCompile("(?s)```yaml\n(.*?)```")
	goodSources, _, _ = strings.Cut(good, "sinks:\n")
)

// The configurations that the documents show are valid as they stand; those that show sinks alone, with valid sources above.
func TestDocumentedConfigurations(t *testing.T) {
	authority := certificate()
	for _, file := range []string{"README.md", "docs/quickstart-twilio.md", "docs/quickstart-kafka.md", "docs/sinks.md"} {
		blocks := yamlBlock.FindAllStringSubmatch(read(t, filepath.Join(repository, file)), -1)
		if len(blocks) == 0 {
			t.Errorf("%s shows no configuration", file)
		}
		for _, b := range blocks {
			document := b[1]
			if strings.HasPrefix(document, "sinks:") {
				document = goodSources + document
			}
			validDocument(t, file, document, authority)
		}
	}
}

// validDocument validates a configuration that file shows, beside the files that it names.
func validDocument(t *testing.T, file, document, authority string) {
	t.Helper()
	t.Setenv("BRIDGE_TEST_SECRET", "a secret")
	dir := t.TempDir()
	for _, secret := range []string{"secret", "kafka-password", "kafka-token", "kafka-secret"} {
		write(t, dir, secret, "a secret")
	}
	write(t, dir, "ca.pem", authority)
	if code, _, stderr := exec(t, "validate", "-c", write(t, dir, "bridge.yaml", document)); code != 0 {
		t.Errorf("%s: got exit code %d and %s of\n%s", file, code, stderr, document)
	}
}

// docs/sinks.md has every setting of a Kafka sink and nothing else, and its logins are valid and as many as there are ways to make one.
func TestKafkaPage(t *testing.T) {
	_, page, _ := strings.Cut(read(t, filepath.Join(repository, "docs/sinks.md")), "\n## Kafka\n")
	table, _, _ := strings.Cut(page, "\n### ")
	var got, want []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(table, -1) {
		got = append(got, row[1])
	}
	for field := range reflect.TypeFor[kafka.Config]().Fields() {
		want = append(want, field.Tag.Get("yaml"))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-program +docs/sinks.md):\n%s", diff)
	}
	logins := regexp.MustCompile("(?m)^\\| `(\\{mechanism: .*?\\})` \\|").FindAllStringSubmatch(page, -1)
	if len(logins) != 5 {
		t.Errorf("got %d logins, want 5", len(logins))
	}
	for _, login := range logins {
		validDocument(t, "docs/sinks.md", goodSources+"sinks: [{name: facts, kafka: {brokers: [\"localhost:9092\"], tls: {}, sasl: "+login[1]+"}}]\n", "")
	}
}

// The mistake that the quick start shows is told in these words.
func TestDocumentedMistake(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing on Windows")
	}
	text, err := os.ReadFile("../../docs/quickstart-twilio.md")
	if err != nil {
		t.Fatal(err)
	}
	_, document, _ := strings.Cut(string(text), "```yaml\n")
	document, _, _ = strings.Cut(document, "```")
	t.Chdir(t.TempDir())
	write(t, ".", "bridge.yaml", document)
	write(t, ".", "secret", "a secret")
	if err := os.Chmod("secret", 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := exec(t, "validate", "-c", "bridge.yaml"); code != 2 || !strings.Contains(string(text), "    "+stderr) {
		t.Errorf("got exit code %d and %s, which the quick start does not show", code, stderr)
	}
}
