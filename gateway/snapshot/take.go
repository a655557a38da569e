package snapshot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/proto/adminstorepb"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

const (
	// patience is for calls whose context has no deadline.
	patience = 10 * time.Minute
	pause    = 100 * time.Millisecond
	// captures is how often the records are read again, because some changed,
	// before all is flushed again.
	captures = 10
	// maxTablets can be restored: a clone compares and writes a record of each,
	// and that of the table.
	maxTablets = (meta.MaxRestoreTablets - 2) / 2
)

// Image is a table as it was at one moment of each of its rows. It names
// manifests, and nothing of any log (R10).
type Image struct {
	Table   *metapb.TableRecord
	Tablets []*adminstorepb.BackupTablet // in the order of the rows, without gaps
	Bytes   int64                        // about how many the files have
}

// Taker takes images of tables. Its methods may be called concurrently.
type Taker struct {
	meta    *meta.Store
	network rpc.Network
}

// NewTaker returns a Taker that reads records from m and dials tablet servers by
// network.
func NewTaker(m *meta.Store, network rpc.Network) *Taker { return &Taker{meta: m, network: network} }

// Use stores what an image is taken for, in one transaction that has the
// conditions: under them, and only then, everything that the image names
// exists, and it is what the table held. An error that wraps base.ErrAborted
// says that a condition did not hold; it is called again with a newer image.
type Use func(ctx context.Context, img Image, cond []lockservice.Compare) error

// Take takes an image of the named table and has it used. It holds all that was
// acknowledged before the call, of what is written during it some, and the
// schema that goes with it. base.ErrNotFound: there is no such table.
func (k *Taker) Take(ctx context.Context, table string, use Use) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	for {
		err := k.try(ctx, table, use)
		if !again(err) { // done, or what was asked for is wrong, or nobody knows what became of it
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w: table %s could not be captured in time: %w", base.ErrUnavailable, table, err)
		}
	}
}

// again reports whether an error passes. What is undecided may have been done.
func again(err error) bool {
	if errors.Is(err, base.ErrUndecided) {
		return false
	}
	return errors.Is(err, base.ErrNotServing) || errors.Is(err, base.ErrAborted) || errors.Is(err, base.ErrUnavailable) || errors.Is(err, base.ErrFenced)
}

func (k *Taker) try(ctx context.Context, name string, use Use) error {
	t, tablets, err := k.read(ctx, name)
	if err != nil {
		return err
	}
	if len(tablets) > maxTablets {
		return base.Textf(base.ErrUnimplemented, "A table of %d tablets cannot be captured; at most %d", len(tablets), maxTablets)
	}
	id := t.ID
	holders, err := k.flush(ctx, tablets)
	if err != nil {
		return err
	}
	bytes, err := k.size(ctx, tablets)
	if err != nil {
		return err
	}
	for range captures {
		// Whatever a record says from now on, while its holder is the same, is
		// at least what was flushed.
		if t, tablets, err = k.read(ctx, name); err != nil {
			return err
		}
		if t.ID != id {
			return fmt.Errorf("%w: table %s was replaced by another", base.ErrNotServing, name)
		}
		if err := k.noneLoading(ctx, t); err != nil { // after the records were read
			return err
		}
		img, cond, err := capture(t, tablets, holders)
		if err != nil {
			return err
		}
		img.Bytes = bytes
		if err := use(ctx, img, cond); !errors.Is(err, base.ErrAborted) {
			return err
		}
	}
	return fmt.Errorf("%w: the tablets of %s change too often", base.ErrAborted, name)
}

func (k *Taker) read(ctx context.Context, name string) (meta.Table, []meta.Tablet, error) {
	if _, err := schema.ParseName(name); err != nil {
		return meta.Table{}, nil, err
	}
	t, err := k.meta.TableByName(ctx, name)
	if errors.Is(err, base.ErrNotFound) {
		return t, nil, schema.NotFound(name)
	}
	if err != nil {
		return t, nil, err
	}
	tablets, err := k.meta.Tablets(ctx, t.ID, lockservice.ReadOptions{})
	return t, tablets, err
}

// noneLoading returns an error that passes where some tablets of the table may
// have adopted a bulk load and others not. One that is decided later cannot be
// adopted by a tablet whose record is as it was.
func (k *Taker) noneLoading(ctx context.Context, t meta.Table) error {
	loads, err := k.meta.BulkLoads(ctx, t.ID)
	if err == nil && len(loads) > 0 {
		err = fmt.Errorf("%w: bulk load %d into table %s is not adopted by all of its tablets yet", base.ErrUnavailable, loads[0].ID, t.Name)
	}
	return err
}

