package wal

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore/mem"
)

// syncSet is a set of strings.
type syncSet struct{ m sync.Map }

// add reports whether s is new.
func (x *syncSet) add(s string) bool {
	_, old := x.m.LoadOrStore(s, true)
	return !old
}

func wantCorrupt(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, base.ErrCorrupt) {
		t.Fatalf("error is not ErrCorrupt: %v", err)
	}
}

func FuzzDecodeObject(f *testing.F) {
	plain, _ := object(0, 0, NoCompression, rec(3, 1, 10, 10, "first"), rec(3, 2, 20, 20, ""), rec(8, 1, 1, 300, "of tablet 8"))
	packed, _ := object(1, 7, Snappy, rec(3, 2, 21, 21, string(make([]byte, 600))))
	f.Add(plain)
	f.Add(packed)
	f.Add(AppendSeal(nil, SealInfo{writer, 3, sealer}))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := decodeDirectory(b)
		wantCorrupt(t, err)
		o, err := DecodeObject(b)
		wantCorrupt(t, err)
		if err != nil {
			return
		}
		for _, s := range o.Dir {
			wantCorrupt(t, o.Records(s, func(Record) error { return nil }))
		}
	})
}

// FuzzDecodeHeader repairs the checksum, so that the fuzzer gets past it.
func FuzzDecodeHeader(f *testing.F) {
	plain, _ := object(0, 0, NoCompression, rec(3, 1, 10, 10, "first"))
	f.Add(plain)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := DecodeHeader(b)
		wantCorrupt(t, err)
		if err == nil {
			again := make([]byte, HeaderLen)
			if sum := putHeader(again, &h); sum != h.Sum && bytes.Equal(again[:92], b[:92]) {
				t.Fatalf("header %+v has checksum %x", h, sum)
			}
		}
	})
}

// FuzzRecords decodes a section past its checksum.
func FuzzRecords(f *testing.F) {
	f.Add([]byte{1, 0, 0, 'x', 2, 3, 4, 'y', 'z'}, uint32(2), uint64(5), uint64(13), false)
	f.Add([]byte{4, 0, 1, 2, 3}, uint32(1), uint64(5), uint64(6), true)
	f.Fuzz(func(t *testing.T, b []byte, n uint32, first, last uint64, packed bool) {
		s := Section{Length: uint32(len(b)), RawLength: uint32(len(b)), Records: n, First: base.Seq(first), Last: base.Seq(last), Sum: checksum(b)}
		if packed {
			s.Compression = Snappy
		}
		if s.check(nil) != nil {
			return
		}
		raw, err := s.unpack(b)
		wantCorrupt(t, err)
		if err != nil {
			return
		}
		count, prev := uint32(0), base.Seq(0)
		err = s.records(raw, func(r Record) error {
			if r.First <= prev || r.Last < r.First || r.First < s.First || r.Last > s.Last {
				t.Fatalf("record [%d, %d] after %d in a section [%d, %d]", r.First, r.Last, prev, s.First, s.Last)
			}
			prev = r.Last
			count++
			return nil
		})
		wantCorrupt(t, err)
		if err == nil && (count != n || prev != s.Last) {
			t.Fatalf("%d records up to %d; the section says %d up to %d", count, prev, n, s.Last)
		}
	})
}

func FuzzDecodeIndex(f *testing.F) {
	store := mem.New()
	s, _ := object(0, 0, NoCompression, rec(3, 1, 10, 10, "first"), rec(3, 2, 20, 20, ""))
	store.Put(f.Context(), base.LogObject(writer, 0), s)
	if err := WriteIndex(f.Context(), store, writer, 0, 1); err != nil {
		f.Fatal(err)
	}
	b, _ := store.Get(f.Context(), base.LogIndexObject(writer))
	f.Add(b, uint32(1))
	f.Fuzz(func(t *testing.T, b []byte, n uint32) {
		x, err := decodeIndex(b)
		wantCorrupt(t, err)
		if err == nil {
			for _, g := range x.groups {
				x.Extents(t.Context(), g.tablet, g.epoch)
			}
		}
		_, err = decodeExtents(b, group{tablet: 1, epoch: 1, extents: n}, 0, 1000)
		wantCorrupt(t, err)
	})
}

func FuzzDecodeSeal(f *testing.F) {
	f.Add(AppendSeal(nil, SealInfo{writer, 3, sealer}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSeal(b)
		wantCorrupt(t, err)
		if err == nil && !IsSeal(b) {
			t.Fatalf("%+v is no seal", s)
		}
	})
}
