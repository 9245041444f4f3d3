package kafka

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
	"github.com/taskbridge/taskbridge/internal/testkafka"
)

// TestRealBroker needs one, see testkafka.Start.
func TestRealBroker(t *testing.T) {
	c := testkafka.Start(t, testkafka.Options{TLS: true, SASL: true, ACL: true})
	t.Run("suite", func(t *testing.T) { realSuite(t, c, 1) })
	t.Run("lost answers", func(t *testing.T) { lostAnswers(t, func(t *testing.T) testTopic { return realTopic(t, c) }) })
	t.Run("late requests", func(t *testing.T) { lateRequests(t, func(t *testing.T) testTopic { return realTopic(t, c) }) })
	t.Run("logins", func(t *testing.T) { realLogins(t, c) })
	t.Run("token that comes late", func(t *testing.T) { realLateToken(t, c) })
	t.Run("rights", func(t *testing.T) { realRights(t, c) })
	t.Run("created topics", func(t *testing.T) { realCreated(t, c, 1) })
	t.Run("transactions of others", func(t *testing.T) {
		c.CreateTopic(t, "shared", 1, nil)
		s, _ := opened(t, realConfig(c, "PLAINTEXT", "shared"))
		amongTransactions(t, s, c.Brokers())
	})
	t.Run("restart under tls", func(t *testing.T) { realRestart(t, c) })
}

// TestRealCluster needs three brokers: the suite again, and leaders that move.
func TestRealCluster(t *testing.T) {
	c := testkafka.Start(t, testkafka.Options{Nodes: 3, Set: map[string]string{"replica.fetch.wait.max.ms": "50", "replica.fetch.backoff.ms": "50"}})
	t.Run("suite", func(t *testing.T) { realSuite(t, c, 3) })
	t.Run("a broker that was replaced", func(t *testing.T) { realReplaced(t, c) })
	t.Run("a tail that is not confirmed", func(t *testing.T) { realUnconfirmed(t, c) })
	t.Run("a leader that stood still", func(t *testing.T) { realStale(t, c) })
	t.Run("leaders move", func(t *testing.T) { realLeaders(t, c) })
	t.Run("created topics", func(t *testing.T) { realCreated(t, c, 2) }) // the cluster's default is three
}

func realConfig(c *testkafka.Cluster, listener, topic string) Config {
	var cfg Config
	cfg.SetDefaults()
	cfg.Brokers, cfg.Topic = c.Listener(listener), topic
	return cfg
}

func realSuite(t *testing.T, c *testkafka.Cluster, nodes int) {
	topics := 0
	sinktest.Run(t, func(t *testing.T) *sinktest.Fixture {
		topics++
		topic := fmt.Sprintf("facts-%d", topics)
		c.CreateTopic(t, topic, 6, nil)
		s, way := connect(t, realConfig(c, "PLAINTEXT", topic), zap.NewNop())
		return &sinktest.Fixture{
			Sink:     s,
			TooLarge: 1 << 20,
			Stored:   func(context.Context) ([]string, error) { return realIDs(t, c, topic), nil },
			Hold:     way.answers.Hold,
			Cut:      way.cut,
			Restart: func() error {
				for node := 1; node <= nodes; node++ {
					c.Kill(t, node)
					c.Start(t, node)
				}
				return nil
			},
			Recreate: func() error {
				c.DeleteTopic(t, topic)
				c.CreateTopic(t, topic, 6, nil)
				return nil
			},
			Change: func() error {
				c.AddPartitions(t, topic, 10)
				return nil
			},
		}
	})
}

// realIDs are the ids of all that a topic holds, also of what a new leader does not show yet.
func realIDs(t *testing.T, c *testkafka.Cluster, topic string) (ids []string) {
	t.Helper()
	for _, r := range c.Read(t, topic, nil) {
		for _, h := range r.Headers {
			if h.Key == headerID {
				ids = append(ids, string(h.Value))
			}
		}
	}
	return ids
}

