// Package s3 is an object store in a bucket of Amazon S3, MinIO or any other
// service that speaks the protocol and honours If-None-Match on PUT.
//
// Every method makes one attempt: the client library's own retries are off, as
// it would resend a conditional put whose response was lost and report the
// caller's own object as a stranger's. Retries are the retry package's, above.
package s3

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/tabletdb/tabletdb/objstore"
)

// deleteBatch is the largest number of keys in one delete request.
const deleteBatch = 1000

// Store implements objstore.Store and objstore.Streamer.
type Store struct {
	cfg       Config
	client    *minio.Client
	core      minio.Core
	transport *http.Transport
}

// Open returns the store that cfg names. It creates the bucket if cfg says so,
// and makes no request otherwise: package probe tells whether the store works.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg.ensureDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("open bucket: %w", err)
	}
	endpoint, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("open bucket: %w", err)
	}
	s := &Store{cfg: cfg, transport: newTransport(cfg)}
	creds := credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, cfg.SessionToken)
	if cfg.AccessKey == "" {
		creds = credentials.NewIAM("")
	}
	s.client, err = minio.New(endpoint.Host, &minio.Options{
		Creds:           creds,
		Secure:          endpoint.Scheme == "https",
		Region:          cfg.Region, // else each bucket costs a request that asks for it
		MaxRetries:      1,
		TrailingHeaders: true,
		Transport:       s.transport,
	})
	if err != nil {
		return nil, fmt.Errorf("open bucket %s at %s: %w", cfg.Bucket, cfg.Endpoint, err)
	}
	s.core = minio.Core{Client: s.client}
	if cfg.CreateBucket {
		if err := s.createBucket(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// newTransport returns a transport for many requests in flight to one host; the
// default of the client library keeps 16 connections and drops the others.
func newTransport(cfg Config) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		MaxIdleConns:          512,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       time.Minute,
		ResponseHeaderTimeout: cfg.ResponseTimeout,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		DisableCompression:    true, // it would unpack objects that look packed
	}
}

// Close drops the idle connections. Calls in progress end normally.
func (s *Store) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

func (s *Store) createBucket(ctx context.Context) error {
	exists, err := s.client.BucketExists(ctx, s.cfg.Bucket)
	if err == nil && !exists {
		err = s.client.MakeBucket(ctx, s.cfg.Bucket, minio.MakeBucketOptions{Region: s.cfg.Region})
		switch minio.ToErrorResponse(err).Code {
		case "BucketAlreadyOwnedByYou", "BucketAlreadyExists": // another process was faster
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("create bucket %s at %s: %w", s.cfg.Bucket, s.cfg.Endpoint, s.explain(ctx, err))
	}
	return nil
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	return s.put(ctx, key, data, false)
}

// PutIfAbsent implements objstore.Store.
func (s *Store) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	return s.put(ctx, key, data, true)
}

func (s *Store) put(ctx context.Context, key string, data []byte, ifAbsent bool) error {
	err := ready(ctx, key)
	if err == nil {
		opts := putOptions(ifAbsent, crc32.Checksum(data, castagnoli()))
		_, err = s.client.PutObject(ctx, s.cfg.Bucket, s.cfg.Prefix+key, bytes.NewReader(data), int64(len(data)), opts)
		err = s.explain(ctx, err)
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

// putOptions asks for one request: the library's multipart upload, which it
// would choose from 16 MiB on, loses the condition. The signature leaves out the
// content; hashing it costs a third of the speed. Instead the service checks the
// CRC32C of the content, in a header: the trailer that the library promises with
// its option TrailingHeaders is never sent, as a header that it adds itself makes
// it believe that the caller did it.
func putOptions(ifAbsent bool, crc uint32) minio.PutObjectOptions {
	opts := minio.PutObjectOptions{
		DisableMultipart:     true,
		DisableContentSha256: true,
		ContentType:          "application/octet-stream",
		UserMetadata:         map[string]string{checksumHeader: formatCRC(crc)}, // goes out as it is
	}
	if ifAbsent {
		opts.SetMatchETagExcept("*")
	}
	return opts
}

const checksumHeader = "X-Amz-Checksum-Crc32c"

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func formatCRC(crc uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))
}

