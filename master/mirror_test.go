package master

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

func incarnation(n int) base.Incarnation { return base.Incarnation{Generation: 1, Index: uint64(n)} }

// encode returns the stored form of a tablet.
func encode(t testing.TB, tb meta.Tablet) lockservice.KV {
	v, err := proto.Marshal(tb.Proto())
	if err != nil {
		t.Fatal(err)
	}
	return lockservice.KV{Key: tb.Key(), Value: v}
}

// world is a reference: keys with revisions and no indexes.
type world struct {
	t    *testing.T
	r    *rand.Rand
	rev  lockservice.Revision
	kvs  map[string]lockservice.KV
	next uint64
}

// change makes one random change and returns its event.
func (w *world) change() lockservice.Event {
	w.rev++
	kv := w.pick()
	kv.ModRevision = w.rev
	if _, ok := w.kvs[kv.Key]; ok && w.r.IntN(3) == 0 {
		delete(w.kvs, kv.Key)
		return lockservice.Event{Kind: lockservice.EventDelete, KV: lockservice.KV{Key: kv.Key, ModRevision: w.rev}}
	}
	w.kvs[kv.Key] = kv
	return lockservice.Event{Kind: lockservice.EventPut, KV: kv}
}

func (w *world) pick() lockservice.KV {
	e := incarnation(1 + w.r.IntN(4))
	table := base.TableID(1 + w.r.IntN(3))
	marshal := func(m proto.Message) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			w.t.Fatal(err)
		}
		return b
	}
	switch w.r.IntN(6) {
	case 0:
		return lockservice.KV{Key: meta.ServerPrefix + e.String(), Value: marshal(&metapb.ServerRecord{Incarnation: meta.IncarnationProto(e)})}
	case 1:
		return lockservice.KV{Key: meta.LogPrefix + e.String(), Value: marshal(&metapb.LogRecord{State: metapb.LogRecord_State(1 + w.r.IntN(3))})}
	case 2:
		return lockservice.KV{Key: fmt.Sprintf("%s%v/%016x", meta.RefPrefix, e, w.r.IntN(5))}
	case 3:
		return lockservice.KV{Key: fmt.Sprintf("%s%016x", meta.TablePrefix, uint64(table)), Value: marshal(&metapb.TableRecord{Id: uint64(table), Deleted: w.r.IntN(4) == 0})}
	case 4:
		return lockservice.KV{Key: meta.TabletKey(table, []byte{'a'}), Value: []byte("not a record")}
	}
	tb := meta.Tablet{Table: table, End: []byte{byte('a' + w.r.IntN(4))}, State: meta.State(1 + w.r.IntN(3)), Epoch: base.Epoch(w.r.IntN(3))}
	tb.ID = base.TabletID(table)<<8 | base.TabletID(tb.End[0])
	if w.r.IntN(4) == 0 { // another tablet takes the place
		w.next++
		tb.ID = base.TabletID(1<<32 + w.next)
	}
	if tb.State != meta.Unassigned {
		tb.Owner = e
	}
	return encode(w.t, tb)
}

func (w *world) list() []lockservice.KV {
	var out []lockservice.KV
	for _, kv := range w.kvs {
		out = append(out, kv)
	}
	slices.SortFunc(out, func(a, b lockservice.KV) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// summary is what two mirrors must agree on.
func summary(m *mirror) any {
	w, c := m.work(), m.count()
	servers := len(w.servers)
	w.servers = nil
	dead, fresh := m.missing()
	m.mu.Lock()
	defer m.mu.Unlock()
	unserved := map[base.TableID]int{}
	per := map[base.Incarnation]map[base.TableID]int{}
	for id, tb := range m.mu.tables {
		unserved[id] = tb.unserved
	}
	for e, o := range m.mu.owners {
		per[e] = o.perTable
	}
	return []any{w, servers, c, dead, fresh, unserved, per, len(m.mu.keys), len(m.mu.byID), len(m.mu.refs), len(m.mu.corrupt)}
}

// A mirror fed by events equals one that is loaded, whatever arrives twice, and
// is noted ahead of the watch.
func TestMirrorFollows(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	now := func() time.Time { return time.Unix(5, 0) }
	for round := range uint64(20) {
		w := &world{t: t, r: rand.New(rand.NewPCG(seed, round)), kvs: map[string]lockservice.KV{}}
		m := newMirror(now)
		var pending []lockservice.Event
		for i := range 400 {
			ev := w.change()
			pending = append(pending, ev)
			if tb, err := meta.DecodeTablet(ev.KV); err == nil && ev.Kind == lockservice.EventPut && w.r.IntN(2) == 0 {
				m.note(tb)
			}
			if w.r.IntN(10) == 0 {
				m.load(w.list(), w.rev) // the watch is behind
			}
			if w.r.IntN(4) == 0 {
				m.apply(lockservice.WatchResponse{Revision: w.rev, Events: pending})
				if w.r.IntN(2) == 0 {
					pending = nil
				}
			}
			if i%40 == 39 {
				m.apply(lockservice.WatchResponse{Revision: w.rev, Events: pending})
				pending = nil
				fresh := newMirror(now)
				fresh.load(w.list(), w.rev)
				if got, want := summary(m), summary(fresh); !reflect.DeepEqual(got, want) {
					t.Fatalf("round %d, step %d:\n%+v\n%+v", round, i, got, want)
				}
				if m.differs(w.list(), w.rev) || m.load(w.list(), w.rev) != 0 {
					t.Fatalf("round %d, step %d: differs from what it holds", round, i)
				}
			}
		}
	}
}

func FuzzMirror(f *testing.F) {
	f.Add("meta/0000000000000001/~", []byte{8, 1})
	f.Add("log/1-2", []byte{8, 3})
	f.Add("ref/1-2/0000000000000001", []byte{})
	f.Add("server/1-2", []byte{10, 0})
	f.Add("table/0000000000000001", []byte{8, 1})
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		m := newMirror(time.Now)
		m.load([]lockservice.KV{{Key: key, Value: value, ModRevision: 1}}, 1)
		m.apply(lockservice.WatchResponse{Revision: 2, Events: []lockservice.Event{{Kind: lockservice.EventDelete, KV: lockservice.KV{Key: key, ModRevision: 2}}}})
		if c := m.count(); c.tablets != 0 || c.servers != 0 || c.logs != 0 || c.corrupt != 0 {
			t.Errorf("%q left %+v", key, c)
		}
	})
}

// BenchmarkMirrorEvent is the cost of one event among 50,000 tablets.
func BenchmarkMirrorEvent(b *testing.B) {
	m := newMirror(time.Now)
	tablets := make([]meta.Tablet, 50000)
	var kvs []lockservice.KV
	for i := range tablets {
		tablets[i] = meta.Tablet{ID: base.TabletID(i + 1), Table: 1, End: fmt.Appendf(nil, "%06d", i), State: meta.Serving, Owner: incarnation(1 + i%20)}
		kv := encode(b, tablets[i])
		kv.ModRevision = 1
		kvs = append(kvs, kv)
	}
	m.load(kvs, 1)
	rev := lockservice.Revision(1)
	b.ReportAllocs()
	for b.Loop() {
		rev++
		kv := kvs[int(rev)%len(kvs)]
		kv.ModRevision = rev
		m.apply(lockservice.WatchResponse{Revision: rev, Events: []lockservice.Event{{Kind: lockservice.EventPut, KV: kv}}})
		m.work()
	}
}
