package pagecache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/faulty"
	"github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/objstore/objstoretest"
	"github.com/tabletdb/tabletdb/objstore/pagecache"
)

const page = 4 << 10

// counted counts the ranges read of a store.
type counted struct {
	objstore.Store
	gets, bytes atomic.Int64
}

func (c *counted) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	c.gets.Add(1)
	b, err := c.Store.GetRange(ctx, key, off, n)
	c.bytes.Add(int64(len(b)))
	return b, err
}

func open(t testing.TB, inner objstore.Store, o pagecache.Options) *pagecache.Store {
	t.Helper()
	if o.PageSize == 0 {
		o.PageSize = page
	}
	if o.Bytes == 0 {
		o.Bytes = 256 * page
	}
	if o.OnDisabled == nil {
		o.OnDisabled = func(err error) { t.Errorf("the cache is off: %v", err) }
	}
	s, err := pagecache.Open(inner, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// object puts an object of n bytes, in which each place differs.
func object(t testing.TB, s objstore.Store, key string, n int) []byte {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(n), uint64(len(key))+uint64(key[len(key)-1])))
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	if err := s.Put(t.Context(), key, data); err != nil {
		t.Fatal(err)
	}
	return data
}

func get(t testing.TB, s objstore.Store, ctx context.Context, key string, want []byte, off, n int64) {
	t.Helper()
	got, err := s.GetRange(ctx, key, off, n)
	lo, hi := objstore.Window(int64(len(want)), off, n)
	if err != nil || !bytes.Equal(got, want[lo:hi]) {
		t.Fatalf("GetRange(%s, %d, %d) = %d bytes, %v; want %d bytes", key, off, n, len(got), err, hi-lo)
	}
}

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Store {
		return open(t, mem.New(), pagecache.Options{Dir: t.TempDir()})
	})
}

// TestModel: whatever is read in whatever mode, through restarts, evictions,
// deletions and bad bytes on the disk, is what the store has.
func TestModel(t *testing.T) {
	r := seedtest.New(t)
	inner := mem.New()
	sizes := []int{1, page - 1, page, page + 1, 3 * page, 10*page + 17, 40 * page, 100*page - 5}
	objects := map[string][]byte{}
	var keys []string
	for i, n := range sizes {
		key := fmt.Sprintf("sst/%02d/x", i)
		objects[key], keys = object(t, inner, key, n), append(keys, key)
	}
	dir := t.TempDir()
	s := open(t, inner, pagecache.Options{Dir: dir, Bytes: 64 * page})
	modes := []pagecache.Mode{pagecache.Fill, pagecache.FillFree, pagecache.Bypass}
	for range 60 {
		var wg sync.WaitGroup
		for range 4 {
			seed := r.Uint64()
			wg.Go(func() {
				r := rand.New(rand.NewPCG(seed, 1))
				for range 25 {
					key := keys[r.IntN(len(keys))]
					want := objects[key]
					off, n := r.Int64N(int64(len(want)+page)), 1+r.Int64N(20*page)
					ctx := pagecache.WithMode(t.Context(), modes[r.IntN(3)])
					read := s.GetRange
					if r.IntN(20) == 0 {
						read = s.GetRangeFresh
					}
					got, err := read(ctx, key, off, n)
					lo, hi := objstore.Window(int64(len(want)), off, n)
					if err != nil || !bytes.Equal(got, want[lo:hi]) {
						t.Errorf("GetRange(%s, %d, %d) = %d bytes, %v; want %d", key, off, n, len(got), err, hi-lo)
					}
				}
			})
		}
		if r.IntN(4) == 0 {
			s.Forget(keys[r.IntN(len(keys))])
		}
		wg.Wait()
		switch r.IntN(6) {
		case 0:
			s.Close()
			s = open(t, inner, pagecache.Options{Dir: dir, Bytes: int64(32+r.IntN(64)) * page})
		case 1:
			scribble(t, r, dir)
		}
		if t.Failed() {
			return
		}
	}
	if st := s.Stats(); st.Disabled || st.Pages > st.Capacity {
		t.Errorf("%+v", st)
	}
}

