package run

import (
	"time"

	"github.com/taskbridge/taskbridge/bench/verify"
)

// Results are the raw figures of a run.
type Results struct {
	// Began is when the run began.
	Began time.Time `json:"began"`
	// Quick: fewer and shorter rounds, and nothing with 10,000 sessions.
	Quick bool `json:"quick"`
	// Versions are what the programs say of themselves, by name.
	Versions map[string]string `json:"versions"`
	// MessageBytes is the mean size of what the vendor sends per event.
	MessageBytes float64 `json:"message_bytes"`
	// Flood are rounds as fast as the program is, the programs in turn; Paced are rounds at an even rate.
	Flood []Round `json:"flood"`
	Paced []Round `json:"paced"`
	// Sessions are rounds at an even rate over 1,000 and over 10,000 sessions.
	Sessions []Round `json:"sessions,omitempty"`
	// Idle is what sessions cost that are told nothing but heartbeats.
	Idle []Idle `json:"idle,omitempty"`
	// Storm is what followed when every session was lost at once.
	Storm *Storm `json:"storm,omitempty"`
	// KafkaFlood and KafkaPaced are as Flood and Paced, with Kafka as the broker.
	KafkaFlood []Round `json:"kafka_flood,omitempty"`
	KafkaPaced []Round `json:"kafka_paced,omitempty"`
	// KafkaSink are rounds of the bridge's sink alone and of what could be in its place, as fast as they go; KafkaMoves the same at an even rate, while the
	// leaders of the topic move.
	KafkaSink  []Round `json:"kafka_sink,omitempty"`
	KafkaMoves []Round `json:"kafka_moves,omitempty"`
	// Outages are rounds of what followed when one of two sinks' brokers was down.
	Outages []Outage `json:"outages,omitempty"`
	// NotMeasured says of parts that were asked for why there are no figures of them.
	NotMeasured map[string]string `json:"not_measured,omitempty"`
}

// Round is one load for one program.
type Round struct {
	// Program is bridge, limit or peer; of a sink alone sink, writer or franz-go.
	Program string `json:"program"`
	// Number of the round, from 1. Programs are compared within a number.
	Number int `json:"number"`
	// Agents is how many sockets there are; each has 10 open tasks.
	Agents int `json:"agents"`
	// Events of the load.
	Events uint64 `json:"events"`
	// Rate is the events per second that were asked for over all sockets; 0: as fast as they go.
	Rate float64 `json:"rate"`
	// Seconds from the start of the load to the storage of its last event, by the broker's time.
	Seconds float64 `json:"seconds"`
	// Program, broker and generator: CPU of the process, user and system, in microseconds per event, which is seconds per million events.
	ProgramCPU   float64 `json:"program_cpu_us"`
	BrokerCPU    float64 `json:"broker_cpu_us"`
	GeneratorCPU float64 `json:"generator_cpu_us"`
	// RSS is the program's resident memory when the load had ended, PeakRSS the most since its start, bytes.
	RSS     int64 `json:"rss"`
	PeakRSS int64 `json:"peak_rss"`
	// P50, P99 and P999 are quantiles of the time from the frame's write to the event's storage, in milliseconds; of paced rounds.
	P50  float64 `json:"p50_ms,omitempty"`
	P99  float64 `json:"p99_ms,omitempty"`
	P999 float64 `json:"p999_ms,omitempty"`
	// Longest is the longest that an event of any partition waited from its time to the broker's answer, in milliseconds; of a sink alone, while leaders moved.
	Longest float64 `json:"longest_ms,omitempty"`
	// Behind is how far a paced generator was behind its schedule at most, in milliseconds: it sent late, latency counts from when it sent.
	Behind float64 `json:"behind_ms,omitempty"`
	// Calibration is the machine's speed right before: SHA-256 on one thread, MB/s.
	Calibration float64 `json:"calibration_mb_s"`
	// OtherLoad is what anything but the round's processes took of all cores meanwhile, 0 to 1.
	OtherLoad float64 `json:"other_load"`
	// Verified is what the stream was found to hold.
	Verified verify.Report `json:"verified"`
}

// judged: the round got so far that the stream was read back, be it that something was wrong with it.
func (r Round) judged() bool { return r.Verified.Events > 0 }

// EventsPerSecond is the round's throughput.
func (r Round) EventsPerSecond() float64 { return float64(r.Events) / r.Seconds }

// Idle is what a number of sessions cost the bridge that are told nothing but heartbeats.
type Idle struct {
	// Sessions, each with all that the bridge keeps of an agent; 0 is the bridge alone.
	Sessions int `json:"sessions"`
	// TLS: wss; else ws.
	TLS bool `json:"tls"`
	// RSS is the resident memory, bytes, after Settled seconds without an event: more than the two minutes after which Go collects in any case. The kernel's
	// memory for sockets is not in it.
	RSS     int64   `json:"rss"`
	Settled float64 `json:"settled_s"`
	// Goroutines of the process, and the bytes of the heap that live or are free to be used again, and of stacks.
	Goroutines float64 `json:"goroutines"`
	Heap       float64 `json:"heap"`
	Stacks     float64 `json:"stacks"`
	// CPU is the process's share of one core while it settled, 0 and more: heartbeats.
	CPU float64 `json:"cpu"`
}

// PerSession is what a session takes of the memory, in KiB: what is more than in base, which has none.
func (i Idle) PerSession(base Idle) float64 {
	return float64(i.RSS-base.RSS) / 1024 / float64(i.Sessions)
}

// Storm is a loss of all sessions at once.
type Storm struct {
	// Sessions that were lost, ws.
	Sessions int `json:"sessions"`
	// Budget is the dials per second that the bridge is configured for: the shipped default.
	Budget float64 `json:"budget_per_s"`
	// Peak is the most upgrades within any second, Dials their number, as the vendor saw it.
	Peak  int `json:"peak_per_s"`
	Dials int `json:"dials"`
	// Seconds from the loss until every session was live again.
	Seconds float64 `json:"seconds"`
	// Before and After are the resident memory, bytes, each settled as in Idle; Highest is the process's highest ever.
	Before  int64 `json:"rss_before"`
	After   int64 `json:"rss_after"`
	Highest int64 `json:"rss_highest"`
}

// Outage is a time in which one sink's broker, Kafka, was down and that of the other, NATS JetStream, was not.
type Outage struct {
	// Rate is the events per second all the time, Down for how many seconds the broker stored nothing, from its kill on.
	Rate float64 `json:"rate"`
	Down float64 `json:"down_s"`
	// Before, During and After are p99 of the other sink's latency, in milliseconds: medians of windows of ten seconds, until the broker was killed, while it was
	// down, and while the backlog was drained.
	Before float64 `json:"before_p99_ms"`
	During float64 `json:"during_p99_ms"`
	After  float64 `json:"after_p99_ms"`
	// Backlog is how many events had waited when the broker took the first again, and Seconds how long from then until none waited for longer than a second.
	Backlog int     `json:"backlog"`
	Seconds float64 `json:"drain_s"`
	// Drain is how many events a second the broker stored meanwhile.
	Drain float64 `json:"drain_per_s"`
	// Flowing and Held are what the stream and the topic were found to hold.
	Flowing verify.Report `json:"flowing"`
	Held    verify.Report `json:"held"`
	// Calibration and OtherLoad are as in Round.
	Calibration float64 `json:"calibration_mb_s"`
	OtherLoad   float64 `json:"other_load"`
}
