// Package measure is the decorator that counts and times the calls on an object
// store, as Prometheus metrics.
package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tabletdb/tabletdb/objstore"
)

// Store measures the calls on another store. It implements objstore.Store and
// objstore.Streamer.
type Store struct {
	inner   objstore.Store
	metrics *metrics
	kinds   []string
}

// metrics are those of one registry; several stores may share them.
type metrics struct {
	calls    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	bytes    *prometheus.CounterVec
	inFlight *prometheus.GaugeVec
	listed   prometheus.Counter
}

// New returns inner, measured. It registers with reg
//
//	tabletdb_objstore_calls_total{op,kind,outcome}  calls that ended
//	tabletdb_objstore_call_seconds{op,kind}         their duration
//	tabletdb_objstore_bytes_total{op,kind}          bytes of content put and got
//	tabletdb_objstore_calls_in_flight{op,kind}      calls that have not ended
//	tabletdb_objstore_listed_objects_total          objects that listings showed
//
// where outcome is ok, not_found, exists, throttled, denied, canceled or error,
// and kind is what a key has before its first slash, if it is one of kinds, else
// "other".
// Stores that are given the same reg are counted together. The time of a listing
// leaves out what its consumer does with the objects; a download is one call
// until it is closed.
func New(inner objstore.Store, reg prometheus.Registerer, kinds ...string) (*Store, error) {
	ops := []string{"op", "kind"}
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tabletdb_objstore_calls_total", Help: "Calls on the object store that ended.",
		}, []string{"op", "kind", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tabletdb_objstore_call_seconds", Help: "Duration of calls on the object store.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 20), // 0.1 ms to 52 s
		}, ops),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tabletdb_objstore_bytes_total", Help: "Bytes of content put to and got from the object store.",
		}, ops),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tabletdb_objstore_calls_in_flight", Help: "Calls on the object store that have not ended.",
		}, ops),
		listed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tabletdb_objstore_listed_objects_total", Help: "Objects that listings of the object store showed.",
		}),
	}
	err := errors.Join(register(reg, &m.calls), register(reg, &m.seconds), register(reg, &m.bytes),
		register(reg, &m.inFlight), register(reg, &m.listed))
	if err != nil {
		return nil, fmt.Errorf("register metrics of the object store: %w", err)
	}
	return &Store{inner: inner, metrics: m, kinds: kinds}, nil
}

// register registers *c, or replaces it by the one that is registered already.
func register[C prometheus.Collector](reg prometheus.Registerer, c *C) error {
	err := reg.Register(*c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(C); ok {
			*c = existing
			return nil
		}
	}
	return err
}

// call is one call in progress.
type call struct {
	m     *metrics
	op    string
	kind  string
	start time.Time
	idle  time.Duration // spent in the caller's code
}

func (s *Store) begin(op, key string) *call {
	kind, _, _ := strings.Cut(key, "/")
	if !slices.Contains(s.kinds, kind) {
		kind = "other"
	}
	s.metrics.inFlight.WithLabelValues(op, kind).Inc()
	return &call{m: s.metrics, op: op, kind: kind, start: time.Now()}
}

func (c *call) end(bytes int, err error) {
	c.m.inFlight.WithLabelValues(c.op, c.kind).Dec()
	c.m.seconds.WithLabelValues(c.op, c.kind).Observe((time.Since(c.start) - c.idle).Seconds())
	c.m.calls.WithLabelValues(c.op, c.kind, outcome(err)).Inc()
	if bytes > 0 {
		c.m.bytes.WithLabelValues(c.op, c.kind).Add(float64(bytes))
	}
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, objstore.ErrNotFound):
		return "not_found"
	case errors.Is(err, objstore.ErrExists):
		return "exists"
	case errors.Is(err, objstore.ErrThrottled):
		return "throttled"
	case errors.Is(err, objstore.ErrDenied):
		return "denied"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "canceled"
	}
	return "error"
}

// moved returns n if the call that moved n bytes succeeded.
func moved(n int, err error) int {
	if err != nil {
		return 0
	}
	return n
}

// Put implements objstore.Store.
func (s *Store) Put(ctx context.Context, key string, data []byte) error {
	c := s.begin("put", key)
	err := s.inner.Put(ctx, key, data)
	c.end(moved(len(data), err), err)
	return err
}

// PutIfAbsent implements objstore.Store.
func (s *Store) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	c := s.begin("put_if_absent", key)
	err := s.inner.PutIfAbsent(ctx, key, data)
	c.end(moved(len(data), err), err)
	return err
}

// Get implements objstore.Store.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	c := s.begin("get", key)
	data, err := s.inner.Get(ctx, key)
	c.end(len(data), err)
	return data, err
}

// GetRange implements objstore.Store.
func (s *Store) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	c := s.begin("get_range", key)
	data, err := s.inner.GetRange(ctx, key, off, n)
	c.end(len(data), err)
	return data, err
}

// Stat implements objstore.Store.
func (s *Store) Stat(ctx context.Context, key string) (objstore.Info, error) {
	c := s.begin("stat", key)
	info, err := s.inner.Stat(ctx, key)
	c.end(0, err)
	return info, err
}

// Delete implements objstore.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	c := s.begin("delete", first(keys))
	err := s.inner.Delete(ctx, keys...)
	c.end(0, err)
	return err
}

// first returns the first key, whose kind stands for all.
func first(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	return keys[0]
}

// List implements objstore.Store.
func (s *Store) List(ctx context.Context, prefix, startAfter string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		c := s.begin("list", prefix)
		var failure error
		defer func() { c.end(0, failure) }()
		for info, err := range s.inner.List(ctx, prefix, startAfter) {
			if err != nil {
				failure = err
			} else {
				s.metrics.listed.Inc()
			}
			left := time.Now()
			goOn := yield(info, err)
			c.idle += time.Since(left)
			if !goOn {
				return
			}
		}
	}
}

// Upload implements objstore.Streamer.
func (s *Store) Upload(ctx context.Context, key string, r io.ReaderAt, size int64) error {
	c := s.begin("upload", key)
	err := objstore.Upload(ctx, s.inner, key, r, size)
	c.end(moved(int(size), err), err)
	return err
}

// Download implements objstore.Streamer.
func (s *Store) Download(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	c := s.begin("download", key)
	body, err := objstore.Download(ctx, s.inner, key, off, n)
	if err != nil {
		c.end(0, err)
		return nil, err
	}
	return &stream{body: body, call: c}, nil
}

// stream counts what is read from it and ends its call once.
type stream struct {
	body  io.ReadCloser
	call  *call
	bytes int
	err   error
	once  sync.Once
}

func (r *stream) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.bytes += n
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

func (r *stream) Close() error {
	r.once.Do(func() { r.call.end(r.bytes, r.err) })
	return r.body.Close()
}
