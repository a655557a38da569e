package meta_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// cell is a lock service with a store of records over it.
type cell struct {
	*meta.Store
	s   *mem.Service
	t   *testing.T
	ctx context.Context
	ls  *mem.Client
}

func newCell(t *testing.T) *cell {
	s := mem.New(mem.Options{})
	c := s.Client()
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return &cell{Store: meta.NewStore(c), s: s, t: t, ctx: t.Context(), ls: c}
}

// other returns a store over a client of its own.
func (c *cell) other() *meta.Store {
	ls := c.s.Client()
	c.t.Cleanup(func() { ls.Close() })
	return meta.NewStore(ls)
}

func (c *cell) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cell) want(err, sentinel error) {
	c.t.Helper()
	if !errors.Is(err, sentinel) {
		c.t.Errorf("error %v, want one that wraps %q", err, sentinel)
	}
}

// server registers a server and returns its session and record.
func (c *cell) server() (lockservice.Session, meta.Server) {
	c.t.Helper()
	s, err := c.ls.OpenSession(c.ctx, "server", time.Minute)
	c.must(err)
	c.must(c.RegisterServer(c.ctx, &metapb.ServerRecord{Incarnation: meta.IncarnationProto(s.ID()), Address: "a:1"}))
	return s, meta.Server{Incarnation: s.ID(), Address: "a:1"}
}

func (c *cell) end(s lockservice.Session) {
	c.t.Helper()
	c.must(c.ls.Revoke(c.ctx, s.ID(), true))
}

func (c *cell) create(name string, splits ...string) (meta.Table, []meta.Tablet) {
	c.t.Helper()
	var keys [][]byte
	for _, s := range splits {
		keys = append(keys, []byte(s))
	}
	t, err := c.CreateTable(c.ctx, &metapb.TableRecord{Name: name}, keys, time.Now())
	c.must(err)
	return t, c.tablets(t)
}

func (c *cell) tablets(t meta.Table) []meta.Tablet {
	c.t.Helper()
	list, err := c.Tablets(c.ctx, t.ID, lockservice.ReadOptions{})
	c.must(err)
	return list
}

func (c *cell) commit(x meta.Change) meta.Tablet {
	c.t.Helper()
	list, err := c.Commit(c.ctx, x)
	c.must(err)
	stored, err := c.Tablet(c.ctx, list[0].Table, list[0].End, list[0].ID)
	c.must(err)
	if !proto.Equal(stored.Proto(), list[0].Proto()) || stored.Revision != list[0].Revision {
		c.t.Errorf("Commit returned\n%+v, stored is\n%+v", list[0], stored)
	}
	return list[0]
}

// refused commits a change whose conditions do not hold.
func (c *cell) refused(what string, x meta.Change) {
	c.t.Helper()
	if _, err := c.Commit(c.ctx, x); !errors.Is(err, base.ErrAborted) {
		c.t.Errorf("%s: %v, want it aborted", what, err)
	}
}

func (c *cell) refs(want ...meta.Ref) {
	c.t.Helper()
	got, err := c.AllRefs(c.ctx)
	c.must(err)
	if !slices.Equal(got, want) {
		c.t.Errorf("references %+v, want %+v", got, want)
	}
}