// realLogins: every way to say who one is, and what a broker says to those that are wrong.
func realLogins(t *testing.T, c *testkafka.Cluster) {
	c.CreateTopic(t, "logins", 1, nil)
	for _, user := range []string{testkafka.User, testkafka.ClientName} {
		c.Allow(t, user, "logins", kafkago.ACLOperationTypeWrite, kafkago.ACLOperationTypeDescribe, kafkago.ACLOperationTypeRead, kafkago.ACLOperationTypeDescribeConfigs)
	}
	cert, key := c.Certificate()
	ca := &TLS{CAFile: config.Path(c.CA())}
	login := func(mechanism, password string) *SASL {
		return &SASL{Mechanism: mechanism, User: testkafka.User, Password: config.NewSecret(password)}
	}
	for _, tt := range []struct {
		name, listener string
		tls            *TLS
		sasl           *SASL
		reason         string
	}{
		{"mutual tls", "SSL", &TLS{CAFile: ca.CAFile, CertFile: config.Path(cert), KeyFile: config.Path(key)}, nil, ""},
		{"plain over tls", "SASL_SSL", ca, login("plain", testkafka.Password), ""},
		{"scram 256", "SASL_PLAINTEXT", nil, login("scram-sha-256", testkafka.Password), ""},
		{"scram 512 over tls", "SASL_SSL", ca, login("scram-sha-512", testkafka.Password), ""},
		{"token", "SASL_SSL", ca, &SASL{Mechanism: "oauthbearer", TokenFile: secretFile(t, testkafka.Token(testkafka.User, time.Hour))}, ""},
		{"token of an endpoint", "SASL_SSL", ca, tokensFor(t, time.Hour), ""},
		{"token of an endpoint, expired", "SASL_SSL", ca, tokensFor(t, -time.Minute), "authentication"},
		{"token that has expired", "SASL_SSL", ca, &SASL{Mechanism: "oauthbearer", TokenFile: secretFile(t, testkafka.Token(testkafka.User, -time.Minute))}, "authentication"},
		{"wrong password", "SASL_SSL", ca, login("plain", canary), "authentication"},
		{"wrong scram password", "SASL_PLAINTEXT", nil, login("scram-sha-512", canary), "authentication"},
		{"no client certificate", "SSL", ca, nil, "tls"},
		{"the system's authorities", "SSL", &TLS{}, nil, "tls"},
		{"no tls where it is expected", "SSL", nil, nil, "tls"},
		{"tls where it is not expected", "PLAINTEXT", ca, nil, "tls"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := realConfig(c, tt.listener, "logins")
			cfg.TLS, cfg.SASL = tt.tls, tt.sasl
			var log sinktest.Lines
			s := makeSink(t, cfg, log.Logger())
			sinktest.Connect(t, s)
			if tt.reason == "" {
				sinktest.Eventually(t, func() error { return s.Open(t.Context()) }) // a right holds some moments after it was given
				b, answers := batch(s, records("WT1", 1, 3))
				if err := deliver(t, s, b, answers); err != nil {
					t.Error(err)
				}
				return
			}
			err := s.Open(t.Context())
			if got := retry.ReasonOf(err); got != tt.reason {
				t.Errorf("got %s, want %s: %v", got, tt.reason, err)
			}
			t.Log(err)
			if said := fmt.Sprint(err, log.String()); strings.Contains(said, canary) || strings.Contains(said, testkafka.Password) {
				t.Errorf("a secret is in: %s", said)
			}
		})
	}
}

// tokensFor is a login with the tokens of an endpoint that answers at once.
func tokensFor(t *testing.T, lifetime time.Duration) *SASL {
	t.Helper()
	e := newSlowEndpoint(t, testkafka.Token(testkafka.User, lifetime))
	close(e.release)
	return e.sasl()
}

// realLateToken: the token endpoint takes longer than a connection may; the topic is that of realLogins.
func realLateToken(t *testing.T, c *testkafka.Cluster) {
	s := lateToken(t, realConfig(c, "SASL_PLAINTEXT", "logins"), newSlowEndpoint(t, testkafka.Token(testkafka.User, time.Hour)))
	b, answers := batch(s, records("WT1", 1, 3))
	if err := deliver(t, s, b, answers); err != nil {
		t.Error(err)
	}
}

