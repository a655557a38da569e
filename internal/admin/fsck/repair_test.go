package fsck_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/admin/fsck"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
	"github.com/tabletdb/tabletdb/wal"
)

// owners reaches the servers of the world.
type owners struct{ w *world }

func (o owners) Flush(ctx context.Context, t meta.Tablet) error {
	return o.w.Server(t.Owner).Flush(ctx, t)
}

func (o owners) Compact(ctx context.Context, t meta.Tablet) error {
	return o.w.Server(t.Owner).Compact(ctx, t)
}

func (o owners) Manifest(ctx context.Context, t meta.Tablet) (*manifest.Manifest, error) {
	r, err := o.w.Server(t.Owner).Control().Describe(ctx, &controlpb.DescribeRequest{Tablet: uint64(t.ID)})
	return manifest.FromProto(r.GetManifest()), err
}

func (o owners) Release(ctx context.Context, t meta.Tablet) error {
	return o.w.Server(t.Owner).Unload(ctx, t)
}

func (w *world) repair(rc fsck.RepairConfig) *fsck.Repaired {
	w.T.Helper()
	if rc.Owners == nil {
		rc.Owners = owners{w}
	}
	r, err := fsck.Repair(w.ctx, fsck.Config{LockService: w.ls, Store: w.Store, Deep: true}, rc)
	w.Must(err)
	return r
}

// everything is what newWorld wrote.
func everything() map[string]string {
	return map[string]string{"a": "one", "b": "two", "c": "three", "x": "one", "y": "two"}
}

// rows serves what nobody serves at a new server, and reads all rows.
func (w *world) rows() map[string]string {
	w.T.Helper()
	var fresh *tabletservertest.Server
	got := map[string]string{}
	for _, t := range w.Tablets(w.ctx, w.table) {
		s := w.Server(t.Owner)
		if t.State != meta.Serving || s == nil {
			if fresh == nil {
				fresh = w.Open(w.ctx)
			}
			s, t = fresh, w.Serve(w.ctx, t, fresh)
		}
		for _, line := range s.All(w.ctx, t) { // "row cf:q@ts=value"
			row, cell, _ := strings.Cut(line, " ")
			_, got[row], _ = strings.Cut(cell, "=")
		}
	}
	return got
}

func without(rows ...string) map[string]string {
	m := everything()
	for _, r := range rows {
		delete(m, r)
	}
	return m
}

