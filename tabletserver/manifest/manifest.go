// Package manifest is the list of a tablet's files as it lies in the bucket:
// one immutable object per version, named by the tablet's record in the lock
// service. docs/format/manifest.md draws it.
package manifest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// Versions of the format. A manifest is written in the lowest one that says what
// it holds: a build that knows no higher one reads it rightly.
const (
	Version       = 1
	VersionDrops  = 2
	VersionLoaded = 3 // files that were bulk loaded
)

const (
	magic     = "TBMF"
	headerLen = 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// File is a reference to an SSTable. The bounds are the reference's, not the
// file's: after a split both children name one file, each with its own bounds
// (R9).
type File struct {
	Number           base.FileNumber
	Size, TailOffset int64
	Lower, Upper     []byte // rows shown: [Lower, Upper); empty: no bound
	Smallest         []byte // cell keys
	Largest          []byte
	MinSeq, MaxSeq   base.Seq
	MinTimestamp     int64
	MaxTimestamp     int64
	Entries          uint64
	Tombstones       uint64
	Rows             uint64
	RawBytes         uint64
	Shown            int64 // about how many bytes lie within the bounds; 0: all
	// Settled: the file was written without what drops up to it hide.
	Settled base.Seq
	// Loaded: the file was bulk loaded. The sequence numbers in it are 0;
	// MaxSeq, which is MinSeq, stands in the place of each. So one file can be
	// adopted by many tablets, by each at its own sequence. Smallest and Largest
	// are keys with that sequence.
	Loaded bool
	// Families that the file matters to, ascending; nil: not known, it may
	// matter to all. Matters reads it.
	Families []base.FamilyID
	Group    string // the locality group that it was written for; for people
	// Since when the oldest of what the file holds waits to be merged with what
	// is older, in microseconds; 0: not known.
	Since int64
}

// Last returns the sequence from which on drops count: those up to it hide
// nothing in the file.
func (f *File) Last() base.Seq { return max(f.MaxSeq, f.Settled) }

// Run is a list of files whose keys do not overlap, in key order.
type Run []File

// Size returns about how many stored bytes of its files the run shows.
func (r Run) Size() int64 {
	var n int64
	for i := range r {
		n += r[i].ShownBytes()
	}
	return n
}

// Manifest lists the files of a tablet. It is a value that nobody changes: the
// next version is made of a copy.
type Manifest struct {
	Tablet        base.TabletID
	Epoch         base.Epoch
	Version       uint64
	Flushed       base.Seq
	LastTimestamp int64 // the last that the server assigned (R18), microseconds
	Runs          []Run // newest first
	Drops         []Drop
}

// Drop is a range of rows [Start, End) that was dropped; an empty bound is none.
// It hides what files hold of them whose Last is below Seq: a file is older
// than the drop, or was written without what it hides.
type Drop struct {
	Start, End []byte
	Seq        base.Seq
	Time       int64 // of the server, microseconds
}

// Clip returns the part of d in [start, end); ok is false where there is none.
func (d Drop) Clip(start, end []byte) (c Drop, ok bool) {
	if len(d.End) > 0 && bytes.Compare(d.End, start) <= 0 || len(end) > 0 && bytes.Compare(d.Start, end) >= 0 {
		return d, false
	}
	if bytes.Compare(d.Start, start) < 0 {
		d.Start = start
	}
	if len(end) > 0 && (len(d.End) == 0 || bytes.Compare(d.End, end) > 0) {
		d.End = end
	}
	return d, true
}

// ClipDrops returns the parts of drops in [start, end).
func ClipDrops(drops []Drop, start, end []byte) []Drop {
	var out []Drop
	for _, d := range drops {
		if c, ok := d.Clip(start, end); ok {
			out = append(out, c)
		}
	}
	return out
}

// Proto returns m in its stored form.
func (m *Manifest) Proto() *metapb.Manifest {
	p := &metapb.Manifest{
		Tablet: uint64(m.Tablet), Tepoch: uint64(m.Epoch), Version: m.Version,
		Flushed: uint64(m.Flushed), LastTimestamp: m.LastTimestamp,
	}
	for _, r := range m.Runs {
		pr := &metapb.Run{}
		for _, f := range r {
			pr.Files = append(pr.Files, &metapb.FileRef{
				File: meta.FileNumberProto(f.Number), Size: uint64(f.Size), TailOffset: uint64(f.TailOffset),
				Lower: f.Lower, Upper: f.Upper, Smallest: f.Smallest, Largest: f.Largest,
				MinSeq: uint64(f.MinSeq), MaxSeq: uint64(f.MaxSeq),
				MinTimestamp: f.MinTimestamp, MaxTimestamp: f.MaxTimestamp,
				Entries: f.Entries, Tombstones: f.Tombstones, RawBytes: f.RawBytes, Rows: f.Rows, Shown: uint64(f.Shown),
				Settled: uint64(f.Settled), Loaded: f.Loaded,
				LocalityGroup: f.Group, Families: familiesProto(f.Families), SinceUs: f.Since,
			})
		}
		p.Runs = append(p.Runs, pr)
	}
	for _, d := range m.Drops {
		p.Drops = append(p.Drops, &metapb.Drop{Start: d.Start, End: d.End, Seq: uint64(d.Seq), Time: d.Time})
	}
	return p
}

// FromProto is the inverse of Proto. Nothing is checked.
func FromProto(p *metapb.Manifest) *Manifest {
	m := &Manifest{
		Tablet: base.TabletID(p.Tablet), Epoch: base.Epoch(p.Tepoch), Version: p.Version,
		Flushed: base.Seq(p.Flushed), LastTimestamp: p.LastTimestamp,
	}
	for _, pr := range p.Runs {
		var r Run
		for _, f := range pr.Files {
			r = append(r, File{
				Number: meta.FileNumber(f.File), Size: int64(f.Size), TailOffset: int64(f.TailOffset),
				Lower: f.Lower, Upper: f.Upper, Smallest: f.Smallest, Largest: f.Largest,
				MinSeq: base.Seq(f.MinSeq), MaxSeq: base.Seq(f.MaxSeq),
				MinTimestamp: f.MinTimestamp, MaxTimestamp: f.MaxTimestamp,
				Entries: f.Entries, Tombstones: f.Tombstones, RawBytes: f.RawBytes, Rows: f.Rows, Shown: int64(f.Shown),
				Settled: base.Seq(f.Settled), Loaded: f.Loaded,
				Group: f.LocalityGroup, Families: familiesOf(f.Families), Since: f.SinceUs,
			})
		}
		m.Runs = append(m.Runs, r)
	}
	for _, d := range p.Drops {
		m.Drops = append(m.Drops, Drop{Start: d.Start, End: d.End, Seq: base.Seq(d.Seq), Time: d.Time})
	}
	return m
}

// Encode returns the object's bytes.
func (m *Manifest) Encode() ([]byte, error) {
	b := make([]byte, headerLen, 512)
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, m.Proto())
	if err != nil {
		return nil, fmt.Errorf("encode manifest of tablet %d: %w", m.Tablet, err)
	}
	copy(b, magic)
	binary.BigEndian.PutUint16(b[4:], m.format())
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-headerLen))
	binary.BigEndian.PutUint32(b[12:], checksum(b))
	return b, nil
}

