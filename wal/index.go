package wal

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

const (
	indexMagic     = "TDBX"
	indexHeaderLen = 64
	indexGroupLen  = 40

	// indexChunk is how much of an index is read at once; most are smaller.
	indexChunk = 1 << 20
)

// Extent is where records of one tablet and epoch stand in a log.
type Extent struct {
	Position base.Position
	Section
}

// group is the entry of one tablet and epoch in an index.
type group struct {
	tablet  base.TabletID
	epoch   base.Epoch
	offset  uint64 // of its extents, in the object
	length  uint32
	extents uint32
	sum     uint32 // CRC32C of its extents
}

func compareGroups(a, b group) int {
	return cmp.Or(cmp.Compare(a.tablet, b.tablet), cmp.Compare(a.epoch, b.epoch))
}

// Index tells which extents each tablet has in a sealed log. It may be used
// concurrently.
type Index struct {
	Log      base.Incarnation
	Low, End base.Position // it covers [Low, End)

	store  objstore.Store
	groups []group // ordered by tablet and epoch
	data   []byte  // the start of the object, or all of it
}

// WriteIndex reads the directories of the positions [low, end) of the log of e
// and writes its index (rule R22). The log is SEALED with this end. Calls may
// be repeated and may race: all write the same bytes. A position that is
// missing gives an error wrapping objstore.ErrNotFound: the log was collected
// meanwhile, or data was lost.
func WriteIndex(ctx context.Context, store objstore.Store, e base.Incarnation, low, end base.Position) error {
	if end < low {
		return fmt.Errorf("write index of log %s: range [%d, %d): %w", e, low, end, base.ErrInvalid)
	}
	byTablet := make(map[group][]Extent)
	fetch := func(ctx context.Context, i int) (directory, error) {
		t, err := readTail(ctx, store, e, low+base.Position(i))
		return t.directory, err
	}
	err := ordered(ctx, int(end-low), fetch, nil, func(i int, d directory) error {
		for _, s := range d.sections {
			g := group{tablet: s.Tablet, epoch: s.Epoch}
			ext := byTablet[g]
			if n := len(ext); n > 0 && ext[n-1].Last >= s.First {
				return corrupt("%s: sequences of tablet %d start at %d after %d",
					base.LogObject(e, d.position), s.Tablet, s.First, ext[n-1].Last)
			}
			byTablet[g] = append(ext, Extent{Position: d.position, Section: s})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write index of log %s: %w", e, err)
	}
	if err := store.Put(ctx, base.LogIndexObject(e), encodeIndex(e, low, end, byTablet)); err != nil {
		return fmt.Errorf("write index of log %s: %w", e, err)
	}
	return nil
}

func encodeIndex(e base.Incarnation, low, end base.Position, byTablet map[group][]Extent) []byte {
	be := binary.BigEndian
	groups := make([]group, 0, len(byTablet))
	for g := range byTablet {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, compareGroups)

	b := make([]byte, indexHeaderLen+len(groups)*indexGroupLen)
	copy(b, indexMagic)
	be.PutUint16(b[4:], Version)
	putIncarnation(b[8:], e)
	be.PutUint32(b[20:], uint32(len(groups)))
	be.PutUint64(b[24:], uint64(low))
	be.PutUint64(b[32:], uint64(end))
	for i, g := range groups {
		start, extents := len(b), byTablet[g]
		b = appendExtents(b, low, extents)
		t := b[indexHeaderLen+i*indexGroupLen:]
		be.PutUint64(t, uint64(g.tablet))
		be.PutUint64(t[8:], uint64(g.epoch))
		be.PutUint64(t[16:], uint64(start))
		be.PutUint32(t[24:], uint32(len(b)-start))
		be.PutUint32(t[28:], uint32(len(extents)))
		be.PutUint32(t[32:], checksum(b[start:]))
	}
	be.PutUint32(b[56:], checksum(b[indexHeaderLen:indexHeaderLen+len(groups)*indexGroupLen]))
	be.PutUint32(b[60:], checksum(b[:60]))
	return b
}

// appendExtents appends the extents of one group: numbers relative to the
// extent before, as uvarints, and the checksum of each section.
func appendExtents(b []byte, position base.Position, extents []Extent) []byte {
	var seq base.Seq
	for _, x := range extents {
		b = binary.AppendUvarint(b, uint64(x.Position-position))
		b = binary.AppendUvarint(b, uint64(x.Offset))
		b = binary.AppendUvarint(b, uint64(x.Length))
		b = binary.AppendUvarint(b, uint64(x.RawLength))
		b = binary.AppendUvarint(b, uint64(x.Records))
		b = binary.AppendUvarint(b, uint64(x.First-seq))
		b = binary.AppendUvarint(b, uint64(x.Last-x.First))
		b = append(b, byte(x.Compression))
		b = binary.BigEndian.AppendUint32(b, x.Sum)
		position, seq = x.Position+1, x.Last
	}
	return b
}

// decodeExtents is the inverse of appendExtents, for positions in [low, end).
func decodeExtents(b []byte, g group, low, end base.Position) ([]Extent, error) {
	const least = 12 // bytes of an extent
	if uint64(g.extents)*least > uint64(len(b)) {
		return nil, corrupt("%d extents in %d bytes", g.extents, len(b))
	}
	out := make([]Extent, g.extents)
	position, seq := low, base.Seq(0)
	for i := range out {
		var v [7]uint64
		for j := range v {
			n := 0
			if v[j], n = binary.Uvarint(b); n <= 0 {
				return nil, corrupt("extent %d of tablet %d is cut short", i, g.tablet)
			} else {
				b = b[n:]
			}
		}
		if len(b) < 5 || v[0] >= uint64(end-position) || max(v[1], v[2], v[3], v[4]) > 1<<32-1 ||
			v[5] == 0 || v[5] > uint64(base.MaxSeq-seq) || v[6] > uint64(base.MaxSeq-seq)-v[5] {
			return nil, corrupt("extent %d of tablet %d is out of range", i, g.tablet)
		}
		out[i] = Extent{Position: position + base.Position(v[0]), Section: Section{
			Tablet: g.tablet, Epoch: g.epoch,
			Offset: uint32(v[1]), Length: uint32(v[2]), RawLength: uint32(v[3]), Records: uint32(v[4]),
			First: seq + base.Seq(v[5]), Last: seq + base.Seq(v[5]+v[6]),
			Compression: Compression(b[0]), Sum: binary.BigEndian.Uint32(b[1:]),
		}}
		if err := out[i].check(nil); err != nil {
			return nil, err
		}
		b = b[5:]
		position, seq = out[i].Position+1, out[i].Last
	}
	if len(b) != 0 {
		return nil, corrupt("%d bytes after the extents of tablet %d", len(b), g.tablet)
	}
	return out, nil
}

// ReadIndex reads the index of the log of e; of a large one only the table of
// contents, the rest when it is asked for. The error wraps objstore.ErrNotFound
// when there is none, and base.ErrCorrupt when it is damaged: then either
// write it again or replay without it.
func ReadIndex(ctx context.Context, store objstore.Store, e base.Incarnation) (*Index, error) {
	key := base.LogIndexObject(e)
	data, err := store.GetRange(ctx, key, 0, indexChunk)
	if err == nil && len(data) >= indexHeaderLen {
		table := indexHeaderLen + int64(binary.BigEndian.Uint32(data[20:]))*indexGroupLen
		if table > int64(len(data)) && len(data) == indexChunk {
			data, err = store.GetRange(ctx, key, 0, table)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read index of log %s: %w", e, err)
	}
	x, err := decodeIndex(data)
	if err == nil && x.Log != e {
		err = corrupt("object says that it is the index of log %s", x.Log)
	}
	if err != nil {
		return nil, fmt.Errorf("read index %s: %w", key, err)
	}
	x.store = store
	return x, nil
}

// decodeIndex parses the start of an index, which holds at least the header
// and the table.
func decodeIndex(data []byte) (*Index, error) {
	be := binary.BigEndian
	switch {
	case len(data) < indexHeaderLen:
		return nil, corrupt("index of %d bytes", len(data))
	case string(data[:4]) != indexMagic:
		return nil, corrupt("index has magic %q", data[:4])
	case be.Uint32(data[60:]) != checksum(data[:60]):
		return nil, corrupt("index header fails its checksum")
	case be.Uint16(data[4:]) != Version:
		return nil, corrupt("index has version %d, not %d", be.Uint16(data[4:]), Version)
	}
	x := &Index{Log: incarnation(data[8:]), Low: base.Position(be.Uint64(data[24:])), End: base.Position(be.Uint64(data[32:])), data: data}
	n := int64(be.Uint32(data[20:]))
	if x.End < x.Low || int64(len(data)) < indexHeaderLen+n*indexGroupLen {
		return nil, corrupt("index of %d tablets in [%d, %d) has %d bytes", n, x.Low, x.End, len(data))
	}
	table := data[indexHeaderLen:][:n*indexGroupLen]
	if checksum(table) != be.Uint32(data[56:]) {
		return nil, corrupt("index table fails its checksum")
	}
	x.groups = make([]group, n)
	for i := range x.groups {
		t := table[i*indexGroupLen:]
		x.groups[i] = group{
			tablet: base.TabletID(be.Uint64(t)), epoch: base.Epoch(be.Uint64(t[8:])),
			offset: be.Uint64(t[16:]), length: be.Uint32(t[24:]), extents: be.Uint32(t[28:]), sum: be.Uint32(t[32:]),
		}
		if i > 0 && compareGroups(x.groups[i-1], x.groups[i]) >= 0 {
			return nil, corrupt("index table is not ordered")
		}
		if x.groups[i].offset > 1<<62 {
			return nil, corrupt("index names offset %d", x.groups[i].offset)
		}
	}
	return x, nil
}

// Has reports whether the log holds records of the tablet and epoch.
func (x *Index) Has(tablet base.TabletID, epoch base.Epoch) bool {
	_, ok := slices.BinarySearchFunc(x.groups, group{tablet: tablet, epoch: epoch}, compareGroups)
	return ok
}

// Extents returns the extents of a tablet and epoch in order of position; none
// when the log does not hold any. It does I/O only when the index is large.
func (x *Index) Extents(ctx context.Context, tablet base.TabletID, epoch base.Epoch) ([]Extent, error) {
	i, ok := slices.BinarySearchFunc(x.groups, group{tablet: tablet, epoch: epoch}, compareGroups)
	if !ok {
		return nil, nil
	}
	g := x.groups[i]
	key := base.LogIndexObject(x.Log)
	b, err := x.block(ctx, key, g)
	if err == nil && checksum(b) != g.sum {
		err = corrupt("extents of tablet %d fail their checksum", tablet)
	}
	var out []Extent
	if err == nil {
		out, err = decodeExtents(b, g, x.Low, x.End)
	}
	if err != nil {
		return nil, fmt.Errorf("read extents of tablet %d from %s: %w", tablet, key, err)
	}
	return out, nil
}

// block returns the encoded extents of g.
func (x *Index) block(ctx context.Context, key string, g group) ([]byte, error) {
	if end := g.offset + uint64(g.length); end <= uint64(len(x.data)) {
		return x.data[g.offset:end], nil
	}
	if x.store == nil {
		return nil, errors.New("index is cut short")
	}
	b, err := x.store.GetRange(ctx, key, int64(g.offset), int64(g.length))
	if err == nil && len(b) != int(g.length) {
		err = corrupt("index ends before offset %d", g.offset+uint64(g.length))
	}
	return b, err
}
