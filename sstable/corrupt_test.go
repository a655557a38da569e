package sstable

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/sstable/block"
	"github.com/tabletdb/tabletdb/sstable/bloom"
	"github.com/tabletdb/tabletdb/sstable/compress"
)

// errBackwards: keys are not in order, which only Verify looks for.
var errBackwards = errors.New("the file reads differently backwards")

// readAll opens a file with what is known of it, reads it in two ways and
// verifies it.
func readAll(ctx context.Context, data []byte, meta Meta) ([]entry, error) {
	r, err := Open(ctx, &memSource{data: data}, meta, ReaderOptions{})
	if err != nil {
		return nil, err
	}
	var out []entry
	it := r.NewIter(ctx, IterOptions{Readahead: 64 << 10, Eager: true})
	for ok := it.SeekGE(nil); ok; ok = it.Next() {
		out = append(out, entry{bytes.Clone(it.Key()), bytes.Clone(it.Value())})
	}
	if err := it.Close(); err != nil {
		return nil, err
	}
	back := r.NewIter(ctx, IterOptions{FillCache: true})
	for ok, n := back.SeekLT(bytes.Repeat([]byte{0xff}, 9)), len(out)-1; ok && n >= 0; ok, n = back.SeekLT(out[n].key), n-1 {
		if !bytes.Equal(back.Key(), out[n].key) {
			return nil, errBackwards
		}
	}
	if err := back.Close(); err != nil {
		return nil, err
	}
	return out, r.Verify(ctx)
}

// Each byte of a file is changed in turn, by one bit or entirely: that must be
// noticed. Each prefix of a file must be, too.
func TestEveryByteMatters(t *testing.T) {
	rng := seedtest.New(t)
	for _, c := range []compress.Type{compress.None, compress.Snappy, compress.Zstd} {
		entries := randomEntries(rng, 60, 100)
		tab := write(t, WriterOptions{File: testFile, Compression: c, BlockSize: MinBlockSize}, entries)
		if got, err := readAll(t.Context(), tab.Data, tab.Meta); err != nil || !sameEntries(got, entries) {
			t.Fatalf("the intact file: %v", err)
		}
		for at := range tab.Data {
			for _, flip := range []byte{1 << rng.IntN(8), 0xff}[rng.IntN(2):][:1] {
				bad := bytes.Clone(tab.Data)
				bad[at] ^= flip
				for _, meta := range []Meta{tab.Meta, {}}[at%2:][:1] {
					got, err := readAll(t.Context(), bad, meta)
					if err == nil && !sameEntries(got, entries) {
						t.Fatalf("%v: byte %d of %d ^ %02x gives wrong entries", c, at, len(bad), flip)
					}
					// Footers of another version say so.
					if !errors.Is(err, base.ErrCorrupt) {
						t.Fatalf("%v: byte %d of %d ^ %02x: error %v", c, at, len(bad), flip, err)
					}
				}
			}
		}
		for n := range tab.Data {
			if _, err := readAll(t.Context(), tab.Data[:n], Meta{}); !errors.Is(err, base.ErrCorrupt) {
				t.Fatalf("%v: the first %d bytes of %d: error %v", c, n, len(tab.Data), err)
			}
		}
	}
}

// A block that is intact, but of another file or place, is not accepted.
func TestMisplacedBlocks(t *testing.T) {
	o := WriterOptions{File: testFile, BlockSize: MinBlockSize, BitsPerKey: -1}
	a := write(t, o, rows(100, 100))
	o.File.Number++
	b := write(t, o, rows(100, 100))
	r, _ := open(t, a, ReaderOptions{})
	h0, h1 := r.index.handle(cursor{0, 0}), r.index.handle(cursor{0, 1})
	if h0.Len != h1.Len {
		t.Fatal("blocks differ in length")
	}
	for name, frame := range map[string][]byte{
		"other file":  b.Data[h0.Offset:h0.End()],
		"other place": a.Data[h1.Offset:h1.End()],
	} {
		bad := bytes.Clone(a.Data)
		copy(bad, frame)
		if _, err := readAll(t.Context(), bad, a.Meta); !errors.Is(err, base.ErrCorrupt) {
			t.Errorf("a block of an%s: error %v", name, err)
		}
	}
}

