package bulkload

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tabletdb/tabletdb/client/bulkload/extsort"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation/aggregate"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/sstable/compress"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// reduce walks sorted cells, and makes one of those that were added twice: the
// last one that was added stands, and in aggregate families all are folded. The
// sequence numbers of the keys become 0.
type reduce struct {
	it      *extsort.Iter
	schema  *schema.Schema
	valid   bool // it stands on an entry that was not looked at
	key     []byte
	value   []byte
	acc     aggregate.Accumulator
	row     []byte // prefix of the keys of the current row
	rows    uint64
	dropped uint64
	err     error
}

func newReduce(it *extsort.Iter, s *schema.Schema) *reduce {
	return &reduce{it: it, schema: s, valid: it.Next()}
}

// trailerLen is the length of what ends a cell key: sequence and kind.
const trailerLen = 8

// next moves to the next cell; key and value are valid until it is called again.
func (r *reduce) next() bool {
	if !r.valid {
		if r.err == nil {
			r.err = r.it.Err()
		}
		return false
	}
	r.key = append(r.key[:0], r.it.Key()...)
	r.value = append(r.value[:0], r.it.Value()...)
	manifest.PutSeq(r.key, 0)
	if len(r.row) == 0 || !bytes.HasPrefix(r.key, r.row) {
		r.row = append(r.row[:0], r.key[:base.RowPrefixLen(r.key)]...)
		r.rows++
	}
	_, kind := base.Trailer(r.key)
	if kind == base.KindMerge {
		k, err := base.DecodeKey(r.key)
		if err == nil {
			r.acc = aggregate.Accumulator{Type: r.schema.ByID(k.Family).Aggregate}
			err = r.acc.Add(r.value)
		}
		if err != nil {
			return r.fail(err)
		}
	}
	cell := r.key[:len(r.key)-trailerLen]
	for r.valid = r.it.Next(); r.valid && len(r.it.Key()) == len(r.key) && bytes.HasPrefix(r.it.Key(), cell); r.valid = r.it.Next() {
		r.dropped++
		if kind == base.KindMerge {
			if err := r.acc.Add(r.it.Value()); err != nil {
				return r.fail(err)
			}
		}
	}
	if kind == base.KindMerge {
		r.value = r.acc.AppendValue(r.value[:0])
	}
	return true
}

func (r *reduce) fail(err error) bool {
	r.err, r.valid = err, false
	return false
}

// uploader makes SSTables of cells that come in order, for each locality group its
// own, and uploads them. Its methods are called by one goroutine.
type uploader struct {
	l       *Loader
	creator base.Incarnation
	numbers uint64   // the last one drawn
	ends    [][]byte // of tablets, as bounds of keys; those that are ahead
	outlets []outlet // by index of the group
	slots   chan struct{}
	wg      sync.WaitGroup
	cancel  context.CancelCauseFunc

	mu struct {
		sync.Mutex
		runs     []manifest.Run // by index of the group; in no order
		progress Progress
	}
}

// outlet is where the cells of a locality group go.
type outlet struct {
	group        *schema.Group
	compressions map[base.FamilyID]compress.Type // of families that want another
	w            *sstable.Writer                 // nil: no file is begun
	number       base.FileNumber
}

func (l *Loader) newUploader(creator base.Incarnation) *uploader {
	u := &uploader{l: l, creator: creator, slots: make(chan struct{}, l.cfg.Options.Uploads), outlets: make([]outlet, len(l.schema.Groups))}
	u.mu.runs = make([]manifest.Run, len(u.outlets))
	for i := range u.outlets {
		u.outlets[i] = outlet{group: &l.schema.Groups[i], compressions: map[base.FamilyID]compress.Type{}}
	}
	for i := range l.schema.Families {
		if f := &l.schema.Families[i]; f.HasCompression {
			u.outlets[f.Group].compressions[f.ID] = f.Compression
		}
	}
	return u
}

// draw returns a number for a file of this loader's.
func (u *uploader) draw() base.FileNumber {
	u.numbers++
	return base.FileNumber{Creator: u.creator, Number: u.numbers}
}

