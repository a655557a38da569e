package tabletserver

import (
	"context"
	"errors"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// Adopt implements controlpb.TabletServer. It goes on when the caller does not
// wait any longer.
func (c *Control) Adopt(ctx context.Context, r *controlpb.AdoptRequest) (*controlpb.AdoptResponse, error) {
	t, err := c.s.named(r.GetTablet())
	if err != nil {
		return nil, err
	}
	err = c.s.detached(ctx, func(life context.Context) error {
		select { // a few at a time, as flushes
		case c.s.adopting <- struct{}{}:
			defer func() { <-c.s.adopting }()
		case <-life.Done():
			return life.Err()
		}
		err := t.Adopt(life, base.LoadID(r.Load))
		if errors.Is(err, tablet.ErrLost) {
			c.s.tablets.CompareAndDelete(t.ID(), t)
			err = base.ErrNotServing
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &controlpb.AdoptResponse{}, nil
}
