package sstable

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable/block"
	"github.com/tabletdb/tabletdb/sstable/bloom"
	"github.com/tabletdb/tabletdb/sstable/compress"
)

// ReaderOptions say how to read a file. The zero value is valid.
type ReaderOptions struct {
	// Cache for blocks, shared with other readers; nil: none.
	Cache *Cache
	// ID is the number of the file in the cache, from Cache.NewFile, so that
	// one who opens it again finds its blocks; 0: a new one.
	ID uint64
	// File is the name the file must have been written under; zero: any.
	File base.FileNumber
}

// Reader is an open file. It is immutable and may be used concurrently. It
// holds the tail of the file in memory and no other resource.
type Reader struct {
	src   Source
	cache *Cache
	id    uint64                   // of this reader in the cache
	kept  atomic.Pointer[resident] // nil: Load was not called
	*tail
}

// guessedTail is what is read at once where the tail offset is not known.
const guessedTail = 64 << 10

// Open reads the tail of a file: with one read where meta is complete, else
// with one or two. Bytes that make no valid tail are read once more, past all
// caches, before the error wraps base.ErrCorrupt.
func Open(ctx context.Context, src Source, meta Meta, o ReaderOptions) (*Reader, error) {
	r := &Reader{src: src, cache: o.Cache, id: o.ID}
	if r.cache == nil {
		r.cache = NewCache(0)
	}
	if r.id == 0 {
		r.id = r.cache.NewFile()
	}
	for fresh := false; ; fresh = true {
		b, err := readTail(ctx, src, fresh, meta)
		if err == nil {
			r.tail, err = openTail(b)
		}
		if err == nil {
			err = r.checkMeta(meta, o.File)
		}
		if err == nil {
			return r, nil
		}
		if fresh || !errors.Is(err, base.ErrCorrupt) {
			return nil, fmt.Errorf("open SSTable %s: %w", src.Name(), err)
		}
	}
}

// read is src.ReadAt, or, if fresh, the same past all caches.
func read(ctx context.Context, src Source, fresh bool, off, n int64) ([]byte, error) {
	if f, ok := src.(FreshReader); ok && fresh {
		return f.ReadFresh(ctx, off, n)
	}
	return src.ReadAt(ctx, off, n)
}

// readTail reads the bytes from the tail offset to the end.
func readTail(ctx context.Context, src Source, fresh bool, meta Meta) ([]byte, error) {
	if meta.Size > 0 && meta.TailOffset >= 0 {
		return readFull(ctx, src, fresh, meta.TailOffset, meta.Size-meta.TailOffset)
	}
	b, err := read(ctx, src, fresh, -guessedTail, guessedTail)
	if err != nil {
		return nil, err
	}
	f, err := parseFooter(b[max(0, len(b)-FooterLen):])
	if err != nil {
		return nil, err
	}
	want := f.size - f.tailOffset
	if want <= uint64(len(b)) {
		return bytes.Clone(b[uint64(len(b))-want:]), nil
	}
	rest, err := readFull(ctx, src, fresh, int64(f.tailOffset), int64(want)-int64(len(b)))
	return slices.Concat(rest, b), err
}

// readFull reads n bytes from off; fewer are corruption.
func readFull(ctx context.Context, src Source, fresh bool, off, n int64) ([]byte, error) {
	if n <= 0 {
		return nil, fmt.Errorf("%w: read of %d bytes at %d", base.ErrCorrupt, n, off)
	}
	b, err := read(ctx, src, fresh, off, n)
	if err == nil && int64(len(b)) != n {
		err = fmt.Errorf("%w: file ends after %d of %d bytes at %d", base.ErrCorrupt, len(b), n, off)
	}
	return b, err
}

func (r *Reader) checkMeta(meta Meta, file base.FileNumber) error {
	m := r.Meta()
	if meta.Size > 0 && meta.Size != m.Size || meta.Size > 0 && meta.TailOffset >= 0 && meta.TailOffset != m.TailOffset {
		return fmt.Errorf("%w: footer says %+v, expected %+v", base.ErrCorrupt, m, meta)
	}
	if !file.IsZero() && file != r.props.File {
		return fmt.Errorf("%w: the file was written as %v, expected %v", base.ErrCorrupt, r.props.File, file)
	}
	return nil
}

// Meta returns what opens the file with one read.
func (r *Reader) Meta() Meta {
	return Meta{Size: int64(r.footer.size), TailOffset: int64(r.footer.tailOffset)}
}

// Name returns the name of the source.
func (r *Reader) Name() string { return r.src.Name() }

// Properties returns the properties of the file, which must not be changed.
func (r *Reader) Properties() *Properties { return &r.props }

// MetadataBytes returns the memory that the open reader takes: filters, index
// and properties.
func (r *Reader) MetadataBytes() int64 {
	return r.memory + int64(unsafe.Sizeof(*r)+unsafe.Sizeof(*r.tail))
}

// Close drops the blocks of the file from the cache. Nothing depends on it but
// memory: iterators go on working.
func (r *Reader) Close() {
	if r.cache.blocks == nil || r.index.empty() {
		return
	}
	for c, ok := (cursor{}), true; ok; c, ok = r.index.next(c) {
		r.cache.drop(blockKey{r.id, r.index.handle(c).Offset})
	}
}

// MayContainRow reports whether the file may hold entries of the row, deletions
// included, given what base.AppendRowPrefix makes.
func (r *Reader) MayContainRow(rowPrefix []byte) bool {
	return r.rows.MayContain(bloom.Hash(rowPrefix))
}

