package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/gateway/snapshot"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// everyStep lets a test step in before every call of the lock service.
type everyStep struct {
	stepLock
}

func (l everyStep) Get(ctx context.Context, key string, o lockservice.ReadOptions) (lockservice.KV, bool, lockservice.Revision, error) {
	if err := l.before("get " + key); err != nil {
		return lockservice.KV{}, false, 0, err
	}
	return l.Client.Get(ctx, key, o)
}

func (l everyStep) Txn(ctx context.Context, x lockservice.Txn) (lockservice.TxnResult, error) {
	if err := l.before("txn"); err != nil {
		return lockservice.TxnResult{}, err
	}
	return l.Client.Txn(ctx, x)
}

// TestSnapshotMeanwhile lets everything happen that changes tablets, their
// files, their owners or the schema, before each call to the lock service that
// the taking of a snapshot consists of, and collects garbage thereafter. The
// snapshot has what was acknowledged before it was asked for, whole, and with
// the families of what it holds; the table has everything.
//
// To break: in snapshot.capture, leave out the conditions, or that of the
// schema.
func TestSnapshotMeanwhile(t *testing.T) {
	events := map[string]func(y *yard){
		"writes": func(y *yard) { y.put("e", "q") },
		"flush":  func(y *yard) { y.put("e"); y.flushAll() },
		"compaction": func(y *yard) {
			y.put("e")
			y.Must(y.s[0].Compact(y.ctx, y.list[0]))
			y.Must(y.s[0].Compact(y.ctx, y.list[1]))
		},
		"split": func(y *yard) {
			l, r := y.split(y.s[0], y.list[0], "c")
			y.Must(y.s[0].Compact(y.ctx, l))
			y.Must(y.s[0].Compact(y.ctx, r))
		},
		"merge": func(y *yard) {
			tb := y.merge(y.s[0], y.list[0], y.list[1])
			y.Must(y.s[0].Compact(y.ctx, tb))
		},
		"move": func(y *yard) { y.Move(y.ctx, y.list[0], y.s[0], y.s[1]) },
		"move and back": func(y *yard) {
			tb := y.Move(y.ctx, y.list[0], y.s[0], y.s[1])
			y.set(y.s[1], tb, "e")
			y.rows = append(y.rows, "e")
			y.list[0] = y.Move(y.ctx, tb, y.s[1], y.s[0])
		},
		"death": func(y *yard) {
			y.put("e")
			y.dieAndServe(y.table.ID, y.s[0], y.s[2])
		},
		"a family": func(y *yard) {
			now, err := y.Meta.Table(y.ctx, y.table.ID)
			y.Must(err)
			rec := proto.CloneOf(now.Record)
			rec.Families = append(rec.Families, &metapb.Family{Id: rec.NextFamily, Name: "later"})
			rec.NextFamily++
			_, err = y.Meta.UpdateTable(y.ctx, now, rec)
			y.Must(err)
			y.pause(time.Second)
			y.Must(y.s[0].Set(y.ctx, y.list[0], "a", "later", "q", 1000, "x"))
			y.flushAll()
		},
	}
	for name, happen := range events {
		t.Run(name, func(t *testing.T) {
			points := 0
			for reached := true; reached; points++ {
				history(t, func(b *bubble) {
					b.Net = memnet.New()
					y := newYard(b)
					y.put("r") // in no file
					before := slices.Clone(y.rows)
					n := 0
					lock := everyStep{stepLock{b.Lock.Client(), func(string) error {
						if n++; n == points+1 {
							happen(y)
							y.pause(time.Second)
							y.collectNow()
						}
						return nil
					}}}
					service := snapshot.New(meta.NewStore(lock), b.Net.Node("gateway"))
					it, err := service.Create(b.ctx, admSnapshot, y.table.Name, snapshot.Options{})
					b.Must(err)
					if reached = n > points; !reached {
						n = points + 1 // what follows is not stepped into
						happen(y)
					}
					y.collectNow()
					y.check()
					y.wantSnapshot(fmt.Sprintf("%s before call %d", name, points), service, it, before)
				})
			}
			if points < 8 {
				t.Errorf("%d points: little was tested", points)
			}
		})
	}
}

