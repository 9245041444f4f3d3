package taskrouter

import (
	"slices"
	"time"

	"github.com/gorilla/websocket"
)

// Which sockets a worker has, and what their coming and going does (docs/protocols/twilio-taskrouter.md, section 11).

// attach makes k one of its worker's sockets and queues its init and first heartbeat. From here on every event of the worker is queued
// to k; every earlier one is in what a read of the worker returns after init. The caller holds the simulator's lock.
func (s *Simulator) attach(k *socket, g grant, closeOthers bool) {
	w, now := k.worker, time.Now()
	if closeOthers {
		for _, other := range slices.Clone(w.sockets) {
			s.evict(other)
			s.evictions++
			s.presenceChanges++
		}
	}
	expires := g.expires
	if limit := s.o.TokenLifetime; limit > 0 && now.Add(limit).Before(expires) {
		expires = now.Add(limit)
	}
	if f := s.lasting("lifetime", w, now); f != nil {
		expires = now.Add(time.Duration(f.LifetimeMS) * time.Millisecond)
	}
	if !s.o.KeepAfterExpiry && s.lasting("keep-expired", w, now) == nil {
		k.expires = expires
	}
	first := frame{kind: websocket.TextMessage, data: []byte(text(envelope{"init", initPayload{
		ChannelSID: w.sid, AccountSID: s.o.Account, WorkspaceSID: s.o.Workspace, TokenLifetime: expires.Sub(now).Milliseconds(),
	}}))}
	if f := s.lasting("slow-init", w, now); f != nil {
		first.due = now.Add(f.delay())
	}
	k.enqueue(first)
	k.enqueue(heartbeat)
	w.stay()
	w.sockets = append(w.sockets, k)
	w.answered = nil
	w.opened++
	w.maxSockets = max(w.maxSockets, len(w.sockets))
	if s.lasting("early-event", w, now) != nil {
		s.world.setAttributes(w, s.world.workerAttributes(slices.Index(s.world.workers, w)+1))
	}
}

func (s *Simulator) evict(k *socket) {
	s.detach(k)
	k.stop(ending{code: websocket.CloseNormalClosure, reason: "closed by another session of this worker"})
}

// detach is the opposite and may be repeated. The caller holds the simulator's lock.
func (s *Simulator) detach(k *socket) {
	i := slices.Index(k.worker.sockets, k)
	if i < 0 {
		return
	}
	k.worker.sockets = slices.Delete(k.worker.sockets, i, i+1)
	if k.offline && len(k.worker.sockets) == 0 {
		s.presenceChanges++ // in other workspaces than Flex's too: an observer must say false everywhere
		s.leave(k.worker, k.clean)
	}
}

// afterGoodbye is how long after a clean close a Flex worker goes offline (section 11).
const afterGoodbye = time.Second

// leave lets a Flex worker whose last socket has gone go offline, unless another one comes first. The caller holds the simulator's lock.
func (s *Simulator) leave(w *worker, clean bool) {
	if !s.o.Flex || s.closing {
		return
	}
	after := s.o.OfflineAfter
	if clean {
		after = min(after, afterGoodbye)
	}
	w.stay()
	var timer *time.Timer
	timer = time.AfterFunc(after, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case w.goes != timer || s.world.worker(w.sid) == nil: // a socket has come, the simulator stops, or she was dismissed
		case w.activity != offline && !s.world.mayBecome(w, offline):
			timer.Reset(time.Second)
		default:
			w.goes = nil
			s.world.moveWorker(w, offline, false)
		}
	})
	w.goes = timer
}

// stay is the opposite of leave. The caller holds the simulator's lock.
func (w *worker) stay() {
	if w.goes != nil {
		w.goes.Stop()
		w.goes = nil
	}
}