// TestLifeOfTablet walks a record through all steps, with the references that
// it keeps to logs, and tries at each what must not be possible.
func TestLifeOfTablet(t *testing.T) {
	c := newCell(t)
	_, list := c.create("t")
	fresh := list[0]
	a, sa := c.server()
	b, sb := c.server()
	now := time.Now()

	assigned := c.commit(meta.Assign(fresh, sa, now))
	if assigned.State != meta.Assigned || assigned.Owner != a.ID() || assigned.Epoch != fresh.Epoch+1 {
		t.Errorf("assigned: %+v", assigned)
	}
	c.refused("assign what is assigned", meta.Assign(fresh, sb, now))
	c.refused("assign what has a live owner", meta.Assign(assigned, sb, now))
	c.refused("bump a live owner's", meta.Bump(assigned, now))
	_, err := meta.Flush(assigned, meta.Flushed{})
	c.want(err, base.ErrNotServing)
	_, err = meta.Release(assigned, 0, 0, now)
	c.want(err, base.ErrNotServing)
	c.refs()

	serving := c.commit(meta.Register(assigned, 7, nil, now))
	if serving.State != meta.Serving || serving.OwnEntry() != 0 || serving.Logs[0].From != 7 {
		t.Errorf("serving: %+v", serving)
	}
	c.refs(meta.Ref{Log: a.ID(), Holder: fresh.ID, From: 7})
	_, err = meta.Cancel(serving, now)
	c.want(err, base.ErrPrecondition)

	flush, err := meta.Flush(serving, meta.Flushed{Manifest: base.FileNumber{Creator: a.ID(), Number: 1}, ManifestVersion: 1, Seq: 20, From: 9, DropEntries: true})
	c.must(err)
	flushed := c.commit(flush)
	if flushed.Flushed != 20 || flushed.ManifestVersion != 1 || flushed.Logs[0].From != 9 {
		t.Errorf("flushed: %+v", flushed)
	}
	c.refs(meta.Ref{Log: a.ID(), Holder: fresh.ID, From: 9})
	touched := c.commit(meta.Touch(flushed))
	if touched.Revision <= flushed.Revision {
		t.Errorf("the revision did not rise: %d after %d", touched.Revision, flushed.Revision)
	}
	late, err := meta.Release(flushed, 9, 12, now)
	c.must(err)
	c.refused("release by a record that was touched", late)

	release, err := meta.Release(touched, 9, 12, now)
	c.must(err)
	released := c.commit(release)
	if released.State != meta.Unassigned || !released.Owner.IsZero() || !released.Logs[0].Closed || released.Logs[0].To != 12 {
		t.Errorf("released: %+v", released)
	}
	c.refs(meta.Ref{Log: a.ID(), Holder: fresh.ID, From: 9})

	// To B with A's entry still needed, and back to A.
	atB := c.commit(meta.Register(c.commit(meta.Assign(released, sb, now)), 3, []bool{true}, now))
	c.refs(meta.Ref{Log: a.ID(), Holder: fresh.ID, From: 9}, meta.Ref{Log: b.ID(), Holder: fresh.ID, From: 3})
	release, err = meta.Release(atB, 3, 3, now) // B wrote nothing
	c.must(err)
	released = c.commit(release)
	atA := c.commit(meta.Register(c.commit(meta.Assign(released, sa, now)), 30, []bool{true}, now))
	if len(atA.Logs) != 2 || atA.OwnEntry() != 1 {
		t.Errorf("back at A: %+v", atA)
	}
	c.refs(meta.Ref{Log: a.ID(), Holder: fresh.ID, From: 9}) // the lowest of two
	flush, err = meta.Flush(atA, meta.Flushed{Manifest: base.FileNumber{Creator: a.ID(), Number: 2}, ManifestVersion: 2, Seq: 25, From: 31, DropEntries: true})
	c.must(err)
	flushed = c.commit(flush)
	c.refs(meta.Ref{Log: a.ID(), Holder: fresh.ID, From: 31})

	// A dies.
	assignA := meta.Assign(fresh, sa, now)
	c.end(a)
	flush, err = meta.Flush(flushed, meta.Flushed{Manifest: base.FileNumber{Creator: a.ID(), Number: 3}, ManifestVersion: 3, Seq: 26, From: 31})
	c.must(err)
	c.refused("flush of the dead", flush)
	release, err = meta.Release(flushed, 31, 31, now)
	c.must(err)
	c.refused("release of the dead", release)
	c.refused("touch of the dead", meta.Touch(flushed))
	bumped := c.commit(meta.Bump(flushed, now))
	assignA.Old = bumped
	assignA.New.Epoch = bumped.Epoch + 1
	c.refused("assign to the dead", assignA)
	final := c.commit(meta.Register(c.commit(meta.Assign(bumped, sb, now)), 5, []bool{false}, now))
	if len(final.Logs) != 1 || final.Logs[0].Log != b.ID() {
		t.Errorf("an entry that nothing came from is kept: %+v", final)
	}
	c.refs(meta.Ref{Log: b.ID(), Holder: fresh.ID, From: 5})
}