// scribble writes garbage somewhere in a file, or moves bytes within it.
func scribble(t *testing.T, r *rand.Rand, dir string) {
	f, err := os.OpenFile(filepath.Join(dir, []string{"pages", "index"}[r.IntN(2)]), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() < 2*page {
		return
	}
	b := make([]byte, 1+r.IntN(page))
	f.ReadAt(b, r.Int64N(info.Size()-page)/128*128)
	if r.IntN(2) == 0 {
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
	}
	f.WriteAt(b, 128+r.Int64N(info.Size()-page)/128*128)
}

func TestRestart(t *testing.T) {
	inner := &counted{Store: mem.New()}
	want := object(t, inner, "sst/00/a", 20*page+100)
	dir := t.TempDir()
	s := open(t, inner, pagecache.Options{Dir: dir, Identity: "one"})
	get(t, s, t.Context(), "sst/00/a", want, 0, int64(len(want)))
	s.Close()
	for _, c := range []struct {
		identity string
		pageSize int64
		gets     int64
	}{{"one", page, 0}, {"one", page, 0}, {"two", page, 1}, {"two", page, 0}, {"two", 2 * page, 1}} {
		inner.gets.Store(0)
		s = open(t, inner, pagecache.Options{Dir: dir, Identity: c.identity, PageSize: c.pageSize, Bytes: 256 * page})
		get(t, s, t.Context(), "sst/00/a", want, 0, int64(len(want)))
		get(t, s, t.Context(), "sst/00/a", want, page+7, 3*page)
		if n := inner.gets.Load(); n != c.gets {
			t.Errorf("%+v: %d GETs", c, n)
		}
		s.Close()
		get(t, s, t.Context(), "sst/00/a", want, 1, 2) // passes through
	}
}

// TestCoalesced: neighbouring pages that are missing are one GET, and so are
// those with a few between them that are there; distant ones are not.
func TestCoalesced(t *testing.T) {
	inner := &counted{Store: mem.New()}
	want := object(t, inner, "sst/00/a", 64*page)
	s := open(t, inner, pagecache.Options{Dir: t.TempDir()})
	for _, c := range []struct{ off, n, gets, bytes int64 }{
		{10 * page, 3 * page, 1, 3 * page}, // 10 to 12
		{10 * page, 3 * page, 0, 0},
		{10*page + 5, 10, 0, 0},
		{9*page + 100, 4 * page, 1, 5 * page}, // 9 and 13, those between are there
		{9 * page, 5 * page, 0, 0},
		{30 * page, page, 1, page},
		{31 * page, 8 * page, 1, 8 * page},              // 30 to 38
		{29 * page, 11 * page, 2, 2 * page},             // 29 and 39: too far apart
		{60*page + 1, 100 * page, 1, 64*page - 60*page}, // past the end
	} {
		inner.gets.Store(0)
		inner.bytes.Store(0)
		get(t, s, t.Context(), "sst/00/a", want, c.off, c.n)
		if c.off > 60*page {
			continue // what lies behind the end is asked for as well
		}
		if gets, n := inner.gets.Load(), inner.bytes.Load(); gets != c.gets || n != c.bytes {
			t.Errorf("%+v: %d GETs of %d bytes", c, gets, n)
		}
	}
}

// TestOneGet: whoever wants a page that is being fetched waits for it; he who
// fetches may give up, another goes on then.
func TestOneGet(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		slow := faulty.New(mem.New(), faulty.Options{Rules: []faulty.Rule{
			{Ops: faulty.GetRange, Probability: 1, Fault: faulty.Fault{Kind: faulty.Slow, Delay: time.Second}},
		}})
		inner := &counted{Store: slow}
		want := object(t, inner, "sst/00/a", 8*page)
		s := open(t, inner, pagecache.Options{Dir: dir})
		first, giveUp := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer giveUp()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.GetRange(first, "sst/00/a", 0, page); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the first: %v", err)
			}
		})
		synctest.Wait()
		for i := range 20 {
			wg.Go(func() { get(t, s, t.Context(), "sst/00/a", want, int64(i), page) }) // two pages each, but for one
		}
		wg.Wait()
		if n := inner.gets.Load(); n != 3 { // the first, its heir, and the second page
			t.Errorf("%d GETs", n)
		}
		s.Close()
	})
}

