package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
	"github.com/tabletdb/tabletdb/lockservice"
	lockmem "github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

type server = tabletservertest.Server

const (
	admParent   = "projects/p/instances/i"
	admCluster  = admParent + "/clusters/i-c1"
	admSnapshot = admCluster + "/snapshots/s"
	admBackup   = admCluster + "/backups/b"
	admCopy     = admParent + "/tables/copy"
)

// act is something that an office does with a table.
type act struct {
	before func(ctx context.Context, o *office, table string) error // nil: nothing
	do     func(ctx context.Context, o *office, table string) error
	// again is the code of a repeat by another office, where it was done.
	again codes.Code
	// made is whether a table was made of what the act left behind; else what
	// makes one of it.
	made bool
	// snapshots and backups that there are afterwards.
	snapshots, backups int
}

func takeSnapshot(ctx context.Context, o *office, table string) error {
	_, err := o.tables.SnapshotTable(ctx, &adminpb.SnapshotTableRequest{Name: table, Cluster: admCluster, SnapshotId: "s"})
	return err
}

func takeBackup(ctx context.Context, o *office, table string) error {
	_, err := o.tables.CreateBackup(ctx, &adminpb.CreateBackupRequest{Parent: admCluster, BackupId: "b",
		Backup: &adminpb.Backup{SourceTable: table, ExpireTime: timestamppb.New(time.Now().Add(24 * time.Hour))}})
	return err
}

func fromSnapshot(ctx context.Context, o *office, _ string) error {
	_, err := o.tables.CreateTableFromSnapshot(ctx, &adminpb.CreateTableFromSnapshotRequest{Parent: admParent, TableId: "copy", SourceSnapshot: admSnapshot})
	return err
}

func fromBackup(ctx context.Context, o *office, _ string) error {
	_, err := o.tables.RestoreTable(ctx, &adminpb.RestoreTableRequest{Parent: admParent, TableId: "copy", Source: &adminpb.RestoreTableRequest_Backup{Backup: admBackup}})
	return err
}

// acts are all that offices do to keep what a table holds.
func acts() map[string]act {
	return map[string]act{
		"snapshot":            {do: takeSnapshot, again: codes.AlreadyExists, snapshots: 1},
		"clone of a snapshot": {before: takeSnapshot, do: fromSnapshot, again: codes.AlreadyExists, made: true, snapshots: 1},
		"deletion of snapshot": {before: takeSnapshot, again: codes.NotFound, do: func(ctx context.Context, o *office, _ string) error {
			_, err := o.tables.DeleteSnapshot(ctx, &adminpb.DeleteSnapshotRequest{Name: admSnapshot})
			return err
		}},
		"clone": {again: codes.AlreadyExists, made: true, do: func(ctx context.Context, o *office, table string) error {
			_, _, err := o.service.CloneTable(ctx, table, admCopy, time.Time{})
			return err
		}},
		"clone as of a time": {again: codes.AlreadyExists, made: true, do: func(ctx context.Context, o *office, table string) error {
			_, _, err := o.service.CloneTable(ctx, table, admCopy, time.Now().Truncate(time.Microsecond))
			return err
		}},
		"backup":  {do: takeBackup, again: codes.AlreadyExists, backups: 1},
		"restore": {before: takeBackup, do: fromBackup, again: codes.AlreadyExists, made: true, backups: 1},
		"copy of a backup": {before: takeBackup, again: codes.AlreadyExists, backups: 2, do: func(ctx context.Context, o *office, _ string) error {
			_, err := o.tables.CopyBackup(ctx, &adminpb.CopyBackupRequest{Parent: admCluster, BackupId: "c", SourceBackup: admBackup, ExpireTime: timestamppb.New(time.Now().Add(24 * time.Hour))})
			return err
		}},
		"deletion of a backup": {before: takeBackup, again: codes.NotFound, do: func(ctx context.Context, o *office, _ string) error {
			_, err := o.tables.DeleteBackup(ctx, &adminpb.DeleteBackupRequest{Name: admBackup})
			return err
		}},
	}
}

