// Package openstore turns the URL of an object store, as users give it on
// command lines and in files, into a store.
package openstore

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/local"
	"github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/objstore/s3"
)

// Options is what a URL does not say; the zero Options are fine.
type Options struct {
	// AccessKey, SecretKey and SessionToken are the credentials for s3: URLs.
	// Without them the environment is asked for TABLETDB_S3_ACCESS_KEY,
	// TABLETDB_S3_SECRET_KEY and TABLETDB_S3_SESSION_TOKEN, then for
	// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
	AccessKey    string
	SecretKey    string
	SessionToken string
	// CreateBucket creates a bucket that does not exist, as create=true in the
	// URL does.
	CreateBucket bool
	// Getenv is os.Getenv by default.
	Getenv func(string) string
}

// Store is a store that Open made.
type Store interface {
	objstore.Store
	// Close frees idle resources. No call may follow it.
	Close() error
}

// Open opens the store that rawURL names, without decorators:
//
//	mem:                  an empty store in memory, a new one each time
//	file:///srv/tablets   a directory; a plain path means the same
//	s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1
//	                      a bucket, or the part of it below a prefix. endpoint is
//	                      Amazon's by default, region is us-east-1; create=true
//	                      creates the bucket if there is none
//
// Errors in the URL wrap base.ErrInvalid.
func Open(ctx context.Context, rawURL string, opts Options) (Store, error) {
	scheme, rest, ok := strings.Cut(rawURL, ":")
	switch {
	case rawURL == "":
		return nil, fmt.Errorf("%w: the URL of the object store is empty", base.ErrInvalid)
	case !ok || strings.ContainsAny(scheme, "/\\.") || len(scheme) == 1: // a path; C: too
		return openLocal(rawURL)
	case scheme == "mem":
		if strings.Trim(rest, "/") != "" {
			return nil, fmt.Errorf("%w: object store %q: want just mem:", base.ErrInvalid, rawURL)
		}
		return mem.New(), nil
	case scheme == "file":
		return openFile(rawURL)
	case scheme == "s3":
		cfg, err := ParseS3(rawURL, opts)
		if err != nil {
			return nil, err
		}
		return openS3(ctx, cfg)
	}
	return nil, fmt.Errorf("%w: object store %q: want mem:, file:///directory, a path, or s3://bucket/prefix?endpoint=URL", base.ErrInvalid, rawURL)
}

func openFile(rawURL string) (Store, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w: object store %q: %w", base.ErrInvalid, rawURL, err)
	}
	path := u.Path
	if u.Opaque != "" { // file:relative/path
		path = u.Opaque
	}
	if u.Host != "" && u.Host != "localhost" || path == "" || u.RawQuery != "" {
		return nil, fmt.Errorf("%w: object store %q: want file:///directory", base.ErrInvalid, rawURL)
	}
	return openLocal(path)
}

func openLocal(path string) (Store, error) {
	s, err := local.OpenWith(filepath.FromSlash(path), local.Options{Packed: []string{"wal/"}})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func openS3(ctx context.Context, cfg s3.Config) (Store, error) {
	s, err := s3.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ParseS3 returns the configuration that an s3: URL stands for.
func ParseS3(rawURL string, opts Options) (s3.Config, error) {
	bad := func(format string, args ...any) (s3.Config, error) {
		return s3.Config{}, fmt.Errorf("%w: object store %q: %s", base.ErrInvalid, redact(rawURL), fmt.Sprintf(format, args...))
	}
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "s3" || u.Opaque != "" {
		return bad("want s3://bucket/prefix?endpoint=URL")
	}
	if u.User != nil {
		return bad("credentials do not belong in the URL, which ends up in logs: set TABLETDB_S3_ACCESS_KEY and TABLETDB_S3_SECRET_KEY")
	}
	if u.Host == "" {
		return bad("it names no bucket: want s3://bucket/prefix?endpoint=URL")
	}
	if u.Port() != "" {
		return bad("the bucket comes first, the service goes into the endpoint: s3://bucket/prefix?endpoint=http://%s", u.Host)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return bad("its parameters do not parse: %v", err)
	}
	cfg := s3.Config{Bucket: u.Host, Prefix: u.Path, CreateBucket: opts.CreateBucket}
	for name, values := range query {
		value := values[len(values)-1]
		switch name {
		case "endpoint":
			cfg.Endpoint = value
		case "region":
			cfg.Region = value
		case "create":
			create, err := strconv.ParseBool(value)
			if err != nil {
				return bad("create is %q: want true or false", value)
			}
			cfg.CreateBucket = cfg.CreateBucket || create
		default:
			return bad("parameter %q is not known: there are endpoint, region and create", name)
		}
	}
	cfg.AccessKey, cfg.SecretKey, cfg.SessionToken = credentials(opts)
	if cfg.Endpoint != "" && cfg.AccessKey == "" {
		return bad("no credentials: set TABLETDB_S3_ACCESS_KEY and TABLETDB_S3_SECRET_KEY, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	return cfg, nil
}

// credentials returns the first complete set.
func credentials(opts Options) (access, secret, token string) {
	getenv := opts.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	if opts.AccessKey != "" || opts.SecretKey != "" {
		return opts.AccessKey, opts.SecretKey, opts.SessionToken
	}
	for _, names := range [][3]string{
		{"TABLETDB_S3_ACCESS_KEY", "TABLETDB_S3_SECRET_KEY", "TABLETDB_S3_SESSION_TOKEN"},
		{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"},
	} {
		if getenv(names[0]) != "" && getenv(names[1]) != "" {
			return getenv(names[0]), getenv(names[1]), getenv(names[2])
		}
	}
	return "", "", ""
}

// redact hides what stands before an @ in the host part.
func redact(rawURL string) string {
	scheme, rest, _ := strings.Cut(rawURL, "://")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		return scheme + "://***@" + rest[at+1:]
	}
	return rawURL
}
