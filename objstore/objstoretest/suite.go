// Package objstoretest is the conformance suite of objstore.Store. A driver's
// test calls Run; decorators run it too, to show that they change nothing.
package objstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

// Run tests the stores that open returns: each call a store that is empty, or
// shows an empty part of a bucket. Cleaning up is the business of open, by
// t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) objstore.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, objstore.Store)
	}{
		{"PutGet", testPutGet},
		{"PutIfAbsent", testPutIfAbsent},
		{"CallerKeepsSlices", testCallerKeepsSlices},
		{"NotFound", testNotFound},
		{"Ranges", testRanges},
		{"Keys", testKeys},
		{"BadArguments", testBadArguments},
		{"CanceledContext", testCanceledContext},
		{"List", testList},
		{"ListOrder", testListOrder},
		{"ListStartAfter", testListStartAfter},
		{"ListPages", testListPages},
		{"ListStopsEarly", testListStopsEarly},
		{"Delete", testDelete},
		{"LargeObject", testLargeObject},
		{"Stream", testStream},
		{"UploadIsConditional", testUploadIsConditional},
		{"RacingCreators", testRacingCreators},
		{"RacingUploads", testRacingUploads},
		{"ReplaceIsAtomic", testReplaceIsAtomic},
		{"ListWhileWriting", testListWhileWriting},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func testPutGet(t *testing.T, s objstore.Store) {
	ctx := t.Context()
	for _, content := range []string{"one", "", "another, longer one", "x"} {
		must(t, s.Put(ctx, "dir/object", []byte(content)))
		wantContent(t, s, "dir/object", content)
		info, err := s.Stat(ctx, "dir/object")
		must(t, err)
		if want := (objstore.Info{Key: "dir/object", Size: int64(len(content))}); info != want {
			t.Errorf("Stat = %+v, want %+v", info, want)
		}
	}
}

func testPutIfAbsent(t *testing.T, s objstore.Store) {
	ctx := t.Context()
	must(t, s.PutIfAbsent(ctx, "k", []byte("first")))
	wantErr(t, s.PutIfAbsent(ctx, "k", []byte("second")), objstore.ErrExists)
	wantContent(t, s, "k", "first")
	must(t, s.Put(ctx, "k", []byte("third")))
	wantErr(t, s.PutIfAbsent(ctx, "k", []byte("fourth")), objstore.ErrExists)
	wantContent(t, s, "k", "third")
	must(t, s.Delete(ctx, "k"))
	must(t, s.PutIfAbsent(ctx, "k", nil))
	wantErr(t, s.PutIfAbsent(ctx, "k", []byte("sixth")), objstore.ErrExists)
	wantContent(t, s, "k", "")
}

func testCallerKeepsSlices(t *testing.T, s objstore.Store) {
	ctx := t.Context()
	buf := []byte("original")
	must(t, s.Put(ctx, "a", buf))
	must(t, s.PutIfAbsent(ctx, "b", buf))
	copy(buf, "scribble")
	for _, key := range []string{"a", "b"} {
		got, err := s.Get(ctx, key)
		must(t, err)
		copy(got, "scribble")
		got, err = s.GetRange(ctx, key, 0, 4)
		must(t, err)
		copy(got, "xxxx")
		wantContent(t, s, key, "original")
	}
}

func testNotFound(t *testing.T, s objstore.Store) {
	ctx := t.Context()
	must(t, s.Put(ctx, "dir/object", []byte("x")))
	for _, key := range []string{"missing", "dir", "dir/missing", "dir/object2", "di", "no/such/dir/at/all"} {
		_, err := s.Get(ctx, key)
		wantErr(t, err, objstore.ErrNotFound)
		_, err = s.GetRange(ctx, key, 0, 1)
		wantErr(t, err, objstore.ErrNotFound)
		_, err = s.GetRange(ctx, key, -1, 1)
		wantErr(t, err, objstore.ErrNotFound)
		_, err = s.GetRange(ctx, key, 0, 0)
		wantErr(t, err, objstore.ErrNotFound)
		_, err = s.Stat(ctx, key)
		wantErr(t, err, objstore.ErrNotFound)
		_, err = readAll(objstore.Download(ctx, s, key, 0, -1))
		wantErr(t, err, objstore.ErrNotFound)
		must(t, s.Delete(ctx, key))
	}
	wantContent(t, s, "dir/object", "x")
}

func testRanges(t *testing.T, s objstore.Store) {
	content := "0123456789"
	must(t, s.Put(t.Context(), "digits", []byte(content)))
	must(t, s.Put(t.Context(), "empty", nil))
	for _, c := range []struct {
		off, n int64
		want   string
	}{
		{0, 10, content}, {0, 4, "0123"}, {3, 4, "3456"}, {9, 1, "9"}, {8, 100, "89"},
		{0, 1 << 40, content}, {0, 0, ""}, {5, 0, ""}, {-3, 0, ""},
		{10, 1, ""}, {11, 5, ""}, {1 << 40, 1 << 40, ""},
		{-3, 3, "789"}, {-3, 2, "78"}, {-3, 100, "789"}, {-10, 10, content},
		{-64, 64, content}, {-11, 1, "0"}, {-1, 1, "9"},
	} {
		wantRange(t, s, "digits", c.off, c.n, c.want)
	}
	for _, off := range []int64{0, 1, -1, -64, 1 << 40} {
		wantRange(t, s, "empty", off, 64, "")
	}
}

// keys in ascending byte order, which are awkward in paths, URLs and XML.
func awkwardKeys() []string {
	return []string{
		" leading space", "!", "#fragment", "%", "%2e/x", "%41", "&amp;", "'quote'", "(", "+plus+", ",",
		"-", ".hidden", "...", "0", "<xml>", "=", "?query=1", "@", "A", "CLUSTER", "Z", "[", "^", "_", "`",
		"a", "a b", "a!", "a-b", "a.b", "b/.hidden", "b/...", "b/c", "b/c-", "b/c.", "b/cc/d", "b0",
		"wal/ab/1-2/0000000000000000", "wal/ab/1-2/index", "{", "|", "}", "~tilde",
		"\u00e9", "e\u0301/x", "\u4e2d\u6587", "\ufb01", "\uff5e", "\U0001f600",
		deepKey(), longSegment(),
	}
}

func deepKey() string {
	return "deep/" + string(bytes.Repeat([]byte("d/"), (objstore.MaxKeyLen-7)/2)) + "dd"
}

func longSegment() string { return "long/" + string(bytes.Repeat([]byte("l"), 255)) }

func testKeys(t *testing.T, s objstore.Store) {
	for _, key := range awkwardKeys() {
		if err := s.PutIfAbsent(t.Context(), key, []byte("of "+key)); err != nil {
			t.Errorf("PutIfAbsent(%q): %v", key, err)
			continue
		}
		wantErr(t, s.PutIfAbsent(t.Context(), key, nil), objstore.ErrExists)
		wantRange(t, s, key, 3, 1<<20, key)
		wantKeys(t, s, key, "", key)
	}
	for _, key := range awkwardKeys() {
		wantContent(t, s, key, "of "+key)
	}
	must(t, s.Delete(t.Context(), awkwardKeys()...))
	wantKeys(t, s, "", "")
}

func testBadArguments(t *testing.T, s objstore.Store) {
	ctx := t.Context()
	bad := []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.", "a\x00b", "a\nb", "a\x7f", "a\\b",
		"\xff", "a\xc3", string(bytes.Repeat([]byte("k"), objstore.MaxKeyLen+1)), string(bytes.Repeat([]byte("k"), 256)),
	}
	for _, key := range bad {
		wantErr(t, s.Put(ctx, key, nil), base.ErrInvalid)
		wantErr(t, s.PutIfAbsent(ctx, key, nil), base.ErrInvalid)
		wantErr(t, objstore.Upload(ctx, s, key, bytes.NewReader(nil), 0), base.ErrInvalid)
		wantErr(t, s.Delete(ctx, key), base.ErrInvalid)
		_, err := s.Get(ctx, key)
		wantErr(t, err, base.ErrInvalid)
		_, err = s.GetRange(ctx, key, 0, 1)
		wantErr(t, err, base.ErrInvalid)
		_, err = s.Stat(ctx, key)
		wantErr(t, err, base.ErrInvalid)
		_, err = readAll(objstore.Download(ctx, s, key, 0, -1))
		wantErr(t, err, base.ErrInvalid)
	}
	must(t, s.Put(ctx, "k", []byte("v")))
	_, err := s.GetRange(ctx, "k", 0, -1)
	wantErr(t, err, base.ErrInvalid)
	for _, prefix := range []string{"\xff", "a\x00", "../", "a//", "/", ".", "a/.."} {
		_, err := list(ctx, s, prefix, "")
		wantErr(t, err, base.ErrInvalid)
	}
	wantKeys(t, s, "", "", "k")
}

