package taskrouter

// The objects as they stand on the wire (docs/protocols/twilio-taskrouter.md, section 8). Times are whole seconds since the epoch unless a comment
// says otherwise. A key whose absence makes the vendor's SDK throw has no omitempty.

type envelope struct {
	EventType string `json:"event_type"`
	Payload   any    `json:"payload"`
}

type initPayload struct {
	ChannelSID    string `json:"channel_id"`
	AccountSID    string `json:"account_sid"`
	WorkspaceSID  string `json:"workspace_sid"`
	TokenLifetime int64  `json:"token_lifetime"` // ms left
}

type owner struct {
	AccountSID   string `json:"account_sid"`
	WorkspaceSID string `json:"workspace_sid"`
}

type workerPayload struct {
	owner
	SID               string `json:"sid"`
	DateCreated       int64  `json:"date_created"`
	DateUpdated       int64  `json:"date_updated"`
	Attributes        string `json:"attributes"` // JSON text
	FriendlyName      string `json:"friendly_name"`
	Available         bool   `json:"available"`
	ActivitySID       string `json:"activity_sid"`
	ActivityName      string `json:"activity_name"`
	DateStatusChanged int64  `json:"date_status_changed"`
	Version           int64  `json:"version"`
}

type activityPayload struct {
	owner
	SID          string `json:"sid"`
	FriendlyName string `json:"friendly_name"`
	Available    bool   `json:"available"`
	DateCreated  int64  `json:"date_created"`
	DateUpdated  int64  `json:"date_updated"`
}

type channelPayload struct {
	owner
	SID                   string  `json:"sid"`
	WorkerSID             string  `json:"worker_sid"`
	TaskChannelSID        string  `json:"task_channel_sid"`
	TaskChannelUniqueName string  `json:"task_channel_unique_name"`
	ConfiguredCapacity    int     `json:"configured_capacity"`
	Available             int     `json:"available"` // 1 or 0
	AssignedTasks         int     `json:"assigned_tasks"`
	AvailablePercentage   float64 `json:"available_capacity_percentage"`
	DateCreated           int64   `json:"date_created"`
	DateUpdated           int64   `json:"date_updated"`
	LastReservedTime      int64   `json:"last_reserved_time"` // ms since the epoch
	Version               int64   `json:"version"`
}

type reservationPayload struct {
	owner
	SID                       string           `json:"sid"`
	WorkerSID                 string           `json:"worker_sid"`
	WorkerName                string           `json:"worker_name"`
	WorkerPreviousActivitySID string           `json:"worker_previous_activity_sid"`
	ReservationStatus         string           `json:"reservation_status"`
	ReservationTimeout        int              `json:"reservation_timeout"`
	CanceledReasonCode        int              `json:"canceled_reason_code,omitempty"`
	DateCreated               int64            `json:"date_created"`
	DateUpdated               int64            `json:"date_updated"`
	Version                   int64            `json:"version"`
	Task                      taskPayload      `json:"task"`
	TaskTransfer              *transferPayload `json:"task_transfer,omitempty"` // null would make the vendor's SDK throw
	ActiveOutgoingTransfer    *transferPayload `json:"active_outgoing_task_transfer,omitempty"`
}

// flatReservation is what a command about a reservation is answered with (section 8.6).
type flatReservation struct {
	owner
	SID                       string `json:"sid"`
	DateCreated               int64  `json:"date_created"`
	DateUpdated               int64  `json:"date_updated"`
	TaskSID                   string `json:"task_sid"`
	WorkerSID                 string `json:"worker_sid"`
	WorkerName                string `json:"worker_name"`
	ReservationStatus         string `json:"reservation_status"`
	TaskChannelSID            string `json:"task_channel_sid"`
	WorkerPreviousActivitySID string `json:"worker_previous_activity_sid"`
	Version                   int64  `json:"version"`
}

type taskPayload struct {
	SID                   string  `json:"sid"`
	DateCreated           int64   `json:"date_created"`
	DateUpdated           int64   `json:"date_updated"`
	Attributes            string  `json:"attributes"` // JSON text, empty in reservation.failed
	AssignmentStatus      string  `json:"assignment_status"`
	WorkflowSID           string  `json:"workflow_sid"`
	WorkflowName          string  `json:"workflow_name"`
	QueueSID              string  `json:"queue_sid"`
	QueueName             string  `json:"queue_name"`
	Priority              int     `json:"priority"`
	Reason                *string `json:"reason"`
	Timeout               int     `json:"timeout"` // s
	TaskChannelSID        string  `json:"task_channel_sid"`
	TaskChannelUniqueName string  `json:"task_channel_unique_name"`
	Age                   int64   `json:"age"` // s since date_created
	Addons                string  `json:"addons"`
	RoutingTarget         *string `json:"routing_target"`
	Version               int64   `json:"version"`
	VirtualStartTime      int64   `json:"virtual_start_time"`
}

// standaloneTask is a task that is not nested in a reservation: task.* events and reservation.failed.
type standaloneTask struct {
	owner
	taskPayload
	Counter int `json:"counter"`
}

