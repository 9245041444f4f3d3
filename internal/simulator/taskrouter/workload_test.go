package taskrouter

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// told is one call of a world's emit.
type told struct {
	Entry
	payload string
}

// live runs a world of its own, without sockets, whose clock advances by tick with every step.
func live(seed uint64, workers, steps int, tick time.Duration) (*world, []told) {
	var all []told
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	x := newWorld(owner{"AC1", "WS1"}, seed, func() time.Time { return clock }, func(w *worker, e Entry, payload any) {
		e.Seq, e.Worker, e.At = int64(len(all))+1, w.sid, clock
		all = append(all, told{e, text(payload)})
	})
	for range workers {
		x.addWorker()
	}
	for range steps {
		clock = clock.Add(tick)
		x.step()
	}
	return x, all
}

func TestWorkloadIsTheSameForASeed(t *testing.T) {
	_, a := live(7, 20, 3000, 10*time.Millisecond)
	_, b := live(7, 20, 3000, 10*time.Millisecond)
	if diff := cmp.Diff(a, b, cmp.AllowUnexported(told{})); diff != "" {
		t.Errorf("two runs of seed 7 differ: %s", diff)
	}
	_, c := live(8, 20, 3000, 10*time.Millisecond)
	if cmp.Equal(a, c, cmp.AllowUnexported(told{})) {
		t.Error("seeds 7 and 8 give the same events")
	}
}

func TestWorkloadTellsEveryKindOfEvent(t *testing.T) {
	_, all := live(1, 50, 10000, 5*time.Millisecond)
	count := map[string]int{}
	for _, e := range all {
		count[e.EventType]++
	}
	for eventType := range requiredKeys {
		if count[eventType] == 0 {
			t.Errorf("no %s among %d events", eventType, len(all))
		}
	}
	for eventType := range count {
		if requiredKeys[eventType] == nil {
			t.Errorf("%s is not an event of this protocol", eventType)
		}
	}
	coded := 0
	for _, e := range all {
		if e.EventType == "reservation.canceled" && gets(t, e.payload, "canceled_reason_code") != nil {
			coded++
		}
	}
	if n := count["reservation.canceled"]; coded == 0 || coded == n {
		t.Errorf("got %d of %d reservation.canceled with a reason code, want some with and some without", coded, n)
	}
	t.Logf("mix: %v", count)
}

// What a consumer can name a fact by: one-shot transitions by the resource, others by version or stamp.
func fact(e Entry) string {
	switch e.EventType {
	case "worker.activity.update":
		return e.Worker + e.EventType + e.Stamp
	case "task.transfer-attempt-failed":
		return e.Resource + e.EventType + e.Stamp
	case "worker.attributes.update", "worker.capacity.update", "worker.channel.availability.update", "task.updated", "reservation.failed":
		return fmt.Sprint(e.Resource, e.EventType, *e.Version)
	}
	return e.Resource + e.EventType
}

func TestEveryFactHasAName(t *testing.T) {
	for seed := range uint64(2) {
		_, all := live(seed, 10, 3000, 200*time.Microsecond) // many changes of few things within each second
		seen := map[string]told{}
		for _, e := range all {
			before, twice := seen[fact(e.Entry)]
			seen[fact(e.Entry)] = e
			if !twice {
				continue
			}
			if before.Worker == e.Worker {
				t.Fatalf("seed %d: entries %d and %d of one worker are both %s", seed, before.Seq, e.Seq, fact(e.Entry))
			}
			if before.payload != e.payload || before.Stamp != e.Stamp {
				t.Fatalf("seed %d: entries %d and %d are one fact told differently: %s, %s", seed, before.Seq, e.Seq, before.payload, e.payload)
			}
		}
	}
}

func TestVersionsGrow(t *testing.T) {
	_, all := live(3, 10, 5000, 10*time.Millisecond)
	last := map[string]told{}
	for _, e := range all {
		if e.Version == nil {
			if e.Resource[:2] != "TT" {
				t.Fatalf("entry %d: %s without a version", e.Seq, e.EventType)
			}
			continue
		}
		before, ok := last[e.Resource]
		last[e.Resource] = e
		if ok && *e.Version <= *before.Version && before.payload != e.payload {
			t.Fatalf("entry %d: %s has version %d after %d", e.Seq, e.EventType, *e.Version, *before.Version)
		}
	}
}

func TestLifeCycles(t *testing.T) {
	next := map[string][]string{
		"":           {"pending"},
		"pending":    {"accepted", "rejected", "timeout", "canceled", "rescinded"},
		"accepted":   {"wrapping", "completed", "canceled"},
		"wrapping":   {"completed"},
		"initiated":  {"initiated", "complete", "failed", "canceled"},
		"transfer: ": {"initiated"},
	}
	x, all := live(4, 10, 5000, 10*time.Millisecond)
	status, nested := map[string]string{}, map[string]string{}
	for _, e := range all {
		key, from, to := e.Resource, "", ""
		switch e.Resource[:2] {
		case "WR":
			from, to = status[key], gets(t, e.payload, "reservation_status").(string)
		case "TT":
			key += e.Worker // each worker is told a part
			if from = status[key]; from == "" {
				from = "transfer: "
			}
			to = gets(t, e.payload, "transfer_status").(string)
			if from == "transfer: " && to != "initiated" {
				from = "initiated" // the target hears of the end only
			}
		default:
			continue
		}
		if !slices.Contains(next[from], to) {
			t.Fatalf("entry %d: %s goes from %q to %q", e.Seq, e.Resource, from, to)
		}
		status[key] = to
		nested[e.EventType] = to
	}
	want := map[string]string{
		"reservation.created": "pending", "reservation.accepted": "accepted", "reservation.rejected": "rejected", "reservation.timeout": "timeout",
		"reservation.canceled": "canceled", "reservation.rescinded": "rescinded", "reservation.wrapup": "wrapping", "reservation.completed": "completed",
		"task.transfer-initiated": "initiated", "task.transfer-attempt-failed": "initiated", "task.transfer-completed": "complete",
		"task.transfer-failed": "failed", "task.transfer-canceled": "canceled",
	}
	if diff := cmp.Diff(want, nested); diff != "" {
		t.Errorf("status by event type: %s", diff)
	}
	if n := len(x.tasks); n < 10 || n > 30 {
		t.Errorf("got %d open tasks for 10 workers, want 10 to 30", n)
	}
}

