package main

import (
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/sink/kafka"
)

// settingPattern is a setting that a comment shows: a section, or a key below one.
var settingPattern = regexp.MustCompile(`^ *[a-z_]+:(\n| +[^ ])`)

// good is a valid configuration; the problems below are made by changing it.
const good = `sources:
  - name: support
    taskrouter:
      account: AC00000000000000000000000000000001
      workspace: WS00000000000000000000000000000001
      api_key: SK00000000000000000000000000000001
      api_secret: ${BRIDGE_TEST_SECRET}
      agents: [WK00000000000000000000000000000001]
sinks:
  - name: facts
    nats: {url: "nats://127.0.0.1:4222", stream: FACTS}
`

func TestBadConfigurations(t *testing.T) {
	t.Setenv("BRIDGE_TEST_SECRET", "hunter2")
	replace := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(good) }
	everybody, sinks, _ := strings.Cut(replace("sources:\n", "", "[WK00000000000000000000000000000001]", "all"), "sinks:\n")
	const noFile = ": no such file or directory"
	const types = "session.*, agent.*, reservation.*, task.*, bridge.*, or one type as docs/events.md has it without taskbridge. and .v1, such as reservation.accepted"
	const subjects = "subjects of its own, as a server gives each to one stream only: another first word, such as crm.{provider}.{account}.{noun}.{verb}.{agent}"
	const secretFile = "; allowed: a file with the secret in it that nobody but its owner and group can open"
	for name, test := range map[string]struct {
		document string
		want     []string // DIR stands for the configuration's folder
	}{
		"empty": {"", []string{
			"1:1: the file is empty; allowed: a mapping with the keys admin, bridge, dead_letters, health, logging, privacy, sinks, sources, spool",
		}},
		"nothing in it": {"sources: []\n", []string{
			"1:1: sources: missing; allowed: a list of at least one source",
			"1:1: sinks: missing; allowed: a list of at least one sink",
		}},
		"spool": {good + "spool: {dir: \"\"}\n", []string{"12:14: spool.dir: empty; allowed: a path"}},
		"dead letters": {good + "dead_letters: {max_bytes: 1KiB, max_age: 1s}\n", []string{
			"12:27: dead_letters.max_bytes: out of range; allowed: 1MiB to 1TiB",
			"12:42: dead_letters.max_age: out of range; allowed: 1h to 3650d",
		}},
		"no kinds": {"sources:\n  - name: support\nsinks:\n  - name: facts\n", []string{
			"2:5: sources[0]: no kind of source; allowed: exactly one of taskrouter",
			"4:5: sinks[0]: no kind of sink; allowed: exactly one of nats, kafka",
		}},
		"names": {
			replace("name: support", "name: Support", "name: facts", "name: "+strings.Repeat("x", 33)), []string{
				"2:11: sources[0].name: not valid; allowed: 1 to 32 lower-case letters, digits and -",
				"10:11: sinks[0].name: not valid; allowed: 1 to 32 lower-case letters, digits and -",
			},
		},
		"filters": {
			good + `    start: then
    filter: {types: [reservation.*, reservation.acepted, taskbridge.task.updated.v1, ""], providers: [amazon_connect], accounts: [AC1], origins: []}
  - name: crm
    nats: {url: "nats://127.0.0.1:4222", stream: CRM}
    filter: {types: [task.updated, session.gap, task.updated], accounts: [AC00000000000000000000000000000001], kinds: []}
  - name: again
    nats: {url: "nats://127.0.0.1:4222", stream: FACTS}
  - {name: elsewhere, nats: {url: "nats://127.0.0.1:5222", stream: FACTS}}
  - {name: other-account, nats: {url: "nats://127.0.0.1:4222", stream: FACTS, user: crm, password: "${BRIDGE_TEST_SECRET}"}}
`, []string{
				"12:12: sinks[0].start: not a known word; allowed: oldest, now",
				"13:37: sinks[0].filter.types[1]: not a known word; allowed: " + types,
				"13:58: sinks[0].filter.types[2]: not a known word; allowed: " + types,
				"13:86: sinks[0].filter.types[3]: not a known word; allowed: " + types,
				"13:103: sinks[0].filter.providers[0]: not a known word; allowed: twilio",
				"13:131: sinks[0].filter.accounts[0]: not a known word; allowed: AC00000000000000000000000000000001",
				"13:137: sinks[0].filter.origins: empty; allowed: socket, snapshot, backfill, webhook, bridge; leave it out for all",
				"15:5: sinks[1].nats.subject: in common with sinks[0], on one server; allowed: " + subjects,
				"16:49: sinks[1].filter.types[2]: given twice, first as [0]; allowed: each word once",
				"16:112: sinks[1].filter.kinds: unknown key; allowed: accounts, origins, providers, types",
				"18:5: sinks[2].nats.subject: in common with sinks[1], on one server; allowed: " + subjects,
				"18:50: sinks[2].nats.stream: in common with sinks[0], on one server; allowed: each stream in one sink: what both get would be stored twice",
			},
		},
		"names and agents twice": {
			replace("sinks:\n", strings.SplitN(strings.SplitN(good, "sinks:\n", 2)[0], "sources:\n", 2)[1]+"sinks:\n  - name: facts\n    nats: {url: \"tls://broker\", stream: A}\n"),
			[]string{
				"9:11: sources[1].name: the name of sources[0] too; allowed: each name once",
				"15:16: sources[1].taskrouter.agents[0]: served by sources[0] too; allowed: each agent in one source",
				"19:11: sinks[1].name: the name of sinks[0] too; allowed: each name once",
			},
		},
		"agents": {
			replace("[WK00000000000000000000000000000001]", "[WK1, WK00000000000000000000000000000001, WK00000000000000000000000000000001]"), []string{
				"8:16: sources[0].taskrouter.agents[0]: not valid; allowed: WK followed by 32 hex digits",
				"8:57: sources[0].taskrouter.agents[2]: given twice, first as [1]; allowed: each agent once",
			},
		},
		"no agents": {
			replace("      agents: [WK00000000000000000000000000000001]\n", ""), []string{
				"3:5: sources[0].taskrouter.agents: missing; allowed: all, a list of agents, each WK followed by 32 hex digits, or a mapping with one of all, expression, file",
			},
		},
		"two ways to agents": {
			replace("[WK00000000000000000000000000000001]", "{expression: x, file: agents.txt, refresh: 2d}"), []string{
				"8:7: sources[0].taskrouter.agents: several ways to name the agents; allowed: exactly one of all, expression, file",
				"8:37: sources[0].taskrouter.agents.file: roster file: stat DIR/agents.txt" + noFile,
				"8:58: sources[0].taskrouter.agents.refresh: out of range; allowed: 1s to 1d",
			},
		},
		"agents in a bad file": {
			replace("[WK00000000000000000000000000000001]", "{file: bridge.yaml}"), []string{
				"8:22: sources[0].taskrouter.agents.file: 1: not an agent; allowed: WK followed by 32 hex digits, one per line; # begins a comment",
			},
		},
		"a listing of nowhere": {
			replace("[WK00000000000000000000000000000001]", "all", "      agents", "      event_bridge_url: http://127.0.0.1:1/x\n      agents"), []string{
				"3:5: sources[0].taskrouter.taskrouter_url: missing beside event_bridge_url; allowed: the REST API's URL, which lists the workers",
			},
		},
		"secrets that cannot be read": {
			replace("api_secret: ${BRIDGE_TEST_SECRET}", "api_secret_file: secret", "stream: FACTS", "stream: FACTS, creds_file: creds"), []string{
				"7:24: sources[0].taskrouter.api_secret_file: secret file: stat DIR/secret" + noFile + secretFile,
				"11:69: sinks[0].nats.creds_file: secret file: stat DIR/creds" + noFile + secretFile,
			},
		},
		"a secret in the file": {
			replace("${BRIDGE_TEST_SECRET}", "hunter2"), []string{
				"7:19: sources[0].taskrouter.api_secret: a secret in the configuration file itself; allowed: put it into a file and set api_secret_file, " +
					"or write api_secret: ${NAME} for an environment variable",
			},
		},
		"inside the sections": {
			replace("AC00000000000000000000000000000001", "AC1", "stream: FACTS", "stream: FACTS, mode: loose"), []string{
				"4:16: sources[0].taskrouter.account: not valid; allowed: AC followed by 32 hex digits",
				"11:63: sinks[0].nats.mode: not a known word; allowed: structured, binary",
			},
		},
		"a sink of two kinds": {
			replace("stream: FACTS}", "stream: FACTS}\n    kafka: {brokers: [\"127.0.0.1:9092\"]}"), []string{
				"12:5: sinks[0].kafka: set together with nats; allowed: exactly one of nats, kafka",
			},
		},
		"kafka": {
			replace("nats: {url: \"nats://127.0.0.1:4222\", stream: FACTS}",
				"kafka: {brokers: [\"127.0.0.1\"], topic: \"facts.{agent}\", compression: rar, topic_config: {retention.ms: 1}, sasl: {mechanism: plain, user: bridge}}"), []string{
				"11:23: sinks[0].kafka.brokers[0]: not an address; allowed: host:port, without a scheme",
				"11:44: sinks[0].kafka.topic: {agent} is not a placeholder of topics; allowed: " + kafka.TopicAllowed,
				"11:74: sinks[0].kafka.compression: not a known word; allowed: none, gzip, snappy, lz4, zstd",
				"11:79: sinks[0].kafka.topic_config: set without create; allowed: create: true; settings of an existing topic are never changed",
				"11:112: sinks[0].kafka.sasl.password: missing; allowed: put it into a file and set password_file, or write password: ${NAME} for an environment variable",
			},
		},
		"privacy": {
			good + "privacy:\n  agent_attributes: {email: hash, skill: guess}\n  free_text: truncate:0\n  hash_key: k\n", []string{
				"13:3: privacy.agent_attributes: \"email\": the hash rule needs hash_key_file: name a file with at least 32 random bytes",
				"13:3: privacy.agent_attributes: \"skill\": not a rule; allowed: keep, drop, hash, truncate:N with N from 1 to 4096",
				"14:14: privacy.free_text: not a rule; allowed: keep, drop, hash, truncate:N with N from 1 to 4096",
				"15:3: privacy.hash_key: unknown key; allowed: agent_attributes, agent_name, free_text, hash_key_file, raw, task_attributes",
			},
		},
		"a hash key that is not there": {
			good + "privacy: {hash_key_file: key}\n", []string{"12:26: privacy.hash_key_file: secret file: stat DIR/key" + noFile},
		},
		"one address for both listeners": {
			good + "health: {listen: \":8081\"}\n", []string{"1:1: admin.listen: the address of health.listen too; allowed: another port; off"},
		},
		"a workspace twice": {
			"sources:\n" + everybody + strings.Replace(everybody, "support", "again", 1) + "sinks:\n" + sinks,
			[]string{"15:15: sources[1].taskrouter.agents: sources[0] serves all agents of this workspace too; allowed: each agent in one source"},
		},
		"a variable that is not set": {
			replace("api_secret: ${BRIDGE_TEST_SECRET}", "api_secret_file: ${BRIDGE_TEST_UNSET}"), []string{
				"7:24: sources[0].taskrouter.api_secret_file: environment variable BRIDGE_TEST_UNSET is not set; allowed: set it before the bridge starts: export BRIDGE_TEST_UNSET=…",
			},
		},
		"settings": {
			good + `bridge: {id: "a b", partition_by: queue, dial_rate: 0, silence_limit: 10ms, refused_retry: 2d, drain_timeout: 30, stop: now}
spool: {max_bytes: 1KiB, survives: anything, full: never, dir: ""}
logging: {level: loud, format: xml}
health: {listen: 8080, min_live: most}
admin: {listen: ":8081"}
`, []string{
				"12:14: bridge.id: not valid; allowed: 1 to 64 letters, digits, . _ and -; the default is the host's name",
				"12:35: bridge.partition_by: not a known word; allowed: task, agent",
				"12:53: bridge.dial_rate: out of range; allowed: 0.1 to 1000",
				"12:71: bridge.silence_limit: out of range; allowed: 1s to 10m",
				"12:92: bridge.refused_retry: out of range; allowed: 1s to 1d",
				"12:111: bridge.drain_timeout: not a duration; allowed: zero or more with a unit, such as 500ms, 30s, 5m, 1h30m, 7d",
				"12:121: bridge.stop: not a known word; allowed: auto, fast, drain",
				"13:20: spool.max_bytes: out of range; allowed: 32MiB to 1TiB",
				"13:36: spool.survives: not a known word; allowed: power_loss, process_crash",
				"13:52: spool.full: not a known word; allowed: gap, skip_slowest",
				"13:64: spool.dir: empty; allowed: a path",
				"14:18: logging.level: not a known word; allowed: debug, info, warn, error",
				"14:32: logging.format: not a known word; allowed: json, console",
				"15:18: health.listen: not an address; allowed: host:port such as 127.0.0.1:8080, or :8080 for every interface",
				"15:34: health.min_live: not a floor; allowed: a number of agents such as 10, or a share of the roster from 0% to 100%",
				"16:17: admin.listen: not a loopback address; allowed: 127.0.0.1:8081, [::1]:8081 or another port there; off",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := write(t, dir, "bridge.yaml", test.document)
			for _, command := range []string{"validate", "run"} {
				code, stdout, stderr := exec(t, command, "-c", file)
				if code != 2 || stdout != "" {
					t.Errorf("%s: got exit code %d and %q, want 2 and nothing", command, code, stdout)
				}
				got := strings.ReplaceAll(strings.ReplaceAll(stderr, file+":", ""), dir, "DIR")
				if diff := cmp.Diff(test.want, strings.Split(strings.TrimSuffix(got, "\n"), "\n")); diff != "" {
					t.Errorf("%s: problems (-want +got):\n%s", command, diff)
				}
			}
		})
	}
}

