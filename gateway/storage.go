package gateway

import (
	"context"

	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// tableStorage implements controlpb.TableStorageServer.
type tableStorage struct {
	controlpb.UnsafeTableStorageServer
	g *Gateway
}

// SetFamilyStorage implements controlpb.TableStorageServer.
func (s *tableStorage) SetFamilyStorage(ctx context.Context, req *controlpb.SetFamilyStorageRequest) (resp *controlpb.SetFamilyStorageResponse, err error) {
	if len(req.Changes) == 0 {
		t, err := s.g.tables.table(ctx, req.Table)
		if err != nil {
			return nil, err
		}
		return &controlpb.SetFamilyStorageResponse{Families: t.Record.Families}, nil
	}
	err = s.g.master.Call(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
		resp, err = m.SetFamilyStorage(ctx, req)
		return err
	})
	return resp, err
}
