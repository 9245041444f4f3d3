package testkafka

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestOneNode has one broker for all that one can show.
func TestOneNode(t *testing.T) {
	var pid string
	t.Run("cluster", func(t *testing.T) {
		c := Start(t, Options{TLS: true, SASL: true, ACL: true, Set: map[string]string{"max.connections.per.ip": "1234"}})
		pid, _, _ = strings.Cut(read(t, filepath.Join(c.dir, "1", "pid")), " ")
		for name, test := range map[string]func(*testing.T, *Cluster){
			"what is written is read": testRead,
			"topics":                  testTopics,
			"kill -9":                 testKill,
			"pause":                   testPause,
			"settings":                testSettings,
			"logins":                  testLogins,
			"wrong logins":            testWrongLogins,
			"rights":                  testRights,
		} {
			t.Run(name, func(t *testing.T) { test(t, c) })
		}
	})
	if pid != "" && alive(pid) {
		t.Errorf("the broker runs on after the test")
	}
}

// TestThreeNodes: leaders move and nodes end, and what three replicas hold stays.
func TestThreeNodes(t *testing.T) {
	c := Start(t, Options{Nodes: 3})
	const topic, partitions = "facts", 6
	c.CreateTopic(t, topic, partitions, nil)
	before := c.Leaders(t, topic)
	written := write(t, c.admin, topic, partitions, 60)
	c.MoveLeaders(t, topic)
	for p, leader := range c.Leaders(t, topic) {
		if leader == before[p] {
			t.Errorf("partition %d is led by %d still", p, leader)
		}
	}
	written = append(written, write(t, c.admin, topic, partitions, 60)...)
	for _, fault := range []struct{ begin, end func(testing.TB, int) }{{c.Kill, c.Start}, {c.Stop, c.Start}, {c.Pause, c.Continue}} {
		fault.begin(t, before[0])
		compare(t, written, c.Read(t, topic, nil))
		fault.end(t, before[0])
	}
}

func testRead(t *testing.T, c *Cluster) {
	const topic, partitions = "read", 3
	c.CreateTopic(t, topic, partitions, nil)
	written := write(t, c.admin, topic, partitions, 100)
	ends := c.EndOffsets(t, topic)
	compare(t, written, c.Read(t, topic, nil))
	t.Run("kcat", func(t *testing.T) { compare(t, written, c.Kcat(t, topic)) })
	t.Run("console consumer", func(t *testing.T) { compare(t, written, c.ConsoleConsumer(t, topic)) })

	later := write(t, c.admin, topic, partitions, 10)
	compare(t, later, c.Read(t, topic, ends))
	c.DeleteRecords(t, topic)
	compare(t, nil, c.Read(t, topic, nil))
	if got := c.EndOffsets(t, topic); got[0] <= ends[0] {
		t.Errorf("got end offsets %v, want them to be beyond %v", got, ends)
	}
}

func testTopics(t *testing.T, c *Cluster) {
	const topic = "topics"
	c.CreateTopic(t, topic, 1, map[string]string{"max.message.bytes": "1000", "retention.ms": "12345000"})
	large := slices.Repeat([]byte("x"), 2000)
	if err := produce(t, c.admin, topic, 0, kafka.Record{Value: kafka.NewBytes(large)}); !isError(err, kafka.MessageSizeTooLarge) {
		t.Errorf("got %v, want %v", err, kafka.MessageSizeTooLarge)
	}
	c.SetTopic(t, topic, "max.message.bytes", "10000")
	if err := produce(t, c.admin, topic, 0, kafka.Record{Value: kafka.NewBytes(large)}); err != nil {
		t.Error(err)
	}
	if got := setting(t, c, kafka.ResourceTypeTopic, topic, "retention.ms"); got != "12345000" {
		t.Errorf("got a retention of %s after another setting was changed", got)
	}
	c.AddPartitions(t, topic, 2)
	if got := len(c.EndOffsets(t, topic)); got != 2 {
		t.Errorf("got %d partitions, want 2", got)
	}
	c.DeleteTopic(t, topic)
	c.CreateTopic(t, topic, 1, nil)
	compare(t, nil, c.Read(t, topic, nil))
}

