package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/retry"
)

// ensureStream returns the verified stream, creating it when the server has none of that name. A permanent error is a mismatch: only
// an operator can settle it.
func ensureStream(ctx context.Context, js jetstream.JetStream, c *Config, wildcard string) (*jetstream.StreamInfo, error) {
	stream, err := js.Stream(ctx, c.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = js.CreateStream(ctx, c.streamConfig(wildcard))
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			stream, err = js.Stream(ctx, c.Stream) // another bridge was quicker
		}
		if err != nil {
			return nil, notDone(fmt.Sprintf("create stream %s with subjects %s", c.Stream, wildcard), err)
		}
	}
	if err != nil {
		return nil, notDone("look up stream "+c.Stream, err)
	}
	info := stream.CachedInfo()
	return info, c.verify(&info.Config, wildcard)
}

func (c *Config) streamConfig(wildcard string) jetstream.StreamConfig {
	sc := jetstream.StreamConfig{
		Name: c.Stream, Subjects: []string{wildcard}, Description: "Contact-centre events from Taskbridge",
		Storage: jetstream.FileStorage, Discard: jetstream.DiscardOld, Retention: jetstream.LimitsPolicy,
		Replicas: c.Replicas, MaxAge: time.Duration(c.MaxAge), MaxBytes: -1, Duplicates: time.Duration(c.DuplicateWindow),
	}
	if c.MaxBytes > 0 {
		sc.MaxBytes = int64(c.MaxBytes)
	}
	return sc
}

// verify names every setting of an existing stream that breaks what the sink promises.
func (c *Config) verify(have *jetstream.StreamConfig, wildcard string) error {
	var errs []error
	wrong := func(setting, want, found, next string) {
		errs = append(errs, retry.Reasonf("stream_mismatch", "stream %s: %s: wanted %s, found %s; %s", c.Stream, setting, want, found, next))
	}
	edit := func(flag string) string {
		return fmt.Sprintf("run: nats stream edit %s %s, or name another stream", c.Stream, flag)
	}
	another := "it cannot be changed: name another stream"

	if !slices.ContainsFunc(have.Subjects, func(s string) bool { return covers(s, wildcard) }) {
		wrong("subjects", wildcard, list(have.Subjects), edit("--subjects "+wildcard)+", or change the subject template")
	}
	if have.Storage != jetstream.FileStorage {
		wrong("storage", "file", have.Storage.String(), another)
	}
	if have.Replicas < c.Replicas {
		wrong("replicas", fmt.Sprintf("%d or more", c.Replicas), fmt.Sprint(have.Replicas), edit(fmt.Sprintf("--replicas %d", c.Replicas)))
	}
	if window := config.Duration(have.Duplicates); window < c.DuplicateWindow {
		wrong("duplicate_window", fmt.Sprintf("%v or more", c.DuplicateWindow), window.String(),
			edit(fmt.Sprintf("--dupe-window %v", time.Duration(c.DuplicateWindow)))+", or lower duplicate_window")
	}
	if have.Retention != jetstream.LimitsPolicy {
		// Consumers would remove events, so what landed could not be read back.
		wrong("retention", "limits", have.Retention.String(), another)
	}
	if have.NoAck {
		wrong("no_ack", "false", "true", edit("--ack"))
	}
	if have.MaxMsgsPerSubject > 0 {
		// Agents have few subjects and many events: the server would keep only the newest of each.
		wrong("max_msgs_per_subject", "no limit", fmt.Sprint(have.MaxMsgsPerSubject), edit("--max-msgs-per-subject=-1"))
	}
	if have.MaxMsgSize > 0 && have.MaxMsgSize < maxBatch {
		// What is larger could only be set aside.
		wrong("max_msg_size", fmt.Sprintf("no limit, or %d or more", maxBatch), fmt.Sprint(have.MaxMsgSize), edit("--max-msg-size=-1"))
	}
	if have.SubjectTransform != nil {
		wrong("subject_transform", "none", "one", "remove it, or name another stream")
	}
	if have.Sealed {
		wrong("sealed", "false", "true", another)
	}
	if len(errs) == 0 {
		return nil
	}
	return retry.Permanent(errors.Join(errs...))
}

func list(subjects []string) string {
	if len(subjects) == 0 {
		return "none (a mirror or a stream of sources)"
	}
	return strings.Join(subjects, ", ")
}

// covers reports whether every subject that wildcard matches is matched by pattern too. wildcard has no >.
func covers(pattern, wildcard string) bool {
	p, w := strings.Split(pattern, "."), strings.Split(wildcard, ".")
	for i, token := range p {
		switch {
		case i == len(w):
			return false
		case token == ">":
			return true
		case token != "*" && token != w[i]:
			return false
		}
	}
	return len(p) == len(w)
}
