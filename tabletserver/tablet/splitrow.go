package tablet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rowfilter"
	"github.com/tabletdb/tabletdb/internal/rowset"
)

const (
	// splitSamples is about how many keys of files, and of memtables, are looked
	// at for the middle of a tablet.
	splitSamples = 64
	// maxWalked is the most entries of a memtable that are walked for it.
	maxWalked = 1 << 20
)

// weighed is a row, and bytes that lie about there.
type weighed struct {
	row    []byte
	weight int64
}

// MiddleRow returns the row at which a split halves the bytes of the tablet, as
// far as rows allow. base.ErrPrecondition: it has fewer than two rows.
func (t *Tablet) MiddleRow(ctx context.Context) ([]byte, error) {
	if err := t.awaitSafe(ctx); err != nil {
		return nil, err
	}
	v, _, err := t.acquireView(false)
	if err != nil {
		return nil, err
	}
	defer v.release()
	samples, err := t.weigh(ctx, v)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(samples, func(a, b weighed) int { return bytes.Compare(a.row, b.row) })
	var total, before int64
	for _, s := range samples {
		total += s.weight
	}
	row := t.start
	for _, s := range samples {
		if before += s.weight; before*2 >= total {
			row = s.row
			break
		}
	}
	return t.divider(ctx, row)
}

// divider returns a row at or after row that has rows before it.
func (t *Tablet) divider(ctx context.Context, row []byte) ([]byte, error) {
	first, err := t.firstRow(ctx, rowset.Range{Start: t.start, End: t.end})
	if err != nil {
		return nil, err
	}
	if first != nil && bytes.Compare(row, first) > 0 {
		return row, nil
	}
	var second []byte
	if first != nil {
		second, err = t.firstRow(ctx, rowset.Range{Start: append(bytes.Clone(first), 0), End: t.end})
	}
	if err != nil {
		return nil, err
	}
	if second == nil {
		return nil, fmt.Errorf("%w: tablet %d has fewer than two rows; rows are never divided", base.ErrPrecondition, t.id)
	}
	return second, nil
}

// firstRow returns the first row of g; nil: there is none.
func (t *Tablet) firstRow(ctx context.Context, g rowset.Range) ([]byte, error) {
	var f firstRow
	_, err := t.Scan(ctx, Read{Rows: rowset.Of(g), Limit: 1}, &f)
	if errors.Is(err, errFound) {
		err = nil
	}
	return f.row, err
}

// firstRow is a Sink that ends the scan at the first cell.
type firstRow struct{ row []byte }

func (f *firstRow) Cell(row []byte, _ *rowfilter.Cell) error {
	f.row = bytes.Clone(row)
	return errFound
}
func (f *firstRow) EndRow([]byte) error { return nil }
func (f *firstRow) Passed([]byte) error { return nil }

// weigh samples the rows of a view by bytes.
func (t *Tablet) weigh(ctx context.Context, v *view) ([]weighed, error) {
	var samples []weighed
	total, _, _ := v.fileBytes()
	for _, r := range v.runs {
		for _, f := range r {
			some, err := t.weighFile(ctx, f, total)
			if err != nil {
				return nil, err
			}
			samples = append(samples, some...)
		}
	}
	for _, m := range append(v.frozen[:len(v.frozen):len(v.frozen)], v.mem) {
		some, err := t.weighMemtable(ctx, m)
		if err != nil {
			return nil, err
		}
		samples = append(samples, some...)
	}
	return samples, nil
}

// weighFile samples a file, the more the larger its part of total is.
func (t *Tablet) weighFile(ctx context.Context, f *file, total int64) ([]weighed, error) {
	rd, err := f.open(ctx)
	if err != nil {
		return nil, err
	}
	shown := f.ShownBytes()
	n := 1 + int(shown*splitSamples/max(total, 1))
	var samples []weighed
	for i := range n {
		key, ok, err := rd.KeyAtFraction(ctx, f.lower, f.upper, (float64(i)+0.5)/float64(n))
		if err != nil {
			return nil, err
		}
		if !ok { // all of it lies in one block
			key = f.first
		}
		row, err := base.DecodeRow(key)
		if err != nil {
			return nil, err
		}
		if t.contains(row) {
			samples = append(samples, weighed{bytes.Clone(row), shown / int64(n)})
		}
	}
	return samples, nil
}

// weighMemtable samples a memtable. What it holds takes less room in a file,
// which does not matter: it is little against the files, or there are none.
func (t *Tablet) weighMemtable(ctx context.Context, m *mem) ([]weighed, error) {
	step := max(m.table.Size()/splitSamples, 1)
	it := t.iterate(m)
	defer it.Close()
	var samples []weighed
	var since int64
	walked := 0
	for ok := it.SeekGE(nil); ok && walked < maxWalked; ok = it.Next() {
		if walked++; walked%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if since += int64(len(it.Key()) + len(it.Value())); since < step {
			continue
		}
		row, err := base.DecodeRow(it.Key())
		if err != nil {
			return nil, err
		}
		samples = append(samples, weighed{bytes.Clone(row), since})
		since = 0
	}
	return samples, it.Err()
}