// TestCommitOfSeveral: all changes or none.
func TestCommitOfSeveral(t *testing.T) {
	c := newCell(t)
	_, list := c.create("t", "m")
	_, s := c.server()
	stale := list[1]
	now := time.Now()
	list[1] = c.commit(meta.Assign(list[1], s, now))
	_, err := c.Commit(c.ctx, meta.Assign(list[0], s, now), meta.Assign(stale, s, now))
	c.want(err, base.ErrAborted)
	if got, _ := c.Tablet(c.ctx, list[0].Table, list[0].End, list[0].ID); got.State != meta.Unassigned {
		t.Errorf("half of a transaction was applied: %+v", got)
	}
	both, err := c.Commit(c.ctx, meta.Assign(list[0], s, now), meta.Register(list[1], 0, nil, now))
	c.must(err)
	if both[0].State != meta.Assigned || both[1].State != meta.Serving || both[0].Revision != both[1].Revision {
		t.Errorf("committed %+v", both)
	}
}

// TestH4LostReplyOfSeveral: a transaction on two records was applied, and its
// reply lost; by the time of the retry somebody has changed one of them again.
// That does not undo the other.
//
// To break: in meta.Store.Commit, reread all changes instead of each.
func TestH4LostReplyOfSeveral(t *testing.T) {
	c := newCell(t)
	_, list := c.create("t", "m")
	_, a := c.server()
	_, b := c.server()
	now := time.Now()
	loading := c.commit(meta.Assign(list[0], a, now))
	serving := c.commit(meta.Register(c.commit(meta.Assign(list[1], a, now)), 0, nil, now))
	release, err := meta.Release(serving, 0, 0, now)
	c.must(err)
	other := c.other()
	c.ls.SetHook(func(_ lockservice.Txn, attempt int) mem.Fault {
		if attempt == 0 {
			return mem.LoseReply
		}
		released, err := other.Tablet(c.ctx, serving.Table, serving.End, serving.ID)
		c.must(err)
		_, err = other.Commit(c.ctx, meta.Assign(released, b, now))
		c.must(err)
		return mem.Deliver
	})
	got, err := c.Commit(c.ctx, meta.Register(loading, 0, nil, now), release)
	c.ls.SetHook(nil)
	c.must(err)
	if got[0].State != meta.Serving || got[0].Revision == 0 || got[1].State != meta.Unassigned || got[1].Revision != 0 {
		t.Errorf("committed %+v", got)
	}
	c.commit(meta.Touch(got[0]))
	c.refused("a change of what was changed again", meta.Assign(got[1], a, now))
}

// TestH20Locate: rows are found whatever the meta ranges are cut into, also
// where the tablet's record lies in the range after the row's.
func TestH20Locate(t *testing.T) {
	rng := seedtest.New(t)
	c := newCell(t)
	var splits []string
	for len(splits) < 60 {
		k := make([]byte, 1+rng.IntN(3))
		for i := range k {
			k[i] = "\x00az~\xff"[rng.IntN(5)]
		}
		splits = append(splits, string(k))
	}
	slices.Sort(splits)
	splits = slices.Compact(splits)
	before, _ := c.create("before", "a", "m")
	table, tablets := c.create("t", splits...)
	after, _ := c.create("after", "a")
	for limit := 64; limit >= 1; limit /= 2 {
		for {
			n, err := c.SplitRanges(c.ctx, limit)
			c.must(err)
			if n == 0 {
				break
			}
		}
		ranges, err := c.Ranges(c.ctx, lockservice.ReadOptions{})
		c.must(err)
		if limit <= 32 && len(ranges) < len(tablets)/limit {
			t.Fatalf("%d ranges of at most %d records for %d tablets", len(ranges), limit, len(tablets))
		}
		if wrong := meta.CheckTiling(c.tablets(table)); wrong != nil {
			t.Fatal(wrong)
		}
		for range 300 {
			row := make([]byte, 1+rng.IntN(4))
			for i := range row {
				row[i] = "\x00\x01az~\xff"[rng.IntN(6)]
			}
			prefetch := rng.IntN(4)
			got, err := c.Locate(c.ctx, table.ID, row, prefetch, lockservice.ReadOptions{})
			c.must(err)
			i := slices.IndexFunc(tablets, func(x meta.Tablet) bool { return x.Contains(row) })
			want := tablets[i:min(i+1+prefetch, len(tablets))]
			if !slices.EqualFunc(got, want, func(a, b meta.Tablet) bool { return a.ID == b.ID }) {
				t.Fatalf("row %q, %d ranges: tablets %v, want %v", row, len(ranges), ids(got), ids(want))
			}
		}
	}
	for _, x := range []meta.Table{before, after} {
		if wrong := meta.CheckTiling(c.tablets(x)); wrong != nil {
			t.Error(wrong)
		}
	}
	_, err := c.Locate(c.ctx, after.ID+1, []byte("r"), 0, lockservice.ReadOptions{})
	c.want(err, base.ErrNotFound)
	all, _, err := c.All(c.ctx, lockservice.ReadOptions{})
	c.must(err)
	if len(all) != 3+len(tablets)+2 {
		t.Errorf("%d tablets in all, want %d", len(all), 3+len(tablets)+2)
	}
}

