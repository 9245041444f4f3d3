package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	kafkago "github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// Origin is a vendor's account whose events there will be. Together they say which topics a template gives.
type Origin struct {
	Provider event.Provider
	Account  string
}

// TopicAllowed describes a valid topic template, for the errors of configurations.
const TopicAllowed = "a topic's name of at most 249 letters, digits, . _ and -, in which {provider} and {account} may stand; {agent}, {noun}, {verb} and {partition} are for NATS: " +
	"a topic per agent is too many, and events of one task in several topics have no order"

var (
	topicName   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)
	placeholder = regexp.MustCompile(`\{[^{}]*\}?`)
)

// checkTopic checks a template.
func checkTopic(template string) error {
	for _, p := range placeholder.FindAllString(template, -1) {
		if p != "{provider}" && p != "{account}" {
			return fmt.Errorf("%s is not a placeholder of topics", p)
		}
	}
	return checkName(expand(template, "p", "a"))
}

func checkName(name string) error {
	if !topicName.MatchString(name) || name == "." || name == ".." {
		return fmt.Errorf("%q is no topic's name", name)
	}
	return nil
}

func expand(template string, provider event.Provider, account string) string {
	return strings.NewReplacer("{provider}", string(provider), "{account}", account).Replace(template)
}

// Topics are the names of all topics that there will be.
func (c *Config) Topics(origins []Origin) ([]string, error) {
	names, _, err := c.topics(origins)
	return names, err
}

// topics are all names that the template gives for the origins, and the name for a record, which may be none of them: of an account that was configured once.
func (c *Config) topics(origins []Origin) (names []string, of func(*spool.Record) string, err error) {
	if !strings.Contains(c.Topic, "{") {
		return []string{c.Topic}, func(*spool.Record) string { return c.Topic }, nil
	}
	all := map[Origin]string{}
	for _, o := range origins {
		all[o] = expand(c.Topic, o.Provider, o.Account)
		if err := checkName(all[o]); err != nil {
			return nil, nil, err
		}
	}
	names = slices.Compact(slices.Sorted(maps.Values(all)))
	return names, func(r *spool.Record) string { return all[Origin{r.Header.Provider, r.Header.Account}] }, nil
}

// nowhere is in the place of a topic for events that have none. Kafka takes no such name.
const nowhere = "no topic"

func noTopic(b *sink.Batch) error {
	bad := make([]spool.Pos, len(b.Records))
	for i := range b.Records {
		bad[i] = b.Records[i].Pos
	}
	return &sink.Rejected{Pos: bad, Err: retry.Reasonf("no_topic",
		"the topic template gives no topic for the account of this event: no source of the configuration has it; bring the source back and replay the dead letter")}
}

// ensure returns what brokers say of the topics, all of which are there and as they must be; those that are missing are created where that is asked for.
func (s *Sink) ensure(ctx context.Context) (map[string]topicInfo, error) {
	answer, err := s.describe(ctx)
	if err != nil {
		return nil, classify(err).tell("look up topics", toDescribe.on(s.names[0]), err)
	}
	var missing []string
	for _, name := range s.names {
		if errors.Is(answer.topics[name].err, kafkago.UnknownTopicOrPartition) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		if !s.cfg.Create {
			return nil, s.missing(missing[0], len(answer.brokers))
		}
		if err := s.create(ctx, missing); err != nil {
			return nil, err
		}
		if answer, err = s.describe(ctx); err != nil {
			return nil, classify(err).tell("look up topics", toDescribe.on(s.names[0]), err)
		}
	}
	found := answer.topics
	for _, name := range s.names {
		if err := found[name].err; err != nil {
			return nil, classify(err).tell("look up topic "+name, toDescribe.on(name), err)
		}
		if len(found[name].partitions) == 0 {
			return nil, retry.Reasonf("no_topic", "topic %s has no partitions yet: %w", name, kafkago.UnknownTopicOrPartition)
		}
		for i, p := range found[name].partitions {
			if p.leader < 0 {
				return nil, retry.Reasonf("no_leader", "partition %d of topic %s has no leader: its brokers are down: %w", i, name, kafkago.LeaderNotAvailable)
			}
		}
	}
	return found, s.verify(ctx, found)
}

func (s *Sink) missing(name string, brokers int) error {
	return retry.Reasonf("no_topic", "topic %s does not exist; run: kafka-topics.sh --bootstrap-server %s --create --topic %s --partitions %d --replication-factor %d, or set create: true",
		name, s.cfg.Brokers[0], name, s.cfg.partitions(), cmp.Or(s.cfg.Replication, max(1, min(3, brokers))))
}

