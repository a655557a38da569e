package wal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
)

const (
	// SealLen is the length of a seal in bytes. It is not empty, because some
	// clients and stores mishandle empty objects.
	SealLen   = 64
	sealMagic = "TDBS"

	// barrierGap is how far past the end it knows a sealer that lost a race
	// against a living writer first tries to stop it.
	barrierGap = 64
)

// SealInfo is the content of a seal.
type SealInfo struct {
	Log      base.Incarnation
	Position base.Position
	Sealer   base.Incarnation
}

// AppendSeal appends the SealLen bytes of a seal.
func AppendSeal(dst []byte, s SealInfo) []byte {
	off := len(dst)
	dst = append(dst, make([]byte, SealLen)...)
	b := dst[off:]
	copy(b, sealMagic)
	binary.BigEndian.PutUint16(b[4:], Version)
	putIncarnation(b[8:], s.Log)
	binary.BigEndian.PutUint64(b[20:], uint64(s.Position))
	putIncarnation(b[28:], s.Sealer)
	binary.BigEndian.PutUint32(b[60:], checksum(b[:60]))
	return dst
}

// IsSeal reports whether b, the start of an object, claims to be a seal.
func IsSeal(b []byte) bool { return len(b) >= 4 && string(b[:4]) == sealMagic }

// DecodeSeal parses a seal. An error wraps base.ErrCorrupt.
func DecodeSeal(b []byte) (SealInfo, error) {
	switch {
	case len(b) != SealLen:
		return SealInfo{}, corrupt("seal of %d bytes", len(b))
	case !IsSeal(b):
		return SealInfo{}, corrupt("seal has magic %q", b[:4])
	case binary.BigEndian.Uint32(b[60:]) != checksum(b[:60]):
		return SealInfo{}, corrupt("seal fails its checksum")
	case binary.BigEndian.Uint16(b[4:]) != Version:
		return SealInfo{}, corrupt("seal has version %d, not %d", binary.BigEndian.Uint16(b[4:]), Version)
	}
	return SealInfo{
		Log:      incarnation(b[8:]),
		Position: base.Position(binary.BigEndian.Uint64(b[20:])),
		Sealer:   incarnation(b[28:]),
	}, nil
}

// Seal ends the log of e and returns its end: positions [low, end) hold data,
// end holds a seal for ever, and nothing at or past end was or will be
// acknowledged. The caller has made sure that low does not move any more (state
// SEALING) and afterwards records the end in the lock service.
//
// Seal may be called again, and by several processes at once: all return the
// same end, as long as no data was collected. On error (errors that pass are
// retried a few times) the log may or may not be sealed; call it again.
//
// Why all agree: a sealer returns the first position from low that holds a
// seal, after it saw data in each one before; an occupied position never
// changes. That also allows the barrier: against a writer that lives and wins
// each race, a seal is placed ahead of it. It stops the writer but is not the
// end; the walk goes on below it and reaches the end after finitely many steps.
func Seal(ctx context.Context, store objstore.Store, e base.Incarnation, low base.Position, sealer base.Incarnation) (base.Position, error) {
	s := sealing{store: store, log: e, sealer: sealer}
	h, gap := low, base.Position(barrierGap)
	for lost := 0; ; lost++ {
		var err error
		if h, err = s.contiguous(ctx, h); err != nil {
			return 0, err
		}
		switch found, err := s.place(ctx, h); {
		case err != nil:
			return 0, err
		case found == foundSeal:
			return h, nil
		case found == foundNothing: // it was there and is not: look again
			continue
		}
		// Data: the writer was faster. Once is chance.
		if lost == 0 || gap == 0 {
			continue
		}
		switch found, err := s.place(ctx, h+gap); {
		case err != nil:
			return 0, err
		case found == foundSeal:
			gap = 0 // the writer ends there at the latest
		case found == foundData:
			gap *= 2
		}
	}
}

// sealing is one call of Seal.
type sealing struct {
	store       objstore.Store
	log, sealer base.Incarnation
}

// found is what a sealer met at a position.
type found int

const (
	foundNothing found = iota
	foundData
	foundSeal
)

// contiguous returns the first position from h that holds no data as far as a
// listing tells: nothing at all, or an object too short for data.
func (s *sealing) contiguous(ctx context.Context, h base.Position) (end base.Position, err error) {
	err = retry(ctx, func(ctx context.Context) error {
		end = h
		after := ""
		if h > 0 {
			after = base.LogObject(s.log, h-1)
		}
		for info, err := range s.store.List(ctx, base.LogPrefix(s.log), after) {
			if err != nil {
				return err
			}
			if info.Key != base.LogObject(s.log, end) || info.Size < MinObjectLen {
				return nil
			}
			end++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("seal log %s: list from position %d: %w", s.log, h, err)
	}
	return end, nil
}

// place creates a seal at p and returns what stands there then.
func (s *sealing) place(ctx context.Context, p base.Position) (what found, err error) {
	key := base.LogObject(s.log, p)
	seal := AppendSeal(nil, SealInfo{Log: s.log, Position: p, Sealer: s.sealer})
	err = retry(ctx, func(ctx context.Context) error {
		err := s.store.PutIfAbsent(ctx, key, seal)
		switch {
		case err == nil:
			what = foundSeal
			return nil
		case errors.Is(err, objstore.ErrExists):
			what, err = s.look(ctx, key, p)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("seal log %s: %s: %w", s.log, key, err)
	}
	return what, nil
}

// look reads what holds position p. Bytes that are damaged are read again once,
// in case that happened on their way.
func (s *sealing) look(ctx context.Context, key string, p base.Position) (found, error) {
	what, err := s.tryLook(ctx, key, p)
	if isCorrupt(err) {
		what, err = s.tryLook(ctx, key, p)
	}
	return what, err
}

func (s *sealing) tryLook(ctx context.Context, key string, p base.Position) (found, error) {
	b, err := s.store.GetRange(ctx, key, 0, HeaderLen)
	if errors.Is(err, objstore.ErrNotFound) {
		return foundNothing, nil
	}
	if err != nil {
		return 0, err
	}
	if IsSeal(b) {
		info, err := DecodeSeal(b)
		if err == nil && (info.Log != s.log || info.Position != p) {
			err = corrupt("seal of position %d of log %s", info.Position, info.Log)
		}
		return foundSeal, err
	}
	h, err := DecodeHeader(b)
	if err == nil && (h.Log != s.log || h.Position != p) {
		err = corrupt("object says that it is position %d of log %s", h.Position, h.Log)
	}
	return foundData, err
}

// retry calls op until it succeeds, at most five times with growing pauses and
// ten seconds for each; errors that do not pass by themselves are returned at
// once.
func retry(ctx context.Context, op func(context.Context) error) error {
	const tries, patience = 5, 10 * time.Second
	for i := 1; ; i++ {
		attempt, cancel := context.WithTimeout(ctx, patience)
		err := op(attempt)
		cancel()
		if err == nil || i == tries || errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrDenied) {
			return err
		}
		// Once ctx is over, that is the reason: bytes that arrived damaged might
		// have been read well the next time.
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; before: %v", context.Cause(ctx), err)
		case <-time.After(20 * time.Millisecond << i):
		}
	}
}

func isCorrupt(err error) bool { return errors.Is(err, base.ErrCorrupt) }
