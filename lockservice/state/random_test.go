package state_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/state"
)

// generator draws commands over few names, so that they meet.
type generator struct{ *rand.Rand }

func (g generator) key() string   { return fmt.Sprintf("k%02d", g.IntN(30)) }
func (g generator) lock() string  { return fmt.Sprintf("l%d", g.IntN(4)) }
func (g generator) flip() bool    { return g.IntN(2) == 0 }
func (g generator) value() []byte { return fmt.Appendf(nil, "v%d", g.IntN(5)) }
func (g generator) index() uint64 { return g.Uint64N(400) }
func (g generator) txnID() (id lockservice.TxnID) {
	id[0], id[1] = 1, byte(g.IntN(200))
	return id
}

func (g generator) session() lockservice.SessionID {
	return lockservice.SessionID{Generation: 1 + uint32(g.IntN(2)), Index: g.index()}
}

func (g generator) compare() lockservice.Compare {
	switch g.IntN(8) {
	case 0:
		return lockservice.ModRevisionIs(g.key(), lockservice.Revision(g.index()))
	case 1:
		return lockservice.ValueIs(g.key(), g.value())
	case 2:
		return lockservice.Absent(g.key())
	case 3:
		return lockservice.Exists(g.key())
	case 4:
		return lockservice.SessionAlive(g.session())
	case 5:
		return lockservice.SessionDead(g.session())
	case 6:
		return lockservice.SessionGone(g.session())
	}
	return lockservice.LockHeld(lockservice.Sequencer{Name: g.lock(), Exclusive: g.flip(), Generation: g.Uint64N(20)})
}

func (g generator) ops() []lockservice.Op {
	var out []lockservice.Op
	for range g.IntN(4) {
		switch g.IntN(7) {
		case 0:
			out = append(out, lockservice.Delete(g.key()))
		case 1:
			out = append(out, lockservice.DeleteRange(g.key(), g.key()))
		case 2:
			out = append(out, lockservice.Get(g.key()))
		case 3:
			out = append(out, lockservice.Range(g.key(), "", g.IntN(5)))
		case 4:
			out = append(out, lockservice.PutEphemeral(g.key(), g.value(), g.session()))
		default:
			out = append(out, lockservice.Put(g.key(), g.value()))
		}
	}
	return out
}

func (g generator) command() state.Command {
	switch g.IntN(16) {
	case 0, 1, 2:
		return &state.Register{Name: "s", TTL: time.Second + time.Duration(g.IntN(10))*time.Second}
	case 3:
		return &state.EndSession{ID: g.session(), Reason: state.EndReason(1 + g.IntN(4))}
	case 4:
		return &state.EndLease{ID: g.session()}
	case 5, 6:
		return &state.Acquire{Session: g.session(), Name: g.lock(), Shared: g.flip(), Delay: time.Duration(g.IntN(2)) * time.Second, Data: g.value()}
	case 7:
		return &state.Release{Session: g.session(), Name: g.lock()}
	case 8:
		return &state.EndDelay{Name: g.lock(), Generation: g.Uint64N(20)}
	case 9:
		if g.IntN(40) == 0 {
			return &state.SetGeneration{Generation: 2}
		}
		return &state.EndOldLeases{Generation: 1 + uint32(g.IntN(2))}
	}
	t := state.Txn{Retry: g.flip()}
	t.ID = g.txnID()
	for range g.IntN(3) {
		t.If = append(t.If, g.compare())
	}
	if t.Then, t.Else = g.ops(), g.ops(); len(t.Then) == 0 {
		t.Then = nil
	}
	return &t
}