// create creates the topics.
func (s *Sink) create(ctx context.Context, names []string) error {
	request := &kafkago.CreateTopicsRequest{}
	for _, name := range names {
		t := kafkago.TopicConfig{Topic: name, NumPartitions: s.cfg.partitions(), ReplicationFactor: cmp.Or(s.cfg.Replication, -1)}
		for _, key := range slices.Sorted(maps.Keys(s.cfg.TopicConfig)) {
			t.ConfigEntries = append(t.ConfigEntries, kafkago.ConfigEntry{ConfigName: key, ConfigValue: s.cfg.TopicConfig[key]})
		}
		request.Topics = append(request.Topics, t)
	}
	answer, err := s.client.CreateTopics(ctx, request)
	if err != nil {
		return classify(err).tell("create topics", toCreate.on(names[0]), err)
	}
	for _, name := range names {
		err := answer.Errors[name]
		switch {
		case err == nil:
			s.log.Info("Kafka topic created", zap.String("topic", name), zap.Int("partitions", s.cfg.partitions()))
		case errors.Is(err, kafkago.TopicAlreadyExists): // another bridge was quicker
		case errors.Is(err, kafkago.InvalidReplicationFactor):
			return retry.Reasonf(reasonTopic, "create topic %s: %w: the cluster has too few brokers for replication: %d", name, err, s.cfg.Replication)
		default:
			return classify(err).tell("create topic "+name, toCreate.on(name), err)
		}
	}
	return nil
}

// leastMessage is what a topic's max.message.bytes must allow at least: a batch. It is the brokers' default.
const leastMessage = 1048588

// verify names every setting of a topic that breaks what the sink promises. Settings are never changed: an operator's topic is an operator's.
func (s *Sink) verify(ctx context.Context, found map[string]topicInfo) error {
	settings, err := s.settings(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range s.names {
		wrong := func(setting, want string, have any, next string) {
			errs = append(errs, retry.Reasonf(reasonTopic, "topic %s: %s: wanted %s, found %v; %s", name, setting, want, have, next))
		}
		configure := func(setting, value string) string {
			return fmt.Sprintf("run: kafka-configs.sh --bootstrap-server %s --alter --entity-type topics --entity-name %s --add-config %s=%s", s.cfg.Brokers[0], name, setting, value)
		}
		t := found[name]
		if n := len(t.partitions); n < s.cfg.Partitions {
			wrong("partitions", fmt.Sprintf("%d or more", s.cfg.Partitions), n,
				fmt.Sprintf("run: kafka-topics.sh --bootstrap-server %s --alter --topic %s --partitions %d, or lower partitions", s.cfg.Brokers[0], name, s.cfg.Partitions))
		}
		if n := t.partitions[0].replicas; n < s.cfg.Replication {
			wrong("replicas", fmt.Sprintf("%d or more", s.cfg.Replication), n, "run kafka-reassign-partitions.sh with more replicas, or lower replication")
		}
		if n, err := strconv.Atoi(settings[name]["max.message.bytes"]); err == nil && n < leastMessage {
			wrong("max.message.bytes", fmt.Sprintf("%d or more", leastMessage), n, configure("max.message.bytes", strconv.Itoa(leastMessage)))
		}
		if policy, ok := settings[name]["cleanup.policy"]; ok && policy != "delete" {
			// Of the events with one key only the newest would be kept.
			wrong("cleanup.policy", "delete", policy, configure("cleanup.policy", "delete"))
		}
	}
	return errors.Join(errs...)
}

// settings are the topics' by name.
func (s *Sink) settings(ctx context.Context) (map[string]map[string]string, error) {
	request := &kafkago.DescribeConfigsRequest{}
	for _, name := range s.names {
		request.Resources = append(request.Resources, kafkago.DescribeConfigRequestResource{
			ResourceType: kafkago.ResourceTypeTopic, ResourceName: name, ConfigNames: []string{"max.message.bytes", "cleanup.policy"},
		})
	}
	answer, err := s.client.DescribeConfigs(ctx, request)
	if err != nil {
		return nil, classify(err).tell("look up the topics' settings", toConfigs.on(s.names[0]), err)
	}
	all := map[string]map[string]string{}
	for _, r := range answer.Resources {
		if r.Error != nil {
			return nil, classify(r.Error).tell("look up the settings of topic "+r.ResourceName, toConfigs.on(r.ResourceName), r.Error)
		}
		all[r.ResourceName] = map[string]string{}
		for _, e := range r.ConfigEntries {
			all[r.ResourceName][e.ConfigName] = e.ConfigValue
		}
	}
	return all, nil
}
