package objstoretest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/tabletdb/tabletdb/objstore"
)

const racers = 32

func testRacingCreators(t *testing.T, s objstore.Store) {
	for round := range 5 {
		key := fmt.Sprintf("race/%d", round)
		race(t, s, key, func(content []byte) error {
			return s.PutIfAbsent(t.Context(), key, content)
		})
	}
}

func testRacingUploads(t *testing.T, s objstore.Store) {
	race(t, s, "race/upload", func(content []byte) error {
		return objstore.Upload(t.Context(), s, "race/upload", bytes.NewReader(content), int64(len(content)))
	})
}

// race lets racers create one object, each with content of its own.
func race(t *testing.T, s objstore.Store, key string, create func(content []byte) error) {
	t.Helper()
	var winners atomic.Int32
	var winner atomic.Value
	parallel(racers, racers, func(i int) {
		content := bytes.Repeat([]byte{byte('A' + i)}, 100+100*i)
		err := create(content)
		switch {
		case err == nil:
			winners.Add(1)
			winner.Store(content)
		case !errors.Is(err, objstore.ErrExists):
			t.Errorf("racer %d: %v", i, err)
		}
		// Win or lose, the object is there now.
		got, err := s.Get(t.Context(), key)
		if check(t, err); len(got) == 0 || len(got) != 100+100*int(got[0]-'A') {
			t.Errorf("racer %d reads %d bytes of %.1q", i, len(got), got)
		}
	})
	if n := winners.Load(); n != 1 {
		t.Fatalf("%d winners for %s, want exactly 1", n, key)
	}
	wantContent(t, s, key, string(winner.Load().([]byte)))
}

// testReplaceIsAtomic: readers see one whole content or another.
func testReplaceIsAtomic(t *testing.T, s objstore.Store) {
	ctx := t.Context()
	content := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i%26)}, 1000+i%26*1000) }
	must(t, s.Put(ctx, "k", content(0)))
	parallel(8, 8, func(worker int) {
		for i := range 20 {
			if worker < 3 {
				check(t, s.Put(ctx, "k", content(worker+i)))
				continue
			}
			got, err := s.Get(ctx, "k")
			check(t, err)
			if len(got) == 0 || !bytes.Equal(got, content(int(got[0]-'a'))) {
				t.Errorf("torn object: %d bytes of %.1q", len(got), got)
			}
		}
	})
}

func testLargeObject(t *testing.T, s objstore.Store) {
	ctx := t.Context()
	data := randomBytes(t, 6<<20+123)
	must(t, s.PutIfAbsent(ctx, "large", data))
	wantErr(t, s.PutIfAbsent(ctx, "large", data), objstore.ErrExists)
	got, err := s.Get(ctx, "large")
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Errorf("large object differs: %d bytes, want %d", len(got), len(data))
	}
	for _, r := range [][2]int64{{0, 1 << 20}, {1<<20 + 7, 3 << 20}, {6 << 20, 1 << 20}, {-4096, 4096}} {
		lo, hi := objstore.Window(int64(len(data)), r[0], r[1])
		got, err := s.GetRange(ctx, "large", r[0], r[1])
		must(t, err)
		if !bytes.Equal(got, data[lo:hi]) {
			t.Errorf("range %v differs", r)
		}
	}
}

func testStream(t *testing.T, s objstore.Store) {
	ctx := t.Context()
	for i, size := range []int{0, 1, 5000, 3<<20 + 5} {
		key := fmt.Sprintf("stream/%d", i)
		data := randomBytes(t, size)
		must(t, objstore.Upload(ctx, s, key, bytes.NewReader(data), int64(size)))
		for _, r := range [][2]int64{{0, -1}, {0, 10}, {100, -1}, {100, 1000}, {-50, 50}, {-50, -1}, {int64(size), 10}, {int64(size) + 1, -1}} {
			lo, hi := objstore.Window(int64(size), r[0], r[1])
			got, err := readAll(objstore.Download(ctx, s, key, r[0], r[1]))
			if err != nil {
				t.Errorf("Download of %v of %d bytes: %v", r, size, err)
			} else if !bytes.Equal(got, data[lo:hi]) {
				t.Errorf("Download of %v of %d bytes: %d bytes that differ, want %d", r, size, len(got), hi-lo)
			}
		}
	}
	// A source that is too short must leave no object.
	if err := objstore.Upload(ctx, s, "stream/short", bytes.NewReader(make([]byte, 10)), 11); err == nil {
		t.Error("Upload of a source that is too short succeeded")
	}
	wantKeys(t, s, "stream/short", "")
}

func testUploadIsConditional(t *testing.T, s objstore.Store) {
	ctx := t.Context()
	must(t, s.Put(ctx, "k", []byte("first")))
	wantErr(t, objstore.Upload(ctx, s, "k", bytes.NewReader([]byte("second")), 6), objstore.ErrExists)
	wantContent(t, s, "k", "first")
}

func randomBytes(t *testing.T, n int) []byte {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("content from seed %d", seed)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	data := make([]byte, n)
	r.Read(data)
	return data
}
