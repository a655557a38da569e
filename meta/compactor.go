package meta

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
)

// CompactorPrefix is of the ephemeral records of the workers that compact for
// tablet servers.
const CompactorPrefix = "compactor/"

// RegisterCompactor stores the record of a worker, which goes with its session.
// base.ErrSessionExpired: that has ended.
func (s *Store) RegisterCompactor(ctx context.Context, rec *compactorpb.Record) error {
	e := Incarnation(rec.Incarnation)
	v, err := proto.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode record of compactor: %w", err)
	}
	res, err := s.ls.Txn(ctx, lockservice.Txn{
		If:   []lockservice.Compare{lockservice.SessionAlive(e)},
		Then: []lockservice.Op{lockservice.PutEphemeral(CompactorPrefix+e.String(), v, e)},
	})
	if err != nil {
		return fmt.Errorf("register compactor %v: %w", e, err)
	}
	if !res.Succeeded {
		return fmt.Errorf("register compactor %v: %w", e, base.ErrSessionExpired)
	}
	return nil
}

// Compactors returns the live workers, in order of incarnation, and the
// revision of the answer.
func (s *Store) Compactors(ctx context.Context, o lockservice.ReadOptions) ([]*compactorpb.Record, lockservice.Revision, error) {
	kvs, rev, err := s.ls.List(ctx, CompactorPrefix, lockservice.PrefixEnd(CompactorPrefix), o)
	if err != nil {
		return nil, 0, fmt.Errorf("list compactors: %w", err)
	}
	list := make([]*compactorpb.Record, len(kvs))
	for i, kv := range kvs {
		if list[i], err = DecodeCompactor(kv); err != nil {
			return nil, 0, err
		}
	}
	return list, rev, nil
}

// DecodeCompactor parses the record stored under kv.Key.
func DecodeCompactor(kv lockservice.KV) (*compactorpb.Record, error) {
	rec := &compactorpb.Record{}
	if err := proto.Unmarshal(kv.Value, rec); err != nil {
		return nil, fmt.Errorf("%w: record %q: %v", base.ErrCorrupt, kv.Key, err)
	}
	return rec, nil
}
