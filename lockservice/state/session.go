package state

import (
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
)

// session is one row of the session table. Rows are immutable.
type session struct {
	id         lockservice.SessionID
	name       string
	ttl        time.Duration
	registered lockservice.Revision
	// revoked: dead, but its lease may still run.
	revoked bool
}

// The states of SessionInfo.State.
const (
	StateAlive   = "alive"
	StateRevoked = "revoked"
)

func (s *session) info() lockservice.SessionInfo {
	i := lockservice.SessionInfo{ID: s.id, Name: s.name, TTL: s.ttl, State: StateAlive, Registered: s.registered}
	if s.revoked {
		i.State = StateRevoked
	}
	return i
}

func (v *tables) session(id lockservice.SessionID) (*session, bool) {
	return v.sessions.Get(&session{id: id})
}

func (v *tables) alive(id lockservice.SessionID) bool {
	s, ok := v.session(id)
	return ok && !s.revoked
}

// dead: id is not alive and never will be. An id that may yet be issued is not
// dead; the zero id, "none", is.
func (v *tables) dead(id lockservice.SessionID) bool {
	if s, ok := v.session(id); ok {
		return s.revoked
	}
	return v.wasIssued(id)
}

func (v *tables) wasIssued(id lockservice.SessionID) bool {
	return id.IsZero() || id.Generation < v.generation ||
		id.Generation == v.generation && id.Index <= v.issued
}

// gone: dead, and its lease surely over. A session of an older generation that
// the table does not know may have been registered after the backup that was
// restored, so it is gone only once the longest lease is over.
func (v *tables) gone(id lockservice.SessionID) bool {
	if _, ok := v.session(id); ok || !v.wasIssued(id) {
		return false
	}
	return id.IsZero() || id.Generation == v.generation || v.oldLeasesOver
}

func (m *Machine) allSessions() []*session {
	out := make([]*session, 0, m.sessions.Len())
	m.sessions.Ascend(func(s *session) bool {
		out = append(out, s)
		return true
	})
	return out
}

func (m *Machine) register(index uint64, c *Register) Result {
	if m.generation == 0 {
		return Result{Err: errNoGeneration}
	}
	if m.sessions.Len() >= MaxSessions {
		return Result{Err: base.ErrOverloaded}
	}
	s := &session{
		id:   lockservice.SessionID{Generation: m.generation, Index: index},
		name: c.Name, ttl: c.TTL, registered: m.revision,
	}
	m.sessions.ReplaceOrInsert(s)
	m.touched++
	return Result{Session: s.info()}
}

// endSession ends a session and takes its ephemeral keys and locks away. It
// reports whether anything changed.
func (m *Machine) endSession(id lockservice.SessionID, reason EndReason) bool {
	s, ok := m.session(id)
	if !ok || s.revoked && reason == EndRevoked {
		return false
	}
	if s.revoked && reason == EndExpired {
		// An expiry that was proposed before the revocation applied: the
		// lease was over then, and stays over.
		return m.endLease(id)
	}
	m.touched++
	m.dropEphemeral(id)
	if reason == EndRevoked {
		dead := *s
		dead.revoked = true
		m.sessions.ReplaceOrInsert(&dead)
		m.blockLocks(id)
		return true
	}
	m.sessions.Delete(s)
	m.freeLocks(id, reason != EndClosed)
	return true
}

// endLease makes a revoked session gone.
func (m *Machine) endLease(id lockservice.SessionID) bool {
	s, ok := m.session(id)
	if !ok || !s.revoked {
		return false
	}
	m.touched++
	m.sessions.Delete(s)
	m.freeLocks(id, true)
	return true
}

// dropEphemeral deletes the keys of a session in one revision.
func (m *Machine) dropEphemeral(id lockservice.SessionID) {
	keys := sortedKeys(m.ephemeral[id])
	e := effect{m: m, revision: m.revision + 1}
	for _, k := range keys {
		e.delete(k)
	}
	e.commit()
}
