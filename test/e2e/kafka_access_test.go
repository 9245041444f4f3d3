package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/testkafka"
)

var allRights = []kafka.ACLOperationType{
	kafka.ACLOperationTypeWrite, kafka.ACLOperationTypeDescribe, kafka.ACLOperationTypeRead, kafka.ACLOperationTypeDescribeConfigs,
}

// right is what a user may do who lacks the right of that name.
type right struct {
	has   []kafka.ACLOperationType
	fails string // what cannot be done
	topic bool   // the topic is to be created
}

var rights = map[string]right{
	"Write":           {has: allRights[1:], fails: "get a producer id"},
	"Describe":        {has: allRights[3:], fails: "look up topic"}, // Write and Read imply it
	"Read":            {has: []kafka.ACLOperationType{allRights[0], allRights[1], allRights[3]}, fails: "read partition"},
	"DescribeConfigs": {has: allRights[:3], fails: "look up the settings"},
	"Create":          {has: allRights, fails: "create topic", topic: true},
}

// TestKafkaAccess: who lacks a right, or is not let in, hears what it is, asks slowly whether that is mended, and loses nothing.
func TestKafkaAccess(t *testing.T) {
	c := testkafka.Start(t, testkafka.Options{TLS: true, SASL: true, ACL: true})
	for name, lacks := range rights {
		t.Run("without "+name, func(t *testing.T) {
			t.Parallel()
			testKafkaRight(t, c, name, lacks)
		})
	}
	for name, l := range wrongLogins(t, c) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testKafkaLogin(t, c, strings.ReplaceAll(name, " ", "-"), l)
		})
	}
}

func testKafkaRight(t *testing.T, c *testkafka.Cluster, name string, lacks right) {
	k := &topic{cluster: c, name: "without-" + name, brokers: c.Listener("SASL_PLAINTEXT")}
	user := "user-" + k.name
	token := write(t, t.TempDir(), "token", testkafka.Token(user, time.Hour))
	k.access = fmt.Sprintf(", sasl: {mechanism: oauthbearer, token_file: %q}", token)
	if lacks.topic {
		k.access += fmt.Sprintf(", create: true, partitions: %d", partitions)
	} else {
		c.CreateTopic(t, k.name, partitions, nil)
	}
	c.Allow(t, user, k.name, lacks.has...)
	r := newRig(t, setup{flood: rate, topic: k, more: eachAttempt})
	r.refused(t, "sink_permission", lacks.fails, "--operation "+name+" ")
	c.Allow(t, user, k.name, append(allRights, kafka.ACLOperationTypeCreate)...)
	r.granted(t)
	r.settle(t, scenario{})
}

// eachAttempt has the log tell every time the sink was tried.
const eachAttempt = "logging: {level: debug}"

// refused returns some time after /readyz had this code and a line of the log all these words. By then the sink was tried again, and not often.
func (r *rig) refused(t *testing.T, code string, words ...string) {
	t.Helper()
	until(t, "/readyz says "+code, func() bool { return strings.Contains(r.ready(t), `"`+code+`"`) })
	until(t, fmt.Sprintf("a line of the log has %q", words), func() bool {
	lines:
		for line := range strings.Lines(r.bridge.stderr.String()) {
			for _, w := range words {
				if !strings.Contains(line, w) {
					continue lines
				}
			}
			return true
		}
		return false
	})
	var tried []time.Time
	long := thorough(30*time.Second, 6*time.Second)
	until(t, "it was tried for a while", func() bool {
		tried = r.tried(t)
		return len(tried) > 2 && tried[len(tried)-1].Sub(tried[0]) > long
	})
	lasted := tried[len(tried)-1].Sub(tried[0])
	t.Logf("tried %d times within %v", len(tried), lasted)
	if len(tried) > atMost(lasted) {
		t.Errorf("tried %d times within %v, want %d at most", len(tried), lasted, atMost(lasted))
	}
}

// atMost is how often something may be tried that only an operator can settle: once a second, after the first few that follow quickly upon one another. The
// bridge waits for 2.5 s in the end, on average.
func atMost(lasted time.Duration) int { return 10 + int(lasted.Seconds()) }

// tried is when the sink could not be made ready.
func (r *rig) tried(t *testing.T) (at []time.Time) {
	t.Helper()
	for line := range strings.Lines(r.bridge.stderr.String()) {
		if !strings.Contains(line, `failed, will try again","sink":`) {
			continue
		}
		var log struct{ Time time.Time }
		if err := json.Unmarshal([]byte(line), &log); err != nil {
			t.Fatalf("not JSON: %s", line)
		}
		at = append(at, log.Time)
	}
	return at
}

// granted returns when nothing stands in the way any more.
func (r *rig) granted(t *testing.T) {
	t.Helper()
	until(t, "the sink delivers", func() bool { return !strings.Contains(r.ready(t), `"sink_`) })
}

// login is a way in that leads nowhere, what is said of it, and the right one. Where only a file is changed, the bridge takes that up as it runs.
type login struct {
	listener, wrong, right string // members of the configuration
	code                   string
	words                  []string
	file, content          string
}

func wrongLogins(t *testing.T, c *testkafka.Cluster) map[string]login {
	t.Helper()
	certificate, key := c.Certificate()
	password := write(t, t.TempDir(), "password", "wrong")
	plain := fmt.Sprintf(", sasl: {mechanism: plain, user: %s, password_file: %q}", testkafka.User, password)
	secure := fmt.Sprintf(", tls: {ca_file: %q, cert_file: %q, key_file: %q}", c.CA(), certificate, key)
	return map[string]login{
		"wrong password": {
			listener: "SASL_PLAINTEXT", wrong: plain, right: plain, code: "sink_authentication", words: []string{"sasl.mechanism"},
			file: password, content: testkafka.Password,
		},
		"wrong CA": { // a certificate that has signed nothing
			listener: "SSL", wrong: strings.Replace(secure, c.CA(), certificate, 1), right: secure, code: "sink_tls", words: []string{"x509", "ca_file"},
		},
		"plain on a TLS listener": {listener: "SSL", right: secure, code: "sink_tls", words: []string{"expecting TLS"}},
		"TLS on a plain listener": {listener: "PLAINTEXT", wrong: secure, code: "sink_tls", words: []string{"seems not to use TLS"}},
	}
}

func testKafkaLogin(t *testing.T, c *testkafka.Cluster, topic string, l login) {
	k := newTopic(t, c, topic)
	g := newGate(t)
	g.lead(c.Listener(l.listener)[0])
	k.brokers, k.access = []string{g.listener.Addr().String()}, l.wrong
	for _, user := range []string{testkafka.User, testkafka.ClientName} {
		c.Allow(t, user, k.name, allRights...)
	}
	began := time.Now()
	r := newRig(t, setup{flood: rate, topic: k, more: eachAttempt})
	r.refused(t, l.code, l.words...)
	if n, most := g.count(), 2*atMost(time.Since(began)); n > most {
		t.Errorf("%d connections were made within %v, want %d at most", n, time.Since(began), most)
	}
	s := scenario{}
	if l.file != "" {
		write(t, filepath.Dir(l.file), filepath.Base(l.file), l.content)
	} else {
		began := time.Now()
		r.stop(t)
		k.access = l.right
		r.replaceSinks(t, "  - name: facts\n    "+k.sink()+"\n")
		r.start(t)
		s = scenario{faults: []fault{{}}, lasted: time.Since(began), cause: event.CauseStop, gaps: 1}
	}
	r.granted(t)
	if l.file == "" {
		r.healed(t, s)
	}
	r.settle(t, s)
}