// realRights: the one right that is missing is named when the sink is opened, and once it is there everything goes on.
func realRights(t *testing.T, c *testkafka.Cluster) {
	all := map[string]kafkago.ACLOperationType{
		"Write": kafkago.ACLOperationTypeWrite, "Describe": kafkago.ACLOperationTypeDescribe, "Read": kafkago.ACLOperationTypeRead,
		"DescribeConfigs": kafkago.ACLOperationTypeDescribeConfigs, "Create": kafkago.ACLOperationTypeCreate,
	}
	for missing, operation := range all {
		t.Run(missing, func(t *testing.T) {
			topic, user := "without-"+missing, "no-"+missing
			if missing != "Create" {
				c.CreateTopic(t, topic, 1, nil)
			}
			for name, o := range all {
				// Write and Read include Describe.
				if name != missing && (missing != "Describe" || name == "DescribeConfigs") {
					c.Allow(t, user, topic, o)
				}
			}
			cfg := realConfig(c, "SASL_PLAINTEXT", topic)
			cfg.Create = true
			cfg.SASL = &SASL{Mechanism: "oauthbearer", TokenFile: secretFile(t, testkafka.Token(user, time.Hour))}
			s := makeSink(t, cfg, zap.NewNop())
			sinktest.Connect(t, s)
			sinktest.Eventually(t, func() error { // the rights that are there take some moments
				err := s.Open(t.Context())
				if err == nil {
					t.Fatal("got success")
				}
				if !strings.Contains(err.Error(), "the right "+missing+" on the topic "+topic+":") || retry.ReasonOf(err) != "permission" {
					return err
				}
				if got := s.Ready(); retry.ReasonOf(got) != "permission" || got.Error() != err.Error() {
					t.Errorf("Ready: got %v", got)
				}
				t.Log(err)
				return nil
			})
			c.Allow(t, user, topic, operation)
			if missing == "Describe" {
				c.Allow(t, user, topic, all["Write"], all["Read"])
			}
			sinktest.Eventually(t, func() error { return s.Open(t.Context()) })
			b, answers := batch(s, records("WT1", 1, 1))
			if err := deliver(t, s, b, answers); err != nil {
				t.Error(err)
			}
			from := mark{topic: {ends: make([]int64, len(s.lanes))}}
			if err := s.Landed(t.Context(), from.encode([]string{topic}), func(string) {}); err != nil {
				t.Error(err)
			}
		})
	}
}

// realRestart: a broker that stops and comes back is no broker that does not use TLS.
func realRestart(t *testing.T, c *testkafka.Cluster) {
	const topic = "restarts"
	c.CreateTopic(t, topic, 1, nil)
	c.Allow(t, testkafka.ClientName, topic, kafkago.ACLOperationTypeWrite, kafkago.ACLOperationTypeDescribe, kafkago.ACLOperationTypeRead, kafkago.ACLOperationTypeDescribeConfigs)
	cert, key := c.Certificate()
	cfg := realConfig(c, "SSL", topic)
	cfg.TLS = &TLS{CAFile: config.Path(c.CA()), CertFile: config.Path(cert), KeyFile: config.Path(key)}
	s := makeSink(t, cfg, zap.NewNop())
	sinktest.Connect(t, s)
	sinktest.Eventually(t, func() error { return s.Open(t.Context()) }) // a right holds some moments after it was given
	stop, reasons := make(chan struct{}), make(chan map[string]int)
	go func() {
		seen := map[string]int{}
		for i := 1; ; {
			b, answers := batch(s, records("WT1", i, 1))
			b.Out()
			s.Send(b)
			if err := <-answers; err != nil {
				seen[retry.ReasonOf(err)]++
			} else {
				i++
			}
			select {
			case <-stop:
				reasons <- seen
				return
			default:
			}
		}
	}()
	for _, end := range []func(testing.TB, int){c.Stop, c.Kill} {
		end(t, 1)
		c.Start(t, 1)
	}
	close(stop)
	seen := <-reasons
	t.Log(seen)
	if seen["tls"] > 0 {
		t.Errorf("told %d times that TLS fails", seen["tls"])
	}
}

// realLeaders moves all leaders while batches are under way: nothing is lost, doubled or out of order, and no batch is given back.
func realLeaders(t *testing.T, c *testkafka.Cluster) {
	c.CreateTopic(t, "moving", 6, nil)
	s, _ := opened(t, realConfig(c, "PLAINTEXT", "moving"))
	ended := make(chan struct{})
	longest := time.Duration(0)
	var want []string
	go func() {
		defer close(ended)
		for i := 1; i <= 600; i++ {
			one := records(fmt.Sprintf("WT%d", i%24), i, 1)
			b, answers := batch(s, one)
			b.Out()
			began := time.Now()
			s.Send(b)
			if err := <-answers; err != nil {
				t.Errorf("batch %d: %v", i, err)
			}
			longest = max(longest, time.Since(began))
			want = append(want, one[0].Header.ID)
		}
	}()
	moves := 0
	for moving := true; moving; {
		select {
		case <-ended:
			moving = false
		case <-time.After(200 * time.Millisecond):
			c.MoveLeaders(t, "moving")
			moves++
		}
	}
	got := realIDs(t, c, "moving")
	key := func(a, b string) int { return strings.Compare(strings.Split(a, "-")[0], strings.Split(b, "-")[0]) }
	slices.SortStableFunc(got, key) // keeps the order of each key
	slices.SortStableFunc(want, key)
	if diff := cmp.Diff(want, got); diff != "" || moves == 0 {
		t.Errorf("after %d moves, stored (-want +got):\n%s", moves, diff)
	}
	t.Logf("%d moves, longest wait %v", moves, longest)
}
