package s3_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"testing"

	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/objstoretest"
	"github.com/tabletdb/tabletdb/objstore/openstore"
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
