package taskrouter

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

type object = map[string]any

// do lets an action happen through the control interface.
func do(t *testing.T, s *Simulator, a Action) Outcome {
	t.Helper()
	status, answer := submit(t, s.Ready().ControlURL+"/do", "", text(a))
	if status != http.StatusOK {
		t.Fatalf("%s: got %d %v", a.Do, status, answer)
	}
	var o Outcome
	if err := json.Unmarshal([]byte(text(answer)), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// send lets the worker's sockets have a text frame, whatever its size.
func send(t *testing.T, s *Simulator, worker, raw string) {
	t.Helper()
	if _, err := s.Do(Action{Do: "worker.send", Worker: worker, Text: raw}); err != nil {
		t.Fatal(err)
	}
}

// call sends a POST command of the first worker; what follows is the answer's payload, or the error body.
func call(t *testing.T, s *Simulator, path, ifMatch string, params object) (int, object) {
	t.Helper()
	body := text(object{"url": "Workspaces/" + s.o.Workspace + "/" + path, "method": "POST", "params": params, "token": token(t, s, 0, nil)})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Ready().EventBridgeURL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("apiVersion", "v2")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded") // as the vendor's SDK lies
	if ifMatch != "" {
		r.Header.Set("If-Match", ifMatch)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer object
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if payload, ok := answer["payload"].(object); ok {
		return resp.StatusCode, payload
	}
	return resp.StatusCode, answer
}

// everyoneAvailable is for tests that offer.
func everyoneAvailable(t *testing.T, s *Simulator) {
	t.Helper()
	for _, w := range s.Ready().Workers {
		do(t, s, Action{Do: "worker.activity", Worker: w, Activity: "Available"})
	}
}

func wantEvents(t *testing.T, c *websocket.Conn, want ...string) {
	t.Helper()
	for _, eventType := range want {
		if m := read(t, c); m.EventType != eventType {
			t.Fatalf("got %s, want %s", m.EventType, eventType)
		}
	}
}

func TestReservationCommands(t *testing.T) {
	s := start(t, Options{Workers: 2})
	everyoneAvailable(t, s)
	me := s.Ready().Workers[0]
	own := "Workers/" + me
	c := dial(t, s, 0, observer)
	offer := func(workers ...string) (taskPath, path string) {
		t.Helper()
		o := do(t, s, Action{Do: "task.create", Workers: append([]string{me}, workers...)})
		wantEvents(t, c, "reservation.created")
		return "Tasks/" + o.Task, own + "/Reservations/" + o.Reservations[0]
	}
	ok := func(path, ifMatch string, params object, member, want string) {
		t.Helper()
		status, payload := call(t, s, path, ifMatch, params)
		if status != 200 || payload[member] != want {
			t.Fatalf("%s %v: got %d %v, want %s %s", path, params, status, payload, member, want)
		}
	}
	refused := func(path, ifMatch string, params object, want int) {
		t.Helper()
		status, answer := call(t, s, path, ifMatch, params)
		if message, _ := answer["message"].(string); status != want || message == "" || answer["status"] != float64(want) {
			t.Errorf("%s %v: got %d %v, want %d with a message", path, params, status, answer, want)
		}
	}
	becomes := func(status string) object { return object{"ReservationStatus": status} }

	task, r := offer()
	refused(r, "7", becomes("accepted"), 412)
	refused(r, "", becomes("completed"), 409)
	refused(r, "", becomes("timeout"), 400)
	refused(own+"/Reservations/WR1", "", becomes("accepted"), 404)
	ok(r, "0", becomes("accepted"), "reservation_status", "accepted")
	wantEvents(t, c, "reservation.accepted")
	refused(r, "", becomes("accepted"), 409)
	ok(r, "1", becomes("wrapping"), "reservation_status", "wrapping")
	wantEvents(t, c, "reservation.wrapup", "task.wrapup")
	ok(r, "", becomes("completed"), "reservation_status", "completed")
	wantEvents(t, c, "task.completed", "reservation.completed")
	refused(task, "", object{"AssignmentStatus": "canceled"}, 409)
	refused(task, "", object{"Attributes": object{}}, 409)

	task, r = offer()
	ok(r, "", object{"ReservationStatus": "rejected", "WorkerActivitySid": s.world.activities[onBreak].SID}, "reservation_status", "rejected")
	wantEvents(t, c, "reservation.rejected", "worker.activity.update")
	status, answer := post(t, s, "v1", token(t, s, 0, nil), "Workspaces/"+s.o.Workspace+"/"+task, nil)
	if got := answer["payload"].(object)["assignment_status"]; status != 200 || got != "pending" {
		t.Errorf("task after the rejection: got %d %v, want pending", status, got)
	}

	task, r = offer()
	ok(task, "0", object{"Attributes": object{"topic": "invoice"}}, "attributes", `{"topic":"invoice"}`)
	wantEvents(t, c, "task.updated")
	ok(r, "", becomes("accepted"), "reservation_status", "accepted")
	wantEvents(t, c, "reservation.accepted")
	refused(task, "1", object{"AssignmentStatus": "wrapping"}, 412)
	ok(task, "2", object{"AssignmentStatus": "wrapping", "Reason": "notes"}, "assignment_status", "wrapping")
	wantEvents(t, c, "reservation.wrapup", "task.wrapup")
	ok(task, "3", object{"AssignmentStatus": "completed", "Reason": "done"}, "reason", "done")
	wantEvents(t, c, "task.completed", "reservation.completed")

	// Who is too late is rescinded.
	_, r = offer(s.Ready().Workers[1])
	do(t, s, Action{Do: "reservation.accept", Reservation: s.world.workers[1].reservations[0].sid})
	wantEvents(t, c, "reservation.rescinded")
	refused(r, "", becomes("accepted"), 409)
}

func TestWorkerCommands(t *testing.T) {
	s := start(t, Options{Workers: 2})
	everyoneAvailable(t, s)
	me, other := s.Ready().Workers[0], s.Ready().Workers[1]
	c := dial(t, s, 0, observer)
	do(t, s, Action{Do: "task.create", Workers: []string{me}})
	do(t, s, Action{Do: "task.create", Workers: []string{me}})
	wantEvents(t, c, "reservation.created", "reservation.created")

	status, payload := call(t, s, "Workers/"+me, "", object{"ActivitySid": s.world.activities[onBreak].SID, "RejectPendingReservations": true})
	if status != 200 || payload["activity_name"] != "Break" || payload["available"] != false {
		t.Errorf("set activity: got %d %v", status, payload)
	}
	wantEvents(t, c, "reservation.rejected", "reservation.rejected", "worker.activity.update")
	status, payload = call(t, s, "Workers/"+me, "", object{"Attributes": object{"languages": []string{"fi"}}})
	if status != 200 || payload["attributes"] != `{"languages":["fi"]}` {
		t.Errorf("set attributes: got %d %v", status, payload)
	}
	if m := read(t, c); m.EventType != "worker.attributes.update" || m.Payload["attributes"] != payload["attributes"] {
		t.Errorf("got %v, want the new attributes", m)
	}
	for name, x := range map[string]struct {
		path, ifMatch string
		params        object
		want          int
	}{
		"activity":       {"Workers/" + me, "", object{"ActivitySid": "WA1"}, 400},
		"attributes":     {"Workers/" + me, "", object{"Attributes": "[]"}, 400},
		"too long":       {"Workers/" + me, "", object{"Attributes": object{"x": strings.Repeat("ä", maxAttributes)}}, 400},
		"stale":          {"Workers/" + me, "1", object{"Attributes": object{}}, 412},
		"another worker": {"Workers/" + other, "", object{"Attributes": object{}}, 403},
		"no route":       {"Workers", "", object{}, 404},
	} {
		if status, answer := call(t, s, x.path, x.ifMatch, x.params); status != x.want {
			t.Errorf("%s: got %d %v, want %d", name, status, answer, x.want)
		}
	}
}

func TestTransferAndOutboundCommands(t *testing.T) {
	s := start(t, Options{Workers: 2})
	everyoneAvailable(t, s)
	me, other := s.Ready().Workers[0], s.Ready().Workers[1]
	mine, theirs := dial(t, s, 0, observer), dial(t, s, 1, observer)

	status, created := call(t, s, "Tasks", "", object{
		"RoutingTarget": me, "WorkflowSid": workflows[0].sid, "TaskQueueSid": queues[0].sid, "Attributes": object{"outbound_to": "customer"},
		"TaskChannelUniqueName": "voice",
	})
	if status != 200 || created["assignment_status"] != "pending" || created["routing_target"] != me || created["task_channel_unique_name"] != "voice" {
		t.Fatalf("create task: got %d %v", status, created)
	}
	offered := read(t, mine)
	if offered.EventType != "reservation.created" || offered.Payload["task"].(object)["sid"] != created["sid"] {
		t.Fatalf("got %v, want the new task's reservation", offered)
	}
	reservation := offered.Payload["sid"]
	do(t, s, Action{Do: "reservation.accept", Reservation: reservation.(string)})
	wantEvents(t, mine, "reservation.accepted")

	begin := object{"ReservationSid": reservation, "TaskSid": created["sid"], "To": other, "Mode": "COLD"}
	status, transfer := call(t, s, "Workers/"+me+"/Transfers", "", begin)
	if status != 200 || transfer["transfer_to"] != other || transfer["transfer_mode"] != "COLD" || transfer["task_sid"] != created["sid"] {
		t.Fatalf("start transfer: got %d %v", status, transfer)
	}
	if status, _ := call(t, s, "Workers/"+me+"/Transfers", "", begin); status != 409 {
		t.Errorf("a second transfer of one task: got %d, want 409", status)
	}
	wantEvents(t, mine, "task.transfer-initiated")
	wantEvents(t, theirs, "reservation.created")
	status, transfer = call(t, s, "Workers/"+me+"/Transfers/"+transfer["sid"].(string), "", object{"TaskSid": created["sid"], "TransferStatus": "canceled"})
	if status != 200 || transfer["transfer_status"] != "canceled" {
		t.Errorf("cancel transfer: got %d %v", status, transfer)
	}
	wantEvents(t, mine, "task.transfer-canceled")

	do(t, s, Action{Do: "worker.activity", Worker: other, Activity: "Offline"})
	if status, _ := call(t, s, "Workers/"+me+"/Transfers", "", begin); status != 200 {
		t.Errorf("transfer to a worker who is offline: got %d, want 200", status)
	}
	wantEvents(t, mine, "task.transfer-initiated", "task.transfer-failed")
	begin["To"] = "WQ9"
	if status, _ := call(t, s, "Workers/"+me+"/Transfers", "", begin); status != 400 {
		t.Errorf("transfer to an unknown queue: got %d, want 400", status)
	}
}

// The answer comes first, by EventDelay, and what happens meanwhile keeps its place behind the command's events.
func TestEventsFollowTheAnswer(t *testing.T) {
	s := start(t, Options{Workers: 1, EventDelay: 300 * time.Millisecond})
	everyoneAvailable(t, s)
	me := s.Ready().Workers[0]
	c := dial(t, s, 0, observer)
	began := time.Now()
	if status, _ := call(t, s, "Workers/"+me, "", object{"Attributes": object{}}); status != 200 {
		t.Fatalf("got %d", status)
	}
	do(t, s, Action{Do: "worker.outbound-failed", Worker: me})
	wantEvents(t, c, "worker.attributes.update", "reservation.failed")
	if waited := time.Since(began); waited < 300*time.Millisecond {
		t.Errorf("the events came after %v, want them at least 300ms after the command", waited)
	}
	waitFor(t, "delivery to be noted", func() bool { return s.Ledger()[len(s.Ledger())-1].Delivered == 1 })
	entries := entriesOf(s, me)
	if a, b := entries[len(entries)-2], entries[len(entries)-1]; b.At.Before(a.At) {
		t.Errorf("written at %v and %v, want the order of the ledger", a.At, b.At)
	}
}

func TestEndedTasksCanBeReadForAWhile(t *testing.T) {
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	x := newWorld(owner{"AC1", "WS1"}, 1, func() time.Time { return clock }, func(*worker, Entry, any) {})
	x.addWorker()
	end := func() string {
		task := x.makeTask()
		x.tasks = append(x.tasks, task)
		x.offer(task, x.workers[0], nil)
		x.cancel(task, "", 0)
		return task.sid
	}
	first := end()
	if task := x.task(first); task == nil || task.status != "canceled" || len(x.everyReservation()) != 1 || x.everyReservation()[0].status != "canceled" {
		t.Fatalf("got %v, want the canceled task and its reservation", task)
	}
	clock = clock.Add((keepEnded + 1) * time.Second)
	second := end()
	if x.task(first) != nil || x.task(second) == nil {
		t.Error("want the first task forgotten and the second kept")
	}
	for range maxEnded {
		end()
	}
	if got := len(x.ended); got != maxEnded || x.task(second) != nil {
		t.Errorf("got %d ended tasks, want the latest %d", got, maxEnded)
	}
}
