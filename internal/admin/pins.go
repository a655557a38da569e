package admin

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/master/gc"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// manifestReaders is how many manifests are read at once.
const manifestReaders = 16

// pins is what one record of the lock service keeps from being deleted.
type pins struct {
	Alone       output.Size `json:"alone_bytes"` // named by nothing else
	AloneFiles  int         `json:"alone_files"`
	Shared      output.Size `json:"shared_bytes"`
	SharedFiles int         `json:"shared_files"`
}

// pins returns what the root under a key keeps: the SSTables that it names, and
// those of them that others name as well, all from one view of the roots.
func (e *env) pins(ctx context.Context, key string) (pins, error) {
	var p pins
	store, err := e.store(ctx)
	if err != nil {
		return p, err
	}
	var ranges [][2]string
	for _, prefix := range gc.RootPrefixes() {
		ranges = append(ranges, [2]string{prefix, lockservice.PrefixEnd(prefix)})
	}
	kvs, _, err := e.ls.ListRanges(ctx, ranges, lockservice.ReadOptions{})
	if err != nil {
		return p, fmt.Errorf("read the roots: %w", err)
	}
	named, wrong := gc.Roots(kvs)
	for _, err := range wrong { // it may name anything
		return p, fmt.Errorf("read the roots: %w", err)
	}
	read := make([]*manifest.Manifest, len(named))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(manifestReaders)
	for i, n := range named {
		g.Go(func() (err error) {
			read[i], err = manifest.Read(ctx, store, n.Manifest)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return p, fmt.Errorf("%w; try again", err)
	}
	mine, others := map[base.FileNumber]int64{}, map[base.FileNumber]bool{}
	for i, m := range read {
		for _, r := range m.Runs {
			for _, f := range r {
				if named[i].Key == key {
					mine[f.Number] = f.Size
				} else {
					others[f.Number] = true
				}
			}
		}
	}
	for f, size := range mine {
		if others[f] {
			p.Shared += output.Size(size)
			p.SharedFiles++
		} else {
			p.Alone += output.Size(size)
			p.AloneFiles++
		}
	}
	return p, nil
}
