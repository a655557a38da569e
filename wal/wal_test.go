package wal

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/mem"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

var (
	writer = base.Incarnation{Generation: 1, Index: 17}
	sealer = base.Incarnation{Generation: 1, Index: 99}
)

// sample is a record of a log made by hand.
type sample struct {
	tablet base.TabletID
	epoch  base.Epoch
	Record
}

// object builds the data object of position p; records of a tablet stand
// together, in order.
func object(p base.Position, prev uint32, c Compression, records ...sample) ([]byte, Header) {
	obj := make([]byte, HeaderLen)
	var dir []Section
	for i := 0; i < len(records); {
		s := Section{Tablet: records[i].tablet, Epoch: records[i].epoch, First: records[i].First}
		var raw []byte
		next := s.First
		for ; i < len(records) && s.is(records[i].tablet, records[i].epoch); i++ {
			r := records[i]
			raw = append(AppendRecordHeader(raw, len(r.Body), next, r.First, r.Last), r.Body...)
			s.Last, next = r.Last, r.Last+1
			s.Records++
		}
		obj = s.Pack(obj, raw, c)
		dir = append(dir, s)
	}
	return AppendFooter(obj, Header{
		Log: writer, Position: p, Nonce: [16]byte([]byte("nonce of process")),
		Low: 0, UnixMilli: 1700000000000, PrevSum: prev,
	}, dir)
}

func rec(tablet base.TabletID, epoch base.Epoch, first, last base.Seq, body string) sample {
	return sample{tablet, epoch, Record{first, last, []byte(body)}}
}

// history fills a store with n positions, in which tablet 5 writes everywhere,
// tablet 9 at every third and tablet 7 nowhere. It returns what was written.
func history(t *testing.T, store objstore.Store, n int, c Compression, bodyLen int) map[base.Position][]sample {
	t.Helper()
	out := make(map[base.Position][]sample)
	prev := uint32(0)
	for p := base.Position(0); p < base.Position(n); p++ {
		seq := base.Seq(1 + 10*p)
		body := func(i int) string {
			return fmt.Sprintf("%d/%d", p, i) + string(bytes.Repeat([]byte{'x'}, bodyLen))
		}
		rs := []sample{rec(5, 2, seq, seq, body(0)), rec(5, 2, seq+2, seq+7, body(1))}
		if p%3 == 0 {
			rs = append(rs, rec(9, 1, seq, seq+9, body(2)), rec(9, 4, 1000+seq, 1000+seq, ""))
		}
		obj, h := object(p, prev, c, rs...)
		prev = h.Sum
		if err := store.PutIfAbsent(context.Background(), base.LogObject(writer, p), obj); err != nil {
			t.Fatal(err)
		}
		out[p] = rs
	}
	return out
}

