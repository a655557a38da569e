package sstable

import (
	"bytes"
	"fmt"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable/block"
	"github.com/tabletdb/tabletdb/sstable/bloom"
	"github.com/tabletdb/tabletdb/sstable/compress"
)

const (
	// DefaultBlockSize is the raw size at which a data block is closed.
	DefaultBlockSize = 32 << 10
	// MinBlockSize and MaxBlockSize are what it may be set to.
	MinBlockSize = 4 << 10
	MaxBlockSize = 256 << 10

	indexPartitionSize = 32 << 10
	// MaxValueLen is the longest value a file takes: 512 MiB.
	MaxValueLen = 512 << 20

	minChunk = 64 << 10
	maxChunk = 4 << 20
)

// WriterOptions say how to write a file. Zero values mean the defaults.
type WriterOptions struct {
	// File is the name the file gets; its checksums depend on it.
	File base.FileNumber
	// BlockSize is the raw size of a data block, in bytes, 4 to 256 KiB. A
	// larger value gets a block of its own. Default: DefaultBlockSize.
	BlockSize int
	// Compression of the data blocks. Default: none.
	Compression compress.Type
	// Compressions of families that differ from it. A block that holds cells of
	// several is packed as most of its bytes want. The map is not changed while
	// the writer is used.
	Compressions map[base.FamilyID]compress.Type
	// Encoders, if set, is where the writer takes them from.
	Encoders *compress.Pool
	// Filters that the file gets. Default: both.
	Filters Filters
	// Group is the locality group that the file is written for; for people.
	Group string
	// Level of the compression, where it has one; 0 is the fastest.
	Level int
	// BitsPerKey of the two Bloom filters. Default: bloom.DefaultBitsPerKey;
	// negative: no filters.
	BitsPerKey int
	// SizeHint is about how long the file will be, in bytes, 0: unknown. A
	// good hint saves a copy of the file.
	SizeHint int
}

// Filters says which Bloom filters a file has. The order is from most to least.
type Filters uint8

const (
	// RowAndColumnFilters tell rows and columns that the file does not have.
	RowAndColumnFilters Filters = iota
	// RowFilter tells rows only.
	RowFilter
	// NoFilters tell nothing.
	NoFilters
)

// String returns the name that users know.
func (f Filters) String() string {
	switch f {
	case RowAndColumnFilters:
		return "row-column"
	case RowFilter:
		return "row"
	case NoFilters:
		return "none"
	}
	return fmt.Sprintf("filters(%d)", uint8(f))
}

func (o *WriterOptions) ensureDefaults() {
	if o.BlockSize == 0 {
		o.BlockSize = DefaultBlockSize
	}
	if o.BitsPerKey == 0 {
		o.BitsPerKey = bloom.DefaultBitsPerKey
	}
	if o.BitsPerKey < 0 {
		o.Filters = NoFilters
	}
}

func (o *WriterOptions) validate() error {
	if o.BlockSize < MinBlockSize || o.BlockSize > MaxBlockSize {
		return fmt.Errorf("%w: block size %d: want %d to %d", base.ErrInvalid, o.BlockSize, MinBlockSize, MaxBlockSize)
	}
	if o.BitsPerKey > 64 {
		return fmt.Errorf("%w: %d bits per key: want at most 64", base.ErrInvalid, o.BitsPerKey)
	}
	if o.Filters > NoFilters {
		return fmt.Errorf("%w: unknown %v", base.ErrInvalid, o.Filters)
	}
	if len(o.Group) > MaxBlockSize {
		return fmt.Errorf("%w: name of a locality group of %d bytes", base.ErrInvalid, len(o.Group))
	}
	if o.SizeHint < 0 {
		return fmt.Errorf("%w: size hint %d", base.ErrInvalid, o.SizeHint)
	}
	return nil
}

// Meta is what a manifest keeps of a file so that it can be opened at once.
type Meta struct {
	Size       int64 // of the whole file, in bytes; 0: not known
	TailOffset int64 // where the tail begins; negative: not known
}

// Table is a finished file.
type Table struct {
	Data       []byte // the whole file, owned by the caller
	Meta       Meta
	Properties Properties
}

// Writer makes one file in memory. It is used by one goroutine. The first error
// of any method is returned by all later ones.
type Writer struct {
	o   WriterOptions
	err error
	enc encoders

	keys  *collector
	block block.Builder
	index block.IndexBuilder
	parts []part // finished index partitions
	sep   []byte // separator of the block being built
	salt  uint32

	done [][]byte // filled chunks
	cur  []byte   // the chunk being filled
	full uint64   // bytes in done
}

// part is an index partition that waits for the tail.
type part struct{ separator, data []byte }

// NewWriter returns a writer. Bad options are reported by its methods.
func NewWriter(o WriterOptions) *Writer {
	o.ensureDefaults()
	w := &Writer{o: o, keys: newCollector(o.File), salt: saltOf(o.File), err: o.validate()}
	if w.err == nil {
		w.err = w.enc.init(&w.o)
	}
	return w
}

