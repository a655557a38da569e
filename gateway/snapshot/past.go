package snapshot

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// uncut returns those of the tablets whose records name nothing of a time.
func uncut(tablets []meta.Tablet, at time.Time) []meta.Tablet {
	return slices.DeleteFunc(slices.Clone(tablets), func(t meta.Tablet) bool {
		_, ok := t.CutAt(at)
		return ok
	})
}

// cut has the owners of tablets name in their records what these held at a time.
func (k *Taker) cut(ctx context.Context, table string, tablets []meta.Tablet, at time.Time) error {
	var mu sync.Mutex
	done, earliest := 0, int64(0)
	err := k.atServers(ctx, servers(tablets), func(ctx context.Context, c controlpb.TabletServerClient, ids []uint64) error {
		resp, err := c.Cut(ctx, &controlpb.CutRequest{Tablets: ids, AtUs: at.UnixMicro()})
		mu.Lock()
		defer mu.Unlock()
		done += len(resp.GetCut())
		earliest = max(earliest, resp.GetEarliestUs())
		return err
	})
	switch {
	case earliest > 0:
		return base.Textf(base.ErrPrecondition, "What table %s held at %s is not known any more: it is since %s, when the last of its tablets was flushed, loaded, split or merged. Older states are in snapshots and backups",
			table, stamp(at), stamp(time.UnixMicro(earliest)))
	case err != nil:
		return fmt.Errorf("cut tablets: %w", err)
	case done < len(tablets):
		return fmt.Errorf("%w: %d of %d tablets are not served", base.ErrNotServing, len(tablets)-done, len(tablets))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// capturePast is capture of what the records name of a time: all that the
// tablets named when they were cut is named by them still.
func capturePast(t meta.Table, tablets []meta.Tablet, at time.Time) (Image, []lockservice.Compare, error) {
	asOf := at
	past := make([]meta.Tablet, len(tablets))
	for i, r := range tablets {
		c, _ := r.CutAt(at)
		if c.AsOf.Before(asOf) {
			asOf = c.AsOf
		}
		r.Manifest, r.ManifestVersion, r.Flushed, r.NextSeq = c.Manifest, c.ManifestVersion, c.Flushed, c.Flushed+1
		past[i] = r
	}
	img, cond, err := capture(t, past)
	img.AsOf = asOf
	return img, cond, err
}