// damages are ways to break the world, what has to be given up to mend it, and
// what it holds afterwards.
var damages = map[string]struct {
	harm  func(w *world)
	needs fsck.Loss
	want  map[string]string // nil: everything
}{
	"name lost":   {harm: func(w *world) { w.txn(lockservice.Delete(meta.TableNamePrefix + w.table.Name)) }},
	"name astray": {harm: func(w *world) { w.txn(lockservice.Put(meta.TableNamePrefix+"other", make([]byte, 8))) }},
	"name of another": {harm: func(w *world) {
		w.txn(lockservice.Put(meta.TableNamePrefix+w.table.Name, make([]byte, 8)))
	}},
	"root index":          {harm: func(w *world) { w.txn(lockservice.Put("root/a", []byte{0xff})) }},
	"reference lost":      {harm: func(w *world) { w.txn(lockservice.Delete(refKey(w.dead, w.right.ID))) }},
	"reference off":       {harm: func(w *world) { w.txn(lockservice.Put(refKey(w.dead, w.right.ID), make([]byte, 8))) }},
	"reference left over": {harm: func(w *world) { w.txn(lockservice.Put(refKey(w.dead, 77), make([]byte, 8))) }},
	"reference not needed": {harm: func(w *world) {
		w.txn(lockservice.Put(refKey(w.dead, w.left.ID), make([]byte, 8)))
	}},
	"bad reference": {harm: func(w *world) { w.txn(lockservice.Put(meta.RefPrefix+"x", nil)) }},
	"low alone":     {harm: func(w *world) { w.txn(lockservice.Put(meta.LowPrefix+"1-99", make([]byte, 8))) }},
	"orphans": {harm: func(w *world) {
		gone := w.CreateTable(w.ctx, "k")
		w.Serve(w.ctx, w.Tablets(w.ctx, gone)[0], w.Server(w.left.Owner))
		w.txn(lockservice.Delete(fmt.Sprintf("%s%016x", meta.TablePrefix, uint64(gone.ID))), lockservice.Delete(meta.TableNamePrefix+gone.Name))
	}},
	"hole at the end":   {harm: func(w *world) { w.txn(lockservice.Delete(w.right.Key())) }, needs: fsck.Holes, want: without("x", "y")},
	"hole at the start": {harm: func(w *world) { w.kill(w.left); w.txn(lockservice.Delete(w.left.Key())) }, needs: fsck.Holes, want: without("a", "b", "c")},
	"record damaged":    {harm: func(w *world) { w.txn(lockservice.Put(w.right.Key(), []byte("garbage"))) }, needs: fsck.Holes, want: without("x", "y")},
	"empty tablet over others": {harm: func(w *world) {
		w.change(meta.Tablet{ID: 99, Table: w.table.ID, Start: []byte("p"), End: []byte("q"), State: meta.Unassigned}, func(*meta.Tablet) {})
	}},
	"owner of nothing": {harm: func(w *world) { w.change(w.right, func(t *meta.Tablet) { t.Owner = w.dead }) }},
	"owner dead": {harm: func(w *world) {
		w.Server(w.left.Owner).Kill()
		w.Expire(w.ctx, w.left.Owner)
	}},
	"entry missing": {harm: func(w *world) { w.change(w.left, func(t *meta.Tablet) { t.Logs = nil }) }},
	"entry past the seal": {harm: func(w *world) {
		w.change(w.right, func(t *meta.Tablet) { t.Logs[0].Closed, t.Logs[0].To = true, 1000 })
	}, needs: fsck.Logs},
	"manifest of a live owner": {harm: func(w *world) { w.remove(manifestOf(w.left)) }},
	"manifest of nobody":       {harm: func(w *world) { w.remove(manifestOf(w.right)) }, needs: fsck.Manifests, want: without("x")},
	"newest manifest": {harm: func(w *world) { // the one before it has what it had, and its file is not named any more
		t := w.Serve(w.ctx, w.right, w.Open(w.ctx))
		s := w.Server(t.Owner)
		w.Must(s.Flush(w.ctx, t))
		w.Must(s.Compact(w.ctx, t))
		w.Must(s.Unload(w.ctx, w.Record(w.ctx, t)))
		w.remove(manifestOf(w.Record(w.ctx, t)))
	}, needs: fsck.Manifests},
	"sstable of nobody": {harm: func(w *world) { w.remove(w.sstable(w.right)) }, needs: fsck.SSTables, want: without("x")},
	"sstable damaged":   {harm: func(w *world) { w.flip(w.sstable(w.right)) }, needs: fsck.SSTables, want: without("x")},
	"sstable of a live owner": { // which flushes b and c as it lets go
		harm: func(w *world) { w.remove(w.sstable(w.left)) }, needs: fsck.SSTables, want: without("a"),
	},
	"manifest and sstable of a live owner": {harm: func(w *world) {
		w.Must(w.Server(w.left.Owner).Flush(w.ctx, w.left)) // there are two files then
		w.remove(w.files(w.left)[0])
		w.left = w.Record(w.ctx, w.left)
		w.remove(manifestOf(w.left))
	}, needs: fsck.SSTables, want: without("a")},
	"log forgotten": {harm: func(w *world) {
		w.txn(lockservice.Delete(meta.LogPrefix+w.dead.String()), lockservice.Delete(meta.LowPrefix+w.dead.String()))
	}},
	"log record damaged": {harm: func(w *world) { w.txn(lockservice.Put(meta.LogPrefix+w.dead.String(), []byte{0xff})) }},
	"log gone": {harm: func(w *world) {
		w.txn(lockservice.Delete(meta.LogPrefix+w.dead.String()), lockservice.Delete(meta.LowPrefix+w.dead.String()))
		for p := range 50 {
			w.remove(base.LogObject(w.dead, base.Position(p)))
		}
	}, needs: fsck.Logs, want: without("y")},
	"log object gone":    {harm: func(w *world) { w.remove(base.LogObject(w.dead, w.lastNeeded())) }, needs: fsck.Logs, want: without("y")},
	"log object damaged": {harm: func(w *world) { w.flip(base.LogObject(w.dead, w.lastNeeded())) }, needs: fsck.Logs, want: without("y")},
	"open log damaged":   {harm: func(w *world) { w.flip(base.LogObject(w.left.Owner, w.left.Logs[0].From)) }},
	"seal gone": {harm: func(w *world) {
		l, err := w.Meta.Log(w.ctx, w.dead)
		w.Must(err)
		w.remove(base.LogObject(w.dead, l.End))
	}},
	"index damaged": {harm: func(w *world) { w.flip(base.LogIndexObject(w.dead)) }},
	"index gone":    {harm: func(w *world) { w.remove(base.LogIndexObject(w.dead)) }},
	"not collected": {harm: func(w *world) {
		s := w.Open(w.ctx)
		e := s.Incarnation()
		s.Kill()
		w.Expire(w.ctx, e)
		w.Seal(w.ctx, e)
	}},
	"left over": {harm: func(w *world) {
		e := base.Incarnation{Generation: 1, Index: 1}
		w.Must(w.Store.Put(w.ctx, base.LogObject(e, 3), make([]byte, wal.MinObjectLen)))
		w.Must(w.Store.Put(w.ctx, base.LogObject(e, 4), wal.AppendSeal(nil, wal.SealInfo{Log: e, Position: 4, Sealer: e})))
	}},
	"idle mark": {harm: func(w *world) { w.Must(w.Meta.SetMark(w.ctx, meta.DrainMark("nobody"), true, time.Now())) }, needs: fsck.Marks},
}

