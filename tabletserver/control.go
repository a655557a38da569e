package tabletserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// Control is the control service of a server (controlpb.TabletServer).
type Control struct {
	controlpb.UnsafeTabletServerServer
	s *Server
}

// Control returns the control service.
func (s *Server) Control() *Control { return &Control{s: s} }

// Load implements controlpb.TabletServer.
func (c *Control) Load(_ context.Context, r *controlpb.LoadRequest) (*controlpb.LoadResponse, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closing || s.life.Err() != nil {
		return nil, fmt.Errorf("server %v shuts down: %w", s.Incarnation(), base.ErrNotServing)
	}
	var places []meta.Place
	for _, x := range r.Tablets {
		id := base.TabletID(x.Tablet)
		if t, ok := s.tablet(id); ok && t.Epoch() == base.Epoch(x.Tepoch) && t.State() != tablet.Stopped {
			continue
		}
		places = append(places, meta.Place{Table: base.TableID(x.Table), End: x.End, ID: id})
	}
	for some := range slices.Chunk(places, recordsAtOnce) {
		s.workers.Go(func() { s.loadAll(some) })
	}
	return &controlpb.LoadResponse{}, nil
}

// recordsAtOnce is how many records are read at once.
const recordsAtOnce = 256

// loadAll loads the tablets whose records say that they are this server's.
// Others were hints that came late; the master tells again what it must.
func (s *Server) loadAll(places []meta.Place) {
	records, err := s.meta.Records(s.life, places)
	if err != nil {
		if s.life.Err() == nil {
			s.log.Warn("records of tablets to be loaded were not read", "tablets", len(places), "err", err)
		}
		return
	}
	var wg sync.WaitGroup
	for _, rec := range records {
		if rec.Owner != s.Incarnation() {
			continue
		}
		select {
		case s.loading <- struct{}{}:
		case <-s.life.Done():
			return
		}
		wg.Go(func() {
			defer func() { <-s.loading }()
			s.load(rec)
		})
	}
	wg.Wait()
}

// load loads one tablet whose record was read a moment ago.
func (s *Server) load(rec meta.Tablet) {
	t := tablet.New(s.env, rec)
	if old, ok := s.tablets.LoadOrStore(t.ID(), t); ok {
		o := old.(*tablet.Tablet)
		if o.Epoch() > t.Epoch() || o.Epoch() == t.Epoch() && (o.State() != tablet.Stopped || !o.Loaded()) {
			return // a record read before that one's, or its load goes on; the master tells again
		}
		o.Abandon()
		if !s.tablets.CompareAndSwap(t.ID(), old, t) {
			return // another call was faster
		}
	}
	s.loaded(t, t.Load(s.life))
}

func (s *Server) loaded(t *tablet.Tablet, err error) {
	switch {
	case err == nil:
		return
	case errors.Is(err, tablet.ErrLost) || s.life.Err() != nil:
		s.tablets.CompareAndDelete(t.ID(), t)
	default:
		// It stays in the list, stopped, with the reason; the master tells
		// again, and then it is tried again.
		s.log.Error("tablet was not loaded", "tablet", uint64(t.ID()), "err", err)
	}
}

// Unload implements controlpb.TabletServer.
func (c *Control) Unload(ctx context.Context, r *controlpb.UnloadRequest) (*controlpb.UnloadResponse, error) {
	t, ok := c.s.tablet(base.TabletID(r.Tablet.GetTablet()))
	if !ok || t.Epoch() != base.Epoch(r.Tablet.GetTepoch()) {
		return &controlpb.UnloadResponse{}, nil
	}
	// The release goes on when the caller does not wait any longer.
	err := c.s.detached(ctx, func(life context.Context) error { return c.s.release(life, t, handOverTo(r), r.Why) })
	if err != nil {
		return nil, err
	}
	return &controlpb.UnloadResponse{}, nil
}

// detached runs f for as long as the server lives, and waits for it for as long
// as ctx allows: a transaction that is under way must not be cut off by a
// caller's deadline (R4).
func (s *Server) detached(ctx context.Context, f func(life context.Context) error) error {
	done := make(chan error, 1)
	s.mu.Lock()
	if s.life.Err() != nil {
		s.mu.Unlock()
		return fmt.Errorf("server %v has ended: %w", s.Incarnation(), base.ErrNotServing)
	}
	s.workers.Go(func() { done <- f(s.life) })
	s.mu.Unlock()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// chosen returns the tablets that a request names.
func (s *Server) chosen(table uint64, ids []uint64) []*tablet.Tablet {
	named := map[base.TabletID]bool{}
	for _, id := range ids {
		named[base.TabletID(id)] = true
	}
	var list []*tablet.Tablet
	for _, t := range s.all() {
		all := table == 0 && len(ids) == 0
		if t.State() == tablet.Serving && (all || named[t.ID()] || table != 0 && t.Table() == base.TableID(table)) {
			list = append(list, t)
		}
	}
	return list
}

// each runs f on tablets, a few at a time, and returns the first error.
func (s *Server) each(life context.Context, list []*tablet.Tablet, workers int, f func(context.Context, *tablet.Tablet) error) error {
	slots := make(chan struct{}, workers)
	errs := make(chan error, len(list))
	for _, t := range list {
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			errs <- f(life, t)
		}()
	}
	var first error
	for range list {
		if err := <-errs; err != nil && first == nil && !errors.Is(err, base.ErrNotServing) {
			first = err
		}
	}
	return first
}

