package taskrouter

// Transfers. The task stays assigned, and its initiator keeps the reservation until the transfer has succeeded and the initiator leaves.

// startTransfer aims at target, or at a queue when target is nil.
func (x *world) startTransfer(r *reservation, target *worker, mode string) {
	now := x.seconds()
	tr := &transfer{
		sid: x.nextSID("TT"), kind: "QUEUE", mode: mode, to: queues[1].sid, target: target, status: "initiated", created: now, updated: now, initiating: r,
	}
	if target != nil {
		tr.kind, tr.to = "WORKER", target.sid
	}
	r.task.transfer = tr
	x.emitTransfer(tr, "task.transfer-initiated")
}

func (x *world) failTransfer(tr *transfer, reason string) {
	tr.status, tr.failedReason, tr.updated = "failed", reason, x.seconds()
	tr.initiating.task.transfer = nil
	x.emitTransfer(tr, "task.transfer-failed")
}

func (x *world) cancelTransfer(tr *transfer) {
	tr.status, tr.failedReason, tr.updated = "canceled", "", x.seconds()
	tr.initiating.task.transfer = nil
	x.emitTransfer(tr, "task.transfer-canceled")
	if r := tr.attempt; r != nil {
		x.end(r, "canceled")
		x.emitReservation(r, "reservation.canceled")
	}
}