// Verify finds what checksums cannot: a writer that was wrong.
func TestVerifyFindsLies(t *testing.T) {
	entries := rows(100, 100)
	check := func(name string, lie func(w *Writer)) {
		w := NewWriter(WriterOptions{File: testFile, BlockSize: MinBlockSize})
		for _, e := range entries {
			w.Add(e.key, e.value)
		}
		lie(w)
		tab, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		r, _ := open(t, tab, ReaderOptions{})
		if err := r.Verify(t.Context()); !errors.Is(err, base.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	check("properties", func(w *Writer) { w.keys.props.Rows++ })
	check("filter", func(w *Writer) { w.keys.rows = bloom.Builder{} })
	check("order", func(w *Writer) { w.block.Add(entries[0].key, nil, 0); w.keys.props.Entries++ })
	check("separator", func(w *Writer) { w.sep = append(w.sep, 0xff) })
}

// FuzzOpen feeds whole files, and tails whose checksums are made right.
func FuzzOpen(f *testing.F) {
	for _, c := range []compress.Type{compress.None, compress.Snappy, compress.Zstd} {
		w := NewWriter(WriterOptions{File: testFile, Compression: c, BlockSize: MinBlockSize})
		for _, e := range rows(60, 100) {
			w.Add(e.key, e.value)
		}
		tab, err := w.Finish()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(tab.Data)
	}
	for _, filters := range []Filters{RowFilter, NoFilters} {
		w := NewWriter(WriterOptions{File: testFile, Filters: filters, Group: "meta", BlockSize: MinBlockSize, Compressions: map[base.FamilyID]compress.Type{1: compress.Zstd}})
		for _, e := range rows(60, 100) {
			w.Add(e.key, e.value)
		}
		tab, err := w.Finish()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(tab.Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for range 2 {
			if _, err := readAll(t.Context(), data, Meta{}); err != nil &&
				!errors.Is(err, base.ErrCorrupt) && !errors.Is(err, base.ErrUnimplemented) && err != errBackwards {
				t.Fatalf("error %v does not wrap ErrCorrupt", err)
			}
			data = repair(bytes.Clone(data))
		}
	})
}

// repair makes the checksums of a file right, as far as its parts are found.
func repair(data []byte) []byte {
	if len(data) < FooterLen {
		return data
	}
	foot := data[len(data)-FooterLen:]
	copy(foot[56:], magic)
	foot[44] = Version
	le := binary.LittleEndian
	le.PutUint32(foot[52:], block.Checksum(foot[:52]))
	f, err := parseFooter(foot)
	if err != nil {
		return data
	}
	fix := func(off, n uint64) {
		if n < block.TrailerLen || off > uint64(len(data)) || n > uint64(len(data))-off {
			return
		}
		frame := bytes.Clone(data[off : off+n-block.TrailerLen])
		typ := compress.Type(data[off+n-block.TrailerLen])
		copy(data[off:], block.AppendTrailer(frame, 0, typ, f.salt, off))
	}
	fix(f.tailOffset, uint64(f.rowFilterLen))
	fix(f.tailOffset+uint64(f.rowFilterLen), uint64(f.colFilterLen))
	fix(f.topOffset, uint64(f.topLen))
	fix(f.topOffset+uint64(f.topLen), uint64(f.props))
	if t, err := openTail(data[min(f.tailOffset, uint64(len(data))):]); err == nil && !t.index.empty() {
		for c, ok := (cursor{}), true; ok; c, ok = t.index.next(c) {
			h := t.index.handle(c)
			fix(h.Offset, h.Len+block.TrailerLen)
		}
	}
	return data
}

func FuzzProperties(f *testing.F) {
	tab := write(f, WriterOptions{File: testFile}, rows(10, 1))
	f.Add(tab.Properties.appendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseProperties(b)
		if err != nil {
			if !errors.Is(err, base.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again, err := parseProperties(p.appendTo(nil))
		if err != nil || again.Entries != p.Entries || !bytes.Equal(again.MaxKey, p.MaxKey) || len(again.Families) != len(p.Families) {
			t.Fatalf("%+v reads back as %+v, %v", p, again, err)
		}
	})
}

func FuzzFooter(f *testing.F) {
	tab := write(f, WriterOptions{}, rows(10, 1))
	f.Add(tab.Data[len(tab.Data)-FooterLen:])
	f.Fuzz(func(t *testing.T, b []byte) {
		foot, err := parseFooter(b)
		if err == nil {
			// Reserved bytes are covered by the checksum and not interpreted.
			if again, err := parseFooter(foot.appendTo(nil)); err != nil || again != foot {
				t.Fatalf("%+v reads back as %+v, %v", foot, again, err)
			}
		}
	})
}

func TestFutureVersion(t *testing.T) {
	tab := write(t, WriterOptions{}, rows(10, 1))
	foot := tab.Data[len(tab.Data)-FooterLen:]
	foot[44] = Version + 1
	binary.LittleEndian.PutUint32(foot[52:], block.Checksum(foot[:52]))
	if _, err := readAll(t.Context(), tab.Data, tab.Meta); !errors.Is(err, base.ErrUnimplemented) {
		t.Errorf("error %v, want one that wraps ErrUnimplemented", err)
	}
}

// goldenEntries are what testdata/v1-* hold.
func goldenEntries() []entry {
	var out []entry
	add := func(key []byte, value string) { out = append(out, entry{key, []byte(value)}) }
	for _, row := range []string{"alpha", "beta\x00", "gamma"} {
		r := []byte(row)
		add(base.AppendDeleteRowKey(nil, r, 3), "")
		add(base.AppendDeleteFamilyKey(nil, r, 1, 4), "")
		add(base.AppendDeleteColumnKey(nil, r, 1, []byte("q"), 5), string(base.AppendTimeRange(nil, 10, 20)))
		for seq := base.Seq(100); seq > 80; seq-- {
			add(base.AppendCellKey(nil, r, 1, []byte("q"), 1_700_000_000_000_000, seq, base.KindSet), string(bytes.Repeat(r, 40)))
		}
		add(base.AppendCellKey(nil, r, 2, []byte("count"), 7, 9, base.KindAdd), "12345678")
		add(base.AppendCellKey(nil, r, base.SystemFamily, nil, 0, 9, base.KindMerge), "x")
	}
	return out
}

// Files of format version 1 stay readable for ever. Where compression is none,
// the writer also makes the same bytes; packed bytes may differ from library to
// library. UPDATE_GOLDEN=1 writes missing files.
func TestGolden(t *testing.T) {
	for _, c := range []compress.Type{compress.None, compress.Snappy, compress.Zstd} {
		tab := write(t, WriterOptions{File: testFile, Compression: c, BlockSize: MinBlockSize}, goldenEntries())
		name := filepath.Join("testdata", "v1-"+c.String()+".sst")
		want, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) && os.Getenv("UPDATE_GOLDEN") != "" {
			want, err = tab.Data, os.WriteFile(name, tab.Data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if c == compress.None && !bytes.Equal(want, tab.Data) {
			t.Errorf("the writer no longer makes %s", name)
		}
		got, err := readAll(t.Context(), want, Meta{})
		if err != nil || !sameEntries(got, goldenEntries()) {
			t.Errorf("%s holds %d entries: %v", name, len(got), err)
		}
	}
}