// Add appends an entry. Its key must be a cell key that sorts after all keys
// added before. Both slices are copied. An error wraps base.ErrInvalid.
func (w *Writer) Add(key, value []byte) error {
	if w.err != nil {
		return w.err
	}
	if len(value) > MaxValueLen || len(key) > MaxBlockSize {
		w.err = fmt.Errorf("%w: key of %d bytes, value of %d bytes", base.ErrInvalid, len(key), len(value))
		return w.err
	}
	shared, err := w.keys.add(key, value)
	if err != nil {
		w.err = err
		return err
	}
	if w.keys.props.Entries == 1 {
		w.keys.props.MinKey = bytes.Clone(key)
	}
	if w.block.Len() > 0 && w.block.Size()+len(key)-shared+len(value) > w.o.BlockSize {
		w.flushBlock()
	}
	if w.block.Len() == 0 {
		w.sep = w.sep[:0]
		if w.keys.props.Entries > 1 {
			w.sep = append(w.sep, key[:shared+1]...)
		}
	}
	w.block.Add(key, value, shared)
	w.enc.count(w.keys.familyID, len(key)-shared+len(value))
	if w.block.Size() >= w.o.BlockSize {
		w.flushBlock()
	}
	return w.err
}

// EstimatedSize returns about how long the file would be if it were finished
// now.
func (w *Writer) EstimatedSize() int64 {
	n := int64(w.offset()) + int64(w.block.Size()) + int64(w.index.Size()) + FooterLen
	for _, p := range w.parts {
		n += int64(len(p.data))
	}
	if w.o.Filters <= RowFilter {
		n += int64(w.keys.rows.Size(w.o.BitsPerKey))
	}
	if w.o.Filters == RowAndColumnFilters {
		n += int64(w.keys.columns.Size(w.o.BitsPerKey))
	}
	return n
}

// Entries returns the number of entries added.
func (w *Writer) Entries() uint64 { return w.keys.props.Entries }

// Finish completes the file and returns it. The writer is used up. A file
// without entries is valid.
func (w *Writer) Finish() (Table, error) {
	w.flushBlock()
	if w.err != nil {
		return Table{}, w.err
	}
	t := Table{Properties: w.keys.finish()}
	p := &t.Properties
	p.DataBytes, p.Compression, p.Group = w.offset(), w.o.Compression, w.o.Group
	t.Meta.TailOffset = int64(p.DataBytes)
	w.finishTail(p)
	if w.err != nil {
		return Table{}, w.err
	}
	t.Data = w.cur
	if len(w.done) > 0 {
		t.Data = bytes.Join(append(w.done, w.cur), nil)
	}
	t.Meta.Size = int64(len(t.Data))
	w.err = fmt.Errorf("%w: the SSTable is finished already", base.ErrPrecondition)
	w.done, w.cur = nil, nil
	w.enc.release()
	return t, nil
}

// flushBlock packs the current data block and writes it.
func (w *Writer) flushBlock() {
	if w.err != nil || w.block.Len() == 0 {
		return
	}
	raw := w.block.Finish()
	h := w.put(raw, w.enc.choose())
	w.index.Add(w.sep, h)
	w.keys.props.Blocks++
	w.block.Reset(2 * MaxBlockSize)
	if w.index.Size() >= indexPartitionSize {
		w.cutIndex()
	}
}

// cutIndex closes the current index partition.
func (w *Writer) cutIndex() {
	sep := bytes.Clone(w.index.First())
	w.parts = append(w.parts, part{sep, w.index.Append(nil)})
}

// put writes a block with its trailer, packed by enc unless that is nil.
func (w *Writer) put(raw []byte, enc *compress.Encoder) block.Handle {
	n := len(raw)
	if enc != nil {
		n = enc.MaxLen(n)
	}
	w.reserve(n + block.TrailerLen)
	at := w.offset()
	start, typ := len(w.cur), compress.None
	if enc != nil {
		w.cur, typ = enc.Append(w.cur, raw)
	} else {
		w.cur = append(w.cur, raw...)
	}
	h := block.Handle{Offset: at, Len: uint64(len(w.cur) - start)}
	w.cur = block.AppendTrailer(w.cur, start, typ, w.salt, at)
	return h
}

// offset returns where the next byte goes.
func (w *Writer) offset() uint64 { return w.full + uint64(len(w.cur)) }

// reserve makes room for n bytes in one piece. Chunks double, so that a file
// takes no more than about twice its size while it is built.
func (w *Writer) reserve(n int) {
	if cap(w.cur)-len(w.cur) >= n {
		return
	}
	size := min(max(2*cap(w.cur), minChunk), maxChunk)
	if w.cur == nil && w.o.SizeHint > 0 {
		size = w.o.SizeHint + w.o.SizeHint/16
	}
	if len(w.cur) > 0 {
		w.done = append(w.done, w.cur)
		w.full += uint64(len(w.cur))
	}
	w.cur = make([]byte, 0, max(size, n))
}
