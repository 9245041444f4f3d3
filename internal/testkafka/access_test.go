package testkafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// testLogins: each way in, by what somebody who came that way may do.
func testLogins(t *testing.T, c *Cluster) {
	const topic = "logins"
	c.CreateTopic(t, topic, 1, nil)
	c.Allow(t, User, topic, kafka.ACLOperationTypeWrite)
	c.Allow(t, ClientName, topic, kafka.ACLOperationTypeWrite)
	for name, mechanism := range map[string]sasl.Mechanism{
		"PLAIN":         plain.Mechanism{Username: User, Password: Password},
		"SCRAM-SHA-256": scramOf(t, scram.SHA256, Password),
		"SCRAM-SHA-512": scramOf(t, scram.SHA512, Password),
		"OAUTHBEARER":   bearer(Token(User, time.Hour)),
	} {
		for listener, encryption := range map[string]*tls.Config{"SASL_PLAINTEXT": nil, "SASL_SSL": c.TLS(t)} {
			t.Run(name+" on "+listener, func(t *testing.T) {
				eventually(t, c.Connect(t, listener, encryption, mechanism), topic)
			})
		}
	}
	t.Run("certificate on SSL", func(t *testing.T) {
		eventually(t, c.Connect(t, "SSL", c.TLS(t), nil), topic)
	})
}

// testWrongLogins: what a client hears that is not let in.
func testWrongLogins(t *testing.T, c *Cluster) {
	nobody := c.TLS(t)
	nobody.Certificates = nil
	stranger := c.TLS(t)
	stranger.RootCAs = nil
	for name, test := range map[string]struct {
		listener   string
		encryption *tls.Config
		mechanism  sasl.Mechanism
		want       string
	}{
		"PLAIN, wrong password":         {"SASL_PLAINTEXT", nil, plain.Mechanism{Username: User, Password: "wrong"}, "[58]"},
		"SCRAM-SHA-256, wrong password": {"SASL_PLAINTEXT", nil, scramOf(t, scram.SHA256, "wrong"), "[58]"},
		"SCRAM-SHA-512, wrong password": {"SASL_SSL", c.TLS(t), scramOf(t, scram.SHA512, "wrong"), "[58]"},
		"OAUTHBEARER, expired":          {"SASL_PLAINTEXT", nil, bearer(Token(User, -time.Minute)), "invalid_token"},
		"no certificate":                {"SSL", nobody, nil, "tls: "},
		"unknown CA":                    {"SSL", stranger, nil, "x509: "},
		"plain client, TLS listener":    {"SSL", nil, nil, "expecting TLS"},
		"TLS client, plain listener":    {"PLAINTEXT", c.TLS(t), nil, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			// Metadata tells why a connection failed, where other requests tell that they know no such topic.
			_, err := c.Connect(t, test.listener, test.encryption, test.mechanism).Metadata(t.Context(), &kafka.MetadataRequest{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// testRights: what a client hears that may not do what it tries.
func testRights(t *testing.T, c *Cluster) {
	const topic = "rights"
	c.CreateTopic(t, topic, 1, nil)
	login := func(user string) *kafka.Client {
		return c.Connect(t, "SASL_PLAINTEXT", nil, bearer(Token(user, time.Hour)))
	}

	reader := login("reader")
	c.Allow(t, "reader", topic, kafka.ACLOperationTypeDescribe)
	wait(t, "may describe", func() error { return ends(t, reader, topic) })
	if err := session(t, reader); !isError(err, kafka.ClusterAuthorizationFailed) {
		t.Errorf("a producer without any right to write: got %v, want %v", err, kafka.ClusterAuthorizationFailed)
	}
	wait(t, "may not write", func() error { // once its client has heard of the topic
		if err := produce(t, reader, topic, 0, kafka.Record{}); !isError(err, kafka.TopicAuthorizationFailed) {
			return fmt.Errorf("got %v, want %w", err, kafka.TopicAuthorizationFailed)
		}
		return nil
	})

	writer := login("writer")
	c.Allow(t, "writer", topic, kafka.ACLOperationTypeWrite, kafka.ACLOperationTypeDescribe)
	eventually(t, writer, topic)
	if err := session(t, writer); err != nil {
		t.Error(err)
	}
	answer, err := writer.Fetch(t.Context(), &kafka.FetchRequest{Topic: topic, MaxBytes: 1000, MaxWait: time.Second})
	if err == nil {
		err = answer.Error
	}
	if !isError(err, kafka.TopicAuthorizationFailed) {
		t.Errorf("fetched without the right to read: got %v, want %v", err, kafka.TopicAuthorizationFailed)
	}
}

func scramOf(t *testing.T, algorithm scram.Algorithm, password string) sasl.Mechanism {
	t.Helper()
	m, err := scram.Mechanism(algorithm, User, password)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// bearer is a token, and OAUTHBEARER (RFC 7628) as a client speaks it.
type bearer string

func (bearer) Name() string { return "OAUTHBEARER" }

func (b bearer) Start(context.Context) (sasl.StateMachine, []byte, error) {
	return b, []byte("n,,\x01auth=Bearer " + string(b) + "\x01\x01"), nil
}

func (b bearer) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	if len(challenge) > 0 {
		return false, nil, fmt.Errorf("refused: %s", challenge)
	}
	return true, nil, nil
}

// eventually writes a record: a right holds some moments after it was given.
func eventually(t *testing.T, client *kafka.Client, topic string) {
	t.Helper()
	wait(t, "may write", func() error { return produce(t, client, topic, 0, kafka.Record{Value: kafka.NewBytes([]byte("x"))}) })
}

func wait(t *testing.T, what string, do func() error) {
	t.Helper()
	for began := time.Now(); ; <-time.After(50 * time.Millisecond) {
		err := do()
		if err == nil {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func produce(t *testing.T, client *kafka.Client, topic string, partition int, r kafka.Record) error {
	t.Helper()
	answer, err := client.Produce(t.Context(), &kafka.ProduceRequest{
		Topic: topic, Partition: partition, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(r),
	})
	if err != nil {
		return err
	}
	return answer.Error
}

func session(t *testing.T, client *kafka.Client) (err error) {
	t.Helper()
	wait(t, "the coordinator has loaded", func() error {
		answer, failed := client.InitProducerID(t.Context(), &kafka.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1})
		if err = failed; err == nil {
			err = answer.Error
		}
		if isError(err, kafka.GroupLoadInProgress) {
			return err
		}
		return nil
	})
	return err
}

func ends(t *testing.T, client *kafka.Client, topic string) error {
	t.Helper()
	answer, err := client.ListOffsets(t.Context(), &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: {kafka.LastOffsetOf(0)}}})
	if err != nil {
		return err
	}
	return answer.Topics[topic][0].Error
}

func isError(err error, want kafka.Error) bool { return errors.Is(err, want) }
