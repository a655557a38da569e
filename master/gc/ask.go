package gc

import (
	"context"
	"fmt"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// Ask asks the server behind a client for its files. Where another incarnation
// has its address by now the error is base.ErrNotServing.
func Ask(ctx context.Context, c controlpb.TabletServerClient, s meta.Server) (Server, error) {
	r, err := c.Files(ctx, &controlpb.FilesRequest{})
	if err != nil {
		return Server{}, rpc.FromStatus(err)
	}
	if meta.Incarnation(r.Server) != s.Incarnation {
		return Server{}, fmt.Errorf("%w: %s is another server by now", base.ErrNotServing, s.Address)
	}
	x := Server{Floor: r.Floor}
	for _, f := range r.Pinned {
		x.Pinned = append(x.Pinned, meta.FileNumber(f))
	}
	return x, nil
}