func testKill(t *testing.T, c *Cluster) {
	const topic = "killed"
	c.CreateTopic(t, topic, 1, nil)
	written := write(t, c.admin, topic, 1, 100)
	c.Kill(t, 1)
	if err := produce(t, c.admin, topic, 0, kafka.Record{}); err == nil {
		t.Error("a broker that is dead has taken a record")
	}
	testTakenPort(t, c)
	c.Start(t, 1)
	compare(t, written, c.Read(t, topic, nil))
	c.Stop(t, 1)
	c.Start(t, 1)
	compare(t, written, c.Read(t, topic, nil))
}

// testTakenPort: while the broker was down, another process has taken its port.
func testTakenPort(t *testing.T, c *Cluster) {
	t.Helper()
	other, err := net.Listen("tcp", c.Brokers()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	start := exec.Command(script(t), "start", c.dir, "1")
	start.Env = environment()
	if out, err := start.CombinedOutput(); err == nil || !strings.Contains(string(out), "is taken by another process") {
		t.Errorf("got %v, %q", err, out)
	}
}

func testPause(t *testing.T, c *Cluster) {
	const topic = "paused"
	c.CreateTopic(t, topic, 1, nil)
	c.Pause(t, 1)
	hasty := *c.admin
	hasty.Timeout = 300 * time.Millisecond
	if err := produce(t, &hasty, topic, 0, kafka.Record{}); err == nil {
		t.Error("a broker that is paused has answered")
	}
	c.Continue(t, 1)
	c.Read(t, topic, nil) // it answers again; whether it holds that record is not known
}

func testSettings(t *testing.T, c *Cluster) {
	if got := setting(t, c, kafka.ResourceTypeBroker, "1", "max.connections.per.ip"); got != "1234" {
		t.Errorf("got %s, want 1234", got)
	}
}

func compare(t *testing.T, want, got []Record) {
	t.Helper()
	if diff := cmp.Diff(sorted(slices.Clone(want)), got); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// alive is false for a zombie, too.
func alive(pid string) bool {
	command, _ := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	return len(command) > 0
}

func setting(t *testing.T, c *Cluster, kind kafka.ResourceType, of, name string) string {
	t.Helper()
	answer, err := c.admin.DescribeConfigs(t.Context(), &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kind, ResourceName: of, ConfigNames: []string{name}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.Resources) != 1 || len(answer.Resources[0].ConfigEntries) != 1 {
		t.Fatalf("got %+v", answer.Resources)
	}
	return answer.Resources[0].ConfigEntries[0].ConfigValue
}

// write writes records with and without keys, values and headers to all partitions.
func write(t *testing.T, client *kafka.Client, topic string, partitions, count int) (written []Record) {
	t.Helper()
	for p := range partitions {
		var records []Record
		for i := range count / partitions {
			r := Record{Partition: p, Time: time.UnixMilli(time.Now().UnixMilli())}
			if i%3 > 0 {
				r.Key = fmt.Appendf(nil, "key %d", i)
			}
			if i%5 > 0 {
				r.Value = fmt.Appendf(nil, "value %d, é日😀", i)
			}
			if i%2 > 0 {
				r.Headers = []kafka.Header{{Key: "ce_id", Value: fmt.Append(nil, i)}, {Key: "other", Value: []byte("é")}}
			}
			records = append(records, r)
		}
		attempt(t, "write", func(ctx context.Context) error {
			var batch []kafka.Record
			for _, r := range records {
				batch = append(batch, kafka.Record{Time: r.Time, Key: kafka.NewBytes(r.Key), Value: kafka.NewBytes(r.Value), Headers: r.Headers})
			}
			answer, err := client.Produce(ctx, &kafka.ProduceRequest{Topic: topic, Partition: p, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(batch...)})
			if err != nil {
				return err
			}
			for i := range records {
				records[i].Offset = answer.BaseOffset + int64(i)
			}
			return answer.Error
		})
		written = append(written, records...)
	}
	return written
}