// codeOf is the code of an error, of a gateway's or of our own.
func codeOf(err error) codes.Code {
	if errors.Is(err, base.ErrExists) {
		return codes.AlreadyExists
	}
	return status.Code(err)
}

// death is how something dies.
type death struct {
	of   string // "server" or "gateway"
	last lockmem.Fault
}

// TestCrashPointsOfSnapshots lets the tablet server, or the gateway, die before
// and after each single write of whatever keeps what a table holds: snapshots,
// backups, clones, and their deletion; also a gateway whose last transaction
// lands when another one has done the same. Wherever it was, another server and
// another gateway go on, what was acknowledged is there, in the table and in
// what was made of it, once; the check of the cluster finds nothing wrong, and
// nothing is left that nobody needs (S2, G1, R10).
//
// To break: in Taker.try, leave out the flush.
func TestCrashPointsOfSnapshots(t *testing.T) {
	for name, a := range acts() {
		for _, d := range []death{{"server", lockmem.GiveUpLost}, {"server", lockmem.GiveUpApplied}, {"gateway", lockmem.GiveUpLost}, {"gateway", lockmem.GiveUpApplied}, {"gateway", lockmem.GiveUpLate}} {
			t.Run(fmt.Sprintf("%s, death of the %s, last transaction %v", name, d.of, d.last), func(t *testing.T) {
				points := 0
				for dieKeeping(t, a, points, d) {
					points++
				}
				t.Logf("%d crash points", points)
				if d.of == "gateway" && points == 0 {
					t.Error("little was tested")
				}
			})
		}
	}
}

// freezeOffice makes the n-th transaction of an office its last.
func freezeOffice(o *office, n int, last lockmem.Fault) *freezer {
	z := &freezer{happens: true, left: n}
	o.lock.SetHook(func(lockservice.Txn, int) lockmem.Fault {
		if !z.write() {
			return lockmem.GiveUpLost
		}
		if z.isFrozen() {
			return last
		}
		return lockmem.Deliver
	})
	return z
}

// dieKeeping runs an act in which somebody dies at the n-th write. false: there
// were fewer.
func dieKeeping(t *testing.T, a act, n int, d death) (reached bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fx := tabletservertest.New(t)
		defer fx.Close()
		fx.Net = memnet.New()
		fx.Options.NoCompaction = true
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		st := &stage{bubble: &bubble{Fixture: fx, t: t, ctx: ctx}}
		st.s = st.servers(3)
		l, r := st.pair(st.s[0])
		st.list = []meta.Tablet{l, r}
		table, err := fx.Meta.Table(ctx, l.Table)
		fx.Must(err)
		st.write(l, "a", "g")
		st.write(r, "n", "x")
		fx.Must(st.s[0].Flush(ctx, l))
		st.write(l, "b")
		clones := st.serveClones(ctx, table, func() string { return st.s[1].Addr })
		first, second := st.office("gateway1"), st.office("gateway2")
		defer second.close()
		if a.before != nil {
			fx.Must(a.before(ctx, second, table.Name))
		}
		if a.before == nil { // else the row would not be in what was kept before
			st.write(r, "o")
		}
		var z *freezer
		if d.of == "server" {
			z = freeze(st.s[0], n, d.last == lockmem.GiveUpApplied)
		} else {
			z = freezeOffice(first, n, d.last)
		}
		limited, stop := context.WithTimeout(ctx, 20*time.Second)
		done := st.background(func() error { return a.do(limited, first, table.Name) })
		time.Sleep(3 * time.Second)
		reached = z.isFrozen()
		if reached && d.of == "gateway" {
			stop()
		}
		if !reached {
			fx.Must(<-done)
			z.write() // nothing of what follows happens
			done = st.background(func() error { return nil })
		}
		when := fmt.Sprintf("write %d", n)
		list := st.dieAndServe(l.Table, st.s[0], st.s[2])
		acked := <-done == nil
		stop()
		switch err := a.do(ctx, second, table.Name); {
		case codeOf(err) != codes.OK && codeOf(err) != a.again, err == nil && acked:
			t.Errorf("%s: acknowledged %v, and then by another gateway: %v", when, acked, err)
		}
		st.Must(st.Server(list[0].Owner).Flush(ctx, list[0]))
		st.pause(time.Second)
		st.collectNow() // also what an image names that was read before
		first.lock.Land()
		first.close()
		st.wantRowsAnywhere(when, list)
		st.wantKept(when, a, second, table)
		st.pause(5 * time.Second)
		cancel()
		<-clones
		st.ctx = t.Context()
		st.check()
		st.wantNothingLeft(when, second)
	})
	return reached
}

