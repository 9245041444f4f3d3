package event

// Encoded is an event ready for the log: its header, and the data document as compact JSON.
type Encoded struct {
	Header Header
	Data   []byte
}

// Encode renders e into dst, reusing dst.Data. What dst holds is valid until the next Encode into it.
func (e *Event) Encode(dst *Encoded) {
	agent := ""
	if e.Data.Agent != nil {
		agent = e.Data.Agent.ID
	}
	dst.Header = Header{
		ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject, Time: e.Time, TimeSource: e.TimeSource, Recorded: e.Recorded,
		Origin: e.Origin, PartitionKey: e.PartitionKey, CorrelationID: e.CorrelationID, BridgeID: e.BridgeID,
		Provider: e.Data.Provider, Account: e.Data.AccountID, Agent: agent,
	}
	dst.Data = e.Data.Append(dst.Data[:0])
}

// Append appends d as compact JSON: every member present, absent values null.
//
// A member's name is written with all that surrounds it, so that it is appended in one piece.
func (d *Data) Append(dst []byte) []byte {
	b := text(dst, `{"provider":`, string(d.Provider))
	b = text(b, `,"account_id":`, d.AccountID)
	b = text(b, `,"site_id":`, d.SiteID)
	b = integer(b, `,"revision":`, d.Revision)
	b = block(b, `,"agent":`, d.Agent)
	b = block(b, `,"task":`, d.Task)
	b = block(b, `,"reservation":`, d.Reservation)
	b = block(b, `,"timing":`, d.Timing)
	b = block(b, `,"transfer":`, d.Transfer)
	b = block(b, `,"channel":`, d.Channel)
	b = block(b, `,"session":`, d.Session)
	b = block(b, `,"gap":`, d.Gap)
	b = append(b, `,"command":null`...)
	b = block(b, `,"unmapped":`, d.Unmapped)
	b = raw(b, `,"raw":`, d.Raw, "null")
	return append(b, '}')
}

// MarshalJSON is [Data.Append].
func (d *Data) MarshalJSON() ([]byte, error) { return d.Append(nil), nil }

func (a *Agent) append(b []byte) []byte {
	b = text(b, `{"id":`, a.ID)
	b = text(b, `,"name":`, a.Name)
	b = text(b, `,"activity_id":`, a.ActivityID)
	b = text(b, `,"activity_name":`, a.ActivityName)
	b = boolean(b, `,"available":`, a.Available)
	b = instant(b, `,"activity_since":`, a.ActivitySince)
	b = text(b, `,"previous_activity_id":`, a.PreviousActivityID)
	b = text(b, `,"previous_activity_name":`, a.PreviousActivityName)
	b = integer(b, `,"previous_activity_ms":`, a.PreviousActivityMS)
	b = raw(b, `,"attributes":`, a.Attributes, "{}")
	return append(b, '}')
}

func (t *Task) append(b []byte) []byte {
	b = text(b, `{"id":`, t.ID)
	b = text(b, `,"chain_id":`, t.ChainID)
	b = text(b, `,"name":`, t.Name)
	b = text(b, `,"channel":`, string(t.Channel))
	b = text(b, `,"channel_raw":`, t.ChannelRaw)
	b = text(b, `,"status":`, string(t.Status))
	b = text(b, `,"status_raw":`, t.StatusRaw)
	b = text(b, `,"reason":`, t.Reason)
	b = text(b, `,"reason_raw":`, t.ReasonRaw)
	b = integer(b, `,"priority":`, t.Priority)
	b = text(b, `,"queue_id":`, t.QueueID)
	b = text(b, `,"queue_name":`, t.QueueName)
	b = text(b, `,"workflow_id":`, t.WorkflowID)
	b = text(b, `,"workflow_name":`, t.WorkflowName)
	b = text(b, `,"routing_target":`, t.RoutingTarget)
	b = integer(b, `,"timeout_ms":`, t.TimeoutMS)
	b = instant(b, `,"created_at":`, t.CreatedAt)
	b = instant(b, `,"virtual_start_at":`, t.VirtualStartAt)
	b = integer(b, `,"revision":`, t.Revision)
	b = raw(b, `,"attributes":`, t.Attributes, "{}")
	return append(b, '}')
}

