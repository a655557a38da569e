package sstable

import (
	"bytes"
	"context"
	"fmt"
	"reflect"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable/block"
	"github.com/tabletdb/tabletdb/sstable/bloom"
)

// Verify reads the whole file, past the block cache, and checks everything that
// can be checked: the checksum of every block, the form and order of every key,
// the separators of the index, the properties, and that both filters know every
// row and column. An error wraps base.ErrCorrupt where the file is at fault.
func (r *Reader) Verify(ctx context.Context) error {
	v := &verifier{r: r, keys: newCollector(r.props.File)}
	// A reader of its own: the cache does not answer for the file.
	own := &Reader{src: r.src, cache: NewCache(0), tail: r.tail}
	i := own.NewIter(ctx, IterOptions{Readahead: DefaultReadahead, Eager: true})
	defer i.Close()
	if !r.index.empty() {
		for c, ok := (cursor{}), true; ok; c, ok = r.index.next(c) {
			if !i.load(c) {
				return i.err
			}
			if err := v.block(c, &i.data); err != nil {
				return fmt.Errorf("verify block at %d of SSTable %s: %w", r.index.handle(c).Offset, r.Name(), err)
			}
		}
	}
	if err := v.properties(); err != nil {
		return fmt.Errorf("verify SSTable %s: %w", r.Name(), err)
	}
	return nil
}

type verifier struct {
	r    *Reader
	keys *collector
}

// block checks one block.
func (v *verifier) block(c cursor, it *block.Iter) error {
	n := 0
	sep := v.r.index.separator(c)
	for ok := it.First(); ok; ok = it.Next() {
		key := it.Key()
		if n == 0 && (v.keys.props.Entries > 0 && bytes.Compare(v.keys.last, sep) >= 0 || bytes.Compare(sep, key) > 0) {
			return fmt.Errorf("%w: separator %x does not part %x from %x", base.ErrCorrupt, sep, v.keys.last, key)
		}
		if _, err := v.keys.add(key, it.Value()); err != nil {
			return fmt.Errorf("%w: %v", base.ErrCorrupt, err)
		}
		if v.keys.props.Entries == 1 {
			v.keys.props.MinKey = bytes.Clone(key)
		}
		if !v.r.rows.MayContain(bloom.Hash(key[:v.keys.rowLen])) || !v.r.columns.MayContain(bloom.Hash(key[:v.keys.colLen])) {
			return fmt.Errorf("%w: the filters do not know %x", base.ErrCorrupt, key)
		}
		n++
	}
	if it.Err() == nil && n == 0 {
		return fmt.Errorf("%w: no entry", base.ErrCorrupt)
	}
	return it.Err()
}

// properties compares what was counted with what the file says.
func (v *verifier) properties() error {
	got, want := v.keys.finish(), v.r.props
	got.Blocks, got.DataBytes, got.Compression = want.Blocks, want.DataBytes, want.Compression // checked by openTail
	got.Group = want.Group                                                                     // says nothing of the entries
	for _, p := range []*Properties{&got, &want} {
		p.MinKey, p.MaxKey = append([]byte{}, p.MinKey...), append([]byte{}, p.MaxKey...)
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("%w: properties say %+v, the entries %+v", base.ErrCorrupt, want, got)
	}
	return nil
}
