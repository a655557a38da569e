package sstable

import (
	"bytes"
	"fmt"
	"math"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable/block"
	"github.com/tabletdb/tabletdb/sstable/bloom"
	"github.com/tabletdb/tabletdb/sstable/compress"
)

// finishTail writes filters, index, properties and footer.
func (w *Writer) finishTail(p *Properties) {
	f := footer{tailOffset: w.offset(), salt: w.salt, levels: 1}
	if w.o.Filters <= RowFilter {
		f.rowFilterLen = w.putFilter(&w.keys.rows)
	}
	if w.o.Filters == RowAndColumnFilters {
		f.colFilterLen = w.putFilter(&w.keys.columns)
	}
	if len(w.parts) > 0 {
		f.levels = 2
		if w.index.Len() > 0 {
			w.cutIndex()
		}
		for _, part := range w.parts {
			w.index.Add(part.separator, w.put(part.data, nil))
		}
	}
	f.topOffset = w.offset()
	f.topLen = w.part(w.index.Append(nil))
	f.props = w.part(p.appendTo(nil))
	f.size = w.offset() + FooterLen
	w.reserve(FooterLen)
	w.cur = f.appendTo(w.cur)
}

func (w *Writer) putFilter(b *bloom.Builder) uint32 {
	return w.part(b.Append(make([]byte, 0, b.Size(w.o.BitsPerKey)), w.o.BitsPerKey))
}

// part writes a part of the tail and returns its length with the trailer.
func (w *Writer) part(raw []byte) uint32 {
	n := uint64(len(raw)) + block.TrailerLen
	if n > math.MaxUint32 {
		w.err = fmt.Errorf("%w: filter or index of %d bytes", base.ErrInvalid, n)
		return 0
	}
	w.put(raw, nil)
	return uint32(n)
}

// tail is the opened end of a file. It is immutable.
type tail struct {
	footer  footer
	rows    bloom.Filter
	columns bloom.Filter
	index   index
	props   Properties
	memory  int64
}

// openTail checks the bytes from the tail offset to the end of a file. It goes
// on to use b. An error wraps base.ErrCorrupt or base.ErrUnimplemented.
func openTail(b []byte) (*tail, error) {
	f, err := parseFooter(b[max(0, len(b)-FooterLen):])
	if err != nil {
		return nil, err
	}
	if f.size-f.tailOffset != uint64(len(b)) {
		return nil, fmt.Errorf("%w: tail has %d bytes, its footer says %d", base.ErrCorrupt, len(b), f.size-f.tailOffset)
	}
	t := &tail{footer: f, memory: int64(cap(b))}
	s := section{b: b, base: f.tailOffset, salt: f.salt}
	if f.rowFilterLen > 0 {
		if t.rows, err = s.filter(f.tailOffset, f.rowFilterLen); err != nil {
			return nil, err
		}
	}
	if f.colFilterLen > 0 {
		if t.columns, err = s.filter(f.tailOffset+uint64(f.rowFilterLen), f.colFilterLen); err != nil {
			return nil, err
		}
	}
	if t.index, err = s.openIndex(&f); err != nil {
		return nil, err
	}
	t.memory += t.index.memory()
	raw, err := s.part(f.topOffset+uint64(f.topLen), uint64(f.props))
	if err != nil {
		return nil, err
	}
	if t.props, err = parseProperties(raw); err != nil {
		return nil, err
	}
	if p := &t.props; p.Blocks != t.index.blocks || p.DataBytes != f.tailOffset || saltOf(p.File) != f.salt {
		return nil, fmt.Errorf("%w: properties do not belong to the index or footer", base.ErrCorrupt)
	}
	return t, nil
}

// section is the bytes of a tail; offsets are those in the file.
type section struct {
	b    []byte
	base uint64
	salt uint32
}

// part checks and returns the part of n bytes, with trailer, at off.
func (s *section) part(off, n uint64) ([]byte, error) {
	end := uint64(len(s.b)) + s.base
	if off < s.base || n > end || off > end-n {
		return nil, fmt.Errorf("%w: part of %d bytes at %d lies outside the tail", base.ErrCorrupt, n, off)
	}
	raw, typ, err := block.CheckFrame(s.b[off-s.base:off-s.base+n], s.salt, off)
	if err == nil && typ != compress.None {
		err = fmt.Errorf("%w: it is packed as %v", base.ErrCorrupt, typ)
	}
	if err != nil {
		return nil, fmt.Errorf("read part of %d bytes at %d: %w", n, off, err)
	}
	return raw, nil
}

func (s *section) filter(off uint64, n uint32) (bloom.Filter, error) {
	raw, err := s.part(off, uint64(n))
	if err != nil {
		return bloom.Filter{}, err
	}
	return bloom.Open(raw)
}

// openIndex opens the whole index and checks that its blocks fill the data part
// of the file, in order and without holes.
func (s *section) openIndex(f *footer) (index, error) {
	raw, err := s.part(f.topOffset, uint64(f.topLen))
	if err != nil {
		return index{}, err
	}
	top, err := block.OpenIndex(raw)
	if err != nil {
		return index{}, err
	}
	var x index
	if f.levels == 1 {
		if top.Len() > 0 {
			x.parts = []block.Index{top}
		}
		return x, x.check(f.tailOffset)
	}
	at := f.tailOffset + uint64(f.rowFilterLen) + uint64(f.colFilterLen)
	for i := range top.Len() {
		h := top.Handle(i)
		if h.Offset != at {
			return index{}, fmt.Errorf("%w: index partition %d is at %d, not at %d", base.ErrCorrupt, i, at, h.Offset)
		}
		if raw, err = s.part(h.Offset, h.Len+block.TrailerLen); err != nil {
			return index{}, err
		}
		part, err := block.OpenIndex(raw)
		if err != nil {
			return index{}, err
		}
		if part.Len() == 0 || !bytes.Equal(part.Separator(0), top.Separator(i)) {
			return index{}, fmt.Errorf("%w: index partition %d does not begin as the top index says", base.ErrCorrupt, i)
		}
		x.parts = append(x.parts, part)
		at = h.End()
	}
	if at != f.topOffset {
		return index{}, fmt.Errorf("%w: index partitions end at %d, not at %d", base.ErrCorrupt, at, f.topOffset)
	}
	return x, x.check(f.tailOffset)
}