func ids(list []meta.Tablet) (out []base.TabletID) {
	for _, t := range list {
		out = append(out, t.ID)
	}
	return out
}

func TestCheckTiling(t *testing.T) {
	tablet := func(start, end string) meta.Tablet { return meta.Tablet{ID: 1, Start: []byte(start), End: []byte(end)} }
	for _, x := range []struct {
		tablets []meta.Tablet
		wrong   int
	}{
		{nil, 1},
		{[]meta.Tablet{tablet("", "")}, 0},
		{[]meta.Tablet{tablet("", "m"), tablet("m", "")}, 0},
		{[]meta.Tablet{tablet("", "m"), tablet("n", "")}, 1},         // a hole
		{[]meta.Tablet{tablet("", "m"), tablet("l", "")}, 1},         // an overlap
		{[]meta.Tablet{tablet("a", "")}, 1},                          // no first
		{[]meta.Tablet{tablet("", "m")}, 1},                          // no last
		{[]meta.Tablet{tablet("", ""), tablet("m", "")}, 1},          // two last
		{[]meta.Tablet{tablet("", "m"), tablet("m", "m")}, 2},        // empty, and no last
		{[]meta.Tablet{tablet("", "b"), tablet("c", "d")}, 2},        // a hole, and no last
		{[]meta.Tablet{tablet("", "a"), tablet("a", "\x00"), {}}, 2}, // runs backwards
	} {
		if got := meta.CheckTiling(x.tablets); len(got) != x.wrong {
			t.Errorf("%d tablets: %q, want %d complaints", len(x.tablets), got, x.wrong)
		}
	}
}