var (
	workerKeys = []string{
		"account_sid", "workspace_sid", "sid", "friendly_name", "attributes", "activity_sid", "activity_name", "available",
		"date_created", "date_updated", "date_status_changed", "version",
	}
	channelKeys = []string{
		"account_sid", "workspace_sid", "sid", "worker_sid", "task_channel_sid", "task_channel_unique_name", "configured_capacity", "available",
		"assigned_tasks", "available_capacity_percentage", "date_created", "date_updated", "last_reserved_time",
	}
	reservationKeys = []string{
		"account_sid", "workspace_sid", "sid", "worker_sid", "reservation_status", "reservation_timeout", "date_created", "date_updated", "version", "task",
	}
	taskKeys = []string{
		"sid", "assignment_status", "attributes", "addons", "age", "priority", "timeout", "reason", "queue_sid", "queue_name", "workflow_sid",
		"workflow_name", "task_channel_sid", "task_channel_unique_name", "routing_target", "date_created", "date_updated", "virtual_start_time", "version",
	}
	transferKeys = []string{
		"sid", "task_sid", "transfer_type", "transfer_mode", "transfer_to", "transfer_status", "date_created", "date_updated",
		"initiating_reservation_sid", "initiating_worker_sid", "initiating_queue_sid", "initiating_workflow_sid",
	}
	// requiredKeys are those whose absence makes the vendor's SDK throw, for every event type of a worker's socket.
	requiredKeys = map[string][]string{
		"worker.activity.update": workerKeys, "worker.attributes.update": workerKeys,
		"worker.capacity.update": channelKeys, "worker.channel.availability.update": channelKeys,
		"reservation.created": reservationKeys, "reservation.accepted": reservationKeys, "reservation.rejected": reservationKeys,
		"reservation.timeout": reservationKeys, "reservation.canceled": reservationKeys, "reservation.rescinded": reservationKeys,
		"reservation.wrapup": reservationKeys, "reservation.completed": reservationKeys, "reservation.failed": taskKeys,
		"task.updated": taskKeys, "task.canceled": taskKeys, "task.completed": taskKeys, "task.wrapup": taskKeys,
		"task.transfer-initiated": transferKeys, "task.transfer-attempt-failed": transferKeys, "task.transfer-completed": transferKeys,
		"task.transfer-failed": transferKeys, "task.transfer-canceled": transferKeys,
	}
)

func TestPayloadsAreComplete(t *testing.T) {
	_, all := live(5, 20, 5000, 10*time.Millisecond)
	withTransfer := 0
	for _, e := range all {
		var p map[string]any
		if err := json.Unmarshal([]byte(e.payload), &p); err != nil {
			t.Fatal(err)
		}
		objects := []map[string]any{p}
		keys := [][]string{requiredKeys[e.EventType]}
		if task, ok := p["task"].(map[string]any); ok {
			objects, keys = append(objects, task), append(keys, taskKeys)
		}
		for i, o := range objects {
			for _, k := range keys[i] {
				if _, ok := o[k]; !ok {
					t.Fatalf("entry %d: %s lacks %s: %s", e.Seq, e.EventType, k, e.payload)
				}
			}
			if a, ok := o["attributes"].(string); ok && e.EventType != "reservation.failed" && !json.Valid([]byte(a)) {
				t.Fatalf("entry %d: attributes are not JSON text: %s", e.Seq, e.payload)
			}
		}
		for _, k := range []string{"task_transfer", "active_outgoing_task_transfer"} {
			if tr, ok := p[k]; ok {
				withTransfer++
				if tr == nil {
					t.Fatalf("entry %d: %s is null, must be absent", e.Seq, k)
				}
			}
		}
		if e.EventType == "reservation.created" && (p["date_created"] != 0.0 || p["date_updated"] != 0.0 || p["version"] != 0.0) {
			t.Fatalf("entry %d: a fresh reservation must have dates and version 0: %s", e.Seq, e.payload)
		}
	}
	if withTransfer == 0 {
		t.Error("no reservation carried its transfer")
	}
}

func TestRateMakesUpForStalls(t *testing.T) {
	for _, c := range []struct {
		rate    float64
		elapsed time.Duration
		want    int
	}{{200, 0, 0}, {200, 20 * time.Second, 4000}, {0.5, time.Second, 0}, {0.5, 3 * time.Second, 1}, {2000, time.Minute, 120000}} {
		if got := due(c.rate, c.elapsed); got != c.want {
			t.Errorf("due(%v, %v): got %d, want %d", c.rate, c.elapsed, got, c.want)
		}
	}
}

func gets(t *testing.T, payload, key string) any {
	t.Helper()
	var p map[string]any
	if err := json.Unmarshal([]byte(payload), &p); err != nil {
		t.Fatal(err)
	}
	return p[key]
}

func BenchmarkStep(b *testing.B) {
	now := time.Now()
	x := newWorld(owner{"AC1", "WS1"}, 1, func() time.Time { return now }, func(_ *worker, e Entry, p any) { _ = text(envelope{e.EventType, p}) })
	for range 100 {
		x.addWorker()
	}
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Millisecond)
		x.step()
	}
}