// kill ends a tablet's owner and recovers from that.
func (w *world) kill(t meta.Tablet) {
	w.Server(t.Owner).Kill()
	w.Expire(w.ctx, t.Owner)
	w.Bump(w.ctx, t)
	w.Seal(w.ctx, t.Owner)
}

// sstable returns the key of the one SSTable of a tablet.
func (w *world) sstable(t meta.Tablet) string {
	w.T.Helper()
	keys := w.files(t)
	if len(keys) != 1 {
		w.T.Fatalf("tablet %d has files %v", t.ID, keys)
	}
	return keys[0]
}

// files returns the keys of the SSTables of a tablet.
func (w *world) files(t meta.Tablet) (keys []string) {
	w.T.Helper()
	numbers, err := manifest.Files(w.Store)(w.ctx, t.Manifest)
	w.Must(err)
	for _, n := range numbers {
		keys = append(keys, base.SSTableObject(n))
	}
	return keys
}

// quiet: nothing but what a master does by itself is left.
func quiet(r *fsck.Report) bool {
	return !slices.ContainsFunc(r.Findings, func(f fsck.Finding) bool {
		return f.Severity == fsck.Problem || f.Class != fsck.Unserved
	})
}

// TestRepair breaks a cluster in one way after the other, and mends it.
//
// To break: have any repair do nothing, or leave out the compares of its
// transaction together with TestRepairOfAChangedWorld.
func TestRepair(t *testing.T) {
	for name, d := range damages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.Close()
				d.harm(w)
				before := w.repair(fsck.RepairConfig{DryRun: true, Accept: fsck.Losses()})
				if quiet(before.Report) || len(before.Steps) == 0 {
					t.Fatalf("found %v, planned %v", before.Report.Findings, before.Steps)
				}
				for _, s := range before.Steps {
					if s.Outcome != fsck.Planned && s.Outcome != fsck.Later || s.Do == "" || s.Needs != "" && (s.Loses == "" || s.Needs != d.needs) {
						t.Errorf("planned %+v", s)
					}
				}
				if d.needs != "" {
					if r := w.repair(fsck.RepairConfig{}); quiet(r.Report) {
						t.Errorf("mended without leave: %+v", r.Steps)
					}
				}
				rc := fsck.RepairConfig{}
				if d.needs != "" {
					rc.Accept = []fsck.Loss{d.needs}
				}
				after := w.repair(rc)
				if !quiet(after.Report) || !slices.ContainsFunc(after.Steps, func(s fsck.Step) bool { return s.Outcome == fsck.Done }) {
					t.Errorf("left %v after %+v", after.Report.Findings, after.Steps)
				}
				if again := w.repair(rc); len(again.Steps) != 0 {
					t.Errorf("again: %+v", again.Steps)
				}
				want := d.want
				if want == nil {
					want = everything()
				}
				if got := w.rows(); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("rows %v, want %v", got, want)
				}
				if r := w.check(true); r.Problems() > 0 {
					t.Errorf("after serving: %v", r.Findings)
				}
			})
		})
	}
}