func TestTables(t *testing.T) {
	c := newCell(t)
	table, tablets := c.create("projects/p/instances/i/tables/t", "m")
	_, err := c.CreateTable(c.ctx, &metapb.TableRecord{Name: table.Name}, nil, time.Now())
	c.want(err, base.ErrExists)
	other, _ := c.create("projects/p/instances/j/tables/t")
	if other.ID == table.ID {
		t.Error("an id was given twice")
	}
	list, _, err := c.ListTables(c.ctx, "projects/p/instances/i/", lockservice.ReadOptions{})
	c.must(err)
	if len(list) != 1 || list[0].ID != table.ID {
		t.Errorf("tables of the instance: %+v", list)
	}
	rec := proto.CloneOf(table.Record)
	rec.Families = append(rec.Families, &metapb.Family{Id: 1, Name: "f"})
	updated, err := c.UpdateTable(c.ctx, table, rec)
	c.must(err)
	_, err = c.UpdateTable(c.ctx, table, rec) // by the old revision
	c.want(err, base.ErrAborted)
	_, err = c.DeleteTable(c.ctx, table, time.Now())
	c.want(err, base.ErrAborted)
	_, err = c.DeleteTable(c.ctx, updated, time.Now())
	c.must(err)
	_, err = c.TableByName(c.ctx, table.Name)
	c.want(err, base.ErrNotFound)
	gone, err := c.DeletedTable(c.ctx, table.Name)
	c.must(err)
	back, err := c.UndeleteTable(c.ctx, gone)
	c.must(err)
	if now, err := c.TableByName(c.ctx, table.Name); err != nil || now.Revision != back.Revision || back.ID != table.ID || back.Record.Deleted || len(back.Record.Families) != len(rec.Families) {
		t.Errorf("undeleted as %+v, %v", back, err)
	}
	c.want(c.DropTablets(c.ctx, gone, tablets, true), base.ErrAborted) // it is back
	_, err = c.DeletedTable(c.ctx, table.Name)
	c.want(err, base.ErrNotFound)
	_, err = c.DeleteTable(c.ctx, back, time.Now())
	c.must(err)
	again, _ := c.create(table.Name) // the name is free
	gone, err = c.DeletedTable(c.ctx, table.Name)
	c.must(err)
	_, err = c.UndeleteTable(c.ctx, gone)
	c.want(err, base.ErrExists)
	if again.ID == table.ID {
		t.Error("an id was given twice")
	}
	deleted, err := c.Table(c.ctx, table.ID)
	c.must(err)
	if !deleted.Record.Deleted {
		t.Error("the table is not marked deleted")
	}
	c.must(c.DropTablets(c.ctx, deleted, tablets[:1], false))
	c.want(c.DropTablets(c.ctx, deleted, tablets, true), base.ErrAborted)
	c.must(c.DropTablets(c.ctx, deleted, tablets[1:], true))
	_, err = c.Table(c.ctx, table.ID)
	c.want(err, base.ErrNotFound)
	if left := c.tablets(table); len(left) != 0 {
		t.Errorf("tablets %+v are left", left)
	}
}

// TestDropTabletsDropsReferences: what a dropped tablet needed of a log is not
// needed any more.
func TestDropTabletsDropsReferences(t *testing.T) {
	c := newCell(t)
	table, list := c.create("t")
	_, s := c.server()
	now := time.Now()
	serving := c.commit(meta.Register(c.commit(meta.Assign(list[0], s, now)), 4, nil, now))
	release, err := meta.Release(serving, 4, 8, now)
	c.must(err)
	c.refs(meta.Ref{Log: s.Incarnation, Holder: list[0].ID, From: 4})
	c.must(c.DropTablets(c.ctx, table, []meta.Tablet{c.commit(release)}, true))
	c.refs()
}

func TestNewIDs(t *testing.T) {
	c := newCell(t)
	next := uint64(1)
	for _, n := range []uint64{1, 5, 1, 100} {
		got, err := c.NewIDs(c.ctx, "x", n)
		c.must(err)
		if got != next {
			t.Errorf("drew %d, want %d", got, next)
		}
		next += n
	}
	errs := make(chan error, 8)
	seen := make(chan uint64, 8)
	for range 8 {
		go func() {
			id, err := c.NewIDs(c.ctx, "y", 3)
			seen <- id
			errs <- err
		}()
	}
	drawn := map[uint64]bool{}
	for range 8 {
		c.must(<-errs)
		drawn[<-seen] = true
	}
	if len(drawn) != 8 {
		t.Errorf("%d distinct ids of 8", len(drawn))
	}
}

