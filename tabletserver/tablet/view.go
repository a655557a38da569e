package tablet

import (
	"sync/atomic"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/tabletserver/commitlog"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/memtable"
)

// mem is a memtable and what the tablet must know of it. All but the table and
// frozen are guarded by the tablet's lock until it is frozen, and never change
// afterwards.
type mem struct {
	table    *memtable.Table
	counted  int64         // bytes counted in the budget
	first    base.Position // position of the first record of the own log in it
	hasFirst bool
	last     base.Seq // of the last record in it; 0: empty
	// shared: the memtable is a split tablet's, and a sibling has it too; it
	// holds rows that are not this tablet's.
	shared bool
	batch  *commitlog.Batch // of the last record that was appended; nil: replayed only
	drops  []manifest.Drop  // with which it began; nothing in it is older
}

// empty reports whether there is nothing to flush.
func (m *mem) empty() bool { return m.table.Empty() && len(m.drops) == 0 }

// view is what a read reads: memtables, newest first, and the files of a
// manifest. It is immutable, but for what is added to the first memtable, and
// counted: it pins its files until the last reader has let go.
type view struct {
	mem      *mem
	frozen   []*mem // newest first
	manifest *manifest.Manifest
	runs     [][]*file         // as in the manifest
	families [][]base.FamilyID // that each run matters to; nil: not known
	drops    []*drop           // of the manifest and of the memtables
	refs     atomic.Int64
}

// newView returns a view with one reference, which takes its own references to
// the files of m, so that it does not matter when another view lets go of
// them.
func newView(files *Files, active *mem, frozen []*mem, m *manifest.Manifest) *view {
	v := &view{mem: active, frozen: frozen, manifest: m, runs: make([][]*file, len(m.Runs)), families: make([][]base.FamilyID, len(m.Runs))}
	for i, r := range m.Runs {
		v.families[i] = manifest.Families(r)
		v.runs[i] = make([]*file, len(r))
		for j, ref := range r {
			v.runs[i][j] = files.newFile(ref)
		}
	}
	for _, d := range m.Drops {
		v.drops = append(v.drops, newDrop(d))
	}
	for _, x := range append(frozen[:len(frozen):len(frozen)], active) {
		for _, d := range x.drops {
			v.drops = append(v.drops, newDrop(d))
		}
	}
	v.refs.Store(1)
	return v
}

// acquire takes a reference unless the view is gone.
func (v *view) acquire() bool {
	for {
		n := v.refs.Load()
		if n == 0 {
			return false
		}
		if v.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (v *view) release() {
	if v.refs.Add(-1) > 0 {
		return
	}
	for _, r := range v.runs {
		for _, f := range r {
			f.release()
		}
	}
}

// fileBytes counts what the manifest lists. Rows are those of the locality group
// that has most: a row has cells in several.
func (v *view) fileBytes() (bytes int64, files int, rows uint64) {
	byGroup := map[string]uint64{}
	for _, r := range v.manifest.Runs {
		for _, f := range r {
			shown := f.ShownBytes()
			bytes += shown
			files++
			byGroup[f.Group] += uint64(float64(f.Rows) * float64(shown) / float64(max(f.Size, 1)))
		}
	}
	for _, n := range byGroup {
		rows = max(rows, n)
	}
	return bytes, files, rows
}
