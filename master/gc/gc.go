// Package gc deletes the SSTables and manifests that nothing names: pure
// decisions (decide), and the reading and deleting around them. No clock is
// involved, and a collector that stops anywhere, or sleeps for a year before it
// goes on, does no harm: garbage stays garbage.
package gc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
)

// ReadManifest returns which SSTables a manifest names.
type ReadManifest func(context.Context, base.FileNumber) ([]base.FileNumber, error)

// Config is what a collection needs.
type Config struct {
	LockService lockservice.Client
	Store       objstore.Store
	Manifest    ReadManifest
	// Ask asks a live server for its files. The answer must be of this
	// incarnation. An error ends the collection, and nothing is deleted.
	Ask func(context.Context, meta.Server) (Server, error)
	// DryRun deletes nothing.
	DryRun bool
	// Progress, if not nil, is told how many of how many manifests were read, then
	// how many of how many objects were deleted. Calls do not overlap.
	Progress func(what string, done, total int)
}

const (
	readers     = 8 // manifests read at once
	batch       = 500
	batchPause  = 200 * time.Millisecond // between deletions, so that they disturb nobody
	maxAskPause = 10 * time.Second       // for one server to answer
)

// Run collects garbage once. An error means that it was not decided what is
// garbage, or that some of it is still there; the next run goes on.
func Run(ctx context.Context, c Config) (*Report, error) {
	var s state
	var err error
	if s.objects, err = list(ctx, c.Store); err != nil {
		return nil, err
	}
	if err := c.ask(ctx, &s); err != nil {
		return nil, err
	}
	if s.named, err = c.roots(ctx); err != nil {
		return nil, err
	}
	if err := c.repin(ctx, &s); err != nil {
		return nil, err
	}
	r := decide(s)
	if c.DryRun {
		return r, nil
	}
	for keys := range slices.Chunk(r.doomed, batch) {
		if r.Removed > 0 {
			select {
			case <-time.After(batchPause):
			case <-ctx.Done():
				return r, ctx.Err()
			}
		}
		if err := c.Store.Delete(ctx, keys...); err != nil {
			return r, fmt.Errorf("delete garbage: %w", err)
		}
		r.Removed += len(keys)
		c.progress("deleting", r.Removed, len(r.doomed))
	}
	return r, nil
}

func (c Config) progress(what string, done, total int) {
	if c.Progress != nil {
		c.Progress(what, done, total)
	}
}

// list returns all SSTables and manifests.
func list(ctx context.Context, store objstore.Store) ([]Object, error) {
	var objects []Object
	for _, prefix := range []string{base.SSTablePrefix, base.ManifestPrefix} {
		for info, err := range store.List(ctx, prefix, "") {
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", prefix, err)
			}
			n, err := base.ParseFileNumber(info.Key[strings.LastIndexByte(info.Key, '/')+1:])
			if err != nil {
				continue // not ours: left alone
			}
			objects = append(objects, Object{Key: info.Key, Number: n, Size: info.Size})
		}
	}
	return objects, nil
}

// ask asks the living. Whoever created an object that was listed before had a
// session then: where that is not alive now, it never will be again.
func (c Config) ask(ctx context.Context, s *state) error {
	sessions, _, err := c.LockService.Sessions(ctx)
	if err != nil {
		return fmt.Errorf("list sessions: %w", err)
	}
	servers, err := meta.NewStore(c.LockService).Servers(ctx, lockservice.ReadOptions{})
	if err != nil {
		return fmt.Errorf("list servers: %w", err)
	}
	s.servers, s.silent = map[base.Incarnation]Server{}, map[base.Incarnation]bool{}
	for _, x := range sessions {
		i := slices.IndexFunc(servers, func(v meta.Server) bool { return v.Incarnation == x.ID })
		if i < 0 || x.State != "alive" {
			s.silent[x.ID] = true
			continue
		}
		actx, cancel := context.WithTimeout(ctx, maxAskPause)
		answer, err := c.Ask(actx, servers[i])
		cancel()
		if err != nil {
			return fmt.Errorf("ask server %v for its files: %w", x.ID, err)
		}
		s.servers[x.ID] = answer
	}
	return nil
}

// repin asks all who live now what they read. The floors had to be asked for
// before the roots, since what is in flight may get named; but what was read
// after the first answer, and lost its name before the roots, is only known to
// an answer that is younger than the roots. Nothing unnamed is opened anew.
func (c Config) repin(ctx context.Context, s *state) error {
	var now state
	if err := c.ask(ctx, &now); err != nil {
		return err
	}
	for e, answer := range now.servers {
		before, known := s.servers[e]
		if !known { // it creates nothing that was listed, but it reads
			before.Floor = answer.Floor
		}
		before.Pinned = append(slices.Clone(before.Pinned), answer.Pinned...)
		s.servers[e] = before
	}
	return nil
}

// roots returns what is named, from one view at one revision (R11). A manifest
// that is missing, because another collector was faster than the view is old,
// is an error: the round is void.
func (c Config) roots(ctx context.Context) (map[string]Root, error) {
	kvs, _, err := c.LockService.ListRanges(ctx, ranges(RootPrefixes()), lockservice.ReadOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the roots: %w", err)
	}
	named, wrong := Roots(kvs)
	for _, err := range wrong { // one is enough to say
		return nil, fmt.Errorf("read the roots: %w", err)
	}
	manifests := map[base.FileNumber]Root{}
	for _, n := range named {
		manifests[n.Manifest] = max(manifests[n.Manifest], n.By)
	}
	return c.follow(ctx, manifests)
}

// follow reads the manifests and returns all that is named by them, and them.
func (c Config) follow(ctx context.Context, manifests map[base.FileNumber]Root) (map[string]Root, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	named := map[string]Root{}
	var mu sync.Mutex
	read := 0
	var wg sync.WaitGroup
	slots := make(chan struct{}, readers)
	for f, root := range manifests {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			files, err := c.Manifest(ctx, f)
			if err != nil {
				cancel(fmt.Errorf("the roots changed, or cannot be read: %w", err))
				return
			}
			mu.Lock()
			defer mu.Unlock()
			read++
			c.progress("reading manifests", read, len(manifests))
			key := base.ManifestObject(f)
			named[key] = max(named[key], root)
			for _, x := range files {
				key := base.SSTableObject(x)
				named[key] = max(named[key], root)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return named, nil
}
