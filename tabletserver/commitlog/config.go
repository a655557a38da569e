package commitlog

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/wal"
)

// Config is what a log needs to know. Zero values of the lower half mean
// defaults.
type Config struct {
	// Store holds the log. It must not retry PutIfAbsent for long by itself:
	// the log does, and wants to see errors to tell a stall.
	Store objstore.Store
	// Incarnation names the log. It has exactly one, which starts empty.
	Incarnation base.Incarnation
	// Nonce is drawn at random by the process. It tells the log's own objects
	// from those of another process that believes to be the same incarnation.
	Nonce  [16]byte
	Logger *slog.Logger

	// MaxBatchBytes closes a batch that has grown to it. A record that is
	// larger gets a batch of its own. Default 1 MiB.
	MaxBatchBytes int
	// MaxInFlight (K) is how many positions are uploaded at once; batches that
	// are full wait behind them. Default 8.
	MaxInFlight int
	// Linger is how long a batch waits for more records while others are in
	// flight. 0 means the measured median of uploads, within [0.2 ms, 50 ms].
	Linger time.Duration
	// MaxPendingBytes is how many bytes of records may be unacknowledged before
	// Append reports overload (base.OverloadError); one record may exceed it.
	// Default 64 MiB.
	MaxPendingBytes int64
	// HedgeAfter is when an upload that was not answered is sent a second time,
	// for at most 2 % of all. 0 means the measured 99th percentile, but not
	// below 20 ms; negative means never.
	HedgeAfter time.Duration
	// PutTimeout is when one attempt to upload is given up and tried again; a
	// second is added per MiB. Default 15 s.
	PutTimeout time.Duration
	// Compression of the sections. Default none.
	Compression wal.Compression

	// OnFenced is called once, after everything pending has failed, when the
	// log finds a seal or another's object where it writes. It is called on a
	// goroutine of the log; it may call any method.
	OnFenced func(error)
	// Events are called as things happen; any may be nil. They are called on
	// goroutines of the log and must not block.
	Events Events
}

// Events lets the owner count.
type Events struct {
	// Put ended after the given time; err is nil when it created the object.
	Put func(elapsed time.Duration, bytes int, hedge bool, err error)
	// Closed is called for each batch that was closed, with the size of the
	// object and how long its first record has waited.
	Closed func(records, bytes int, waited time.Duration)
	// Acked is called for each batch that was acknowledged, with the time since
	// it was closed.
	Acked func(records int, elapsed time.Duration)
}

const (
	minLinger        = 200 * time.Microsecond
	maxLinger        = 50 * time.Millisecond
	maxGather        = 4 * time.Millisecond
	initialLinger    = 2 * time.Millisecond
	minHedgeAfter    = 20 * time.Millisecond
	initialHedge     = 2 * time.Second
	minRetry         = 50 * time.Millisecond // after Append reported overload
	retryBase        = 10 * time.Millisecond
	retryMax         = 2 * time.Second
	hedgeShare       = 0.02
	hedgeBurst       = 4
	garbledMax       = 4
	copyUnderLockMax = 8 << 10
)

// ensureDefaults fills in what was left zero.
func (c *Config) ensureDefaults() {
	if c.MaxBatchBytes == 0 {
		c.MaxBatchBytes = 1 << 20
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 8
	}
	if c.MaxPendingBytes == 0 {
		c.MaxPendingBytes = 64 << 20
	}
	if c.PutTimeout == 0 {
		c.PutTimeout = 15 * time.Second
	}
	if c.OnFenced == nil {
		c.OnFenced = func(error) {}
	}
	if c.Events.Put == nil {
		c.Events.Put = func(time.Duration, int, bool, error) {}
	}
	if c.Events.Closed == nil {
		c.Events.Closed = func(int, int, time.Duration) {}
	}
	if c.Events.Acked == nil {
		c.Events.Acked = func(int, time.Duration) {}
	}
}

func (c *Config) validate() error {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("commit log: %s: %w", what, base.ErrInvalid))
		}
	}
	need(c.Store != nil, "Store is missing")
	need(c.Logger != nil, "Logger is missing")
	need(!c.Incarnation.IsZero(), "Incarnation is none")
	need(c.Nonce != [16]byte{}, "Nonce is zero")
	need(c.MaxBatchBytes >= 1<<10 && c.MaxBatchBytes <= 256<<20, "MaxBatchBytes is not within [1 KiB, 256 MiB]")
	need(c.MaxInFlight >= 1 && c.MaxInFlight <= 256, "MaxInFlight is not within [1, 256]")
	need(c.Linger >= 0, "Linger is negative")
	need(c.MaxPendingBytes > 0, "MaxPendingBytes is negative")
	need(c.PutTimeout > 0, "PutTimeout is negative")
	need(c.Compression <= wal.Snappy, "Compression is unknown")
	return errors.Join(errs...)
}
