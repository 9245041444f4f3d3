package taskrouter

import "time"

// The objects as they stand in REST answers (section 14): ISO 8601 times, other names, URLs.

type workerResource struct {
	owner
	SID               string            `json:"sid"`
	FriendlyName      string            `json:"friendly_name"`
	Attributes        string            `json:"attributes"` // JSON text
	Available         bool              `json:"available"`
	ActivitySID       string            `json:"activity_sid"`
	ActivityName      string            `json:"activity_name"`
	DateCreated       string            `json:"date_created"`
	DateUpdated       string            `json:"date_updated"`
	DateStatusChanged string            `json:"date_status_changed"`
	URL               string            `json:"url"`
	Links             map[string]string `json:"links"`
}

type activityResource struct {
	owner
	SID          string `json:"sid"`
	FriendlyName string `json:"friendly_name"`
	Available    bool   `json:"available"`
	DateCreated  string `json:"date_created"`
	DateUpdated  string `json:"date_updated"`
	URL          string `json:"url"`
}

type channelResource struct {
	owner
	SID                   string  `json:"sid"`
	WorkerSID             string  `json:"worker_sid"`
	TaskChannelSID        string  `json:"task_channel_sid"`
	TaskChannelUniqueName string  `json:"task_channel_unique_name"`
	ConfiguredCapacity    int     `json:"configured_capacity"`
	Available             bool    `json:"available"`
	AssignedTasks         int     `json:"assigned_tasks"`
	AvailablePercentage   float64 `json:"available_capacity_percentage"`
	DateCreated           string  `json:"date_created"`
	DateUpdated           string  `json:"date_updated"`
	URL                   string  `json:"url"`
}

type reservationResource struct {
	owner
	SID               string            `json:"sid"`
	TaskSID           string            `json:"task_sid"`
	WorkerSID         string            `json:"worker_sid"`
	WorkerName        string            `json:"worker_name"`
	ReservationStatus string            `json:"reservation_status"`
	DateCreated       string            `json:"date_created"`
	DateUpdated       string            `json:"date_updated"`
	URL               string            `json:"url"`
	Links             map[string]string `json:"links"`
}

type taskResource struct {
	owner
	SID                   string  `json:"sid"`
	AssignmentStatus      string  `json:"assignment_status"`
	Attributes            string  `json:"attributes"` // JSON text
	Addons                string  `json:"addons"`
	Age                   int64   `json:"age"` // s
	Priority              int     `json:"priority"`
	Reason                *string `json:"reason"`
	Timeout               int     `json:"timeout"` // s
	TaskQueueSID          string  `json:"task_queue_sid"`
	TaskQueueFriendlyName string  `json:"task_queue_friendly_name"`
	WorkflowSID           string  `json:"workflow_sid"`
	WorkflowFriendlyName  string  `json:"workflow_friendly_name"`
	TaskChannelSID        string  `json:"task_channel_sid"`
	TaskChannelUniqueName string  `json:"task_channel_unique_name"`
	RoutingTarget         *string `json:"routing_target"`
	DateCreated           string  `json:"date_created"`
	DateUpdated           string  `json:"date_updated"`
	VirtualStartTime      string  `json:"virtual_start_time"`
	URL                   string  `json:"url"`
}

func iso(s int64) string { return time.Unix(s, 0).UTC().Format(time.RFC3339) }

func (q *restRequest) url(below string) string {
	return q.origin + restPath + "/Workspaces/" + q.world.owner.WorkspaceSID + below
}

func (q *restRequest) workerResource(w *worker) workerResource {
	p, own := q.world.workerPayload(w), q.url("/Workers/"+w.sid)
	return workerResource{
		owner: p.owner, SID: p.SID, FriendlyName: p.FriendlyName, Attributes: p.Attributes, Available: p.Available, ActivitySID: p.ActivitySID,
		ActivityName: p.ActivityName, DateCreated: iso(p.DateCreated), DateUpdated: iso(p.DateUpdated), DateStatusChanged: iso(p.DateStatusChanged),
		URL: own, Links: map[string]string{
			"workspace": q.url(""), "activity": q.url("/Activities/" + p.ActivitySID), "reservations": own + "/Reservations", "channels": own + "/Channels",
		},
	}
}

func (q *restRequest) activityResource(a activityPayload) activityResource {
	return activityResource{
		owner: a.owner, SID: a.SID, FriendlyName: a.FriendlyName, Available: a.Available,
		DateCreated: iso(a.DateCreated), DateUpdated: iso(a.DateUpdated), URL: q.url("/Activities/" + a.SID),
	}
}

func (q *restRequest) channelResource(c *channel) channelResource {
	p := q.world.channelPayload(c)
	return channelResource{
		owner: p.owner, SID: p.SID, WorkerSID: p.WorkerSID, TaskChannelSID: p.TaskChannelSID, TaskChannelUniqueName: p.TaskChannelUniqueName,
		ConfiguredCapacity: p.ConfiguredCapacity, Available: p.Available == 1, AssignedTasks: p.AssignedTasks, AvailablePercentage: p.AvailablePercentage,
		DateCreated: iso(p.DateCreated), DateUpdated: iso(p.DateUpdated), URL: q.url("/Workers/" + p.WorkerSID + "/Channels/" + p.SID),
	}
}

func (q *restRequest) reservationResource(r *reservation) reservationResource {
	worker, task := q.url("/Workers/"+r.worker.sid), q.url("/Tasks/"+r.task.sid)
	return reservationResource{
		owner: q.world.owner, SID: r.sid, TaskSID: r.task.sid, WorkerSID: r.worker.sid, WorkerName: r.worker.name, ReservationStatus: r.status,
		DateCreated: iso(r.created), DateUpdated: iso(r.updated), URL: task + "/Reservations/" + r.sid,
		Links: map[string]string{"workspace": q.url(""), "worker": worker, "task": task},
	}
}

func (q *restRequest) taskResource(t *task) taskResource {
	p := q.world.taskPayload(t)
	return taskResource{
		owner: q.world.owner, SID: p.SID, AssignmentStatus: p.AssignmentStatus, Attributes: p.Attributes, Addons: p.Addons, Age: p.Age, Priority: p.Priority,
		Reason: p.Reason, Timeout: p.Timeout, TaskQueueSID: p.QueueSID, TaskQueueFriendlyName: p.QueueName, WorkflowSID: p.WorkflowSID,
		WorkflowFriendlyName: p.WorkflowName, TaskChannelSID: p.TaskChannelSID, TaskChannelUniqueName: p.TaskChannelUniqueName,
		RoutingTarget: p.RoutingTarget, DateCreated: iso(p.DateCreated), DateUpdated: iso(p.DateUpdated), VirtualStartTime: iso(p.VirtualStartTime),
		URL: q.url("/Tasks/" + p.SID),
	}
}