// wantSnapshot checks that a snapshot holds at least these rows, and at most
// what the table holds, and that nothing needs it any more once a table was
// made of it.
func (y *yard) wantSnapshot(when string, service *snapshot.Service, it snapshot.Item, before []string) {
	y.t.Helper()
	made, err := service.Clone(y.ctx, it.Name, admCopy)
	y.Must(err)
	y.Must(service.Delete(y.ctx, it.Name))
	for _, tb := range y.Tablets(y.ctx, made) {
		y.Serve(y.ctx, tb, y.s[1])
	}
	y.collectNow()
	y.check()
	got := map[string]bool{}
	for _, line := range y.contents(made) {
		got[line[:1]] = true
	}
	for _, row := range before {
		if !got[row] {
			y.t.Errorf("%s: the snapshot lacks row %s; it has %v", when, row, got)
		}
	}
	for row := range got {
		if !slices.Contains(y.rows, row) {
			y.t.Errorf("%s: the snapshot has row %s, which nobody wrote", when, row)
		}
	}
	families := map[uint32]bool{}
	for _, f := range made.Record.Families {
		families[f.Id] = true
	}
	if cells, ok := y.cellsOf(made); ok && !families[cells] {
		y.t.Errorf("%s: the snapshot has cells of family %d, and no such family", when, cells)
	}
}

// cellsOf returns the highest family of the cells in the first tablet of a
// table, from its files.
func (b *bubble) cellsOf(t meta.Table) (highest uint32, ok bool) {
	b.t.Helper()
	m := b.manifest(b.Tablets(b.ctx, t)[0])
	for _, r := range m.Runs {
		for _, f := range r {
			for _, key := range [][]byte{f.Smallest, f.Largest} {
				n := base.RowPrefixLen(key)
				if n < 0 || len(key) < n+4 {
					continue
				}
				highest, ok = max(highest, uint32(key[n])<<24|uint32(key[n+1])<<16|uint32(key[n+2])<<8|uint32(key[n+3])), true
			}
		}
	}
	return highest, ok
}

// TestSnapshotOfADeletedTable: while a table is being deleted no snapshot of it
// is taken; one that was taken before outlives it, and what is kept of it.
func TestSnapshotOfADeletedTable(t *testing.T) {
	history(t, func(b *bubble) {
		b.Net = memnet.New()
		y := newYard(b)
		service := snapshot.New(b.Meta, b.Net.Node("gateway"))
		it, err := service.Create(b.ctx, admSnapshot, y.table.Name, snapshot.Options{TTL: time.Hour})
		b.Must(err)
		_, err = b.Meta.DeleteTable(b.ctx, y.table, time.Now())
		b.Must(err)
		if _, err := service.Create(b.ctx, admCluster+"/snapshots/late", y.table.Name, snapshot.Options{}); !errors.Is(err, base.ErrNotFound) {
			t.Errorf("a snapshot of a table that was deleted: %v", err)
		}
		now, err := b.Meta.Table(b.ctx, y.table.ID)
		b.Must(err)
		for _, tb := range b.Tablets(b.ctx, now) {
			b.Must(y.s[0].Unload(b.ctx, tb))
		}
		b.Must(b.Meta.DropTablets(b.ctx, now, b.Tablets(b.ctx, now), true))
		b.pause(time.Second)
		b.collectNow()
		y.wantSnapshot("the table is gone", service, it, y.rows)
		if _, err := service.Clone(b.ctx, it.Name, admCopy+"2"); !errors.Is(err, base.ErrNotFound) {
			t.Errorf("of a snapshot that was deleted: %v", err)
		}
	})
}

// TestSnapshotWaitsForLoad: while a bulk load is pending, which some tablets may
// have adopted and others not, no image is taken, also none of a time.
//
// To break: in Taker.try, leave out noneLoading.
func TestSnapshotWaitsForLoad(t *testing.T) {
	history(t, func(b *bubble) {
		b.Net = memnet.New()
		s := b.servers(1)
		l, r := b.pair(s[0])
		b.set(s[0], l, "a")
		b.set(s[0], r, "x")
		table, err := b.Meta.Table(b.ctx, l.Table)
		b.Must(err)
		service := snapshot.New(b.Meta, b.Net.Node("gateway"))
		load, err := b.Meta.DecideLoad(b.ctx, table, meta.BulkLoad{
			Manifest: base.FileNumber{Creator: s[0].Incarnation(), Number: 99}, Files: 1, Cells: 1, Bytes: 1, Decided: time.Now()}, s[0].Incarnation())
		b.Must(err)
		for _, at := range []time.Time{{}, time.Now()} {
			ctx, cancel := context.WithTimeout(b.ctx, 2*time.Second)
			_, err = service.Create(ctx, admSnapshot, table.Name, snapshot.Options{At: at})
			cancel()
			b.want(err, base.ErrUnavailable)
		}
		b.Must(b.Meta.GiveUpLoad(b.ctx, table.ID, load.ID))
		_, err = service.Create(b.ctx, admSnapshot, table.Name, snapshot.Options{})
		b.Must(err)
	})
}