func TestLogs(t *testing.T) {
	c := newCell(t)
	s, srv := c.server()
	e := srv.Incarnation
	c.want(c.RegisterServer(c.ctx, &metapb.ServerRecord{Incarnation: meta.IncarnationProto(e)}), base.ErrSessionExpired) // twice
	_, err := c.BeginSeal(c.ctx, e)
	c.want(err, base.ErrPrecondition) // it lives
	_, err = c.EndSeal(c.ctx, e, 5)
	c.want(err, base.ErrPrecondition)
	servers, err := c.Servers(c.ctx, lockservice.ReadOptions{})
	c.must(err)
	if len(servers) != 1 || servers[0].Incarnation != e || servers[0].Address != "a:1" {
		t.Errorf("servers %+v", servers)
	}
	c.must(c.Truncate(c.ctx, e, 0, 3))
	c.end(s)
	servers, err = c.Servers(c.ctx, lockservice.ReadOptions{})
	c.must(err)
	if len(servers) != 0 {
		t.Errorf("servers %+v after the death", servers)
	}
	for range 2 { // any number of sealers
		l, err := c.BeginSeal(c.ctx, e)
		c.must(err)
		if l.State != meta.LogSealing || l.Low != 3 {
			t.Errorf("sealing %+v", l)
		}
	}
	l, err := c.EndSeal(c.ctx, e, 9)
	c.must(err)
	again, err := c.EndSeal(c.ctx, e, 10) // Raft's is the truth
	c.must(err)
	if l.State != meta.LogSealed || l.End != 9 || again != l {
		t.Errorf("sealed %+v, then %+v", l, again)
	}
	if l, err = c.BeginSeal(c.ctx, e); err != nil || l.State != meta.LogSealed {
		t.Errorf("a sealer that comes late: %+v, %v", l, err)
	}
	logs, err := c.Logs(c.ctx, lockservice.ReadOptions{})
	c.must(err)
	if len(logs) != 1 || logs[0] != l {
		t.Errorf("logs %+v", logs)
	}
	c.must(c.ForgetLog(c.ctx, l))
	_, err = c.Log(c.ctx, e)
	c.want(err, base.ErrNotFound)
}

// TestDecodeTablet: records round-trip, and damaged ones are refused by name.
func TestDecodeTablet(t *testing.T) {
	e := base.Incarnation{Generation: 1, Index: 9}
	rec := meta.Tablet{
		ID: 3, Table: 2, Start: []byte("a"), End: []byte("m"), Owner: e, OwnerAddress: "x:1", Epoch: 5,
		Manifest: base.FileNumber{Creator: e, Number: 7}, ManifestVersion: 4, Flushed: 100, NextSeq: 120, State: meta.Serving,
		Since: time.UnixMicro(12345), Parents: []base.TabletID{1},
		Logs: []meta.LogEntry{{Log: e, Tablet: 1, Epoch: 2, From: 3, To: 0, Closed: true}, {Log: e, Tablet: 3, Epoch: 5, From: 8}},
	}
	value, err := proto.Marshal(rec.Proto())
	if err != nil {
		t.Fatal(err)
	}
	kv := lockservice.KV{Key: rec.Key(), Value: value, ModRevision: 77}
	got, err := meta.DecodeTablet(kv)
	if err != nil || !proto.Equal(got.Proto(), rec.Proto()) || got.Revision != 77 || !got.Logs[0].Closed || got.Logs[1].Closed {
		t.Errorf("%+v, %v; want %+v", got, err, rec)
	}
	for name, bad := range map[string]lockservice.KV{
		"garbage":    {Key: kv.Key, Value: []byte{0xff, 0xff}},
		"empty":      {Key: kv.Key},
		"other key":  {Key: meta.TabletKey(2, []byte("n")), Value: value},
		"other name": {Key: fmt.Sprintf("x%s", kv.Key), Value: value},
	} {
		if _, err := meta.DecodeTablet(bad); !errors.Is(err, base.ErrCorrupt) {
			t.Errorf("%s: %v, want corruption", name, err)
		}
	}
}

func FuzzDecodeTablet(f *testing.F) {
	rec := meta.Tablet{ID: 3, Table: 2, End: []byte("m"), State: meta.Assigned, Logs: []meta.LogEntry{{Tablet: 3, Closed: true}}}
	value, err := proto.Marshal(rec.Proto())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(rec.Key(), value)
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		got, err := meta.DecodeTablet(lockservice.KV{Key: key, Value: value})
		if err != nil {
			if !errors.Is(err, base.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again, err := proto.Marshal(got.Proto())
		if err != nil {
			t.Fatal(err)
		}
		if back, err := meta.DecodeTablet(lockservice.KV{Key: key, Value: again}); err != nil || !proto.Equal(back.Proto(), got.Proto()) {
			t.Fatalf("%+v, %v; want %+v", back, err, got)
		}
	})
}
