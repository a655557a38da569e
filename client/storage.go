package client

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// Storage says how the cells of a family are stored: in what is written from
// then on, until a compaction rewrites the rest. The zero Storage is the default.
// It is TabletDB's own: the Bigtable API does not know of it.
type Storage struct {
	// LocalityGroup names the families with which this one shares files. A read
	// that asks for none of them does not touch these files. "" is the default
	// group.
	LocalityGroup string
	// InMemory keeps the files of the group in memory, as far as there is room. It
	// is the same for all families of a group.
	InMemory    bool
	Compression Compression
	Bloom       Bloom
}

// Compression is how blocks are packed that hold mostly cells of a family.
type Compression int

const (
	DefaultCompression Compression = iota // what the server is set to
	NoCompression
	Snappy
	Zstd
)

// Bloom is what the filters of files know, so that a read of what is not there
// reads nothing. A file has the most that one of its families asks for.
type Bloom int

const (
	DefaultBloom   Bloom = iota // BloomRowColumn
	NoBloom                     // nothing
	BloomRow                    // which rows there are
	BloomRowColumn              // which rows, and which columns in each
)

// storageOf returns the changes that families need whose storage is not the
// default.
func storageOf(families ...Family) []*controlpb.FamilyStorage {
	var changes []*controlpb.FamilyStorage
	for _, f := range families {
		if f.Storage != (Storage{}) {
			changes = append(changes, f.Storage.change(f.Name))
		}
	}
	return changes
}

func (s Storage) change(family string) *controlpb.FamilyStorage {
	return &controlpb.FamilyStorage{
		Family: family, LocalityGroup: proto.String(s.LocalityGroup), InMemory: proto.Bool(s.InMemory),
		Compression: metapb.Storage_Compression(s.Compression).Enum(), Bloom: metapb.Storage_Bloom(s.Bloom).Enum(),
	}
}

// SetFamilyStorage replaces how the cells of a family are stored. InMemory is
// set for all families of the group.
func (a *Admin) SetFamilyStorage(ctx context.Context, table, family string, s Storage) error {
	_, err := a.backend.setStorage(ctx, &controlpb.SetFamilyStorageRequest{
		Table: a.name(table), Changes: []*controlpb.FamilyStorage{s.change(family)},
	})
	return a.did(err, "set the storage of "+family+" in", table)
}

// FamilyStorage returns how the families of a table are stored, by name.
func (a *Admin) FamilyStorage(ctx context.Context, table string) (map[string]Storage, error) {
	families, err := a.backend.setStorage(ctx, &controlpb.SetFamilyStorageRequest{Table: a.name(table)})
	if err != nil {
		return nil, a.did(err, "read the storage of", table)
	}
	m := map[string]Storage{}
	for _, f := range families {
		s := f.GetStorage()
		m[f.Name] = Storage{
			LocalityGroup: s.GetLocalityGroup(), InMemory: s.GetInMemory(),
			Compression: Compression(s.GetCompression()), Bloom: Bloom(s.GetBloom()),
		}
	}
	return m, nil
}

func (n *native) setStorage(ctx context.Context, req *controlpb.SetFamilyStorageRequest) (families []*metapb.Family, err error) {
	if len(req.Changes) == 0 {
		t, err := n.table(ctx, req.Table)
		return t.Record.GetFamilies(), err
	}
	err = n.master.Call(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
		resp, err := m.SetFamilyStorage(ctx, req)
		families = resp.GetFamilies()
		return err
	})
	return families, err
}

func (g *gatewayServer) setStorage(ctx context.Context, req *controlpb.SetFamilyStorageRequest) ([]*metapb.Family, error) {
	resp, err := controlpb.NewTableStorageClient(router.Conn(g.conns[0])).SetFamilyStorage(ctx, req)
	return resp.GetFamilies(), rpc.FromStatus(err)
}