func (r *Reservation) append(b []byte) []byte {
	b = text(b, `{"id":`, r.ID)
	b = text(b, `,"status":`, string(r.Status))
	b = text(b, `,"status_raw":`, r.StatusRaw)
	b = text(b, `,"reason":`, r.Reason)
	b = text(b, `,"reason_raw":`, r.ReasonRaw)
	b = integer(b, `,"reason_code":`, r.ReasonCode)
	b = integer(b, `,"timeout_ms":`, r.TimeoutMS)
	b = instant(b, `,"created_at":`, r.CreatedAt)
	b = instant(b, `,"updated_at":`, r.UpdatedAt)
	return append(b, '}')
}

func (t *Timing) append(b []byte) []byte {
	b = integer(b, `{"wait_ms":`, t.WaitMS)
	b = integer(b, `,"ring_ms":`, t.RingMS)
	b = integer(b, `,"handle_ms":`, t.HandleMS)
	b = integer(b, `,"wrap_ms":`, t.WrapMS)
	return append(b, '}')
}

func (t *Transfer) append(b []byte) []byte {
	b = text(b, `{"id":`, t.ID)
	b = text(b, `,"vendor_id":`, t.VendorID)
	b = text(b, `,"status":`, string(t.Status))
	b = text(b, `,"status_raw":`, t.StatusRaw)
	b = text(b, `,"mode":`, string(t.Mode))
	b = text(b, `,"target_kind":`, string(t.TargetKind))
	b = text(b, `,"target_id":`, t.TargetID)
	b = text(b, `,"initiating_agent_id":`, t.InitiatingAgentID)
	b = text(b, `,"initiating_reservation_id":`, t.InitiatingReservationID)
	b = text(b, `,"reason":`, t.Reason)
	b = text(b, `,"reason_raw":`, t.ReasonRaw)
	return append(b, '}')
}

func (c *Channel) append(b []byte) []byte {
	b = text(b, `{"id":`, c.ID)
	b = text(b, `,"name":`, string(c.Name))
	b = text(b, `,"name_raw":`, c.NameRaw)
	b = integer(b, `,"capacity":`, c.Capacity)
	b = boolean(b, `,"available":`, c.Available)
	b = integer(b, `,"assigned_tasks":`, c.AssignedTasks)
	b = number(b, `,"available_percent":`, c.AvailablePercent)
	b = instant(b, `,"updated_at":`, c.UpdatedAt)
	return append(b, '}')
}

func (s *Session) append(b []byte) []byte {
	b = text(b, `{"incarnation":`, s.Incarnation)
	b = text(b, `,"state":`, string(s.State))
	b = text(b, `,"continuity":`, string(s.Continuity))
	b = text(b, `,"reason":`, s.Reason)
	return append(b, '}')
}

func (g *Gap) append(b []byte) []byte {
	b = text(b, `{"state":`, string(g.State))
	b = text(b, `,"feed":`, g.Feed)
	b = instant(b, `,"from":`, g.From)
	b = instant(b, `,"to":`, g.To)
	b = integer(b, `,"duration_ms":`, g.DurationMS)
	b = text(b, `,"cause":`, string(g.Cause))
	b = text(b, `,"result":`, string(g.Result))
	b = integer(b, `,"recovered_events":`, g.RecoveredEvents)
	b = text(b, `,"note":`, g.Note)
	return append(b, '}')
}

func (u *Unmapped) append(b []byte) []byte {
	b = text(b, `{"type_raw":`, u.TypeRaw)
	b = integer(b, `,"size_bytes":`, Some(u.SizeBytes))
	b = text(b, `,"sha256":`, u.SHA256)
	b = append(b, `,"keys":[`...)
	for i, k := range u.Keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, k)
	}
	b = append(b, ']')
	b = text(b, `,"reason":`, u.Reason)
	b = integer(b, `,"count":`, Some(u.Count))
	return append(b, '}')
}
