// Package wire translates between the types of package lockservice and their
// messages in proto/lockpb. Decoding checks what the types cannot express;
// limits are checked by the state machine.
package wire

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/proto/lockpb"
)

// FromSession returns the message of id; nil for none.
func FromSession(id lockservice.SessionID) *lockpb.SessionID {
	if id.IsZero() {
		return nil
	}
	return &lockpb.SessionID{Generation: id.Generation, Index: id.Index}
}

// ToSession is the inverse of FromSession.
func ToSession(m *lockpb.SessionID) lockservice.SessionID {
	return lockservice.SessionID{Generation: m.GetGeneration(), Index: m.GetIndex()}
}

// FromSequencer returns the message of q.
func FromSequencer(q lockservice.Sequencer) *lockpb.Sequencer {
	return &lockpb.Sequencer{Name: q.Name, Exclusive: q.Exclusive, Generation: q.Generation}
}

// ToSequencer is the inverse of FromSequencer.
func ToSequencer(m *lockpb.Sequencer) lockservice.Sequencer {
	return lockservice.Sequencer{Name: m.GetName(), Exclusive: m.GetExclusive(), Generation: m.GetGeneration()}
}

// FromKV returns the message of kv, sharing its value.
func FromKV(kv lockservice.KV) *lockpb.KV {
	m := &lockpb.KV{
		Key: []byte(kv.Key), Value: kv.Value,
		CreateRevision: uint64(kv.CreateRevision), ModRevision: uint64(kv.ModRevision),
		Session: FromSession(kv.Session),
	}
	if kv.ModTxn != (lockservice.TxnID{}) {
		m.ModTxn = append([]byte(nil), kv.ModTxn[:]...)
	}
	return m
}

// ToKV is the inverse of FromKV, sharing the value.
func ToKV(m *lockpb.KV) lockservice.KV {
	kv := lockservice.KV{
		Key: string(m.GetKey()), Value: m.GetValue(),
		CreateRevision: lockservice.Revision(m.GetCreateRevision()),
		ModRevision:    lockservice.Revision(m.GetModRevision()),
		Session:        ToSession(m.GetSession()),
	}
	copy(kv.ModTxn[:], m.GetModTxn())
	return kv
}

// FromKVs returns the messages of kvs.
func FromKVs(kvs []lockservice.KV) []*lockpb.KV {
	out := make([]*lockpb.KV, len(kvs))
	for i := range kvs {
		out[i] = FromKV(kvs[i])
	}
	return out
}

// AppendKVs appends what ms hold to dst.
func AppendKVs(dst []lockservice.KV, ms []*lockpb.KV) []lockservice.KV {
	for _, m := range ms {
		dst = append(dst, ToKV(m))
	}
	return dst
}

// FromTxn returns the request of t. It shares the values of t.
func FromTxn(t *lockservice.Txn, retry bool) *lockpb.TxnRequest {
	m := &lockpb.TxnRequest{Id: t.ID[:], Retry: retry, Then: fromOps(t.Then), Else: fromOps(t.Else)}
	for i := range t.If {
		c := &t.If[i]
		mc := &lockpb.Compare{
			Kind: uint32(c.Kind), Key: []byte(c.Key), Value: c.Value,
			Revision: uint64(c.Revision), Session: FromSession(c.Session),
		}
		if c.Kind == lockservice.CompareLockHeld {
			mc.Sequencer = FromSequencer(c.Sequencer)
		}
		m.If = append(m.If, mc)
	}
	return m
}

func fromOps(ops []lockservice.Op) []*lockpb.Op {
	out := make([]*lockpb.Op, len(ops))
	for i := range ops {
		o := &ops[i]
		out[i] = &lockpb.Op{
			Kind: uint32(o.Kind), Key: []byte(o.Key), End: []byte(o.End), Value: o.Value,
			Session: FromSession(o.Session), Limit: int64(o.Limit),
		}
	}
	return out
}

// ToTxn is the inverse of FromTxn.
func ToTxn(m *lockpb.TxnRequest) (t lockservice.Txn, err error) {
	if len(m.GetId()) != len(t.ID) {
		return t, fmt.Errorf("transaction id of %d bytes, want %d: %w", len(m.GetId()), len(t.ID), base.ErrInvalid)
	}
	copy(t.ID[:], m.GetId())
	for _, c := range m.GetIf() {
		if c.GetKind() > math.MaxUint8 {
			return t, fmt.Errorf("compare of kind %d: %w", c.GetKind(), base.ErrInvalid)
		}
		t.If = append(t.If, lockservice.Compare{
			Kind: lockservice.CompareKind(c.GetKind()), Key: string(c.GetKey()), Value: c.GetValue(),
			Revision: lockservice.Revision(c.GetRevision()), Session: ToSession(c.GetSession()),
			Sequencer: ToSequencer(c.GetSequencer()),
		})
	}
	if t.Then, err = toOps(m.GetThen()); err != nil {
		return t, err
	}
	t.Else, err = toOps(m.GetElse())
	return t, err
}