// format returns the lowest version of the format that says all of m.
func (m *Manifest) format() uint16 {
	for _, r := range m.Runs {
		if slices.ContainsFunc(r, func(f File) bool { return f.Loaded }) {
			return VersionLoaded
		}
	}
	if len(m.Drops) > 0 {
		return VersionDrops
	}
	return Version
}

// checksum covers the header up to itself, and the body.
func checksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[headerLen:])
}

// Decode parses the bytes of a manifest object. An error wraps
// base.ErrCorrupt.
func Decode(b []byte) (*Manifest, error) {
	switch {
	case len(b) < headerLen || string(b[:4]) != magic:
		return nil, fmt.Errorf("%w: not a manifest", base.ErrCorrupt)
	case binary.BigEndian.Uint16(b[4:]) < Version || binary.BigEndian.Uint16(b[4:]) > VersionLoaded:
		return nil, fmt.Errorf("%w: manifest of format version %d; this build reads %d to %d", base.ErrCorrupt, binary.BigEndian.Uint16(b[4:]), Version, VersionLoaded)
	case binary.BigEndian.Uint32(b[8:]) != uint32(len(b)-headerLen):
		return nil, fmt.Errorf("%w: manifest of %d bytes says it has %d", base.ErrCorrupt, len(b)-headerLen, binary.BigEndian.Uint32(b[8:]))
	case binary.BigEndian.Uint32(b[12:]) != checksum(b):
		return nil, fmt.Errorf("%w: checksum of manifest", base.ErrCorrupt)
	}
	p := &metapb.Manifest{}
	if err := proto.Unmarshal(b[headerLen:], p); err != nil {
		return nil, fmt.Errorf("%w: manifest: %v", base.ErrCorrupt, err)
	}
	m := FromProto(p)
	for _, r := range m.Runs {
		for i := range r {
			if err := r[i].checkLoaded(); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// Read reads manifest f. A missing object gives an error that wraps
// objstore.ErrNotFound; damaged bytes are read twice before they count as
// base.ErrCorrupt.
func Read(ctx context.Context, store objstore.Store, f base.FileNumber) (*Manifest, error) {
	key := base.ManifestObject(f)
	var err error
	for range 2 {
		var b []byte
		if b, err = store.Get(ctx, key); err != nil {
			break
		}
		var m *Manifest
		if m, err = Decode(b); err == nil {
			return m, nil
		}
	}
	return nil, fmt.Errorf("read %s: %w", key, err)
}

// Files returns a function that reads which SSTables a manifest names; its
// errors are those of Read.
func Files(store objstore.Store) func(context.Context, base.FileNumber) ([]base.FileNumber, error) {
	return func(ctx context.Context, f base.FileNumber) ([]base.FileNumber, error) {
		m, err := Read(ctx, store, f)
		if err != nil {
			return nil, err
		}
		var files []base.FileNumber
		for _, r := range m.Runs {
			for _, x := range r {
				files = append(files, x.Number)
			}
		}
		return files, nil
	}
}
