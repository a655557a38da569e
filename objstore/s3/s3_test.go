package s3_test

import (
	"net/http/httptest"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/objstoretest"
	"github.com/tabletdb/tabletdb/objstore/probe"
	"github.com/tabletdb/tabletdb/objstore/s3"
)

// fake serves an S3 in this process.
func fake(t *testing.T) s3.Config {
	t.Helper()
	srv := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
	t.Cleanup(srv.Close)
	return s3.Config{
		Endpoint: srv.URL, Bucket: "bucket", Prefix: "some/prefix",
		AccessKey: "key", SecretKey: "secret", CreateBucket: true,
	}
}

func open(t *testing.T, cfg s3.Config) *s3.Store {
	t.Helper()
	s, err := s3.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return open(t, fake(t)) })
}

func TestProbe(t *testing.T) {
	if err := probe.Run(t.Context(), open(t, fake(t)), probe.Options{}); err != nil {
		t.Error(err)
	}
}
