package event

// The closed enums of the data document. A vendor's word that is not known becomes other, beside its raw word.

// ReservationStatus is the canonical status of a reservation.
type ReservationStatus string

// The reservation statuses. Unknown: the true end was not seen.
const (
	ReservationPending         ReservationStatus = "pending"
	ReservationStatusAccepted  ReservationStatus = "accepted"
	ReservationStatusRejected  ReservationStatus = "rejected"
	ReservationStatusTimedOut  ReservationStatus = "timed_out"
	ReservationStatusCanceled  ReservationStatus = "canceled"
	ReservationStatusRescinded ReservationStatus = "rescinded"
	ReservationStatusWrapping  ReservationStatus = "wrapping"
	ReservationStatusCompleted ReservationStatus = "completed"
	ReservationStatusFailed    ReservationStatus = "failed"
	ReservationStatusUnknown   ReservationStatus = "unknown"
	ReservationStatusOther     ReservationStatus = "other"
)

// TaskStatus is the canonical status of a task.
type TaskStatus string

// The task statuses.
const (
	TaskStatusPending   TaskStatus = "pending"
	TaskStatusReserved  TaskStatus = "reserved"
	TaskStatusAssigned  TaskStatus = "assigned"
	TaskStatusWrapping  TaskStatus = "wrapping"
	TaskStatusCompleted TaskStatus = "completed"
	TaskStatusCanceled  TaskStatus = "canceled"
	TaskStatusExpired   TaskStatus = "expired"
	TaskStatusOther     TaskStatus = "other"
)

// TaskChannel is the kind of work.
type TaskChannel string

// The task channels.
const (
	ChannelVoice   TaskChannel = "voice"
	ChannelChat    TaskChannel = "chat"
	ChannelSMS     TaskChannel = "sms"
	ChannelEmail   TaskChannel = "email"
	ChannelVideo   TaskChannel = "video"
	ChannelTask    TaskChannel = "task"
	ChannelDefault TaskChannel = "default"
	ChannelOther   TaskChannel = "other"
)

// TransferStatus is the canonical status of a transfer.
type TransferStatus string

// The transfer statuses.
const (
	TransferInitiated     TransferStatus = "initiated"
	TransferAttemptFailed TransferStatus = "attempt_failed"
	TransferSucceeded     TransferStatus = "succeeded"
	TransferFailed        TransferStatus = "failed"
	TransferCanceled      TransferStatus = "canceled"
)

// TransferMode says whether the first agent stays on the line.
type TransferMode string

// The transfer modes.
const (
	TransferWarm TransferMode = "warm"
	TransferCold TransferMode = "cold"
)

// TargetKind is what a transfer is aimed at.
type TargetKind string

// The transfer targets.
const (
	TargetAgent TargetKind = "agent"
	TargetQueue TargetKind = "queue"
	TargetOther TargetKind = "other"
)

// SessionState is the state of an agent's session.
type SessionState string

// The session states.
const (
	SessionConnecting   SessionState = "connecting"
	SessionCatchingUp   SessionState = "catching_up"
	SessionLive         SessionState = "live"
	SessionRenewing     SessionState = "renewing"
	SessionStateLost    SessionState = "lost"
	SessionStateRefused SessionState = "refused"
)

// Continuity says whether the events before this one are complete.
type Continuity string

// Continuous: nothing can be missing since the last ready. Gap: a published gap lies between. Unknown: first met.
const (
	Continuous        Continuity = "continuous"
	ContinuityGap     Continuity = "gap"
	ContinuityUnknown Continuity = "unknown"
)

// GapState is the stage of a gap's record.
type GapState string

// A gap is told up to three times on one subject: opened (revision 0), closed (1), settled (2).
const (
	GapOpened  GapState = "opened"
	GapClosed  GapState = "closed"
	GapSettled GapState = "settled"
)

// GapCause is why a feed did not provably receive.
type GapCause string

// The gap causes.
const (
	CauseConnectionLost GapCause = "connection_lost"
	CauseSilence        GapCause = "silence"
	CauseRefused        GapCause = "refused"
	CauseTokenExpired   GapCause = "token_expired"
	CauseEvicted        GapCause = "evicted"
	CauseSnapshot       GapCause = "snapshot"
	CauseSpoolFull      GapCause = "spool_full"
	CauseDiskStalled    GapCause = "disk_stalled"
	CauseCrash          GapCause = "crash"
	CauseStop           GapCause = "stop"
	CauseHandover       GapCause = "handover"
)

// GapResult is what became of the events a gap hid.
type GapResult string

// Pending: back-fill is still to come.
const (
	ResultPending       GapResult = "pending"
	ResultRecovered     GapResult = "recovered"
	ResultPartial       GapResult = "partial"
	ResultUnrecoverable GapResult = "unrecoverable"
)

// The enums in the order of the documentation, for the schema and its tests.
var (
	Providers           = []Provider{Twilio, AmazonConnect}
	ReservationStatuses = []ReservationStatus{
		ReservationPending, ReservationStatusAccepted, ReservationStatusRejected, ReservationStatusTimedOut, ReservationStatusCanceled,
		ReservationStatusRescinded, ReservationStatusWrapping, ReservationStatusCompleted, ReservationStatusFailed, ReservationStatusUnknown, ReservationStatusOther,
	}
	TaskStatuses = []TaskStatus{
		TaskStatusPending, TaskStatusReserved, TaskStatusAssigned, TaskStatusWrapping, TaskStatusCompleted, TaskStatusCanceled, TaskStatusExpired, TaskStatusOther,
	}
	TaskChannels     = []TaskChannel{ChannelVoice, ChannelChat, ChannelSMS, ChannelEmail, ChannelVideo, ChannelTask, ChannelDefault, ChannelOther}
	TransferStatuses = []TransferStatus{TransferInitiated, TransferAttemptFailed, TransferSucceeded, TransferFailed, TransferCanceled}
	TransferModes    = []TransferMode{TransferWarm, TransferCold}
	TargetKinds      = []TargetKind{TargetAgent, TargetQueue, TargetOther}
	SessionStates    = []SessionState{SessionConnecting, SessionCatchingUp, SessionLive, SessionRenewing, SessionStateLost, SessionStateRefused}
	Continuities     = []Continuity{Continuous, ContinuityGap, ContinuityUnknown}
	GapStates        = []GapState{GapOpened, GapClosed, GapSettled}
	GapCauses        = []GapCause{
		CauseConnectionLost, CauseSilence, CauseRefused, CauseTokenExpired, CauseEvicted, CauseSnapshot,
		CauseSpoolFull, CauseDiskStalled, CauseCrash, CauseStop, CauseHandover,
	}
	GapResults = []GapResult{ResultPending, ResultRecovered, ResultPartial, ResultUnrecoverable}
)
