package gc

import (
	"slices"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
)

// TestDecide: one object for each reason to keep one, and those that go.
func TestDecide(t *testing.T) {
	alive, dead, silent := base.Incarnation{Generation: 1, Index: 1}, base.Incarnation{Generation: 1, Index: 2}, base.Incarnation{Generation: 1, Index: 3}
	sst := func(e base.Incarnation, n uint64) Object {
		f := base.FileNumber{Creator: e, Number: n}
		return Object{Key: base.SSTableObject(f), Number: f, Size: 1}
	}
	named, backup, deleted, below, at, pinned, gone, quiet, snapshot, load := sst(dead, 1), sst(alive, 1), sst(dead, 2), sst(alive, 6), sst(alive, 7), sst(dead, 3), sst(dead, 4), sst(silent, 1), sst(dead, 5), sst(dead, 6)
	r := decide(state{
		objects: []Object{named, backup, deleted, below, at, pinned, gone, quiet, snapshot, load},
		servers: map[base.Incarnation]Server{alive: {Floor: 7, Pinned: []base.FileNumber{pinned.Number}}},
		silent:  map[base.Incarnation]bool{silent: true},
		named:   map[string]Root{named.Key: ByTablet, backup.Key: ByBackup, snapshot.Key: BySnapshot, deleted.Key: ByDeleted, load.Key: ByLoad},
	})
	if !slices.Equal(r.doomed, []string{below.Key, gone.Key}) {
		t.Errorf("garbage is %v", r.doomed)
	}
	if r.Live.Objects != 1 || r.Backups.Objects != 1 || r.Snapshots.Objects != 1 || r.Loads.Objects != 1 || r.Deleted.Objects != 1 || r.InFlight.Objects != 2 || r.Pinned.Objects != 1 || r.Garbage != (Count{2, 2}) {
		t.Errorf("%+v", r)
	}
}