// TestForget: deleted objects leave nothing behind, not even for the next
// process.
func TestForget(t *testing.T) {
	inner := &counted{Store: mem.New()}
	dir := t.TempDir()
	s := open(t, inner, pagecache.Options{Dir: dir})
	want := map[string][]byte{}
	for _, key := range []string{"sst/00/a", "sst/00/b", "sst/00/c"} {
		want[key] = object(t, inner, key, 5*page)
		get(t, s, t.Context(), key, want[key], 0, 5*page)
	}
	s.Settle()
	s.Forget("sst/00/a")
	if err := s.Delete(t.Context(), "sst/00/b"); err != nil {
		t.Fatal(err)
	}
	if n := s.Stats().Pages; n != 5 {
		t.Errorf("%d pages, want 5", n)
	}
	if _, err := s.GetRange(t.Context(), "sst/00/b", 0, 10); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("read of a deleted object: %v", err)
	}
	s.Close()
	s = open(t, inner, pagecache.Options{Dir: dir})
	if n := s.Stats().Pages; n != 5 {
		t.Errorf("%d pages after a restart, want 5", n)
	}
}

// TestScanResistance: points that are read again and again stay, while others
// that are read once, scans and compactions pass.
func TestScanResistance(t *testing.T) {
	inner := &counted{Store: mem.New()}
	hot := object(t, inner, "sst/00/hot", 40*page)
	once := object(t, inner, "sst/00/once", 1000*page)
	s := open(t, inner, pagecache.Options{Dir: t.TempDir(), Bytes: 100 * page})
	readHot := func() {
		for p := range int64(40) {
			get(t, s, t.Context(), "sst/00/hot", hot, p*page, page)
		}
	}
	readHot()
	s.Settle()
	readHot()
	for p := range int64(1000) {
		get(t, s, t.Context(), "sst/00/once", once, p*page, page)
		s.Settle()
	}
	inner.gets.Store(0)
	readHot()
	if n := inner.gets.Load(); n > 4 {
		t.Errorf("%d of 40 hot pages were lost to pages read once", n)
	}
	s.Settle()
	before := s.Stats()
	for _, m := range []pagecache.Mode{pagecache.FillFree, pagecache.Bypass} {
		for p := int64(0); p < 900; p += 50 {
			get(t, s, pagecache.WithMode(t.Context(), m), "sst/00/once", once, p*page, 50*page)
		}
	}
	if st := s.Stats(); st.Evicted != before.Evicted || st.Stored != before.Stored {
		t.Errorf("scans changed the cache: %+v, before %+v", st, before)
	}
	if st := s.Stats(); st.Pages > st.Capacity || st.Capacity != 100 {
		t.Errorf("%+v", st)
	}
}

// TestFillFree: scans fill what is free.
func TestFillFree(t *testing.T) {
	inner := &counted{Store: mem.New()}
	want := object(t, inner, "sst/00/a", 60*page)
	s := open(t, inner, pagecache.Options{Dir: t.TempDir(), Bytes: 50 * page})
	ctx := pagecache.WithMode(t.Context(), pagecache.FillFree)
	for p := int64(0); p < 60; p += 10 {
		get(t, s, ctx, "sst/00/a", want, p*page, 10*page)
		s.Settle()
	}
	if st := s.Stats(); st.Pages != 50 || st.Evicted != 0 {
		t.Errorf("%+v", st)
	}
	inner.gets.Store(0)
	bypass := pagecache.WithMode(t.Context(), pagecache.Bypass)
	get(t, s, bypass, "sst/00/a", want, 20*page, 30*page)
	if n := inner.gets.Load(); n != 0 {
		t.Errorf("a compaction made %d GETs for what is there", n)
	}
	get(t, s, bypass, "sst/00/a", want, 45*page+9, 10*page)
	if gets, n := inner.gets.Load(), inner.bytes.Load(); gets != 1 || n != 70*page {
		t.Errorf("%d GETs of %d bytes, want the range that was asked for", gets, n)
	}
}