// writeAll uploads all cells as SSTables, which are cut where tablets end, and
// returns a run for each locality group that has any.
func (u *uploader) writeAll(ctx context.Context, r *reduce) ([]manifest.Run, error) {
	tablets, err := u.l.meta.Tablets(ctx, u.l.schema.Table, lockservice.ReadOptions{})
	if err != nil {
		return nil, err
	}
	for _, t := range tablets {
		if len(t.End) > 0 {
			u.ends = append(u.ends, base.AppendRowPrefix(nil, t.End))
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	u.cancel = cancel
	err = u.write(ctx, r)
	u.wg.Wait()
	if cause := context.Cause(ctx); cause != nil { // of an upload, or of the caller
		err = cause
	}
	if err != nil {
		return nil, fmt.Errorf("write SSTables: %w", err)
	}
	var runs []manifest.Run
	for _, run := range u.mu.runs {
		slices.SortFunc(run, func(a, b manifest.File) int { return bytes.Compare(a.Smallest, b.Smallest) })
		if len(run) > 0 {
			runs = append(runs, run)
		}
	}
	return runs, nil
}

// write makes the files.
func (u *uploader) write(ctx context.Context, r *reduce) error {
	for n := 0; r.next(); n++ {
		for len(u.ends) > 0 && bytes.Compare(r.key, u.ends[0]) >= 0 {
			u.ends = u.ends[1:]
			if err := u.endAll(ctx); err != nil {
				return err
			}
		}
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := u.add(ctx, r.key, r.value); err != nil {
			return err
		}
	}
	if r.err != nil {
		return r.err
	}
	return u.endAll(ctx)
}

// add adds a cell to the file of its group. All files that are begun take about
// the memory of one: where it gets more, the largest ends.
func (u *uploader) add(ctx context.Context, key, value []byte) error {
	family := base.FamilyID(binary.BigEndian.Uint32(key[base.RowPrefixLen(key):]))
	o := &u.outlets[u.l.schema.GroupOf(family)]
	if o.w == nil {
		o.number = u.draw()
		o.w = sstable.NewWriter(sstable.WriterOptions{
			File: o.number, Compression: compress.Snappy, Compressions: o.compressions, Filters: o.group.Filters, Group: o.group.Name,
		})
	}
	if err := o.w.Add(key, value); err != nil {
		return err
	}
	var begun int64
	largest := o
	for i := range u.outlets {
		if x := &u.outlets[i]; x.w != nil {
			begun += x.w.EstimatedSize()
			if x.w.EstimatedSize() > largest.w.EstimatedSize() {
				largest = x
			}
		}
	}
	if begun < u.l.cfg.Options.FileBytes {
		return nil
	}
	return u.end(ctx, largest)
}

// endAll ends the files that are begun.
func (u *uploader) endAll(ctx context.Context) error {
	for i := range u.outlets {
		if u.outlets[i].w == nil {
			continue
		}
		if err := u.end(ctx, &u.outlets[i]); err != nil {
			return err
		}
	}
	return nil
}

// end ends a file and uploads it in the background, when there is room for that.
func (u *uploader) end(ctx context.Context, o *outlet) error {
	t, err := o.w.Finish()
	o.w = nil
	if err != nil {
		return err
	}
	select {
	case u.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	f := manifest.Describe(o.number, &t)
	f.Loaded = true
	group := slices.IndexFunc(u.outlets, func(x outlet) bool { return x.group == o.group })
	u.wg.Go(func() {
		defer func() { <-u.slots }()
		if err := u.put(ctx, base.SSTableObject(f.Number), t.Data); err != nil {
			u.cancel(err)
			return
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		u.mu.runs[group] = append(u.mu.runs[group], f)
		u.mu.progress.Cells += f.Entries
		u.mu.progress.Bytes += f.Size
		u.l.tell(u.mu.progress)
	})
	return nil
}

// put creates an object whose name is this loader's alone: where it exists, an
// earlier attempt of this very put did it.
func (u *uploader) put(ctx context.Context, key string, data []byte) error {
	if err := u.l.store.PutIfAbsent(ctx, key, data); err != nil && !errors.Is(err, objstore.ErrExists) {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

func (l *Loader) tell(p Progress) {
	if l.cfg.Options.Progress != nil {
		l.cfg.Options.Progress(p)
	}
}
