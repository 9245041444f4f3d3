package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
)

// configureKafka is configure with a Kafka sink in place of NATS.
func configureKafka(t *testing.T, r taskrouter.Ready, section string) string {
	t.Helper()
	file := configure(t, r, section, "bridge: {stop: fast}\nlogging: {level: debug}\n")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), "    nats: ", "    kafka: ", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// landed are the events of a topic, by id, and for each key its sequences in the order of the topic.
func landed(t *testing.T, k *kfake.Cluster, topic string) (ids map[string]int, sequences map[string][]string) {
	t.Helper()
	var partitions int64
	for _, p := range k.PartitionInfos(topic) {
		partitions += p.HighWatermark
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ids, sequences = map[string]int{}, map[string][]string{}
	for n := int64(0); n < partitions; {
		fetched := client.PollFetches(t.Context())
		if err := fetched.Err(); err != nil {
			t.Fatal(err)
		}
		fetched.EachRecord(func(r *kgo.Record) {
			n++
			ids[gjson.GetBytes(r.Value, "id").Str]++
			key := fmt.Sprintf("%s in %d", r.Key, r.Partition)
			sequences[key] = append(sequences[key], gjson.GetBytes(r.Value, "sequence").Str)
		})
	}
	return ids, sequences
}

// A bridge creates its topic, publishes to it, is stopped and started again: every event once, in order per key.
func TestRunWithKafka(t *testing.T) {
	k, err := kfake.NewCluster(kfake.NumBrokers(3))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	sim := simulate(t, "--workers", "5", "--rate", "100")
	file := configureKafka(t, sim, fmt.Sprintf(`{brokers: [%q], topic: "facts.{provider}.{account}", create: true, partitions: 3, compression: lz4}`, k.ListenAddrs()[0]))
	topic := "facts.twilio." + sim.Account
	written := func() (n int64) {
		for _, p := range k.PartitionInfos(topic) {
			n += p.HighWatermark
		}
		return n
	}
	for range 3 {
		p := start(t, "run", "-c", file)
		p.healthURL(t)
		before := written()
		eventually(t, "events are stored", func() bool { return written() > before+100 })
		p.stop()
		if err := p.wait(t); err != nil {
			t.Fatalf("got %v, want a clean stop", err)
		}
	}
	code, stdout, stderr := exec(t, "drain", "-c", file)
	if code != 0 || !strings.HasSuffix(stdout, "facts: 0 events left\n") {
		t.Fatalf("drain: got exit code %d, %q and %s", code, stdout, stderr)
	}
	ids, sequences := landed(t, k, topic)
	for id, n := range ids {
		if n > 1 {
			t.Errorf("%s is stored %d times", id, n)
		}
	}
	for key, all := range sequences {
		for i := 1; i < len(all); i++ {
			if all[i] <= all[i-1] {
				t.Errorf("key %s: %s is stored after %s", key, all[i], all[i-1])
			}
		}
	}
	if len(ids) < 300 || len(sequences) < 10 {
		t.Errorf("got %d events of %d keys", len(ids), len(sequences))
	}
	_, stdout, _ = exec(t, "validate", "-c", file)
	if want := fmt.Sprintf(`sink    facts: Kafka, %s, structured mode, at %s
          no TLS; no SASL; compression: lz4
          topics that are missing are created with 3 partitions, as many replicas as the cluster's default
          gets all types
`, topic, k.ListenAddrs()[0]); !strings.Contains(stdout, want) {
		t.Errorf("validate: got %s, want %s", stdout, want)
	}
}

// A password that would travel in clear text is warned about, by validate and at the start; the configuration is valid all the same.
func TestKafkaClearText(t *testing.T) {
	sim := simulate(t, "--workers", "1", "--rate", "0")
	t.Setenv("BRIDGE_TEST_KAFKA_PASSWORD", canaryPassword)
	// No name ends in invalid: nobody gets the password.
	file := configureKafka(t, sim, `{brokers: ["kafka.invalid:9092"], sasl: {mechanism: plain, user: bridge, password: "${BRIDGE_TEST_KAFKA_PASSWORD}"}}`)
	const warning = "sasl.mechanism plain without tls"
	code, stdout, stderr := exec(t, "validate", "-c", file)
	if code != 0 || !strings.Contains(stdout, "WARNING: "+warning) || !strings.Contains(stdout, "SASL plain as bridge") || leaks(stdout) != nil {
		t.Errorf("validate: got exit code %d, %s and %s", code, stdout, stderr)
	}
	p := start(t, "run", "-c", file)
	p.stderr.line(t, warning)
	p.stop()
	if err := p.wait(t); err != nil {
		t.Error(err)
	}
}

// A Kafka that refuses the password is told about, without the password.
func TestKafkaCanary(t *testing.T) {
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.User("SCRAM-SHA-256", "bridge", "another"))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	sim := simulate(t, "--workers", "1", "--rate", "0")
	t.Setenv("BRIDGE_TEST_KAFKA_PASSWORD", canaryPassword)
	p := start(t, "run", "-c", configureKafka(t, sim, fmt.Sprintf(`{brokers: [%q], sasl: {mechanism: scram-sha-256, user: bridge, password: "${BRIDGE_TEST_KAFKA_PASSWORD}"}}`, k.ListenAddrs()[0])))
	health := p.healthURL(t)
	p.stderr.line(t, "Kafka cannot be written to")
	said := p.told(t, health)
	p.stop()
	if err := p.wait(t); err != nil {
		said += err.Error()
	}
	if found := leaks(said + p.stderr.String()); found != nil {
		t.Errorf("%q in:\n%s", found, said)
	}
}