func testCanceledContext(t *testing.T, s objstore.Store) {
	must(t, s.Put(t.Context(), "k", []byte("v")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, s.Put(ctx, "k", []byte("w")), context.Canceled)
	wantErr(t, s.PutIfAbsent(ctx, "new", nil), context.Canceled)
	wantErr(t, s.Delete(ctx, "k"), context.Canceled)
	_, err := s.Get(ctx, "k")
	wantErr(t, err, context.Canceled)
	_, err = s.GetRange(ctx, "k", 0, 1)
	wantErr(t, err, context.Canceled)
	_, err = list(ctx, s, "", "")
	wantErr(t, err, context.Canceled)
	wantContent(t, s, "k", "v")
	wantKeys(t, s, "", "", "k")
}

func testDelete(t *testing.T, s objstore.Store) {
	ctx := t.Context()
	var doomed []string
	for i := range 1100 { // more than one batch of S3
		doomed = append(doomed, fmt.Sprintf("doomed/%04d", i))
	}
	parallel(16, len(doomed), func(i int) {
		if i%10 == 0 { // nine tenths do not exist
			check(t, s.Put(ctx, doomed[i], []byte("x")))
		}
	})
	must(t, s.Put(ctx, "doomed-not", []byte("stays")))
	must(t, s.Delete(ctx, doomed...))
	wantKeys(t, s, "", "", "doomed-not")
	must(t, s.Delete(ctx, doomed[0], doomed[0]))
	must(t, s.Delete(ctx))
	_, err := s.Get(ctx, doomed[0])
	wantErr(t, err, objstore.ErrNotFound)
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}
