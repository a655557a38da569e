package s3_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/s3"
)

// scripted serves every request with handler and counts them.
func scripted(t *testing.T, handler http.HandlerFunc) (*s3.Store, *atomic.Int32) {
	t.Helper()
	var requests atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		handler(w, r)
	}))
	t.Cleanup(srv.Close)
	cfg := s3.Config{Endpoint: srv.URL, Bucket: "bucket", Prefix: "p", AccessKey: "key", SecretKey: "secret", ResponseTimeout: 200 * time.Millisecond}
	return open(t, cfg), &requests
}

func failure(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if code != "" && r.Method != http.MethodHead {
			fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>because</Message></Error>`, code)
		}
	}
}

// TestErrors: what responses mean, and that none is asked for twice.
func TestErrors(t *testing.T) {
	errTransient := errors.New("none of the sentinels")
	for _, c := range []struct {
		status   int
		code     string
		put, get error
		advice   string // in the error of the put
	}{
		{412, "PreconditionFailed", objstore.ErrExists, objstore.ErrExists, ""},
		{412, "", objstore.ErrExists, objstore.ErrExists, ""},
		{409, "ConditionalRequestConflict", errTransient, errTransient, ""},
		{409, "OperationAborted", errTransient, errTransient, ""},
		{404, "NoSuchKey", objstore.ErrNotFound, objstore.ErrNotFound, ""},
		{404, "", objstore.ErrNotFound, objstore.ErrNotFound, ""},
		{404, "NoSuchBucket", objstore.ErrDenied, objstore.ErrDenied, `create bucket "bucket"`},
		{403, "AccessDenied", objstore.ErrDenied, objstore.ErrDenied, "rights"},
		{403, "", objstore.ErrDenied, objstore.ErrDenied, "rights"},
		{403, "InvalidAccessKeyId", objstore.ErrDenied, objstore.ErrDenied, "access key"},
		{403, "SignatureDoesNotMatch", objstore.ErrDenied, objstore.ErrDenied, "secret key"},
		{403, "RequestTimeTooSkewed", objstore.ErrDenied, objstore.ErrDenied, "clock"},
		{400, "ExpiredToken", objstore.ErrDenied, objstore.ErrDenied, "renew"},
		{400, "AuthorizationHeaderMalformed", objstore.ErrDenied, objstore.ErrDenied, "region"},
		{301, "PermanentRedirect", objstore.ErrDenied, objstore.ErrDenied, "region"},
		{503, "SlowDown", objstore.ErrThrottled, objstore.ErrThrottled, ""},
		{503, "", objstore.ErrThrottled, objstore.ErrThrottled, ""},
		{429, "", objstore.ErrThrottled, objstore.ErrThrottled, ""},
		{500, "InternalError", errTransient, errTransient, ""},
		{502, "", errTransient, errTransient, ""},
		{400, "RequestTimeout", errTransient, errTransient, ""},
		{400, "BadDigest", errTransient, errTransient, ""},
		{400, "XMinioInvalidObjectName", base.ErrInvalid, base.ErrInvalid, ""},
	} {
		s, requests := scripted(t, failure(c.status, c.code))
		put := s.PutIfAbsent(t.Context(), "k", []byte("v"))
		_, get := s.Get(t.Context(), "k")
		if n := requests.Load(); n != 2 {
			t.Errorf("%d %s: %d requests for two calls", c.status, c.code, n)
		}
		for op, got := range map[string][2]error{"put": {put, c.put}, "get": {get, c.get}} {
			ok := errors.Is(got[0], got[1])
			if got[1] == errTransient {
				ok = got[0] != nil
				for _, sentinel := range []error{objstore.ErrExists, objstore.ErrNotFound, objstore.ErrDenied, objstore.ErrThrottled, base.ErrInvalid} {
					ok = ok && !errors.Is(got[0], sentinel)
				}
			}
			if !ok {
				t.Errorf("%d %s: %s gives %v, want %v", c.status, c.code, op, got[0], got[1])
			}
		}
		if put != nil && !strings.Contains(put.Error(), c.advice) {
			t.Errorf("%d %s: %q lacks %q", c.status, c.code, put, c.advice)
		}
	}
}

// TestConditionIsSent with every conditional put, whatever its size, in one
// request, with its checksum and without a hash of its content.
func TestConditionIsSent(t *testing.T) {
	for _, size := range []int{0, 1, 17 << 20} {
		var mu sync.Mutex
		var seen []http.Header
		s, _ := scripted(t, func(_ http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, r.Header, r.Trailer)
			if r.Method != http.MethodPut || r.URL.RawQuery != "" || r.URL.Path != "/bucket/p/k" {
				t.Errorf("%s %s", r.Method, r.URL)
			}
		})
		if err := s.PutIfAbsent(t.Context(), "k", make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		if len(seen) != 2 || seen[0].Get("If-None-Match") != "*" {
			t.Errorf("%d bytes: %d requests, headers %v", size, len(seen)/2, seen)
		}
		crc := crc32.Checksum(make([]byte, size), crc32.MakeTable(crc32.Castagnoli))
		sum := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))
		if h := seen[0]; h.Get("X-Amz-Checksum-Crc32c") != sum || h.Get("X-Amz-Content-Sha256") != "UNSIGNED-PAYLOAD" {
			t.Errorf("%d bytes: headers %v, want the checksum %s", size, h, sum)
		}
		mu.Unlock()
	}
}

// TestShortBodies are errors, never short results.
func TestShortBodies(t *testing.T) {
	short := func(status int, header map[string]string, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for k, v := range header {
				w.Header().Set(k, v)
			}
			w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
			w.WriteHeader(status)
			if r.Method != http.MethodHead {
				_, _ = io.WriteString(w, body)
			}
		}
	}
	for name, handler := range map[string]http.HandlerFunc{
		"whole object breaks off":    short(200, map[string]string{"Content-Length": "10"}, "01234"),
		"range breaks off":           short(206, map[string]string{"Content-Length": "10", "Content-Range": "bytes 0-9/100"}, "01234"),
		"range is not the one asked": short(206, map[string]string{"Content-Length": "5", "Content-Range": "bytes 5-9/100"}, "56789"),
		"length contradicts range":   short(206, map[string]string{"Content-Length": "5", "Content-Range": "bytes 0-9/100"}, "01234"),
		"range makes no sense":       short(206, map[string]string{"Content-Length": "5", "Content-Range": "bytes 9-5/100"}, "01234"),
	} {
		s, _ := scripted(t, handler)
		if got, err := s.GetRange(t.Context(), "k", 0, 10); err == nil {
			t.Errorf("%s: read %q", name, got)
		}
		if got, err := s.Get(t.Context(), "k"); err == nil && strings.Contains(name, "breaks off") && len(got) != 10 {
			t.Errorf("%s: read %q", name, got)
		}
	}
	// A server that ignores ranges is harmless.
	s, _ := scripted(t, short(200, map[string]string{"Content-Length": "10"}, "0123456789"))
	for _, c := range []struct {
		off, n int64
		want   string
	}{{2, 3, "234"}, {-3, 2, "78"}, {8, 10, "89"}, {20, 1, ""}} {
		if got, err := s.GetRange(t.Context(), "k", c.off, c.n); string(got) != c.want || err != nil {
			t.Errorf("GetRange(%d, %d) = %q, %v, want %q", c.off, c.n, got, err, c.want)
		}
	}
}

// TestSilentServer: calls end by the time-out, and with their context.
func TestSilentServer(t *testing.T) {
	release := make(chan struct{})
	s, _ := scripted(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	start := time.Now()
	if err := s.Put(t.Context(), "k", []byte("v")); err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("put to a silent server: %v after %v", err, time.Since(start))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Get(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("get with a deadline: %v", err)
	}
}

// TestListings that are wrong or cut short are errors.
func TestListings(t *testing.T) {
	page := func(truncated bool, keys ...string) string {
		b := fmt.Sprintf(`<?xml version="1.0"?><ListBucketResult><Name>bucket</Name><IsTruncated>%v</IsTruncated>`, truncated)
		if truncated {
			b += `<NextContinuationToken>more</NextContinuationToken>`
		}
		for _, key := range keys {
			b += fmt.Sprintf(`<Contents><Key>%s</Key><Size>1</Size><LastModified>2006-01-02T15:04:05Z</LastModified></Contents>`, key)
		}
		return b + `</ListBucketResult>`
	}
	for name, keys := range map[string][]string{
		"order":  {"p/b", "p/a"},
		"repeat": {"p/a", "p/a"},
		"prefix": {"other/a"},
	} {
		s, _ := scripted(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page(false, keys...)) })
		var err error
		for _, err = range s.List(t.Context(), "", "") {
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// The library ends a listing without a word when the context ends.
	s, _ := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("continuation-token") == "" {
			_, _ = io.WriteString(w, page(true, "p/a", "p/b"))
		} else {
			_, _ = io.WriteString(w, page(false, "p/c"))
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var keys []string
	var last error
	for info, err := range s.List(ctx, "", "") {
		if last = err; err == nil {
			keys = append(keys, info.Key)
		}
		if info.Key == "b" {
			cancel()
		}
	}
	if !errors.Is(last, context.Canceled) || len(keys) != 2 {
		t.Errorf("a listing whose context ended shows %q and error %v", keys, last)
	}
}

// TestDeleteRefusals in the answer to a bulk delete are errors.
func TestDeleteRefusals(t *testing.T) {
	for name, body := range map[string]string{
		"refused":     `<DeleteResult><Deleted><Key>p/a</Key></Deleted><Error><Key>p/b</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>`,
		"dropped":     `<DeleteResult><Deleted><Key>p/a</Key></Deleted><Error><Key>p/b</Key><Code>InvalidArgument</Code><Message>no</Message></Error></DeleteResult>`,
		"not told":    `<DeleteResult><Deleted><Key>p/a</Key></Deleted></DeleteResult>`,
		"error in ok": `<Error><Code>InternalError</Code><Message>try again</Message></Error>`,
	} {
		s, _ := scripted(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		if err := s.Delete(t.Context(), "a", "b"); err == nil {
			t.Errorf("%s: no error", name)
		} else if errors.Is(err, objstore.ErrDenied) != (name == "refused") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPrefixesAreApart: several clusters share a bucket.
func TestPrefixesAreApart(t *testing.T) {
	cfg := fake(t)
	var stores []*s3.Store
	for _, prefix := range []string{"", "one", "/one/two/", "on"} {
		cfg.Prefix = prefix
		stores = append(stores, open(t, cfg))
	}
	for i, s := range stores[1:] {
		if err := s.PutIfAbsent(t.Context(), "dir/k", []byte{byte(i)}); err != nil {
			t.Error(err)
		}
	}
	for i, s := range stores[2:] {
		for info, err := range s.List(t.Context(), "", "") {
			if err != nil || info.Key != "dir/k" {
				t.Errorf("store %d lists %q, %v", i+2, info.Key, err)
			}
		}
	}
	for _, key := range []string{"one/dir/k", "one/two/dir/k", "on/dir/k"} {
		if _, err := stores[0].Stat(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
}

func TestBadConfig(t *testing.T) {
	good := s3.Config{Endpoint: "http://127.0.0.1:1", Bucket: "bucket", AccessKey: "a", SecretKey: "s"}
	if _, err := s3.Open(t.Context(), good); err != nil {
		t.Errorf("a good configuration: %v", err)
	}
	for name, change := range map[string]func(*s3.Config){
		"no bucket":      func(c *s3.Config) { c.Bucket = "" },
		"endpoint":       func(c *s3.Config) { c.Endpoint = "127.0.0.1:9000" },
		"endpoint path":  func(c *s3.Config) { c.Endpoint = "http://127.0.0.1:9000/bucket" },
		"no secret":      func(c *s3.Config) { c.SecretKey = "" },
		"no credentials": func(c *s3.Config) { c.AccessKey, c.SecretKey = "", "" },
		"prefix":         func(c *s3.Config) { c.Prefix = "a//b" },
		"part size":      func(c *s3.Config) { c.PartSize = 1000 },
	} {
		cfg := good
		change(&cfg)
		if _, err := s3.Open(t.Context(), cfg); !errors.Is(err, base.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good.CreateBucket = true
	if _, err := s3.Open(t.Context(), good); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("nobody listens: %v", err)
	}
}
