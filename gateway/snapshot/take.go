package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
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
	// answerPatience is how long a server may take to flush; it goes on when
	// nobody waits any longer.
	answerPatience = 30 * time.Second
	// captures is how often the records are read again at once, because some
	// changed.
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
	// AsOf: where a time was asked for, all that was acknowledged by AsOf is in the
	// image, and nothing that was not by that time. Else zero.
	AsOf time.Time
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
//
// Where at is not zero the image is of that time, which is not to come, by the
// clocks of the tablet servers, and has the present schema. A tablet knows its
// past since it was last flushed, loaded, split or merged: base.ErrPrecondition
// says how far back all of them reach.
func (k *Taker) Take(ctx context.Context, table string, at time.Time, use Use) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	var done flushed
	var last error // that passes
	for {
		err := k.try(ctx, table, at, &done, use)
		switch {
		case again(err):
			last = err
		case err == nil || ctx.Err() == nil || errors.Is(err, base.ErrUndecided):
			return err // done, or what was asked for is wrong, or nobody knows what became of it
		case last == nil:
			last = err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w: table %s could not be captured in time: %w", base.ErrUnavailable, table, last)
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

// try takes an image in as many steps as it takes while no owner is missing.
// What was flushed of a row's tablet since the call began stays flushed, whoever
// has the tablet afterwards and however it is split and merged: the records name
// manifests that hold it. So each row has to be flushed once, and the image can
// be of records whose tablets are being moved.
func (k *Taker) try(ctx context.Context, name string, at time.Time, done *flushed, use Use) error {
	aborted := error(nil)
	for range captures {
		t, tablets, err := k.read(ctx, name)
		if err != nil {
			return err
		}
		if len(tablets) > maxTablets {
			return base.Textf(base.ErrUnimplemented, "A table of %d tablets cannot be captured; at most %d", len(tablets), maxTablets)
		}
		// After the records were read; and before anything is cut, for a load that one
		// tablet had adopted at a time, and another one not, is pending until that does.
		if err := k.noneLoading(ctx, t); err != nil {
			return err
		}
		done.of(t.ID)
		var img Image
		var cond []lockservice.Compare
		if at.IsZero() {
			if left := done.missing(tablets); len(left) > 0 {
				if err := k.flush(ctx, left, done); err != nil {
					return err
				}
				continue
			}
			img, cond, err = capture(t, tablets)
		} else {
			if left := uncut(tablets, at); len(left) > 0 {
				if err := k.cut(ctx, t.Name, left, at); err != nil {
					return err
				}
				continue
			}
			img, cond, err = capturePast(t, tablets, at)
		}
		if err != nil {
			return err
		}
		img.Bytes = k.size(ctx, tablets)
		if err := use(ctx, img, cond); !errors.Is(err, base.ErrAborted) || errors.Is(err, base.ErrUndecided) {
			return err
		}
		aborted = err
	}
	return fmt.Errorf("%w: the tablets of %s change too often: %w", base.ErrAborted, name, aborted)
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

// atServers runs f for each server beside the others, and returns the first
// error when all have ended.
func (k *Taker) atServers(ctx context.Context, byAddr map[string][]uint64, f func(context.Context, controlpb.TabletServerClient, []uint64) error) error {
	var g errgroup.Group
	for addr, ids := range byAddr {
		g.Go(func() error {
			err := k.atServer(ctx, addr, func(ctx context.Context, c controlpb.TabletServerClient) error { return f(ctx, c, ids) })
			if err != nil {
				return fmt.Errorf("tablet server %s: %w", addr, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// atServer runs f for one server. One that does not answer for long is
// unavailable: perhaps its tablets are another's by now.
func (k *Taker) atServer(ctx context.Context, addr string, f func(context.Context, controlpb.TabletServerClient) error) error {
	cc, err := rpc.Dial(k.network, addr)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer cc.Close()
	limited, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	err = rpc.FromStatus(f(limited, controlpb.NewTabletServerClient(router.Conn(cc))))
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: no answer in %v", base.ErrUnavailable, answerPatience)
	}
	return err
}

// servers returns which of the tablets are served where.
func servers(tablets []meta.Tablet) map[string][]uint64 {
	byAddr := map[string][]uint64{}
	for _, t := range tablets {
		if t.State == meta.Serving {
			byAddr[t.OwnerAddress] = append(byAddr[t.OwnerAddress], uint64(t.ID))
		}
	}
	return byAddr
}

// flush has tablets written out by their owners, and notes which were. An error
// says that not all of them were.
func (k *Taker) flush(ctx context.Context, tablets []meta.Tablet, done *flushed) error {
	var mu sync.Mutex
	written := map[uint64]bool{}
	err := k.atServers(ctx, servers(tablets), func(ctx context.Context, c controlpb.TabletServerClient, ids []uint64) error {
		resp, err := c.Flush(ctx, &controlpb.FlushRequest{Tablets: ids})
		mu.Lock()
		defer mu.Unlock()
		for _, id := range resp.GetFlushed() {
			written[id] = true
		}
		return err
	})
	n := 0
	for _, t := range tablets {
		if written[uint64(t.ID)] {
			done.add(t)
			n++
		}
	}
	if err == nil && n < len(tablets) {
		err = fmt.Errorf("%w: %d of %d tablets are not served", base.ErrNotServing, len(tablets)-n, len(tablets))
	}
	if err != nil {
		return fmt.Errorf("flush tablets: %w", err)
	}
	return nil
}

// size returns about how many bytes the files of tablets have: of those whose
// servers answer.
func (k *Taker) size(ctx context.Context, tablets []meta.Tablet) int64 {
	var total atomic.Int64
	_ = k.atServers(ctx, servers(tablets), func(ctx context.Context, c controlpb.TabletServerClient, ids []uint64) error {
		s, err := c.Status(ctx, &controlpb.StatusRequest{})
		for _, t := range s.GetTablets() {
			if slices.Contains(ids, t.Tablet) {
				total.Add(int64(t.FileBytes))
			}
		}
		return err // it counts nothing then
	})
	return total.Load()
}

// capture returns the image that records make, and the conditions under which it
// is one: that they, and the schema, still are what they were.
func capture(t meta.Table, tablets []meta.Tablet) (Image, []lockservice.Compare, error) {
	if wrong := meta.CheckTiling(tablets); len(wrong) > 0 { // the table is being dropped
		return Image{}, nil, fmt.Errorf("%w: tablets of table %s: %s", base.ErrNotServing, t.Name, wrong[0])
	}
	img := Image{Table: proto.CloneOf(t.Record)}
	cond := []lockservice.Compare{lockservice.ModRevisionIs(t.Key(), t.Revision)}
	for _, r := range tablets {
		img.Tablets = append(img.Tablets, &adminstorepb.BackupTablet{
			Start: r.Start, End: r.End, Manifest: meta.FileNumberProto(r.Manifest), ManifestVersion: r.ManifestVersion,
			Flushed: uint64(r.Flushed), NextSeq: uint64(max(r.NextSeq, r.Flushed+1)),
		})
		cond = append(cond, lockservice.ModRevisionIs(r.Key(), r.Revision))
	}
	return img, cond, nil
}
