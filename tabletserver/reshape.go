package tabletserver

import (
	"context"
	"fmt"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// named returns the tablet that a request means, at the epoch it knows.
func (s *Server) named(x *controlpb.TabletID) (*tablet.Tablet, error) {
	t, ok := s.tablet(base.TabletID(x.GetTablet()))
	if !ok || t.Epoch() != base.Epoch(x.GetTepoch()) || t.State() != tablet.Serving {
		return nil, fmt.Errorf("tablet %d, epoch %d: %w", x.GetTablet(), x.GetTepoch(), base.ErrNotServing)
	}
	return t, nil
}

// Split implements controlpb.TabletServer. It goes on when the caller does not
// wait any longer.
func (c *Control) Split(ctx context.Context, r *controlpb.SplitRequest) (*controlpb.SplitResponse, error) {
	t, err := c.s.named(r.GetTablet())
	if err != nil {
		return nil, err
	}
	row, err := dividingRow(ctx, t, r)
	if err != nil {
		return nil, err
	}
	var children []*tablet.Tablet
	err = c.s.detached(ctx, func(life context.Context) (err error) {
		ids, err := c.s.meta.NewIDs(life, "tablet", 2)
		if err != nil {
			return err
		}
		children, err = t.Split(life, row, [2]base.TabletID{base.TabletID(ids), base.TabletID(ids + 1)}, r.Why)
		return c.s.reshaped(err, []*tablet.Tablet{t}, children...)
	})
	if err != nil {
		return nil, err
	}
	resp := &controlpb.SplitResponse{Row: row}
	for _, x := range children {
		resp.Children = append(resp.Children, tabletID(x))
	}
	return resp, nil
}

// dividingRow returns the row at which a tablet is to be split.
func dividingRow(ctx context.Context, t *tablet.Tablet, r *controlpb.SplitRequest) ([]byte, error) {
	switch {
	case len(r.Row) > 0:
		return r.Row, nil
	case r.ByLoad:
		row, _, err := t.HotRow()
		return row, err
	}
	return t.MiddleRow(ctx)
}

// Merge implements controlpb.TabletServer. It goes on when the caller does not
// wait any longer.
func (c *Control) Merge(ctx context.Context, r *controlpb.MergeRequest) (*controlpb.MergeResponse, error) {
	left, err := c.s.named(r.GetLeft())
	if err != nil {
		return nil, err
	}
	right, err := c.s.named(r.GetRight())
	if err != nil {
		return nil, err
	}
	if left.Table() != right.Table() || len(left.End()) == 0 || string(left.End()) != string(right.Start()) {
		return nil, fmt.Errorf("%w: tablets %d and %d are no neighbours", base.ErrInvalid, left.ID(), right.ID())
	}
	var merged *tablet.Tablet
	err = c.s.detached(ctx, func(life context.Context) (err error) {
		id, err := c.s.meta.NewIDs(life, "tablet", 1)
		if err != nil {
			return err
		}
		merged, err = tablet.Merge(life, left, right, base.TabletID(id), r.Why)
		if err != nil {
			return c.s.reshaped(err, []*tablet.Tablet{left, right})
		}
		return c.s.reshaped(nil, []*tablet.Tablet{left, right}, merged)
	})
	if err != nil {
		return nil, err
	}
	return &controlpb.MergeResponse{Merged: tabletID(merged)}, nil
}

// reshaped makes tablets known that replace others, or forgets those that turned
// out to be another server's.
func (s *Server) reshaped(err error, before []*tablet.Tablet, after ...*tablet.Tablet) error {
	if err == nil {
		for _, t := range after {
			s.tablets.Store(t.ID(), t)
		}
	}
	for _, t := range before {
		if t.State() == tablet.Stopped {
			s.tablets.CompareAndDelete(t.ID(), t)
		}
	}
	return err
}

func tabletID(t *tablet.Tablet) *controlpb.TabletID {
	return &controlpb.TabletID{Table: uint64(t.Table()), Tablet: uint64(t.ID()), End: t.End(), Tepoch: uint64(t.Epoch())}
}

// handOverTo returns the server that is to load a tablet that is unloaded; zero:
// whoever the master chooses.
func handOverTo(r *controlpb.UnloadRequest) meta.Server {
	return meta.Server{Incarnation: meta.Incarnation(r.GetTo()), Address: r.GetToAddress()}
}
