package state

import (
	"bytes"
	"sort"

	"github.com/tabletdb/tabletdb/lockservice"
)

// validateTxn enforces the limits of a transaction.
func validateTxn(t *lockservice.Txn) error {
	if n := len(t.If) + len(t.Then) + len(t.Else); n > lockservice.MaxTxnOps {
		return invalid("transaction of %d compares and operations; at most %d", n, lockservice.MaxTxnOps)
	}
	size := 0
	for i := range t.If {
		c := &t.If[i]
		if c.Kind < lockservice.CompareModRevision || c.Kind > lockservice.CompareLockHeld {
			return invalid("compare of kind %d", c.Kind)
		}
		if len(c.Key) > lockservice.MaxKeyBytes {
			return invalid("compare of a key of %d bytes; at most %d", len(c.Key), lockservice.MaxKeyBytes)
		}
		size += len(c.Key) + len(c.Value) + len(c.Sequencer.Name) + 64
	}
	for _, ops := range [2][]lockservice.Op{t.Then, t.Else} {
		for i := range ops {
			if err := validateOp(&ops[i]); err != nil {
				return err
			}
			size += len(ops[i].Key) + len(ops[i].End) + len(ops[i].Value) + 32
		}
	}
	if size > lockservice.MaxTxnBytes {
		return invalid("transaction of %d bytes; at most %d", size, lockservice.MaxTxnBytes)
	}
	return nil
}

func validateOp(o *lockservice.Op) error {
	if o.Kind < lockservice.OpPut || o.Kind > lockservice.OpRange {
		return invalid("operation of kind %d", o.Kind)
	}
	if len(o.Key) > lockservice.MaxKeyBytes || len(o.End) > lockservice.MaxKeyBytes {
		return invalid("key of %d bytes; at most %d", max(len(o.Key), len(o.End)), lockservice.MaxKeyBytes)
	}
	if o.Kind == lockservice.OpPut && o.Key == "" {
		return invalid("put of the empty key")
	}
	if o.Limit < 0 {
		return invalid("limit %d", o.Limit)
	}
	return nil
}

// Writes reports whether t can change the state.
func Writes(t *lockservice.Txn) bool {
	for _, ops := range [2][]lockservice.Op{t.Then, t.Else} {
		for i := range ops {
			switch ops[i].Kind {
			case lockservice.OpPut, lockservice.OpDelete, lockservice.OpDeleteRange:
				return true
			}
		}
	}
	return false
}

// applyTxn decides t once: a copy of a transaction that was decided before
// gets the same answer and changes nothing.
func (m *Machine) applyTxn(t *Txn) lockservice.TxnResult {
	writes := Writes(&t.Txn)
	known := t.ID != lockservice.TxnID{} && writes
	if known {
		if succeeded, ok := m.decidedBefore(&t.Txn); ok {
			return lockservice.TxnResult{Succeeded: succeeded, Revision: m.revision, Retried: true}
		}
	}
	r := lockservice.TxnResult{Succeeded: m.holds(&t.Txn), Retried: t.Retry}
	ops := t.Then
	if !r.Succeeded {
		ops = t.Else
	}
	if r.Succeeded || m.putsAreAlive(t.Else) {
		e := effect{m: m, txn: t.ID, orElse: !r.Succeeded, revision: m.revision + 1}
		r.Results = e.run(ops)
		e.commit()
	}
	r.Revision = m.revision
	if known {
		m.decided.add(decision{t.ID, r.Succeeded})
	}
	return r
}

// decidedBefore looks for the outcome of t among the remembered decisions and
// on the keys it puts.
func (m *Machine) decidedBefore(t *lockservice.Txn) (succeeded, ok bool) {
	if succeeded, ok := m.decided.find(t.ID); ok {
		return succeeded, true
	}
	for _, ops := range [2][]lockservice.Op{t.Then, t.Else} {
		for i := range ops {
			if ops[i].Kind != lockservice.OpPut {
				continue
			}
			if it, ok := m.get(ops[i].Key); ok && it.kv.ModTxn == t.ID {
				return !it.orElse, true
			}
		}
	}
	return false, false
}

// holds evaluates the compares of t, and that the sessions of its ephemeral
// puts are alive.
func (v *tables) holds(t *lockservice.Txn) bool {
	for i := range t.If {
		if !v.compare(&t.If[i]) {
			return false
		}
	}
	return v.putsAreAlive(t.Then)
}