// TestRepairOfAChangedWorld: a step that was planned is void once what it was
// concluded from has changed, and then changes nothing.
func TestRepairOfAChangedWorld(t *testing.T) {
	for name, c := range map[string]struct {
		harm   func(w *world)
		change func(w *world)
	}{
		"reference lost": {
			func(w *world) { w.txn(lockservice.Delete(refKey(w.dead, w.right.ID))) },
			func(w *world) { w.change(w.right, func(t *meta.Tablet) { t.Why = "touched" }) },
		},
		"name lost": {
			func(w *world) { w.txn(lockservice.Delete(meta.TableNamePrefix + w.table.Name)) },
			func(w *world) { w.txn(lockservice.Put(meta.TableNamePrefix+w.table.Name, make([]byte, 8))) },
		},
		"hole": {
			func(w *world) { w.txn(lockservice.Delete(w.right.Key())) },
			func(w *world) { w.change(w.right, func(*meta.Tablet) {}) },
		},
		"sstable": {
			func(w *world) { w.remove(w.sstable(w.right)) },
			func(w *world) { w.change(w.right, func(t *meta.Tablet) { t.Why = "touched" }) },
		},
		"log forgotten": {
			func(w *world) {
				w.txn(lockservice.Delete(meta.LogPrefix+w.dead.String()), lockservice.Delete(meta.LowPrefix+w.dead.String()))
			},
			func(w *world) { w.txn(lockservice.Put(meta.LowPrefix+w.dead.String(), make([]byte, 8))) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.Close()
				c.harm(w)
				cell := &meddler{Client: w.ls, before: func() { c.change(w) }}
				r, err := fsck.Repair(w.ctx, fsck.Config{LockService: cell, Store: w.Store}, fsck.RepairConfig{Accept: fsck.Losses(), Rounds: 1})
				w.Must(err)
				if !slices.ContainsFunc(r.Steps, func(s fsck.Step) bool { return s.Outcome == fsck.Void }) ||
					slices.ContainsFunc(r.Steps, func(s fsck.Step) bool { return s.Outcome == fsck.Done }) {
					t.Errorf("steps %+v", r.Steps)
				}
				if cell.applied > 0 {
					t.Errorf("%d transactions were applied", cell.applied)
				}
			})
		})
	}
}

// meddler changes the world right before the first transaction on records.
type meddler struct {
	lockservice.Client
	before  func()
	applied int
}

func (m *meddler) Txn(ctx context.Context, t lockservice.Txn) (lockservice.TxnResult, error) {
	counter := slices.ContainsFunc(t.Then, func(o lockservice.Op) bool { return strings.HasPrefix(o.Key, meta.CounterPrefix) })
	if m.before != nil && !counter {
		m.before()
		m.before = nil
	}
	r, err := m.Client.Txn(ctx, t)
	if r.Succeeded && !counter {
		m.applied++
	}
	return r, err
}

