package state

import (
	"time"

	"github.com/tabletdb/tabletdb/lockservice"
)

func (v *tables) get(key string) (*item, bool) {
	return v.keys.Get(&item{kv: lockservice.KV{Key: key}})
}

// scan reads [start, end) ("" as end: to the last). more says that the limit
// cut the answer.
func (v *tables) scan(start, end string, o lockservice.ReadOptions) (kvs []lockservice.KV, more bool) {
	v.keys.AscendGreaterOrEqual(&item{kv: lockservice.KV{Key: start}}, func(it *item) bool {
		if end != "" && it.kv.Key >= end {
			return false
		}
		if o.Limit > 0 && len(kvs) == o.Limit {
			more = true
			return false
		}
		kv := it.kv
		if o.KeysOnly {
			kv.Value = nil
		}
		kvs = append(kvs, kv)
		return true
	})
	return kvs, more
}

func (v *tables) read(o *lockservice.Op) lockservice.OpResult {
	if o.Kind == lockservice.OpGet {
		if it, ok := v.get(o.Key); ok {
			return lockservice.OpResult{KVs: []lockservice.KV{it.kv}}
		}
		return lockservice.OpResult{}
	}
	kvs, more := v.scan(o.Key, o.End, lockservice.ReadOptions{Limit: o.Limit})
	return lockservice.OpResult{KVs: kvs, More: more}
}

// View is an immutable picture of the state. It may be used concurrently and
// kept as long as wanted. The values it returns must not be changed.
type View struct{ t tables }

// Revision of the view.
func (v *View) Revision() lockservice.Revision { return v.t.revision }

// Generation of the lock service (rule R17); 0 before bootstrap.
func (v *View) Generation() uint32 { return v.t.generation }

// OldLeasesOver reports whether EndOldLeases was applied in this generation.
func (v *View) OldLeasesOver() bool { return v.t.oldLeasesOver }

// Keys returns the number of keys.
func (v *View) Keys() int { return v.t.keys.Len() }

// Get returns one key.
func (v *View) Get(key string) (lockservice.KV, bool) {
	it, ok := v.t.get(key)
	if !ok {
		return lockservice.KV{}, false
	}
	return it.kv, true
}

// Range reads the keys in [start, end) ("" as end: to the last).
func (v *View) Range(start, end string, o lockservice.ReadOptions) (kvs []lockservice.KV, more bool) {
	return v.t.scan(start, end, o)
}

// Txn evaluates a transaction that writes nothing.
func (v *View) Txn(t *lockservice.Txn) (lockservice.TxnResult, error) {
	if err := validateTxn(t); err != nil {
		return lockservice.TxnResult{}, err
	}
	if Writes(t) {
		return lockservice.TxnResult{}, invalid("a transaction that writes, on a view")
	}
	r := lockservice.TxnResult{Succeeded: v.t.holds(t), Revision: v.t.revision}
	ops := t.Then
	if !r.Succeeded {
		ops = t.Else
	}
	r.Results = make([]lockservice.OpResult, len(ops))
	for i := range ops {
		r.Results[i] = v.t.read(&ops[i])
	}
	return r, nil
}

// Sessions lists the sessions that are alive or revoked, by id.
func (v *View) Sessions() []lockservice.SessionInfo {
	out := make([]lockservice.SessionInfo, 0, v.t.sessions.Len())
	v.t.sessions.Ascend(func(s *session) bool {
		out = append(out, s.info())
		return true
	})
	return out
}

// Session returns one session that is alive or revoked.
func (v *View) Session(id lockservice.SessionID) (lockservice.SessionInfo, bool) {
	s, ok := v.t.session(id)
	if !ok {
		return lockservice.SessionInfo{}, false
	}
	return s.info(), true
}

// SessionDead reports whether id can never again be alive.
func (v *View) SessionDead(id lockservice.SessionID) bool { return v.t.dead(id) }

// Locks lists the locks that are held, blocked or in delay, by name.
func (v *View) Locks() []lockservice.LockInfo {
	out := make([]lockservice.LockInfo, 0, v.t.locks.Len())
	v.t.locks.Ascend(func(l *lock) bool {
		out = append(out, l.info())
		return true
	})
	return out
}

// Free reports whether Acquire of the lock could succeed now.
func (v *View) Free(a *Acquire) bool { return v.t.acquirable(a) }

// Delay is a lock whose lock-delay runs.
type Delay struct {
	Name       string
	Generation uint64
	Delay      time.Duration
}

// Delays lists the locks whose delay runs.
func (v *View) Delays() []Delay {
	var out []Delay
	v.t.locks.Ascend(func(l *lock) bool {
		if l.delaying > 0 {
			out = append(out, Delay{Name: l.name, Generation: l.generation, Delay: l.delaying})
		}
		return true
	})
	return out
}
