package state

import (
	"slices"
	"sync"

	"github.com/tabletdb/tabletdb/lockservice"
)

// Store is a Machine for concurrent use. Apply calls exclude each other and all
// readers; views are immutable and cheap.
type Store struct {
	mu struct {
		sync.RWMutex
		m *Machine
		// view is the picture of m, or nil after a change.
		view *View
		// changed is closed at the next change, touched at the next change of
		// a session or lock, if anybody waits for it.
		changed chan struct{}
		touched chan struct{}
		seen    uint64 // m.touched when touched was made
	}
}

// NewStore wraps m, which it owns from now on.
func NewStore(m *Machine) *Store {
	s := &Store{}
	s.mu.m = m
	return s
}

// Entry is one command with its Raft index.
type Entry struct {
	Index   uint64
	Command Command
}

// Apply applies entries in order, as one change to those who wait.
func (s *Store) Apply(entries ...Entry) []Result {
	results := make([]Result, len(entries))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range entries {
		results[i] = s.mu.m.Apply(entries[i].Index, entries[i].Command)
	}
	s.signalLocked()
	return results
}

func (s *Store) signalLocked() {
	s.mu.view = nil
	if s.mu.changed != nil {
		close(s.mu.changed)
		s.mu.changed = nil
	}
	if s.mu.touched != nil && s.mu.m.touched != s.mu.seen {
		close(s.mu.touched)
		s.mu.touched = nil
	}
}

// Get reads one key without making a view.
func (s *Store) Get(key string) (kv lockservice.KV, ok bool, rev lockservice.Revision) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if it, found := s.mu.m.get(key); found {
		return it.kv, true, s.mu.m.revision
	}
	return lockservice.KV{}, false, s.mu.m.revision
}

// SessionState reports whether a session is alive, and whether it is dead for
// ever (neither: it may yet be registered).
func (s *Store) SessionState(id lockservice.SessionID) (alive, dead bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.m.alive(id), s.mu.m.dead(id)
}

// View returns the state as it is.
func (s *Store) View() *View {
	s.mu.RLock()
	v := s.mu.view
	s.mu.RUnlock()
	if v != nil {
		return v
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.view == nil {
		s.mu.view = s.mu.m.View()
	}
	return s.mu.view
}

// View returns an immutable picture of m.
func (m *Machine) View() *View {
	t := m.tables
	t.keys, t.sessions, t.locks = m.keys.Clone(), m.sessions.Clone(), m.locks.Clone()
	return &View{t}
}

// Touched counts the changes of sessions and locks, for those who keep timers.
func (s *Store) Touched() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.m.touched
}

// Changed returns a channel that is closed at the next change; call it before
// looking at the state to miss none.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.changed == nil {
		s.mu.changed = make(chan struct{})
	}
	return s.mu.changed
}

// TouchedNext is Changed for sessions and locks only.
func (s *Store) TouchedNext() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.touched == nil {
		s.mu.touched = make(chan struct{})
		s.mu.seen = s.mu.m.touched
	}
	return s.mu.touched
}

// Events returns the events of whole revisions after from on keys in
// [start, end), and the revision up to which they are complete. It returns
// about limit events at most, ErrCompacted where history is gone. A revision
// the store has not reached gives no events and its own revision.
func (s *Store) Events(start, end string, from lockservice.Revision, limit int) (lockservice.WatchResponse, error) {
	changes, revision, err := s.changesAfter(from)
	if err != nil {
		return lockservice.WatchResponse{}, err
	}
	r := lockservice.WatchResponse{Revision: revision}
	for i := range changes {
		if len(r.Events) >= limit {
			r.Revision = changes[i-1].revision
			break
		}
		for _, e := range changes[i].events {
			if e.KV.Key >= start && (end == "" || e.KV.Key < end) {
				r.Events = append(r.Events, e)
			}
		}
	}
	return r, nil
}

// changesAfter copies the next changes after from, and gives the revision up to
// which they are complete. The copy is needed: history forgets in place.
func (s *Store) changesAfter(from lockservice.Revision) ([]change, lockservice.Revision, error) {
	const most = 4096
	s.mu.RLock()
	defer s.mu.RUnlock()
	changes, err := s.mu.m.history.after(from)
	if err != nil {
		return nil, 0, err
	}
	if len(changes) > most {
		return slices.Clone(changes[:most]), changes[most-1].revision, nil
	}
	return slices.Clone(changes), s.mu.m.revision, nil
}