// write writes rows to a tablet of s[0].
func (st *stage) write(t meta.Tablet, rows ...string) {
	st.set(st.s[0], t, rows...)
	st.rows = append(st.rows, rows...)
}

// wantKept checks what an act has left: so many snapshots and backups, and a
// table that holds the rows, or can be made.
func (st *stage) wantKept(when string, a act, o *office, table meta.Table) {
	st.t.Helper()
	snapshots, err := o.tables.ListSnapshots(st.ctx, &adminpb.ListSnapshotsRequest{Parent: admCluster})
	st.Must(err)
	backups, err := o.tables.ListBackups(st.ctx, &adminpb.ListBackupsRequest{Parent: admCluster})
	st.Must(err)
	if len(snapshots.Snapshots) != a.snapshots || len(backups.Backups) != a.backups {
		st.t.Errorf("%s: %d snapshots and %d backups, want %d and %d", when, len(snapshots.Snapshots), len(backups.Backups), a.snapshots, a.backups)
	}
	switch {
	case a.made:
	case a.snapshots > 0:
		st.Must(fromSnapshot(st.ctx, o, table.Name))
	case a.backups > 0:
		st.Must(fromBackup(st.ctx, o, table.Name))
	default:
		return
	}
	made, err := st.Meta.TableByName(st.ctx, admCopy)
	st.Must(err)
	var want []string
	for _, row := range slices.Sorted(slices.Values(st.rows)) {
		want = append(want, row+" cf:q@1000=v"+row)
	}
	if got := st.contents(made); !slices.Equal(got, want) {
		st.t.Errorf("%s: the table that was made has %q, want %q", when, got, want)
	}
	tables, _, err := st.Meta.ListTables(st.ctx, "", lockservice.ReadOptions{})
	if st.Must(err); len(tables) != 2 {
		st.t.Errorf("%s: %d tables, want 2", when, len(tables))
	}
}

// wantNothingLeft deletes all that is kept and all tables but the first, and
// checks that collections take everything then.
func (st *stage) wantNothingLeft(when string, o *office) {
	st.t.Helper()
	for _, prefix := range []string{meta.SnapshotPrefix, meta.BackupPrefix} {
		_, err := o.lock.Txn(st.ctx, lockservice.Txn{Then: []lockservice.Op{lockservice.DeleteRange(prefix, lockservice.PrefixEnd(prefix))}})
		st.Must(err)
	}
	if made, err := st.Meta.TableByName(st.ctx, admCopy); err == nil {
		st.dropTable(st.s[1], made)
	}
	if list, _, err := st.Meta.All(st.ctx, lockservice.ReadOptions{}); err != nil || slices.ContainsFunc(list, func(tb meta.Tablet) bool { return len(tb.Cuts) > 0 }) {
		st.pause(meta.CutLife)
	}
	st.pause(time.Second)
	st.collectNow()
	st.pause(time.Second)
	st.collectNow()
	if r := st.collectNow(); r.Garbage.Objects+r.Deleted.Objects+r.Backups.Objects+r.Snapshots.Objects+r.InFlight.Objects+r.Pinned.Objects != 0 || r.Live.Objects == 0 {
		st.t.Errorf("%s: left behind: %+v", when, r)
	}
	st.check()
}