// MayContainColumn reports whether the file may hold entries that matter to the
// column, given what base.AppendColumnPrefix makes: its cells and deletions,
// but also deletions of its family and of its row.
func (r *Reader) MayContainColumn(columnPrefix []byte) bool {
	if r.columns.MayContain(bloom.Hash(columnPrefix)) {
		return true
	}
	families, rows := r.props.ByKind[base.KindDeleteFamily], r.props.ByKind[base.KindDeleteRow]
	if families == 0 && rows == 0 {
		return false
	}
	n := base.RowPrefixLen(columnPrefix)
	if n < 0 || len(columnPrefix) < n+4 {
		return true // not a column prefix: no reason to hide anything
	}
	if families > 0 && r.columns.MayContain(bloom.Hash(columnPrefix[:n+4])) {
		return true
	}
	if rows == 0 {
		return false
	}
	var buf [256]byte
	level := binary.BigEndian.AppendUint32(append(buf[:0], columnPrefix[:n]...), 0)
	return r.columns.MayContain(bloom.Hash(level))
}

// ApproximateSize returns about how many stored bytes the keys in
// [lower, upper) take; nil bounds are open. It reads nothing and is exact to
// about a block at each end.
func (r *Reader) ApproximateSize(lower, upper []byte) int64 {
	from, to := r.span(lower, upper)
	return int64(to - from)
}

// span returns the offsets of the blocks that hold [lower, upper).
func (r *Reader) span(lower, upper []byte) (from, to uint64) {
	to = r.footer.tailOffset
	if r.index.empty() {
		return 0, 0
	}
	if lower != nil {
		from = r.index.handle(r.index.findGE(lower)).Offset
	}
	if upper != nil {
		to = 0
		if c, ok := r.index.findLT(upper); ok {
			to = r.index.handle(c).End()
		}
	}
	return from, max(from, to)
}

// KeyAtFraction returns a key of the file before which about the fraction f, 0
// to 1, of the bytes in [lower, upper) lie; false: no such key lies strictly
// between the bounds. It reads at most one block.
func (r *Reader) KeyAtFraction(ctx context.Context, lower, upper []byte, f float64) ([]byte, bool, error) {
	from, to := r.span(lower, upper)
	if from == to {
		return nil, false, nil
	}
	c := r.index.findOffset(from + uint64(float64(to-from)*min(max(f, 0), 1)))
	b, err := r.block(ctx, c, blockMode{fill: true})
	if err != nil {
		return nil, false, err
	}
	var it block.Iter
	if err := it.Init(b); err != nil || !it.First() {
		return nil, false, r.corruptBlock(c, it.Err())
	}
	k := it.Key()
	if bytes.Compare(k, lower) <= 0 || upper != nil && bytes.Compare(k, upper) >= 0 {
		return nil, false, nil
	}
	return bytes.Clone(k), true, nil
}

// blockMode says what becomes of a block that is read.
type blockMode struct {
	fill bool // it goes to the cache
	// buf is memory to unpack into, which may be replaced by longer memory;
	// nil: the block gets memory of its own. Only where fill is false.
	buf *[]byte
}

// block returns a raw data block, from the cache or the source.
func (r *Reader) block(ctx context.Context, c cursor, m blockMode) ([]byte, error) {
	h := r.index.handle(c)
	if b, ok := r.inMemory(h.Offset); ok {
		return b, nil
	}
	k := blockKey{r.id, h.Offset}
	if !m.fill {
		if b, ok := r.cache.peek(k); ok {
			return b, nil
		}
		return r.fetch(ctx, h, m)
	}
	if b, ok := r.cache.get(k); ok {
		return b, nil
	}
	return r.cache.load(ctx, k, func() ([]byte, error) { return r.fetch(ctx, h, m) })
}

// fetch reads one block from the source. Bytes that fail their checksum are
// read once more, past all caches.
func (r *Reader) fetch(ctx context.Context, h block.Handle, m blockMode) ([]byte, error) {
	for fresh := false; ; fresh = true {
		frame, err := readFull(ctx, r.src, fresh, int64(h.Offset), int64(h.Len+block.TrailerLen))
		var b []byte
		if err == nil {
			b, err = r.unpack(frame, h, m)
		}
		if err == nil {
			return b, nil
		}
		if fresh || !errors.Is(err, base.ErrCorrupt) {
			return nil, fmt.Errorf("read block at %d of SSTable %s: %w", h.Offset, r.Name(), err)
		}
	}
}

// unpack checks and unpacks a block. The result aliases frame where the block
// is stored raw.
func (r *Reader) unpack(frame []byte, h block.Handle, m blockMode) ([]byte, error) {
	packed, typ, err := block.CheckFrame(frame, r.footer.salt, h.Offset)
	if err != nil {
		return nil, err
	}
	if typ == compress.None {
		if m.fill && cap(frame) > len(frame)+len(frame)/4 {
			packed = bytes.Clone(packed) // do not let the cache pin what was read around it
		}
		return packed, nil
	}
	var dst []byte
	if m.buf != nil {
		n, err := compress.RawLen(typ, packed)
		if err != nil {
			return nil, err
		}
		if cap(*m.buf) < n && n <= maxBuffer {
			*m.buf = make([]byte, 0, n+n/8)
		}
		dst = *m.buf
	}
	return r.cache.decoder.Decode(dst, typ, packed)
}

// maxBuffer bounds what an iterator keeps to unpack blocks into, in bytes.
const maxBuffer = 2 * MaxBlockSize

// corruptBlock names the place of a block that passed its checksum and still
// does not parse, and drops it from the cache.
func (r *Reader) corruptBlock(c cursor, err error) error {
	h := r.index.handle(c)
	r.cache.drop(blockKey{r.id, h.Offset})
	if err == nil {
		err = fmt.Errorf("%w: no entry", base.ErrCorrupt)
	}
	return fmt.Errorf("read block at %d of SSTable %s: %w", h.Offset, r.Name(), err)
}