func TestFreshForgets(t *testing.T) {
	f := faulty.New(mem.New(), faulty.Options{})
	want := object(t, f, "sst/00/a", 2*page)
	s := open(t, f, pagecache.Options{Dir: t.TempDir()})
	f.FailNext(faulty.GetRange, "sst/", faulty.Fault{Kind: faulty.Flip})
	b, err := s.GetRange(t.Context(), "sst/00/a", 0, 2*page)
	if err != nil || bytes.Equal(b, want) {
		t.Fatalf("the store flipped no bit: %v", err)
	}
	b, err = s.GetRangeFresh(t.Context(), "sst/00/a", 0, 2*page)
	if err != nil || !bytes.Equal(b, want) {
		t.Fatalf("a fresh read is wrong too: %v", err)
	}
	get(t, s, t.Context(), "sst/00/a", want, 0, 2*page)
}

func TestBadOptions(t *testing.T) {
	dir := t.TempDir()
	for _, o := range []pagecache.Options{
		{Bytes: 1 << 30}, {Dir: dir}, {Dir: dir, Bytes: 100}, {Dir: dir, Bytes: 1 << 30, PageSize: 5000}, {Dir: dir, Bytes: 1 << 30, PageSize: 2 << 20},
	} {
		if _, err := pagecache.Open(mem.New(), o); !errors.Is(err, base.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	open(t, mem.New(), pagecache.Options{Dir: dir})
	if _, err := pagecache.Open(mem.New(), pagecache.Options{Dir: dir, Bytes: 1 << 20}); !errors.Is(err, base.ErrInvalid) {
		t.Errorf("a directory that is in use: %v", err)
	}
	if _, err := pagecache.Open(mem.New(), pagecache.Options{Dir: filepath.Join(dir, "index", "x"), Bytes: 1 << 20}); err == nil {
		t.Error("a directory below a file")
	}
}

// TestPut: what was put is there, unless it was put past the cache or found no
// room.
func TestPut(t *testing.T) {
	inner := &counted{Store: mem.New()}
	s := open(t, inner, pagecache.Options{Dir: t.TempDir(), Bytes: 20 * page})
	data := object(t, mem.New(), "x", 10*page+5)
	for i, c := range []struct {
		mode pagecache.Mode
		gets int64
	}{{pagecache.Fill, 0}, {pagecache.Bypass, 1}, {pagecache.FillFree, 1}, {pagecache.Fill, 0}} {
		key := fmt.Sprintf("sst/00/%d", i)
		ctx := pagecache.WithMode(t.Context(), c.mode)
		if err := s.PutIfAbsent(ctx, key, data); err != nil {
			t.Fatal(err)
		}
		if err := s.PutIfAbsent(ctx, key, nil); !errors.Is(err, objstore.ErrExists) {
			t.Fatalf("the second put: %v", err)
		}
		inner.gets.Store(0)
		get(t, s, pagecache.WithMode(t.Context(), pagecache.Bypass), key, data, 0, int64(len(data)))
		if n := inner.gets.Load(); n != c.gets {
			t.Errorf("put %d, mode %d: %d GETs", i, c.mode, n)
		}
	}
	if n := s.CachedBytes("sst/00/3"); n != 11*page {
		t.Errorf("%d bytes of the last are there", n)
	}
	if st := s.Stats(); st.Pages != 20 {
		t.Errorf("%+v", st)
	}
}
