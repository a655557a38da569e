package openstore_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/local"
	"github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/objstore/openstore"
	"github.com/tabletdb/tabletdb/objstore/s3"
)

func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, c := range []struct {
		url, root string
	}{
		{"mem:", ""}, {"mem://", ""},
		{dir + "/plain", dir + "/plain"},
		{"relative/dir", dir + "/relative/dir"},
		{"./with:colon", dir + "/with:colon"},
		{"file://" + dir + "/with%20space", dir + "/with space"},
		{"file:" + dir + "/short", dir + "/short"},
		{"file://localhost" + dir + "/host", dir + "/host"},
	} {
		s, err := openstore.Open(t.Context(), c.url, openstore.Options{})
		if err != nil {
			t.Errorf("Open(%q): %v", c.url, err)
			continue
		}
		if _, ok := s.(*mem.Store); ok != (c.root == "") {
			t.Errorf("Open(%q) = %T", c.url, s)
		}
		if l, ok := s.(*local.Store); ok {
			if want, _ := filepath.EvalSymlinks(c.root); l.Root() != want && l.Root() != c.root {
				t.Errorf("Open(%q) opens %s, want %s", c.url, l.Root(), want)
			}
			if _, ok := s.(objstore.Streamer); !ok {
				t.Errorf("Open(%q) = %T, which does not stream", c.url, s)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestParseS3(t *testing.T) {
	aws := map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
	own := map[string]string{"TABLETDB_S3_ACCESS_KEY": "ta", "TABLETDB_S3_SECRET_KEY": "ts", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}
	for _, c := range []struct {
		url  string
		opts openstore.Options
		want s3.Config
	}{
		{"s3://b", openstore.Options{Getenv: env(nil)}, s3.Config{Bucket: "b"}},
		{"s3://b/p/q/?endpoint=http://127.0.0.1:9000&region=eu-west-1", openstore.Options{Getenv: env(aws)},
			s3.Config{Bucket: "b", Prefix: "/p/q/", Endpoint: "http://127.0.0.1:9000", Region: "eu-west-1", AccessKey: "a", SecretKey: "s", SessionToken: "t"}},
		{"s3://b?create=true", openstore.Options{Getenv: env(own)},
			s3.Config{Bucket: "b", CreateBucket: true, AccessKey: "ta", SecretKey: "ts"}},
		{"s3://b?create=false", openstore.Options{Getenv: env(own), CreateBucket: true, AccessKey: "x", SecretKey: "y"},
			s3.Config{Bucket: "b", CreateBucket: true, AccessKey: "x", SecretKey: "y"}},
	} {
		got, err := openstore.ParseS3(c.url, c.opts)
		if err != nil || got != c.want {
			t.Errorf("ParseS3(%q) = %+v, %v, want %+v", c.url, got, err, c.want)
		}
	}
}

func TestBadURLs(t *testing.T) {
	for url, want := range map[string]string{
		"":                                "empty",
		"http://127.0.0.1:9000/bucket":    "want mem:",
		"mem:x":                           "want just mem:",
		"file://otherhost/dir":            "want file:///directory",
		"file:":                           "want file:///directory",
		"file:///dir?x=1":                 "want file:///directory",
		"s3:bucket":                       "want s3://bucket",
		"s3:///prefix":                    "names no bucket",
		"s3://127.0.0.1:9000/bucket":      "endpoint=http://127.0.0.1:9000",
		"s3://key:secret@bucket":          "credentials do not belong in the URL",
		"s3://bucket?endpont=http://x":    `"endpont" is not known`,
		"s3://bucket?create=maybe":        "true or false",
		"s3://bucket?endpoint=http://x:1": "TABLETDB_S3_ACCESS_KEY",
		"s3://bucket?region=%zz":          "do not parse",
		"s3://bucket":                     "", // the role of the machine
	} {
		s, err := openstore.Open(t.Context(), url, openstore.Options{Getenv: env(nil)})
		if want == "" {
			if err != nil {
				t.Errorf("Open(%q): %v", url, err)
			}
			continue
		}
		if !errors.Is(err, base.ErrInvalid) || !strings.Contains(err.Error(), want) || s != nil {
			t.Errorf("Open(%q) = %v, %v; want an error with %q", url, s, err, want)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("Open(%q) tells the secret: %v", url, err)
		}
	}
	withKeys := openstore.Options{AccessKey: "a", SecretKey: "s"}
	for _, url := range []string{"s3://bucket?endpoint=127.0.0.1:9000", "s3://bucket?endpoint=ftp://x", "s3://bucket?endpoint=http://x/path", "s3://bucket/a//b"} {
		if _, err := openstore.Open(t.Context(), url, withKeys); !errors.Is(err, base.ErrInvalid) {
			t.Errorf("Open(%q): %v", url, err)
		}
	}
}
