package tablet

import (
	"bytes"
	"context"
	"sort"
	"sync"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rowfilter"
	"github.com/tabletdb/tabletdb/internal/rowset"
	"github.com/tabletdb/tabletdb/objstore/pagecache"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/sstable/merging"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/memtable"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// sources are the iterators of one read over one view.
type sources struct {
	iter   base.Iterator
	mems   []memtable.Iterator
	runs   []runIter
	inputs []base.Iterator
	prefix []byte
	needs  []base.FamilyID // see Read.families
	// columns are all that the filter can ask for, if they are few; nil: more.
	columns  []columnID
	prefixes [][]byte // of the columns in a row
}

// columnID is one column of every row.
type columnID struct {
	family    base.FamilyID
	qualifier []byte
}

// manyColumns is up to how many columns files are asked whether they have one.
const manyColumns = 8

// pool keeps sources: a point read would else spend much of its time on
// allocating them.
var pool = sync.Pool{New: func() any { return new(sources) }}

// pointRead is up to how many ranges a read may have, all single rows, to count
// as a read of points: what it reads goes to the cache.
const pointRead = 128

// newSources returns the merge of everything in v that r can need, without what
// drops up to snapshot hide. Of the files, those matter that matter to families
// which r asks for; what deletes rows is in the files of each locality group. The
// caller closes it.
func newSources(ctx context.Context, t *Tablet, v *view, snapshot base.Seq, ranges []rowset.Range, r Read, sch *schema.Schema) *sources {
	s := pool.Get().(*sources)
	points := len(ranges) <= pointRead
	for _, g := range ranges {
		points = points && g.IsPoint()
	}
	o := sstable.IterOptions{FillCache: points || r.Limit > 0 && r.Limit <= pointRead}
	o.Readahead, o.Memory = t.env.Options.Readahead, t.env.Reads
	if !o.FillCache {
		ctx = pagecache.WithMode(ctx, pagecache.FillFree)
	}
	upper := end(ranges)
	byTime := r.Filter
	if byTime != nil && countsVersions(byTime, sch) {
		byTime = nil
	}
	n := 1 + len(v.frozen)
	s.mems = grow(s.mems, n)
	s.runs = grow(s.runs, len(v.runs))
	s.inputs = s.inputs[:0]
	for i := range n {
		m := v.mem
		if i > 0 {
			m = v.frozen[i-1]
		}
		if m.table.Empty() {
			continue
		}
		s.mems[i] = m.table.Iter()
		if len(v.drops) > 0 && i > 0 { // nothing in the active one is older than a drop
			s.inputs = append(s.inputs, over(&s.mems[i], spansOver(v.drops, m.last, snapshot)))
			continue
		}
		s.inputs = append(s.inputs, &s.mems[i])
	}
	s.needs = appendNeeds(s.needs[:0], r, sch)
	for i, files := range v.runs {
		s.runs[i].init(ctx, files, o, byTime)
		if !manifest.Overlap(v.families[i], s.needs) {
			continue
		}
		s.runs[i].families = s.needs
		s.runs[i].drops, s.runs[i].snapshot, s.runs[i].ahead.upper = v.drops, snapshot, upper
		s.inputs = append(s.inputs, &s.runs[i])
	}
	if len(s.inputs) == 0 {
		s.mems[0] = v.mem.table.Iter()
		s.inputs = append(s.inputs, &s.mems[0])
	}
	s.iter = merging.New(s.inputs...)
	s.columns = s.columns[:0]
	if points && r.Filter != nil {
		s.columns = appendColumns(s.columns, r.Filter, sch)
	}
	return s
}

// hiddenFamily is what a read that looks for hidden cells asks for.
func hiddenFamily() []base.FamilyID { return []base.FamilyID{base.SystemFamily} }

// appendNeeds appends the families that r asks for, to what is empty; nil: all.
func appendNeeds(dst []base.FamilyID, r Read, sch *schema.Schema) []base.FamilyID {
	if r.families != nil {
		return append(dst, r.families...)
	}
	if r.Filter == nil {
		return nil
	}
	if dst == nil {
		dst = []base.FamilyID{} // none is not all
	}
	for i := range sch.Families {
		if f := &sch.Families[i]; !r.Filter.Columns(f.Name).IsEmpty() {
			dst = append(dst, f.ID)
		}
	}
	return dst
}

// appendColumns appends the columns that p can ask for, or nothing where they
// are many.
func appendColumns(dst []columnID, p *rowfilter.Program, sch *schema.Schema) []columnID {
	for i := range sch.Families {
		f := &sch.Families[i]
		for _, g := range p.Columns(f.Name).Ranges() {
			// The empty qualifier is the range up to its successor.
			if empty := len(g.Start) == 0 && len(g.End) == 1 && g.End[0] == 0; !empty && !g.IsPoint() || len(dst) == manyColumns {
				return dst[:0]
			}
			dst = append(dst, columnID{f.ID, g.Start})
		}
	}
	return dst
}

// countsVersions reports whether the rule of some family that p can pass depends
// on newer versions: those must be read whatever their timestamps are, or what
// they have replaced would be seen again.
func countsVersions(p *rowfilter.Program, s *schema.Schema) bool {
	for i := range s.Families {
		f := &s.Families[i]
		if f.GC.CountsVersions() && !p.Columns(f.Name).IsEmpty() {
			return true
		}
	}
	return false
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

func (s *sources) close() {
	s.iter.Close()
	s.iter = nil
	clear(s.mems)
	for i := range s.runs {
		s.runs[i].reset()
	}
	clear(s.inputs)
	clear(s.columns)
	clear(s.prefixes)
	pool.Put(s)
}

// aim tells the runs whether the range to be read next is a single row, so that
// files whose filter knows better need not be read.
func (s *sources) aim(g rowset.Range) {
	s.prefix = s.prefix[:0]
	if g.IsPoint() {
		s.prefix = base.AppendRowPrefix(s.prefix, g.Start)
	}
	s.prefixes = s.prefixes[:0]
	if g.IsPoint() {
		for _, c := range s.columns {
			s.prefixes = append(s.prefixes, base.AppendColumnPrefix(nil, g.Start, c.family, c.qualifier))
		}
	}
	for i := range s.runs {
		s.runs[i].point, s.runs[i].columns = s.prefix, s.prefixes
	}
}

// runIter walks the files of a run. Files are opened as the walk gets there.
type runIter struct {
	ctx    context.Context
	opts   sstable.IterOptions
	filter *rowfilter.Program
	files  []*file
	at     int // index of the open file; -1: none
	open   bool
	it     overriding
	valid  bool
	err    error
	point  []byte // row prefix, if a single row is read
	// columns are the prefixes of all columns of that row that matter; none:
	// all do.
	columns [][]byte
	ahead   ahead

	families []base.FamilyID // that are asked for; nil: all but the hidden one
	all      bool            // whatever families a file has, it is needed
	drops    []*drop
	snapshot base.Seq // of the drops, those up to it count
	spans    []span   // to be jumped over in the open file
}

func (r *runIter) init(ctx context.Context, files []*file, o sstable.IterOptions, p *rowfilter.Program) {
	r.ctx, r.opts, r.files, r.filter = ctx, o, files, p
	r.at, r.valid, r.err, r.point, r.columns, r.ahead = -1, false, nil, nil, nil, ahead{}
	r.drops, r.spans, r.families, r.all = nil, nil, nil, false
}

// reset lets go of everything but the buffers of the iterator.
func (r *runIter) reset() {
	r.ctx, r.files, r.filter, r.opts, r.point, r.columns, r.ahead = nil, nil, nil, sstable.IterOptions{}, nil, nil, ahead{}
	r.drops, r.spans, r.families = nil, nil, nil
}

// needed reports whether the file can hold what is asked for. Files with
// tombstones are needed whatever their timestamps. filter is nil where
// timestamps do not tell.
func (r *runIter) needed(f *file) bool {
	if !r.all && !f.Matters(r.families) {
		return false
	}
	for _, d := range r.drops {
		if d.Seq <= r.snapshot && d.hides(&f.File, false) {
			return false
		}
	}
	if r.filter == nil || f.Tombstones > 0 {
		return true
	}
	start, end := r.filter.TimeRange()
	return f.MaxTimestamp >= start && (end == 0 || f.MinTimestamp < end)
}

// enter opens an iterator on file i; false: it holds nothing of interest, or
// an error.
func (r *runIter) enter(i int) bool {
	f := r.files[i]
	if r.ahead.beyond(f) || !r.needed(f) {
		return false
	}
	if r.open && r.at == i && len(r.point) == 0 {
		return true
	}
	rd, err := f.open(r.ctx)
	if err != nil {
		r.err = err
		return false
	}
	if len(r.point) > 0 && !r.mayContain(rd) {
		return false
	}
	if r.open && r.at == i {
		return true
	}
	r.leave()
	o := r.opts
	o.Lower, o.Upper = f.lower, r.ahead.clip(f.upper)
	rd.InitIter(r.ctx, &r.it.Iter, o)
	r.it.of(&f.File)
	r.at, r.open = i, true
	r.spans = spansOver(r.drops, f.Last(), r.snapshot)
	return true
}

// jump is jump in the open file.
func (r *runIter) jump(ok, back bool) bool {
	if len(r.spans) == 0 {
		return ok
	}
	return jump(&r.it, r.spans, ok, back)
}

// mayContain reports whether the file may hold something of the row that is
// read, and of the columns that matter.
func (r *runIter) mayContain(rd *sstable.Reader) bool {
	if !rd.MayContainRow(r.point) {
		return false
	}
	for _, c := range r.columns {
		if rd.MayContainColumn(c) {
			return true
		}
	}
	return len(r.columns) == 0
}

func (r *runIter) leave() {
	if r.open {
		if err := r.it.Close(); err != nil && r.err == nil {
			r.err = err
		}
		r.open = false
	}
}

// SeekGE implements base.Iterator.
func (r *runIter) SeekGE(key []byte) bool {
	r.valid = false
	i := sort.Search(len(r.files), func(i int) bool { return bytes.Compare(r.files[i].last, key) >= 0 })
	for ; i < len(r.files) && r.err == nil; i++ {
		if len(r.point) > 0 && !bytes.HasPrefix(r.files[i].first, r.point) && bytes.Compare(r.files[i].first, r.point) > 0 {
			return false // the row ends before this file
		}
		if r.enter(i) && r.jump(r.it.SeekGE(key), false) {
			r.valid = true
			return true
		}
		if r.failed() {
			return false
		}
	}
	return false
}

// SeekLT implements base.Iterator.
func (r *runIter) SeekLT(key []byte) bool {
	r.valid = false
	i := sort.Search(len(r.files), func(i int) bool { return bytes.Compare(r.files[i].first, key) >= 0 }) - 1
	for ; i >= 0 && r.err == nil; i-- {
		if r.enter(i) && r.jump(r.it.SeekLT(key), true) {
			r.valid = true
			return true
		}
		if r.failed() {
			return false
		}
	}
	return false
}

// Next implements base.Iterator.
func (r *runIter) Next() bool {
	if r.valid = r.jump(r.it.Next(), false); r.valid {
		return true
	}
	if r.failed() {
		return false
	}
	r.ahead.expect = max(r.ahead.expect, r.it.Ahead())
	r.opts.Expect = r.ahead.expect
	defer func() { r.opts.Expect = 0 }()
	for i := r.at + 1; i < len(r.files); i++ {
		if r.enter(i) && r.jump(r.it.SeekGE(nil), false) {
			if n := i + 1; n < len(r.files) && r.opts.Readahead > 0 && !r.ahead.beyond(r.files[n]) && r.needed(r.files[n]) {
				r.ahead.open(r.ctx, r.files[n])
			}
			r.valid = true
			return true
		}
		if r.failed() {
			return false
		}
	}
	return false
}

func (r *runIter) failed() bool {
	if r.err == nil && r.open {
		r.err = r.it.Err()
	}
	return r.err != nil
}

// Key implements base.Iterator.
func (r *runIter) Key() []byte { return r.it.Key() }

// Value implements base.Iterator.
func (r *runIter) Value() []byte { return r.it.Value() }

// Err implements base.Iterator.
func (r *runIter) Err() error { return r.err }

// Close implements base.Iterator.
func (r *runIter) Close() error {
	r.ahead.stop()
	r.leave()
	return r.err
}