func (v *tables) putsAreAlive(ops []lockservice.Op) bool {
	for i := range ops {
		o := &ops[i]
		if o.Kind == lockservice.OpPut && !o.Session.IsZero() && !v.alive(o.Session) {
			return false
		}
	}
	return true
}

func (v *tables) compare(c *lockservice.Compare) bool {
	switch c.Kind {
	case lockservice.CompareModRevision:
		it, ok := v.get(c.Key)
		if !ok {
			return c.Revision == 0
		}
		return it.kv.ModRevision == c.Revision
	case lockservice.CompareValue:
		it, ok := v.get(c.Key)
		return ok && bytes.Equal(it.kv.Value, c.Value)
	case lockservice.CompareAbsent:
		_, ok := v.get(c.Key)
		return !ok
	case lockservice.CompareExists:
		_, ok := v.get(c.Key)
		return ok
	case lockservice.CompareSessionAlive:
		return v.alive(c.Session)
	case lockservice.CompareSessionDead:
		return v.dead(c.Session)
	case lockservice.CompareSessionGone:
		return v.gone(c.Session)
	case lockservice.CompareLockHeld:
		return v.held(c.Sequencer)
	}
	return false
}

// effect runs the operations of one branch and gathers its events.
type effect struct {
	m        *Machine
	txn      lockservice.TxnID
	orElse   bool
	revision lockservice.Revision
	events   []lockservice.Event
}

func (e *effect) run(ops []lockservice.Op) []lockservice.OpResult {
	results := make([]lockservice.OpResult, len(ops))
	for i := range ops {
		o := &ops[i]
		switch o.Kind {
		case lockservice.OpPut:
			e.put(o)
		case lockservice.OpDelete:
			e.delete(o.Key)
		case lockservice.OpDeleteRange:
			kvs, _ := e.m.scan(o.Key, o.End, lockservice.ReadOptions{KeysOnly: true})
			for j := range kvs {
				e.delete(kvs[j].Key)
			}
		default:
			results[i] = e.m.read(o)
		}
	}
	return results
}

func (e *effect) put(o *lockservice.Op) {
	it := &item{orElse: e.orElse, kv: lockservice.KV{
		Key: o.Key, Value: o.Value, Session: o.Session,
		CreateRevision: e.revision, ModRevision: e.revision, ModTxn: e.txn,
	}}
	if old, ok := e.m.get(o.Key); ok {
		it.kv.CreateRevision = old.kv.CreateRevision
		e.m.untie(old)
	}
	e.m.keys.ReplaceOrInsert(it)
	e.m.tie(it)
	e.events = append(e.events, lockservice.Event{Kind: lockservice.EventPut, KV: it.kv})
}

func (e *effect) delete(key string) {
	old, ok := e.m.keys.Delete(&item{kv: lockservice.KV{Key: key}})
	if !ok {
		return
	}
	e.m.untie(old)
	e.events = append(e.events, lockservice.Event{
		Kind: lockservice.EventDelete,
		KV:   lockservice.KV{Key: key, ModRevision: e.revision},
	})
}

// commit makes the effect one revision, if it changed anything.
func (e *effect) commit() {
	if len(e.events) == 0 {
		return
	}
	e.m.revision = e.revision
	e.m.history.add(change{revision: e.revision, events: lastPerKey(e.events)})
}

// lastPerKey keeps the last event of each key, ordered by key.
func lastPerKey(events []lockservice.Event) []lockservice.Event {
	if len(events) == 1 {
		return events
	}
	sort.SliceStable(events, func(i, j int) bool { return events[i].KV.Key < events[j].KV.Key })
	kept := events[:0]
	for i := range events {
		if i+1 == len(events) || events[i+1].KV.Key != events[i].KV.Key {
			kept = append(kept, events[i])
		}
	}
	return kept
}

// tie and untie keep the index of ephemeral keys.
func (m *Machine) tie(it *item) {
	id := it.kv.Session
	if id.IsZero() {
		return
	}
	if m.ephemeral[id] == nil {
		m.ephemeral[id] = make(map[string]struct{})
	}
	m.ephemeral[id][it.kv.Key] = struct{}{}
}

func (m *Machine) untie(it *item) {
	if set := m.ephemeral[it.kv.Session]; set != nil {
		delete(set, it.kv.Key)
		if len(set) == 0 {
			delete(m.ephemeral, it.kv.Session)
		}
	}
}