type transferPayload struct {
	SID                      string `json:"sid"`
	TransferType             string `json:"transfer_type"`
	TransferMode             string `json:"transfer_mode"`
	TransferTo               string `json:"transfer_to"`
	TransferStatus           string `json:"transfer_status"`
	TransferFailedReason     string `json:"transfer_failed_reason,omitempty"`
	DateCreated              int64  `json:"date_created"`
	DateUpdated              int64  `json:"date_updated"`
	InitiatingReservationSID string `json:"initiating_reservation_sid"`
	InitiatingWorkerSID      string `json:"initiating_worker_sid"`
	InitiatingQueueSID       string `json:"initiating_queue_sid"`
	InitiatingWorkflowSID    string `json:"initiating_workflow_sid"`
}

// standaloneTransfer is the payload of the task.transfer-* events.
type standaloneTransfer struct {
	owner
	TaskSID string `json:"task_sid"`
	transferPayload
}

func (x *world) workerPayload(w *worker) workerPayload {
	a := x.activities[w.activity]
	return workerPayload{
		owner: x.owner, SID: w.sid, DateCreated: w.created, DateUpdated: w.updated, Attributes: w.attributes, FriendlyName: w.name,
		Available: a.Available, ActivitySID: a.SID, ActivityName: a.FriendlyName, DateStatusChanged: w.activityAt[w.activity], Version: w.version,
	}
}

func (x *world) channelPayload(c *channel) channelPayload {
	assigned := c.worker.assigned(c.kind)
	return channelPayload{
		owner: x.owner, SID: c.sid, WorkerSID: c.worker.sid, TaskChannelSID: x.sid("TC", c.kind+1), TaskChannelUniqueName: channelNames[c.kind],
		ConfiguredCapacity: c.capacity, Available: c.available, AssignedTasks: assigned,
		AvailablePercentage: 100 * float64(max(0, c.capacity-assigned)) / float64(c.capacity),
		DateCreated:         c.worker.created, DateUpdated: c.updated, LastReservedTime: c.lastReserved, Version: c.version,
	}
}

func (x *world) reservationPayload(r *reservation) reservationPayload {
	p := reservationPayload{
		owner: x.owner, SID: r.sid, WorkerSID: r.worker.sid, WorkerName: r.worker.name,
		WorkerPreviousActivitySID: x.activities[r.previousActivity].SID, ReservationStatus: r.status, ReservationTimeout: reservationTimeout,
		CanceledReasonCode: r.canceledCode, DateCreated: r.created, DateUpdated: r.updated, Version: r.version, Task: x.taskPayload(r.task),
	}
	if r.transfer != nil {
		p.TaskTransfer = new(r.transfer.payload())
	}
	if t := r.task.transfer; t != nil && t.initiating == r {
		p.ActiveOutgoingTransfer = new(t.payload())
	}
	return p
}

func (x *world) flatReservation(r *reservation) flatReservation {
	return flatReservation{
		owner: x.owner, SID: r.sid, DateCreated: r.created, DateUpdated: r.updated, TaskSID: r.task.sid, WorkerSID: r.worker.sid,
		WorkerName: r.worker.name, ReservationStatus: r.status, TaskChannelSID: x.sid("TC", r.task.channel+1),
		WorkerPreviousActivitySID: x.activities[r.previousActivity].SID, Version: r.version,
	}
}

func (x *world) taskPayload(t *task) taskPayload {
	p := taskPayload{
		SID: t.sid, DateCreated: t.created, DateUpdated: t.updated, Attributes: t.attributes, AssignmentStatus: t.status,
		WorkflowSID: t.workflow.sid, WorkflowName: t.workflow.name, QueueSID: t.queue.sid, QueueName: t.queue.name,
		Priority: t.priority, Timeout: taskTimeout, TaskChannelSID: x.sid("TC", t.channel+1), TaskChannelUniqueName: channelNames[t.channel],
		Age: x.seconds() - t.created, Addons: "{}", Version: t.version, VirtualStartTime: t.created,
	}
	if t.reason != "" {
		p.Reason = new(t.reason) // a copy: answers are written without the lock
	}
	if t.routingTarget != nil {
		p.RoutingTarget = &t.routingTarget.sid
	}
	return p
}

func (x *world) standaloneTask(t *task) standaloneTask {
	return standaloneTask{owner: x.owner, taskPayload: x.taskPayload(t), Counter: 1}
}

func (x *world) standaloneTransfer(tr *transfer) standaloneTransfer {
	return standaloneTransfer{owner: x.owner, TaskSID: tr.initiating.task.sid, transferPayload: tr.payload()}
}

func (tr *transfer) payload() transferPayload {
	return transferPayload{
		SID: tr.sid, TransferType: tr.kind, TransferMode: tr.mode, TransferTo: tr.to, TransferStatus: tr.status,
		TransferFailedReason: tr.failedReason, DateCreated: tr.created, DateUpdated: tr.updated,
		InitiatingReservationSID: tr.initiating.sid, InitiatingWorkerSID: tr.initiating.worker.sid,
		InitiatingQueueSID: tr.initiating.task.queue.sid, InitiatingWorkflowSID: tr.initiating.task.workflow.sid,
	}
}