func TestValidateShowsWhatWouldRun(t *testing.T) {
	t.Setenv("BRIDGE_TEST_SECRET", "hunter2")
	file := write(t, t.TempDir(), "bridge.yaml", good+"bridge: {id: pod-1, partition_by: agent}\nprivacy: {raw: true}\n")
	code, stdout, stderr := exec(t, "validate", "--config", file)
	want := file + ` is valid. It would run:
  bridge  pod-1: order per agent, at most 50 dials/s, sessions silent for 30s are replaced
  source  support: Twilio TaskRouter, workspace WS00000000000000000000000000000001, 1 agents, at Twilio, region us1
  sink    facts: NATS JetStream, stream FACTS with subjects contact.*.*.*.*.*, structured mode, at nats://127.0.0.1:4222
          gets all types
  privacy RAW PAYLOADS ARE PUBLISHED, personal data included
  spool   up to 8GiB in ` + filepath.Join(filepath.Dir(file), "spool") + `, survives power loss, full: gap, stop: auto
  health  http://127.0.0.1:8080 with /metrics, /livez, /readyz; ready with 50% of the agents live
  admin   http://127.0.0.1:8081 for bridge agents and bridge loglevel
`
	if diff := cmp.Diff(want, stdout); code != 0 || stderr != "" || diff != "" {
		t.Errorf("got exit code %d, %q; output (-want +got):\n%s", code, stderr, diff)
	}
}