// Flush implements controlpb.TabletServer.
func (c *Control) Flush(ctx context.Context, r *controlpb.FlushRequest) (*controlpb.FlushResponse, error) {
	list := c.s.chosen(r.Table, r.Tablets)
	flushed := make(chan uint64, len(list)) // not those that stopped meanwhile
	err := c.s.detached(ctx, func(life context.Context) error {
		defer close(flushed)
		return c.s.each(life, list, c.s.cfg.Options.Flushers, func(life context.Context, t *tablet.Tablet) error {
			err := t.Flush(life)
			if err == nil {
				flushed <- uint64(t.ID())
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	resp := &controlpb.FlushResponse{}
	for id := range flushed {
		resp.Flushed = append(resp.Flushed, id)
	}
	resp.Tablets = uint32(len(resp.Flushed))
	return resp, nil
}

// Cut implements controlpb.TabletServer.
func (c *Control) Cut(ctx context.Context, r *controlpb.CutRequest) (*controlpb.CutResponse, error) {
	if len(r.Tablets) == 0 {
		return nil, fmt.Errorf("%w: which tablets?", base.ErrInvalid)
	}
	at := time.UnixMicro(r.AtUs)
	if at.After(time.Now()) {
		return nil, fmt.Errorf("%w: %s has not come yet", base.ErrInvalid, at.UTC().Format(time.RFC3339Nano))
	}
	resp := &controlpb.CutResponse{}
	var mu sync.Mutex
	list := c.s.chosen(0, r.Tablets)
	err := c.s.detached(ctx, func(life context.Context) error {
		return c.s.each(life, list, c.s.cfg.Options.Flushers, func(life context.Context, t *tablet.Tablet) error {
			err := t.Cut(life, at)
			var past *tablet.PastError
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				resp.Cut = append(resp.Cut, uint64(t.ID()))
			case errors.As(err, &past):
				resp.EarliestUs = max(resp.EarliestUs, past.Earliest.UnixMicro(), 1)
				return nil
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// Compact implements controlpb.TabletServer.
func (c *Control) Compact(ctx context.Context, r *controlpb.CompactRequest) (*controlpb.CompactResponse, error) {
	list := c.s.chosen(r.Table, r.Tablets)
	err := c.s.detached(ctx, func(life context.Context) error {
		_, slots, _ := c.s.pool.Stats()
		return c.s.each(life, list, c.s.cfg.Options.Compactors+slots, func(life context.Context, t *tablet.Tablet) error {
			if err := t.Flush(life); err != nil {
				return err
			}
			return c.s.compactNow(life, t)
		})
	})
	if err != nil {
		return nil, err
	}
	return &controlpb.CompactResponse{Tablets: uint32(len(list))}, nil
}

// RefreshSchemas implements controlpb.TabletServer.
func (c *Control) RefreshSchemas(ctx context.Context, r *controlpb.RefreshSchemasRequest) (*controlpb.RefreshSchemasResponse, error) {
	if err := c.s.env.Schemas.Await(ctx, lockservice.Revision(r.Revision)); err != nil {
		return nil, err
	}
	return &controlpb.RefreshSchemasResponse{}, nil
}

// Files implements controlpb.TabletServer.
func (c *Control) Files(context.Context, *controlpb.FilesRequest) (*controlpb.FilesResponse, error) {
	r := &controlpb.FilesResponse{Server: meta.IncarnationProto(c.s.Incarnation()), Floor: c.s.Files().Floor()}
	for _, f := range c.s.Files().Pinned() {
		r.Pinned = append(r.Pinned, meta.FileNumberProto(f))
	}
	return r, nil
}

// Describe implements controlpb.TabletServer.
func (c *Control) Describe(_ context.Context, r *controlpb.DescribeRequest) (*controlpb.DescribeResponse, error) {
	t, ok := c.s.tablet(base.TabletID(r.Tablet))
	if !ok {
		return nil, fmt.Errorf("tablet %d is not here: %w", r.Tablet, base.ErrNotFound)
	}
	d := t.Describe()
	resp := &controlpb.DescribeResponse{
		Load: c.s.rates.tablet(t, time.Now()), Record: d.Record.Proto(), Manifest: d.Manifest.Proto(),
		NextSeq: uint64(d.Next), VisibleSeq: uint64(d.Visible), Events: t.Events(),
	}
	if m, ok := t.InMemory(); ok {
		_, used, limit := c.s.env.Files.InMemoryStats()
		resp.InMemory = &controlpb.InMemory{
			Files: uint32(m.Files), Kept: uint32(m.Kept), Bytes: uint64(m.Bytes), KeptBytes: uint64(m.KeptBytes), Error: m.Err,
			ServerBytes: uint64(used), ServerLimit: uint64(limit),
		}
	}
	return resp, nil
}

// Status implements controlpb.TabletServer.
func (c *Control) Status(_ context.Context, r *controlpb.StatusRequest) (*controlpb.StatusResponse, error) {
	s, now := c.s, time.Now()
	resp := &controlpb.StatusResponse{Server: s.record, Load: s.serverLoad(now)}
	for _, t := range s.all() {
		l := s.rates.tablet(t, now)
		if t.State() == tablet.Loading {
			resp.Load.Loading++
		}
		resp.Load.Tablets++
		resp.Load.Reads += l.Reads
		resp.Load.Writes += l.Writes
		resp.Load.ReadBytes += l.ReadBytes
		resp.Load.WriteBytes += l.WriteBytes
		if !r.OmitTablets {
			resp.Tablets = append(resp.Tablets, l)
		}
	}
	return resp, nil
}
