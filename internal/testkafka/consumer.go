package testkafka

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// Kcat returns all that a topic holds, by partition and offset, as kcat reads it, which is librdkafka. The test is skipped where kcat is missing.
func (c *Cluster) Kcat(t testing.TB, topic string) (records []Record) {
	t.Helper()
	path, err := exec.LookPath("kcat")
	if err != nil {
		t.Skip("no kcat on this machine; a Debian package has it")
	}
	kcat := exec.CommandContext(t.Context(), path, "-b", strings.Join(c.Brokers(), ","), "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J")
	for lines := json.NewDecoder(bytes.NewReader(output(t, kcat))); lines.More(); {
		var line struct {
			Partition    int
			Offset       int64
			TS           int64
			Key, Payload *string
			Headers      []string // name, value, name, value
		}
		if err := lines.Decode(&line); err != nil {
			t.Fatal(err)
		}
		r := Record{Partition: line.Partition, Offset: line.Offset, Time: time.UnixMilli(line.TS), Key: optional(line.Key), Value: optional(line.Payload)}
		for i := 0; i+1 < len(line.Headers); i += 2 {
			r.Headers = append(r.Headers, kafka.Header{Key: line.Headers[i], Value: []byte(line.Headers[i+1])})
		}
		records = append(records, r)
	}
	return sorted(records)
}

func optional(s *string) []byte {
	if s == nil {
		return nil
	}
	return []byte(*s)
}

// Characters that no key, value or header of a test has, to tell the consumer's columns apart.
const fieldEnd, headerEnd, noValue = "\x1f", "\x1e", "\x1d"

// ConsoleConsumer returns all that a topic holds, by partition and offset, as Kafka's own consumer reads it; keys, values and headers must be text of one line.
// It takes some seconds.
func (c *Cluster) ConsoleConsumer(t testing.TB, topic string) (records []Record) {
	t.Helper()
	first, end := c.offsets(t, topic)
	var count int64
	for p := range end {
		count += end[p] - first[p]
	}
	if count == 0 {
		return nil
	}
	args := []string{
		"--topic", topic, "--from-beginning",
		"--max-messages", strconv.FormatInt(count, 10), "--timeout-ms", strconv.FormatInt(patience.Milliseconds(), 10),
	}
	for _, property := range []string{
		"print.timestamp=true", "print.partition=true", "print.offset=true", "print.headers=true", "print.key=true",
		"key.separator=" + fieldEnd, "headers.separator=" + headerEnd, "null.literal=" + noValue,
	} {
		args = append(args, "--formatter-property", property)
	}
	for line := range strings.Lines(string(c.tool(t, "org.apache.kafka.tools.consumer.ConsoleConsumer", args...))) {
		r, err := consoleRecord(strings.TrimSuffix(line, "\n"))
		if err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		records = append(records, r)
	}
	return sorted(records)
}

// consoleRecord reads a line of its output: CreateTime:123, Partition:0, Offset:4, headers, key, value.
func consoleRecord(line string) (r Record, err error) {
	fields := strings.Split(line, fieldEnd)
	if len(fields) != 6 {
		return r, errors.New("this line has not six fields")
	}
	var numbers [3]int64
	for i, name := range []string{"CreateTime:", "Partition:", "Offset:"} {
		if numbers[i], err = strconv.ParseInt(strings.TrimPrefix(fields[i], name), 10, 64); err != nil {
			return r, err
		}
	}
	r = Record{Time: time.UnixMilli(numbers[0]), Partition: int(numbers[1]), Offset: numbers[2], Key: literal(fields[4]), Value: literal(fields[5])}
	if fields[3] == "NO_HEADERS" {
		return r, nil
	}
	for header := range strings.SplitSeq(fields[3], headerEnd) {
		name, value, _ := strings.Cut(header, ":")
		r.Headers = append(r.Headers, kafka.Header{Key: name, Value: literal(value)})
	}
	return r, nil
}

func literal(s string) []byte {
	if s == noValue {
		return nil
	}
	return []byte(s)
}

func sorted(records []Record) []Record {
	slices.SortFunc(records, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return records
}
