package tablet

import (
	"context"
	"fmt"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/sstable/compress"
	"github.com/tabletdb/tabletdb/tabletserver/cells"
	"github.com/tabletdb/tabletdb/tabletserver/compact"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// outlet is where the entries of one locality group go.
//
// A deletion of a row hides cells in all groups. It is written to the files of
// each, as far as there can be something older to hide, so that a read of one
// group needs the files of no other, and a compaction of one group can drop it
// there. The merge of several groups shows it once, for the copies have one key.
type outlet struct {
	group *schema.Group
	// rows are the families that deletions of rows in these files are meant
	// for; none: they do not go here.
	rows []base.FamilyID
	// oldest: nothing older is left of the group, so that deletions have done
	// their work.
	oldest bool

	w       *sstable.Writer // nil: no file is begun
	number  base.FileNumber
	deletes bool // the file has deletions of rows
	run     manifest.Run
}

// groupWriter writes entries, in the order of their keys, to the outlets of the
// locality groups of a schema.
type groupWriter struct {
	l        *compact.Layout
	sink     FileSink
	encoders *compress.Pool
	hint     int64
	outlets  []*outlet // by index of the group; nil: nothing comes for it
	since    int64     // bytes added since memory was looked at
	written  int64     // bytes in files
	// packing is what families want that differs from the layout.
	packing map[base.FamilyID]compress.Type
}

// newGroupWriter returns a writer, and whether deletions need not be kept at
// all.
func newGroupWriter(l *compact.Layout, hint int64, encoders *compress.Pool, sink FileSink) (w *groupWriter, oldest bool) {
	w = &groupWriter{l: l, sink: sink, encoders: encoders, hint: hint, outlets: make([]*outlet, len(l.Schema.Groups))}
	for i := range l.Schema.Families {
		f := &l.Schema.Families[i]
		if f.HasCompression && f.Compression != l.Compression {
			if w.packing == nil {
				w.packing = map[base.FamilyID]compress.Type{}
			}
			w.packing[f.ID] = f.Compression
		}
	}
	oldest = true
	n := 0
	for i := range l.Schema.Groups {
		if o := newOutlet(l, &l.Schema.Groups[i]); o != nil {
			w.outlets[i] = o
			oldest = oldest && o.oldest
			n++
		}
	}
	if n > 1 {
		w.hint = 0 // nobody knows whose the bytes are
	}
	return w, oldest
}

// newOutlet returns the outlet of a group; nil: nothing comes for it.
func newOutlet(l *compact.Layout, g *schema.Group) *outlet {
	scope := g.Families
	if len(l.Families) > 0 {
		scope = slices.DeleteFunc(slices.Clone(scope), func(f base.FamilyID) bool {
			_, ok := slices.BinarySearch(l.Families, f)
			return !ok
		})
	}
	if len(scope) == 0 {
		return nil
	}
	o := &outlet{group: g, rows: scope}
	if o.rows[len(o.rows)-1] == base.SystemFamily { // hidden cells outlive their row
		o.rows = o.rows[:len(o.rows)-1]
	}
	o.oldest = l.Oldest || len(l.Older) > 0 && !manifest.Overlap(l.Older, scope)
	return o
}

// empty reports whether nothing can come.
func (w *groupWriter) empty() bool {
	return !slices.ContainsFunc(w.outlets, func(o *outlet) bool { return o != nil })
}

// add writes the current entry of c where it belongs.
func (w *groupWriter) add(ctx context.Context, c *cells.Compactor) error {
	key, value := c.Key(), c.Value()
	f := c.Family()
	if f == 0 {
		return w.addDeletion(ctx, key, value)
	}
	g := w.l.Schema.GroupOf(f)
	if g < 0 {
		return nil // dropped
	}
	o := w.outlets[g]
	if o == nil {
		return fmt.Errorf("%w: there are cells of family %d, which no file says it has", base.ErrCorrupt, f)
	}
	if o.oldest {
		if _, kind := base.Trailer(key); kind == base.KindDeleteFamily || kind == base.KindDeleteColumn {
			return nil
		}
	}
	return w.addTo(ctx, o, key, value)
}

// addDeletion writes a deletion of a row to each group.
func (w *groupWriter) addDeletion(ctx context.Context, key, value []byte) error {
	for _, o := range w.outlets {
		if o == nil || o.oldest || len(o.rows) == 0 {
			continue
		}
		if err := w.begin(ctx, o); err != nil {
			return err
		}
		o.deletes = true
		if err := w.addTo(ctx, o, key, value); err != nil {
			return err
		}
	}
	return nil
}

// memoryStep is how many bytes are added before it is looked how much is held in
// memory.
const memoryStep = 1 << 20

// addTo adds an entry to the file of an outlet. Files are made in memory: all
// that are begun together take about the size of one, for else the largest ends.
func (w *groupWriter) addTo(ctx context.Context, o *outlet, key, value []byte) error {
	if err := w.begin(ctx, o); err != nil {
		return err
	}
	if err := o.w.Add(key, value); err != nil {
		return err
	}
	if o.w.EstimatedSize() >= w.l.FileBytes {
		return w.end(ctx, o)
	}
	if w.since += int64(len(key) + len(value)); w.since < memoryStep {
		return nil
	}
	w.since = 0
	if w.begun() < w.l.FileBytes {
		return nil
	}
	largest := o
	for _, x := range w.outlets {
		if x != nil && x.w != nil && x.w.EstimatedSize() > largest.w.EstimatedSize() {
			largest = x
		}
	}
	return w.end(ctx, largest)
}

// begun is about how many bytes the files have that are not ended.
func (w *groupWriter) begun() (n int64) {
	for _, o := range w.outlets {
		if o != nil && o.w != nil {
			n += o.w.EstimatedSize()
		}
	}
	return n
}

// begin begins a file, unless one is begun.
func (w *groupWriter) begin(ctx context.Context, o *outlet) (err error) {
	if o.w != nil {
		return nil
	}
	if o.number, err = w.sink.Draw(ctx); err != nil {
		return err
	}
	o.w = sstable.NewWriter(sstable.WriterOptions{
		File: o.number, BlockSize: w.l.BlockBytes, Compression: w.l.Compression, Compressions: w.compressions(o.group),
		Encoders: w.encoders, Filters: o.group.Filters, Group: o.group.Name, SizeHint: int(min(w.hint, w.l.FileBytes)),
	})
	o.deletes = false
	return nil
}

// compressions returns what families of the group want that differs from the
// layout; nil: nothing.
func (w *groupWriter) compressions(g *schema.Group) map[base.FamilyID]compress.Type {
	var m map[base.FamilyID]compress.Type
	for _, f := range g.Families {
		if c, ok := w.packing[f]; ok {
			if m == nil {
				m = map[base.FamilyID]compress.Type{}
			}
			m[f] = c
		}
	}
	return m
}

// end ends the file of an outlet and stores it.
func (w *groupWriter) end(ctx context.Context, o *outlet) error {
	table, err := o.w.Finish()
	o.w = nil
	if err != nil {
		return err
	}
	if err := w.sink.Put(ctx, o.number, table.Data); err != nil {
		return err
	}
	ref := manifest.Describe(o.number, &table)
	if o.deletes {
		ref.Families = append(ref.Families, o.rows...)
		slices.Sort(ref.Families)
		ref.Families = slices.Compact(ref.Families)
	}
	w.written += ref.Size
	o.run = append(o.run, ref)
	return nil
}

// finish ends the files that are begun and returns the runs.
func (w *groupWriter) finish(ctx context.Context) ([]manifest.Run, error) {
	var runs []manifest.Run
	for _, o := range w.outlets {
		if o == nil {
			continue
		}
		if o.w != nil {
			if err := w.end(ctx, o); err != nil {
				return nil, err
			}
		}
		if len(o.run) > 0 {
			runs = append(runs, o.run)
		}
	}
	return runs, nil
}