func image(t testing.TB, m *state.Machine) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := m.Snapshot().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestReplicasAgree runs one log on a replica that decodes every entry, and on
// one that besides goes through snapshots; results and states agree, and so
// does everything that must hold in any state.
func TestReplicasAgree(t *testing.T) {
	g := generator{seedtest.New(t)}
	o := state.Options{Decisions: 50}
	a, b := state.New(o), state.New(o)
	first := &state.SetGeneration{Generation: 1}
	a.Apply(1, first)
	b.Apply(1, first)
	for index := uint64(2); index < 5000; index++ {
		c := g.command()
		decoded, err := state.Decode(state.Encode(c))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(c, decoded) {
			t.Fatalf("decoded %#v, want %#v", decoded, c)
		}
		ra, rb := a.Apply(index, c), b.Apply(index, decoded)
		if !reflect.DeepEqual(ra, rb) {
			t.Fatalf("entry %d %#v: results differ: %+v, %+v", index, c, ra, rb)
		}
		if index%97 == 0 {
			was := image(t, a)
			if b, err = state.ReadSnapshot(bytes.NewReader(was), o); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(was, image(t, b)) {
				t.Fatalf("entry %d: a snapshot of a snapshot differs", index)
			}
			check(t, a)
		}
	}
}

// check asserts what must hold in every state.
func check(t *testing.T, m *state.Machine) {
	t.Helper()
	v := m.View()
	kvs, _ := v.Range("", "", lockservice.ReadOptions{})
	for _, kv := range kvs {
		if kv.ModRevision > v.Revision() || kv.CreateRevision > kv.ModRevision {
			t.Errorf("key %q: created %d, modified %d, at %d", kv.Key, kv.CreateRevision, kv.ModRevision, v.Revision())
		}
		if s, ok := v.Session(kv.Session); !kv.Session.IsZero() && (!ok || s.State != state.StateAlive) {
			t.Errorf("key %q outlives its session %v", kv.Key, kv.Session)
		}
	}
	for _, l := range v.Locks() {
		if l.Exclusive && len(l.Holders) > 1 {
			t.Errorf("lock %q is exclusive and held by %v", l.Name, l.Holders)
		}
		for _, h := range l.Holders {
			if s, ok := v.Session(h); !ok || s.State != state.StateAlive {
				t.Errorf("lock %q is held by dead session %v", l.Name, h)
			}
		}
	}
}

// TestViewsAreImmutable: a view shows the same after any number of changes.
func TestViewsAreImmutable(t *testing.T) {
	g := generator{seedtest.New(t)}
	s := state.NewStore(state.New(state.Options{}))
	index := uint64(1)
	apply := func(c state.Command) {
		s.Apply(state.Entry{Index: index, Command: c})
		index++
	}
	apply(&state.SetGeneration{Generation: 1})
	for range 300 {
		apply(g.command())
	}
	v := s.View()
	text := func() string {
		kvs, _ := v.Range("", "", lockservice.ReadOptions{})
		return fmt.Sprintf("%v %v %v", kvs, v.Sessions(), v.Locks())
	}
	before := text()
	for range 300 {
		apply(g.command())
	}
	if text() != before {
		t.Error("a view changed")
	}
}

// TestEventsRebuildTheKeys: whoever applies the events of a watch to a list
// has the present keys.
func TestEventsRebuildTheKeys(t *testing.T) {
	g := generator{seedtest.New(t)}
	s := state.NewStore(state.New(state.Options{}))
	s.Apply(state.Entry{Index: 1, Command: &state.SetGeneration{Generation: 1}})
	keys := map[string]lockservice.KV{}
	var from lockservice.Revision
	for index := uint64(2); index < 2000; index++ {
		c := g.command()
		if _, ok := c.(*state.SetGeneration); ok {
			continue // forgets history
		}
		s.Apply(state.Entry{Index: index, Command: c})
		if index%13 != 0 {
			continue
		}
		for {
			r, err := s.Events("", "", from, 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range r.Events {
				if e.Kind == lockservice.EventPut {
					keys[e.KV.Key] = e.KV
				} else {
					delete(keys, e.KV.Key)
				}
			}
			if r.Revision == from {
				break
			}
			from = r.Revision
		}
		kvs, _ := s.View().Range("", "", lockservice.ReadOptions{})
		if len(kvs) != len(keys) {
			t.Fatalf("%d keys by events, %d in the store", len(keys), len(kvs))
		}
		for _, kv := range kvs {
			if !reflect.DeepEqual(keys[kv.Key], kv) {
				t.Fatalf("by events %+v, in the store %+v", keys[kv.Key], kv)
			}
		}
	}
}
