package s3_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/objstoretest"
	"github.com/tabletdb/tabletdb/objstore/openstore"
	"github.com/tabletdb/tabletdb/objstore/probe"
	"github.com/tabletdb/tabletdb/objstore/s3"
)

// server returns the configuration of a part of the bucket that
// TABLETDB_TEST_S3 names, which nobody else uses, and empties it at the end.
func server(t testing.TB) s3.Config {
	t.Helper()
	url := os.Getenv("TABLETDB_TEST_S3")
	if url == "" {
		t.Skip("set TABLETDB_TEST_S3 to s3://bucket/prefix?endpoint=URL to run this against a real service, or run scripts/minio.sh test")
	}
	cfg, err := openstore.ParseS3(url, openstore.Options{CreateBucket: true})
	if err != nil {
		t.Fatal(err)
	}
	id := make([]byte, 8)
	rand.Read(id)
	cfg.Prefix += "/" + hex.EncodeToString(id)
	return cfg
}

func openServer(t testing.TB, cfg s3.Config) *s3.Store {
	t.Helper()
	s, err := s3.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	t.Cleanup(func() { s.Close() })
	t.Cleanup(func() { objstoretest.Clear(t, ctx, s) })
	return s
}

func TestServerConformance(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return openServer(t, server(t)) })
}

// TestServerConditionalParts: the condition holds for uploads in parts too,
// which the client library's own uploader forgets.
func TestServerConditionalParts(t *testing.T) {
	cfg := server(t)
	cfg.PartSize = 5 << 20
	s := openServer(t, cfg)
	data := make([]byte, 12<<20+1)
	rand.Read(data)
	if err := s.Upload(t.Context(), "parts", bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	other := bytes.Repeat([]byte("x"), 11<<20)
	err := s.Upload(t.Context(), "parts", bytes.NewReader(other), int64(len(other)))
	if !errors.Is(err, objstore.ErrExists) {
		t.Errorf("second Upload: %v, want ErrExists", err)
	}
	got, err := s.Get(t.Context(), "parts")
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("object differs: %d bytes, error %v", len(got), err)
	}
	short := bytes.NewReader(data[:11<<20])
	if err := s.Upload(t.Context(), "short", short, 12<<20); err == nil {
		t.Error("upload of a source that is too short succeeded")
	}
	if _, err := s.Stat(t.Context(), "short"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("after a short upload: %v, want ErrNotFound", err)
	}
}

func TestServerProbe(t *testing.T) {
	s := openServer(t, server(t))
	start := time.Now()
	if err := probe.Run(t.Context(), s, probe.Options{}); err != nil {
		t.Error(err)
	}
	t.Logf("probed in %v", time.Since(start))
}

// TestServerBadCredentials: the error tells a person what to do.
func TestServerBadCredentials(t *testing.T) {
	for want, change := range map[string]func(*s3.Config){
		"access key":    func(c *s3.Config) { c.AccessKey = "nobody" },
		"secret key":    func(c *s3.Config) { c.SecretKey = "wrongwrong" },
		"create bucket": func(c *s3.Config) { c.Bucket = "no-such-bucket-here" },
	} {
		cfg := server(t)
		cfg.CreateBucket = false
		change(&cfg)
		s, err := s3.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		err = s.PutIfAbsent(t.Context(), "k", nil)
		if !errors.Is(err, objstore.ErrDenied) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		t.Log(err)
	}
}

func BenchmarkServerPutIfAbsent(b *testing.B) {
	objstoretest.BenchmarkPutIfAbsent(b, openServer(b, server(b)))
}

func BenchmarkServerGetRange(b *testing.B) {
	objstoretest.BenchmarkGetRange(b, openServer(b, server(b)))
}

// TestServerChecksContent: the service refuses content that was damaged on the
// way, whole objects and parts alike.
func TestServerChecksContent(t *testing.T) {
	cfg := server(t)
	cfg.PartSize = 5 << 20
	direct := openServer(t, cfg)
	target, err := url.Parse(cfg.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	var damage atomic.Bool
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
		if damage.Load() && r.In.Method == http.MethodPut {
			body, err := io.ReadAll(r.In.Body)
			if err != nil {
				t.Error(err)
			}
			body[len(body)/2] ^= 1
			r.Out.Body = io.NopCloser(bytes.NewReader(body))
		}
	}})
	t.Cleanup(proxy.Close)
	cfg.Endpoint = proxy.URL
	s := openServer(t, cfg)
	for _, c := range []struct {
		name string
		put  func(key string) error
	}{
		{"put", func(key string) error { return s.PutIfAbsent(t.Context(), key, []byte("content")) }},
		{"upload", func(key string) error {
			return s.Upload(t.Context(), key, strings.NewReader("content"), 7)
		}},
		{"parts", func(key string) error {
			return s.Upload(t.Context(), key, bytes.NewReader(make([]byte, 6<<20)), 6<<20)
		}},
	} {
		damage.Store(false)
		if err := c.put(c.name + "-good"); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		damage.Store(true)
		err := c.put(c.name + "-bad")
		if err == nil || errors.Is(err, objstore.ErrDenied) || errors.Is(err, base.ErrInvalid) {
			t.Errorf("%s of damaged content: %v, want an error that may be retried", c.name, err)
		}
		if _, err := direct.Stat(t.Context(), c.name+"-bad"); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("%s of damaged content left an object: %v", c.name, err)
		}
	}
}