// holder is who serves a tablet, and under which epoch.
type holder struct {
	owner base.Incarnation
	epoch base.Epoch
}

// serving returns who serves the tablets, and which of them are where.
func serving(tablets []meta.Tablet) (holders map[base.TabletID]holder, byAddr map[string][]uint64, err error) {
	holders, byAddr = map[base.TabletID]holder{}, map[string][]uint64{}
	for _, t := range tablets {
		if t.State != meta.Serving {
			return nil, nil, fmt.Errorf("%w: tablet %d is %v", base.ErrNotServing, t.ID, t.State)
		}
		holders[t.ID] = holder{t.Owner, t.Epoch}
		byAddr[t.OwnerAddress] = append(byAddr[t.OwnerAddress], uint64(t.ID))
	}
	return holders, byAddr, nil
}

// atServers runs f for each server beside the others.
func (k *Taker) atServers(ctx context.Context, byAddr map[string][]uint64, f func(context.Context, controlpb.TabletServerClient, []uint64) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for addr, ids := range byAddr {
		g.Go(func() error {
			cc, err := rpc.Dial(k.network, addr)
			if err != nil {
				return fmt.Errorf("dial tablet server %s: %w", addr, err)
			}
			defer cc.Close()
			if err := f(ctx, controlpb.NewTabletServerClient(router.Conn(cc)), ids); err != nil {
				return fmt.Errorf("tablet server %s: %w", addr, rpc.FromStatus(err))
			}
			return nil
		})
	}
	return g.Wait()
}

// flush has all tablets written out by their owners and returns who they were.
func (k *Taker) flush(ctx context.Context, tablets []meta.Tablet) (map[base.TabletID]holder, error) {
	holders, byAddr, err := serving(tablets)
	if err != nil {
		return nil, err
	}
	err = k.atServers(ctx, byAddr, func(ctx context.Context, c controlpb.TabletServerClient, ids []uint64) error {
		resp, err := c.Flush(ctx, &controlpb.FlushRequest{Tablets: ids})
		if err == nil && int(resp.Tablets) != len(ids) {
			err = fmt.Errorf("%w: %d of %d tablets were flushed", base.ErrNotServing, resp.Tablets, len(ids))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("flush tablets: %w", err)
	}
	return holders, nil
}

// size returns about how many bytes the files of tablets have.
func (k *Taker) size(ctx context.Context, tablets []meta.Tablet) (int64, error) {
	_, byAddr, err := serving(tablets)
	if err != nil {
		return 0, err
	}
	sizes := make(chan int64, len(tablets))
	err = k.atServers(ctx, byAddr, func(ctx context.Context, c controlpb.TabletServerClient, ids []uint64) error {
		wanted := map[uint64]bool{}
		for _, id := range ids {
			wanted[id] = true
		}
		s, err := c.Status(ctx, &controlpb.StatusRequest{})
		for _, t := range s.GetTablets() {
			if wanted[t.Tablet] {
				delete(wanted, t.Tablet) // each once
				sizes <- int64(t.FileBytes)
			}
		}
		return err
	})
	close(sizes)
	total := int64(0)
	for n := range sizes {
		total += n
	}
	return total, err
}

// capture returns the image that records make, and the conditions under which it
// is one: that they, and the schema, still are what they were. The holders
// flushed the tablets.
func capture(t meta.Table, tablets []meta.Tablet, holders map[base.TabletID]holder) (Image, []lockservice.Compare, error) {
	if wrong := meta.CheckTiling(tablets); len(wrong) > 0 { // the table is being deleted
		return Image{}, nil, fmt.Errorf("%w: tablets of table %s: %s", base.ErrNotServing, t.Name, wrong[0])
	}
	img := Image{Table: proto.CloneOf(t.Record)}
	cond := []lockservice.Compare{lockservice.ModRevisionIs(t.Key(), t.Revision)}
	for _, r := range tablets {
		if h, ok := holders[r.ID]; !ok || h != (holder{r.Owner, r.Epoch}) || r.State != meta.Serving {
			return Image{}, nil, fmt.Errorf("%w: tablet %d moved while it was captured", base.ErrNotServing, r.ID)
		}
		img.Tablets = append(img.Tablets, &adminstorepb.BackupTablet{
			Start: r.Start, End: r.End, Manifest: meta.FileNumberProto(r.Manifest), ManifestVersion: r.ManifestVersion,
			Flushed: uint64(r.Flushed), NextSeq: uint64(max(r.NextSeq, r.Flushed+1)),
		})
		cond = append(cond, lockservice.ModRevisionIs(r.Key(), r.Revision))
	}
	return img, cond, nil
}
