package objstoretest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tabletdb/tabletdb/objstore"
)

func putAll(t *testing.T, s objstore.Store, keys []string) {
	t.Helper()
	parallel(16, len(keys), func(i int) {
		check(t, s.PutIfAbsent(t.Context(), keys[i], []byte(keys[i])))
	})
}

func testList(t *testing.T, s objstore.Store) {
	wantKeys(t, s, "", "")
	wantKeys(t, s, "a/", "")
	putAll(t, s, []string{"a/1", "a/2", "a/b/3", "ab", "ac/4", "b"})
	wantKeys(t, s, "", "", "a/1", "a/2", "a/b/3", "ab", "ac/4", "b")
	wantKeys(t, s, "a", "", "a/1", "a/2", "a/b/3", "ab", "ac/4")
	wantKeys(t, s, "a/", "", "a/1", "a/2", "a/b/3")
	wantKeys(t, s, "a/b", "", "a/b/3")
	wantKeys(t, s, "a/1", "", "a/1")
	wantKeys(t, s, "a/1/", "")
	wantKeys(t, s, "a/1x", "")
	wantKeys(t, s, "no/such/", "")
	wantKeys(t, s, "c", "")
	for info, err := range s.List(t.Context(), "", "") {
		check(t, err)
		if info.Size != int64(len(info.Key)) {
			t.Errorf("%+v: size, want %d", info, len(info.Key))
		}
	}
}

func testListOrder(t *testing.T, s objstore.Store) {
	keys := awkwardKeys()
	putAll(t, s, keys)
	slices.Sort(keys)
	wantKeys(t, s, "", "", keys...)
	for _, prefix := range []string{"%", "%2", "%2e/", ".h", "a", "b/", "b/c", "b/.h", "e\u0301", "wal/ab/1-2/0"} {
		wantKeys(t, s, prefix, "", slices.DeleteFunc(slices.Clone(keys), func(k string) bool {
			return !strings.HasPrefix(k, prefix)
		})...)
	}
}

func testListStartAfter(t *testing.T, s objstore.Store) {
	keys := []string{"a", "b-", "b/1", "b/2/x", "b/2/y", "b/3", "b0", "c/1", "d"}
	putAll(t, s, keys)
	afters := append(slices.Clone(keys), "", "A", "aa", "b", "b/", "b/1x", "b/2", "b/2/", "b/2/z", "b/9", "c", "e", "~")
	for _, prefix := range []string{"", "a", "b", "b/", "b/2", "b/2/", "c/", "x"} {
		for _, after := range afters {
			wantKeys(t, s, prefix, after, slices.DeleteFunc(slices.Clone(keys), func(k string) bool {
				return !strings.HasPrefix(k, prefix) || k <= after
			})...)
		}
	}
}

// testListPages lists more than the 1,000 objects of one page of S3.
func testListPages(t *testing.T, s objstore.Store) {
	var keys []string
	for i := range 2300 {
		keys = append(keys, fmt.Sprintf("pages/%02x/%04d", i%7, i))
	}
	putAll(t, s, keys)
	slices.Sort(keys)
	wantKeys(t, s, "pages/", "", keys...)
	wantKeys(t, s, "", keys[1200], keys[1201:]...)
	must(t, s.Delete(t.Context(), keys...))
	wantKeys(t, s, "", "")
}

func testListStopsEarly(t *testing.T, s objstore.Store) {
	putAll(t, s, []string{"1", "2", "3"})
	for range 10 {
		for info, err := range s.List(t.Context(), "", "") {
			check(t, err)
			if info.Key != "1" {
				t.Errorf("first object is %q", info.Key)
			}
			// The loop body may use the store.
			wantContent(t, s, info.Key, info.Key)
			break
		}
	}
}

// testListWhileWriting: what exists all the time is listed exactly once.
func testListWhileWriting(t *testing.T, s objstore.Store) {
	ctx := t.Context()
	var keys []string
	for i := range 40 {
		keys = append(keys, fmt.Sprintf("stable/%02d", i))
	}
	putAll(t, s, keys)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			moving := fmt.Sprintf("stable/%02d-moving", i%40)
			check(t, s.Put(ctx, moving, nil))
			check(t, s.Put(ctx, keys[i%40], []byte("replaced")))
			check(t, s.Delete(ctx, moving))
		}
	}()
	for range 20 {
		got, err := list(ctx, s, "stable/", "")
		check(t, err)
		if !slices.IsSorted(got) {
			t.Errorf("listing is not sorted: %q", got)
		}
		got = slices.DeleteFunc(got, func(k string) bool { return strings.HasSuffix(k, "-moving") })
		if !slices.Equal(got, keys) {
			t.Errorf("listing shows %q, want %q", got, keys)
		}
	}
	close(stop)
	<-done
}