func TestValidateShowsTheRoster(t *testing.T) {
	t.Setenv("BRIDGE_TEST_SECRET", "hunter2")
	dir := t.TempDir()
	path := write(t, dir, "agents.txt", "WK00000000000000000000000000000001 # alice\n")
	for agents, want := range map[string]string{
		"all":                              "all agents, listed every 1m",
		"{all: true, refresh: 5m}":         "all agents, listed every 5m",
		"{expression: 'skill == \"x\"'}":   "agents that match skill == \"x\", listed every 1m",
		"{file: agents.txt, refresh: 10s}": "agents in " + path + ", read every 10s",
	} {
		file := write(t, dir, "bridge.yaml", strings.ReplaceAll(good, "[WK00000000000000000000000000000001]", agents))
		code, stdout, stderr := exec(t, "validate", "-c", file)
		if code != 0 || !strings.Contains(stdout, ", workspace WS00000000000000000000000000000001, "+want+", at Twilio, region us1\n") {
			t.Errorf("%s: got exit code %d, %s and\n%s\nwant %s", agents, code, stderr, stdout, want)
		}
	}
}

// Every file in configs is valid where the secrets that it names exist, and so are the settings that it shows as comments.
func TestConfigs(t *testing.T) {
	t.Setenv("TASKROUTER_API_SECRET", "a secret")
	authority := certificate()
	files, err := filepath.Glob("../../configs/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %d files, %v", len(files), err)
	}
	agents, err := os.ReadFile("../../configs/agents.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for _, secret := range []string{"twilio-api-secret", "twilio-api-secret-ie1", "bridge.creds", "kafka-password"} {
			write(t, dir, "secrets/"+secret, "a secret")
		}
		write(t, dir, "secrets/hash-key", strings.Repeat("k", 32))
		write(t, dir, "agents.txt", string(agents))
		write(t, dir, "ca.pem", authority)
		t.Setenv("TWILIO_API_SECRET_FILE", filepath.Join(dir, "secrets/twilio-api-secret"))
		for name, document := range map[string]string{filepath.Base(file): string(content), "uncommented.yaml": uncommented(string(content))} {
			if code, _, stderr := exec(t, "validate", "-c", write(t, dir, name, document)); code != 0 {
				t.Errorf("%s: got exit code %d and %s", name, code, stderr)
			}
		}
	}
}