func TestGolden(t *testing.T) {
	plain, h := object(0, 0, NoCompression,
		rec(3, 1, 10, 10, "first"), rec(3, 1, 11, 13, "second"), rec(3, 2, 20, 20, ""), rec(8, 1, 1, 300, "of tablet 8"))
	long := string(bytes.Repeat([]byte("compresses well "), 64))
	packed, _ := object(1, h.Sum, Snappy, rec(3, 2, 21, 21, long), rec(8, 1, 500, 500, "short"))
	store := mem.New()
	history(t, store, 4, NoCompression, 0)
	if err := WriteIndex(t.Context(), store, writer, 0, 4); err != nil {
		t.Fatal(err)
	}
	index, err := store.Get(t.Context(), base.LogIndexObject(writer))
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{
		"v1-plain": plain, "v1-snappy": packed, "v1-index": index,
		"v1-seal": AppendSeal(nil, SealInfo{Log: writer, Position: 2, Sealer: sealer}),
	} {
		file := filepath.Join("testdata", name+".hex")
		if *rewrite {
			if err := os.WriteFile(file, []byte(hex.Dump(got)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if hex.Dump(got) != string(want) {
			t.Errorf("%s changed:\n%s", file, hex.Dump(got))
		}
	}
}

func TestObjectRoundTrip(t *testing.T) {
	for _, c := range []Compression{NoCompression, Snappy} {
		want := []sample{rec(3, 1, 10, 10, "a"), rec(3, 1, 11, 13, string(make([]byte, 5000))), rec(3, 2, 20, 20, ""), rec(8, 1, 1, 1<<40, "z")}
		data, h := object(7, 42, c, want...)
		o, err := DecodeObject(data)
		if err != nil {
			t.Fatal(err)
		}
		if o.Header != h || h.Records != 4 || h.Sections != 3 || h.Position != 7 || h.PrevSum != 42 {
			t.Fatalf("header %+v, decoded %+v", h, o.Header)
		}
		if len(data) <= SealLen || len(data) < MinObjectLen {
			t.Fatalf("object of %d bytes", len(data))
		}
		var got []sample
		for _, s := range o.Dir {
			err := o.Records(s, func(r Record) error {
				got = append(got, sample{s.Tablet, s.Epoch, r})
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		equalSamples(t, got, want)
	}
}

func equalSamples(t *testing.T, got, want []sample) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(a, b sample) bool {
		return a.tablet == b.tablet && a.epoch == b.epoch && a.First == b.First && a.Last == b.Last && bytes.Equal(a.Body, b.Body)
	}) {
		t.Fatalf("got %d records %.200v, want %d %.200v", len(got), got, len(want), want)
	}
}

// TestEveryDamagedBitIsSeen flips each bit of an object, a seal and an index.
func TestEveryDamagedBitIsSeen(t *testing.T) {
	data, _ := object(7, 42, NoCompression, rec(3, 1, 10, 10, "some body"), rec(4, 1, 11, 13, "another"))
	seal := AppendSeal(nil, SealInfo{Log: writer, Position: 2, Sealer: sealer})
	damage := func(what string, b []byte, decode func([]byte) error) {
		if err := decode(b); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for i := range len(b) * 8 {
			bad := bytes.Clone(b)
			bad[i/8] ^= 1 << (i % 8)
			if err := decode(bad); !errors.Is(err, base.ErrCorrupt) {
				t.Fatalf("%s: bit %d flipped: %v", what, i, err)
			}
		}
		for i := range len(b) {
			if err := decode(b[:i]); !errors.Is(err, base.ErrCorrupt) {
				t.Fatalf("%s cut to %d bytes: %v", what, i, err)
			}
		}
	}
	damage("object", data, func(b []byte) error { _, err := DecodeObject(b); return err })
	damage("seal", seal, func(b []byte) error { _, err := DecodeSeal(b); return err })

	store := mem.New()
	history(t, store, 4, NoCompression, 0)
	if err := WriteIndex(t.Context(), store, writer, 0, 4); err != nil {
		t.Fatal(err)
	}
	index, _ := store.Get(t.Context(), base.LogIndexObject(writer))
	damage("index", index, func(b []byte) error {
		s := mem.New()
		s.Put(t.Context(), base.LogIndexObject(writer), b)
		x, err := ReadIndex(t.Context(), s, writer)
		if err != nil {
			return err
		}
		for _, g := range x.groups {
			if _, err := x.Extents(t.Context(), g.tablet, g.epoch); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestSealIsIdempotent(t *testing.T) {
	for _, n := range []int{0, 1, 5} {
		store := mem.New()
		history(t, store, n, NoCompression, 0)
		for range 3 {
			end, err := Seal(t.Context(), store, writer, 0, sealer)
			if err != nil || end != base.Position(n) {
				t.Fatalf("Seal of %d positions = %d, %v", n, end, err)
			}
		}
		o, err := ReadObject(t.Context(), store, writer, base.Position(n))
		if err != nil || o.Seal == nil || *o.Seal != (SealInfo{writer, base.Position(n), sealer}) {
			t.Fatalf("seal = %+v, %v", o, err)
		}
	}
}

// TestSealStopsAtTheFirstHole: what a fenced writer left past a hole is not
// part of the log.
func TestSealStopsAtTheFirstHole(t *testing.T) {
	store := mem.New()
	history(t, store, 8, NoCompression, 0)
	if err := store.Delete(t.Context(), base.LogObject(writer, 0), base.LogObject(writer, 1), base.LogObject(writer, 5)); err != nil {
		t.Fatal(err)
	}
	for _, low := range []base.Position{2, 5} {
		if end, err := Seal(t.Context(), store, writer, low, sealer); err != nil || end != 5 {
			t.Fatalf("Seal from %d = %d, %v", low, end, err)
		}
	}
}

// livingWriter is a store whose log grows by some positions before each put of
// a seal: the writer wins every race until a seal stands in its way.
type livingWriter struct {
	*mem.Store
	t     *testing.T
	next  base.Position
	prev  uint32
	speed int
	puts  int
}

func (w *livingWriter) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	for range w.speed {
		obj, h := object(w.next, w.prev, NoCompression, rec(1, 1, base.Seq(w.next+1), base.Seq(w.next+1), "x"))
		if err := w.Store.PutIfAbsent(ctx, base.LogObject(writer, w.next), obj); err != nil {
			break
		}
		w.next, w.prev = w.next+1, h.Sum
	}
	w.puts++
	return w.Store.PutIfAbsent(ctx, key, data)
}

func TestSealOvertakesALivingWriter(t *testing.T) {
	for _, speed := range []int{1, 3, 50, 1000} {
		w := &livingWriter{Store: mem.New(), t: t, speed: speed}
		end, err := Seal(t.Context(), w, writer, 0, sealer)
		if err != nil || end != w.next {
			t.Fatalf("speed %d: Seal = %d, %v; the writer stopped at %d", speed, end, err, w.next)
		}
		w.speed = 0
		if again, err := Seal(t.Context(), w, writer, 0, sealer); err != nil || again != end {
			t.Fatalf("speed %d: second Seal = %d, %v; the first was %d", speed, again, err, end)
		}
		t.Logf("speed %d: %d puts, end %d", speed, w.puts, end)
	}
}

func TestReplay(t *testing.T) {
	for _, c := range []Compression{NoCompression, Snappy} {
		for _, bodyLen := range []int{0, 40000} { // in the tail, and not
			store := mem.New()
			want := history(t, store, 40, c, bodyLen)
			end, err := Seal(t.Context(), store, writer, 0, sealer)
			if err != nil {
				t.Fatal(err)
			}
			if err := WriteIndex(t.Context(), store, writer, 0, end); err != nil {
				t.Fatal(err)
			}
			index, err := ReadIndex(t.Context(), store, writer)
			if err != nil {
				t.Fatal(err)
			}
			testReplay(t, store, want, Bounds{0, end}, index)
		}
	}
}

func testReplay(t *testing.T, store objstore.Store, want map[base.Position][]sample, b Bounds, index *Index) {
	for _, e := range []Entry{
		{Tablet: 5, Epoch: 2},
		{Tablet: 5, Epoch: 3},
		{Tablet: 7, Epoch: 1},
		{Tablet: 9, Epoch: 1, From: 4},
		{Tablet: 9, Epoch: 4, From: 4, To: 30, HasTo: true},
		{Tablet: 9, Epoch: 4, From: 4, To: 4, HasTo: true},
		{Tablet: 9, Epoch: 4, From: 9, To: 4, HasTo: true},
		{Tablet: 5, Epoch: 2, From: 1000},
		{Tablet: 5, Epoch: 2, From: 3, To: 1000, HasTo: true},
	} {
		e.Log = writer
		var expect []sample
		from, to := b.Clip(e)
		for p := from; p < to; p++ {
			for _, r := range want[p] {
				if r.tablet == e.Tablet && r.epoch == e.Epoch {
					expect = append(expect, r)
				}
			}
		}
		bounds := []Bounds{b}
		if e.HasTo && e.To < b.End {
			bounds = append(bounds, Bounds{b.Low, OpenEnd})
		}
		for _, b := range bounds {
			for _, x := range []*Index{nil, index} {
				var got []sample
				last := base.Position(0)
				err := Replay(t.Context(), store, e, b, x, func(p base.Position, r Record) error {
					if p < last {
						t.Fatalf("position %d after %d", p, last)
					}
					last = p
					got = append(got, sample{e.Tablet, e.Epoch, r})
					return nil
				})
				if err != nil {
					t.Fatalf("replay %+v: %v", e, err)
				}
				equalSamples(t, got, expect)
			}
		}
	}
}

func TestReplayErrors(t *testing.T) {
	store := mem.New()
	history(t, store, 10, NoCompression, 0)
	if err := WriteIndex(t.Context(), store, writer, 2, 10); err != nil {
		t.Fatal(err)
	}
	index, err := ReadIndex(t.Context(), store, writer)
	if err != nil {
		t.Fatal(err)
	}
	e := Entry{Log: writer, Tablet: 9, Epoch: 1}
	none := func(base.Position, Record) error { return nil }
	if err := Replay(t.Context(), store, e, Bounds{0, OpenEnd}, nil, none); !errors.Is(err, base.ErrInvalid) {
		t.Errorf("open entry of an open log: %v", err)
	}
	if err := Replay(t.Context(), store, e, Bounds{0, 10}, index, none); !errors.Is(err, base.ErrInvalid) {
		t.Errorf("index of a later low: %v", err)
	}
	stop := errors.New("stop")
	if err := Replay(t.Context(), store, e, Bounds{2, 10}, index, func(base.Position, Record) error { return stop }); err != stop {
		t.Errorf("error of the callback: %v", err)
	}
	// The object is damaged in the bucket: both reads show it.
	key := base.LogObject(writer, 6)
	obj, _ := store.Get(t.Context(), key)
	bad := bytes.Clone(obj)
	bad[bytes.LastIndex(bad, []byte("6/2"))] ^= 1
	store.Put(t.Context(), key, bad)
	for _, x := range []*Index{nil, index} {
		err := Replay(t.Context(), store, e, Bounds{2, 10}, x, none)
		if !errors.Is(err, base.ErrCorrupt) || !bytes.Contains([]byte(err.Error()), []byte(key)) {
			t.Errorf("damaged object: %v", err)
		}
	}
	if bad := Check(t.Context(), store, writer, 0, 10); len(bad) != 1 {
		t.Errorf("Check of one damaged object = %v", bad)
	}
	// It is gone.
	store.Delete(t.Context(), key)
	for _, x := range []*Index{nil, index} {
		if err := Replay(t.Context(), store, e, Bounds{2, 10}, x, none); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("missing object: %v", err)
		}
	}
	if err := WriteIndex(t.Context(), store, writer, 2, 10); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("index with a missing object: %v", err)
	}
	// A seal inside is not data.
	store.Put(t.Context(), key, AppendSeal(nil, SealInfo{writer, 6, sealer}))
	if err := WriteIndex(t.Context(), store, writer, 2, 10); !errors.Is(err, base.ErrCorrupt) {
		t.Errorf("index across a seal: %v", err)
	}
}

// TestDamageOnTheWay: bytes that were damaged once, not in the bucket, are read
// again.
func TestDamageOnTheWay(t *testing.T) {
	store := &flakyReads{Store: mem.New()}
	history(t, store, 40, NoCompression, 20000)
	for range 3 {
		n := 0
		err := Replay(t.Context(), store, Entry{Log: writer, Tablet: 9, Epoch: 1}, Bounds{0, 40}, nil,
			func(base.Position, Record) error { n++; return nil })
		if err != nil || n != 14 {
			t.Fatalf("%d records, %v", n, err)
		}
	}
}

// flakyReads damages the first read of each range.
type flakyReads struct {
	*mem.Store
	seen syncSet
}

func (f *flakyReads) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	b, err := f.Store.GetRange(ctx, key, off, n)
	if err == nil && f.seen.add(fmt.Sprint(key, off, n)) {
		b[len(b)/2] ^= 0x40
		b[len(b)-5] ^= 0x40
	}
	return b, err
}

func TestIndexLargerThanOneRead(t *testing.T) {
	store := mem.New()
	byTablet := make(map[group][]Extent)
	rng := rand.New(rand.NewPCG(1, 2))
	for tablet := range 30000 { // a table of contents longer than a chunk
		g := group{tablet: base.TabletID(tablet), epoch: 1}
		seq := base.Seq(1)
		for p := base.Position(0); p < 10; p++ {
			n := base.Seq(1 + rng.IntN(1000))
			byTablet[g] = append(byTablet[g], Extent{Position: p, Section: Section{
				Tablet: g.tablet, Epoch: 1, Offset: HeaderLen, Length: 3000, RawLength: 3000,
				Records: 1, First: seq, Last: seq + n, Sum: rng.Uint32(),
			}})
			seq += n + 1
		}
	}
	if err := store.Put(t.Context(), base.LogIndexObject(writer), encodeIndex(writer, 0, 10, byTablet)); err != nil {
		t.Fatal(err)
	}
	x, err := ReadIndex(t.Context(), store, writer)
	if err != nil {
		t.Fatal(err)
	}
	for _, tablet := range []base.TabletID{0, 1, 15000, 29999} {
		got, err := x.Extents(t.Context(), tablet, 1)
		if err != nil || !slices.Equal(got, byTablet[group{tablet: tablet, epoch: 1}]) || !x.Has(tablet, 1) {
			t.Fatalf("tablet %d: %v, %v", tablet, got, err)
		}
	}
	if got, err := x.Extents(t.Context(), 30000, 1); err != nil || got != nil || x.Has(5, 2) {
		t.Fatalf("tablet that is not there: %v, %v", got, err)
	}
}

func TestManyTabletsInOneObject(t *testing.T) {
	store := mem.New()
	var rs []sample
	for tablet := base.TabletID(1); tablet <= 2000; tablet++ { // a directory longer than a suffix read
		rs = append(rs, rec(tablet, 1, 1, 1, "body"))
	}
	obj, _ := object(0, 0, NoCompression, rs...)
	store.Put(t.Context(), base.LogObject(writer, 0), obj)
	n := 0
	err := Replay(t.Context(), store, Entry{Log: writer, Tablet: 1234, Epoch: 1}, Bounds{0, 1}, nil,
		func(base.Position, Record) error { n++; return nil })
	if err != nil || n != 1 {
		t.Fatalf("%d records, %v", n, err)
	}
}

func TestCheckAndObjects(t *testing.T) {
	store := mem.New()
	history(t, store, 6, Snappy, 300)
	end, err := Seal(t.Context(), store, writer, 0, sealer)
	if err != nil {
		t.Fatal(err)
	}
	if bad := Check(t.Context(), store, writer, 0, end); bad != nil {
		t.Fatalf("Check = %v", bad)
	}
	if err := WriteIndex(t.Context(), store, writer, 0, end); err != nil {
		t.Fatal(err)
	}
	var got []base.Position
	for p, err := range Objects(t.Context(), store, writer, 2) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p)
	}
	if !slices.Equal(got, []base.Position{2, 3, 4, 5, 6}) {
		t.Fatalf("Objects = %v", got)
	}
	if err := Collect(t.Context(), store, writer, end); err != nil {
		t.Fatal(err)
	}
	if o, err := ReadObject(t.Context(), store, writer, end); err != nil || o.Seal == nil {
		t.Fatalf("the seal after Collect: %v, %v", o, err)
	}
	if n, _ := store.Size(); n != 1 {
		t.Fatalf("%d objects after Collect", n)
	}
}