// Stat implements objstore.Store.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	err := ready(ctx, key)
	if err == nil {
		var info minio.ObjectInfo
		info, err = s.client.StatObject(ctx, s.cfg.Bucket, s.cfg.Prefix+key, minio.StatObjectOptions{})
		if err == nil && info.Size < 0 {
			err = errors.New("the response has no Content-Length")
		}
		if err == nil {
			return objstore.Info{Key: key, Size: info.Size}, nil
		}
		err = s.explain(ctx, err)
	}
	return objstore.Info{}, fmt.Errorf("stat %s: %w", key, err)
}

// List implements objstore.Store, with one request per 1,000 objects, each made
// when the objects before are consumed.
func (s *Store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if err := s.list(ctx, prefix, startAfter, yield); err != nil {
			yield(objstore.Info{}, fmt.Errorf("list %q: %w", prefix, err))
		}
	}
}

func (s *Store) list(ctx context.Context, prefix, startAfter string, yield func(objstore.Info, error) bool) error {
	if err := objstore.CheckPrefix(prefix); err != nil {
		return err
	}
	if startAfter != "" && !strings.HasPrefix(startAfter, prefix) {
		if startAfter > prefix {
			return ctx.Err() // it is behind all that has the prefix
		}
		startAfter = "" // before all; MinIO would answer with nothing
	}
	noOwner := false
	opts := minio.ListObjectsOptions{Prefix: s.cfg.Prefix + prefix, Recursive: true, FetchOwner: &noOwner}
	if startAfter != "" {
		opts.StartAfter = s.cfg.Prefix + startAfter
	}
	last := startAfter
	for o := range s.client.ListObjectsIter(ctx, s.cfg.Bucket, opts) {
		if o.Err != nil {
			return s.explain(ctx, o.Err)
		}
		key, ok := strings.CutPrefix(o.Key, s.cfg.Prefix)
		if !ok || !strings.HasPrefix(key, prefix) {
			return fmt.Errorf("%w: the listing shows %q, which lacks the prefix %q", errBroken, o.Key, s.cfg.Prefix+prefix)
		}
		if strings.HasSuffix(key, "/") {
			continue // "directories" that consoles make
		}
		if key <= last {
			return fmt.Errorf("%w: the listing shows %q after %q, which is not the order of their bytes", errBroken, key, last)
		}
		last = key
		if !yield(objstore.Info{Key: key, Size: o.Size}, nil) {
			return nil
		}
	}
	return ctx.Err() // the library just stops when the context ends
}

var errBroken = errors.New("the store does not keep to the protocol")

// Delete implements objstore.Store, with one request per 1,000 keys.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := objstore.CheckKey(key); err != nil {
			return fmt.Errorf("delete: %w", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if len(keys) == 1 { // stores without bulk delete can do this at least
		err := s.client.RemoveObject(ctx, s.cfg.Bucket, s.cfg.Prefix+keys[0], minio.RemoveObjectOptions{})
		if err = s.explain(ctx, err); err != nil && !errors.Is(err, objstore.ErrNotFound) {
			return fmt.Errorf("delete %s: %w", keys[0], err)
		}
		return nil
	}
	for batch := range slices.Chunk(keys, deleteBatch) {
		if err := s.deleteBatch(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) deleteBatch(ctx context.Context, keys []string) error {
	left := make(map[string]bool, len(keys))
	for _, key := range keys {
		left[s.cfg.Prefix+key] = true
	}
	objects := func(yield func(minio.ObjectInfo) bool) {
		for key := range left {
			if !yield(minio.ObjectInfo{Key: key}) {
				return
			}
		}
	}
	results, err := s.client.RemoveObjectsWithIter(ctx, s.cfg.Bucket, objects, minio.RemoveObjectsOptions{})
	if err != nil {
		return fmt.Errorf("delete %d objects: %w", len(keys), s.explain(ctx, err))
	}
	for r := range results {
		if err := s.explain(ctx, r.Err); err != nil && !errors.Is(err, objstore.ErrNotFound) {
			return fmt.Errorf("delete %s: %w", strings.TrimPrefix(r.ObjectName, s.cfg.Prefix), err)
		}
		delete(left, r.ObjectName)
	}
	// The library drops some refusals, and takes a response that it does not
	// understand for an empty one.
	for key := range left {
		return fmt.Errorf("delete %s: the response to a bulk delete does not mention it", strings.TrimPrefix(key, s.cfg.Prefix))
	}
	return nil
}

func ready(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return objstore.CheckKey(key)
}