// uncommented makes settings of the comments that show one with its default: "# key: value", but for the authentication, of which there can
// be only one way.
func uncommented(document string) string {
	var b strings.Builder
	authentication := false
	for line := range strings.Lines(document) {
		indent, setting, found := strings.Cut(line, "# ")
		authentication = authentication && found || strings.Contains(line, "way of authentication")
		if found && strings.TrimSpace(indent) == "" && !authentication && settingPattern.MatchString(setting) {
			line = indent + setting
		}
		b.WriteString(line)
	}
	return b.String()
}

// The unit parses without a complaint, is confined, and hands over the secret under the name that its configuration reads.
func TestSystemdUnit(t *testing.T) {
	unit, err := os.ReadFile("../../deploy/systemd/taskbridge.service")
	if err != nil {
		t.Fatal(err)
	}
	conf, err := os.ReadFile("../../configs/systemd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for variable, credential := range map[string]string{"TWILIO_API_SECRET_FILE": "twilio-api-secret"} {
		if !strings.Contains(string(unit), "\nLoadCredential="+credential+":") || !strings.Contains(string(unit), "\nEnvironment="+variable+"=%d/"+credential+"\n") ||
			!strings.Contains(string(conf), "api_secret_file: ${"+variable+"}") {
			t.Errorf("%s: unit and configs/systemd.yaml do not agree", variable)
		}
	}
	const program = "/usr/local/bin/bridge"
	if _, err := osexec.LookPath("systemd-analyze"); err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	file := write(t, t.TempDir(), "taskbridge.service", strings.Replace(string(unit), "ExecStart="+program, "ExecStart="+os.Args[0], 1))
	// Its exit code is 0 for much that is wrong, and it complains of the machine's other units too.
	out, _ := osexec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "taskbridge.service") {
			t.Errorf("verify: %s", line)
		}
	}
	// The figure is an exposure from 0 to 100, which systemd shows divided by ten.
	if out, err := osexec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", file).CombinedOutput(); err != nil {
		t.Errorf("security: got %v and\n%s", err, out)
	}
}
