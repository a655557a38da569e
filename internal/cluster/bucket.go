// Package cluster puts the parts of TabletDB together: each role as a Node that
// a process runs, and all of them in one process for `tabletd dev`, for tests
// and for the demo.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/cluster"
	"github.com/tabletdb/tabletdb/objstore/hedge"
	"github.com/tabletdb/tabletdb/objstore/limit"
	"github.com/tabletdb/tabletdb/objstore/measure"
	"github.com/tabletdb/tabletdb/objstore/openstore"
	"github.com/tabletdb/tabletdb/objstore/pagecache"
	"github.com/tabletdb/tabletdb/objstore/probe"
	"github.com/tabletdb/tabletdb/objstore/retry"
)

// Bucket is the object store as the roles use it.
type Bucket struct {
	// Data retries, sends late reads again, and bounds what is asked at once.
	Data objstore.Store
	// Log is for commit logs, which retry by themselves.
	Log objstore.Store
	// URL says where it is, without credentials.
	URL string

	close func() error
}

// NewBucket returns the bucket over a store that is open already.
func NewBucket(raw objstore.Store, url string, reg prometheus.Registerer) (*Bucket, error) {
	var store objstore.Store = raw
	if reg != nil {
		var err error
		if store, err = measure.New(raw, reg, "wal", "sst", "manifest"); err != nil {
			return nil, err
		}
	}
	hedged := hedge.New(limit.New(store, limit.Options{Foreground: limit.Limits{Calls: 256}, Background: limit.Limits{Calls: 32}}), hedge.Options{})
	if reg != nil {
		var already prometheus.AlreadyRegisteredError
		if err := reg.Register(hedged); err != nil && !errors.As(err, &already) {
			return nil, err
		}
	}
	return &Bucket{
		Data: retry.New(hedged, retry.Options{}),
		Log:  store, URL: url, close: func() error { return nil },
	}, nil
}

// probeRounds is how many rounds the probe of a process takes; whoever claims a
// bucket first takes the full number.
const probeRounds = 4

// OpenBucket opens the store at a URL and probes it. It waits as long as the
// store does not answer (R20), and fails where the store denies access, is
// unfit, or cannot be what the URL says.
func OpenBucket(ctx context.Context, url string, o openstore.Options, reg prometheus.Registerer, log *slog.Logger) (*Bucket, error) {
	for delay := 100 * time.Millisecond; ; delay = min(2*delay, 5*time.Second) {
		raw, hopeless, err := openAndProbe(ctx, url, o)
		if err == nil {
			b, err := NewBucket(raw, url, reg)
			if err != nil {
				raw.Close()
				return nil, err
			}
			b.close = raw.Close
			return b, nil
		}
		if hopeless || ctx.Err() != nil {
			return nil, fmt.Errorf("bucket %s: %w", url, err)
		}
		log.WarnContext(ctx, "bucket does not answer; waiting for it", "url", url, "err", err)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
	}
}

// openAndProbe also reports whether an error is one that does not go away.
func openAndProbe(ctx context.Context, url string, o openstore.Options) (_ openstore.Store, hopeless bool, _ error) {
	raw, err := openstore.Open(ctx, url, o)
	if err != nil {
		var local *fs.PathError // the directory cannot be used
		return nil, errors.Is(err, objstore.ErrDenied) || errors.Is(err, base.ErrInvalid) || errors.As(err, &local), err
	}
	if err := probe.Run(ctx, raw, probe.Options{Rounds: probeRounds}); err != nil {
		raw.Close()
		return nil, errors.Is(err, probe.ErrUnfit) || errors.Is(err, objstore.ErrDenied) || errors.Is(err, base.ErrInvalid), err
	}
	return raw, false, nil
}

// CacheConfig says where what is read of SSTables is kept on a local disk.
type CacheConfig struct {
	Dir   string // "": nowhere
	Bytes int64  // about how much room it may take
}

// Cache puts the page cache that c describes before b.Data. id is what Join
// returned: the names of objects are unique within one cluster only. A disk
// that fails costs the cache, which the log tells, and nothing else; only a
// configuration that cannot be meant is an error.
func (b *Bucket) Cache(c CacheConfig, id cluster.ID, reg prometheus.Registerer, log *slog.Logger) error {
	if c.Dir == "" {
		return nil
	}
	s, err := pagecache.Open(b.Data, pagecache.Options{
		Dir: c.Dir, Bytes: c.Bytes, Identity: id.String(),
		OnDisabled: func(err error) { log.Error("page cache is off until the next start", "err", err) },
	})
	if errors.Is(err, base.ErrInvalid) {
		return err
	}
	if err != nil {
		log.Error("page cache is off", "err", err)
		return nil
	}
	if reg != nil {
		if err := reg.Register(s); err != nil {
			log.Warn("metrics of the page cache are not there", "err", err)
		}
	}
	closeStore := b.close
	b.Data, b.close = s, func() error { return errors.Join(s.Close(), closeStore()) }
	return nil
}

// Close frees what the bucket holds. No call may follow.
func (b *Bucket) Close() error { return b.close() }

// Keys of the lock service that say what belongs together.
const (
	idKey    = "config/cluster"
	storeKey = "config/store"
)

// Join makes sure that lock service and bucket belong to one cluster, and
// returns its id. The first process of a new cluster makes it: the id is
// written into the lock service, then claimed in the bucket; so a new lock
// service on a bucket that another cluster uses is refused, whoever comes
// first.
func Join(ctx context.Context, ls lockservice.Client, b *Bucket) (cluster.ID, error) {
	kv, ok, _, err := ls.Get(ctx, idKey, lockservice.ReadOptions{})
	if err != nil {
		return cluster.ID{}, fmt.Errorf("read cluster id: %w", err)
	}
	if !ok {
		if kv, err = draw(ctx, ls, b.URL); err != nil {
			return cluster.ID{}, err
		}
	}
	id, err := cluster.ParseID(string(kv.Value))
	if err != nil {
		return id, err
	}
	if _, err := cluster.Claim(ctx, b.Data, id); err != nil {
		return id, fmt.Errorf("bucket %s: %w", b.URL, err)
	}
	return id, nil
}

// draw writes a new cluster id into the lock service, unless one is there.
func draw(ctx context.Context, ls lockservice.Client, url string) (lockservice.KV, error) {
	_, err := ls.Txn(ctx, lockservice.Txn{
		If:   []lockservice.Compare{lockservice.Absent(idKey)},
		Then: []lockservice.Op{lockservice.Put(idKey, []byte(cluster.NewID().String())), lockservice.Put(storeKey, []byte(url))},
	})
	if err != nil {
		return lockservice.KV{}, fmt.Errorf("write cluster id: %w", err)
	}
	kv, _, _, err := ls.Get(ctx, idKey, lockservice.ReadOptions{})
	if err != nil {
		return kv, fmt.Errorf("read cluster id: %w", err)
	}
	return kv, nil
}