func toOps(ms []*lockpb.Op) ([]lockservice.Op, error) {
	out := make([]lockservice.Op, len(ms))
	for i, m := range ms {
		if m.GetKind() > math.MaxUint8 {
			return nil, fmt.Errorf("operation of kind %d: %w", m.GetKind(), base.ErrInvalid)
		}
		if m.GetLimit() < 0 || m.GetLimit() > math.MaxInt32 {
			return nil, fmt.Errorf("limit %d: %w", m.GetLimit(), base.ErrInvalid)
		}
		out[i] = lockservice.Op{
			Kind: lockservice.OpKind(m.GetKind()), Key: string(m.GetKey()), End: string(m.GetEnd()),
			Value: m.GetValue(), Session: ToSession(m.GetSession()), Limit: int(m.GetLimit()),
		}
	}
	return out, nil
}

// FromTxnResult returns the response of r.
func FromTxnResult(r *lockservice.TxnResult) *lockpb.TxnResponse {
	m := &lockpb.TxnResponse{Succeeded: r.Succeeded, Revision: uint64(r.Revision), Retried: r.Retried}
	for i := range r.Results {
		m.Results = append(m.Results, &lockpb.OpResult{Kvs: FromKVs(r.Results[i].KVs), More: r.Results[i].More})
	}
	return m
}

// ToTxnResult is the inverse of FromTxnResult.
func ToTxnResult(m *lockpb.TxnResponse) lockservice.TxnResult {
	r := lockservice.TxnResult{
		Succeeded: m.GetSucceeded(), Revision: lockservice.Revision(m.GetRevision()), Retried: m.GetRetried(),
	}
	for _, o := range m.GetResults() {
		r.Results = append(r.Results, lockservice.OpResult{KVs: AppendKVs(nil, o.GetKvs()), More: o.GetMore()})
	}
	return r
}

// FromEvents returns the response of r.
func FromEvents(r lockservice.WatchResponse) *lockpb.WatchResponse {
	m := &lockpb.WatchResponse{Revision: uint64(r.Revision)}
	for _, e := range r.Events {
		m.Events = append(m.Events, &lockpb.Event{Kind: uint32(e.Kind), Kv: FromKV(e.KV)})
	}
	return m
}

// ToEvents is the inverse of FromEvents.
func ToEvents(m *lockpb.WatchResponse) lockservice.WatchResponse {
	r := lockservice.WatchResponse{Revision: lockservice.Revision(m.GetRevision())}
	for _, e := range m.GetEvents() {
		r.Events = append(r.Events, lockservice.Event{Kind: lockservice.EventKind(e.GetKind()), KV: ToKV(e.GetKv())})
	}
	return r
}

// FromSessionInfo returns the message of i.
func FromSessionInfo(i lockservice.SessionInfo) *lockpb.SessionInfo {
	return &lockpb.SessionInfo{
		Id: FromSession(i.ID), Name: i.Name, Ttl: durationpb.New(i.TTL),
		State: i.State, Registered: uint64(i.Registered),
	}
}

// ToSessionInfo is the inverse of FromSessionInfo.
func ToSessionInfo(m *lockpb.SessionInfo) lockservice.SessionInfo {
	return lockservice.SessionInfo{
		ID: ToSession(m.GetId()), Name: m.GetName(), TTL: m.GetTtl().AsDuration(),
		State: m.GetState(), Registered: lockservice.Revision(m.GetRegistered()),
	}
}

// FromLockInfo returns the message of i.
func FromLockInfo(i lockservice.LockInfo) *lockpb.LockInfo {
	m := &lockpb.LockInfo{Name: i.Name, Exclusive: i.Exclusive, Generation: i.Generation, Data: i.Data, Delayed: i.Delayed}
	for _, h := range i.Holders {
		m.Holders = append(m.Holders, FromSession(h))
	}
	return m
}

// ToLockInfo is the inverse of FromLockInfo.
func ToLockInfo(m *lockpb.LockInfo) lockservice.LockInfo {
	i := lockservice.LockInfo{
		Name: m.GetName(), Exclusive: m.GetExclusive(), Generation: m.GetGeneration(),
		Data: m.GetData(), Delayed: m.GetDelayed(),
	}
	for _, h := range m.GetHolders() {
		i.Holders = append(i.Holders, ToSession(h))
	}
	return i
}