// TestRepairWithoutMaster: what a master would do is left to it where one runs,
// and done where none does.
func TestRepairWithoutMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		w.Server(w.left.Owner).Kill()
		w.Expire(w.ctx, w.left.Owner)
		s, err := w.ls.OpenSession(w.ctx, "master", time.Minute)
		w.Must(err)
		_, err = w.ls.Lock(w.ctx, s, meta.MasterLock, lockservice.LockOptions{Data: []byte("m:1")})
		w.Must(err)
		if r := w.repair(fsck.RepairConfig{}); len(r.Steps) != 0 {
			t.Errorf("did the master's work: %+v", r.Steps)
		}
		w.Must(s.Close(w.ctx))
		r := w.repair(fsck.RepairConfig{})
		if len(r.Steps) != 2 || !quiet(r.Report) {
			t.Errorf("steps %+v, left %v", r.Steps, r.Report.Findings)
		}
	})
}

// TestByHand: what no repair is known for is said, and left alone.
func TestByHand(t *testing.T) {
	for name, harm := range map[string]func(w *world){
		"schema damaged": func(w *world) {
			w.txn(lockservice.Put(fmt.Sprintf("%s%016x", meta.TablePrefix, uint64(w.table.ID)), []byte("x")))
		},
		"schema lost": func(w *world) {
			w.txn(lockservice.Delete(fmt.Sprintf("%s%016x", meta.TablePrefix, uint64(w.table.ID))))
		},
		"backup": func(w *world) { w.remove(w.backup()) },
		"overlap": func(w *world) {
			w.change(meta.Tablet{ID: 99, Table: w.table.ID, Start: []byte("p"), End: []byte("q"), State: meta.Unassigned, Flushed: 7}, func(*meta.Tablet) {})
		},
		"data where the seal was": func(w *world) {
			l, err := w.Meta.Log(w.ctx, w.dead)
			w.Must(err)
			b, err := w.Store.Get(w.ctx, base.LogObject(w.dead, l.End-1))
			w.Must(err)
			w.Must(w.Store.Put(w.ctx, base.LogObject(w.dead, l.End), b))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.Close()
				harm(w)
				rev := func() lockservice.Revision {
					_, rev, err := w.ls.List(w.ctx, "", "", lockservice.ReadOptions{KeysOnly: true})
					w.Must(err)
					return rev
				}
				before := rev()
				r := w.repair(fsck.RepairConfig{Accept: []fsck.Loss{fsck.Holes, fsck.Logs, fsck.SSTables, fsck.Marks}})
				if len(r.Steps) == 0 || r.Report.Problems() == 0 || rev() != before {
					t.Errorf("steps %+v, left %v, revision %d after %d", r.Steps, r.Report.Findings, rev(), before)
				}
				for _, s := range r.Steps {
					if s.Outcome != fsck.ByHand && s.Outcome != fsck.NotAccepted {
						t.Errorf("%+v", s)
					}
				}
			})
		})
	}
}

// TestRemedies: every class says what is done about it, and so does the
// documentation.
func TestRemedies(t *testing.T) {
	text, err := os.ReadFile("../../../docs/repair.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range fsck.Classes() {
		if want := fmt.Sprintf("| `%s` | %s |", c, fsck.Remedy(c)); fsck.Remedy(c) == "" || !strings.Contains(string(text), want) {
			t.Errorf("docs/repair.md lacks\n%s", want)
		}
	}
	for _, l := range fsck.Losses() {
		if !strings.Contains(string(text), fmt.Sprintf("`%s`", l)) {
			t.Errorf("docs/repair.md does not say what %s are", l)
		}
	}
}

// TestServedIsLeftAlone: what a live server serves is left alone where
// nobody can ask it to let go.
func TestServedIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Close()
		w.remove(w.sstable(w.left))
		r, err := fsck.Repair(w.ctx, fsck.Config{LockService: w.ls, Store: w.Store}, fsck.RepairConfig{Accept: fsck.Losses()})
		w.Must(err)
		if len(r.Steps) != 1 || r.Steps[0].Outcome != fsck.Failed || r.Report.Problems() != 1 {
			t.Errorf("%+v", r.Steps)
		}
	})
}
