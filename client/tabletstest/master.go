package tabletstest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// Master makes, alters and deletes tables. Tablets of new tables go to the
// cluster's servers; it does not look after them any further.
type Master struct {
	controlpb.UnimplementedMasterServer

	c       *Cluster
	addr    string
	session lockservice.Session
	grpc    *grpc.Server
	done    sync.WaitGroup

	mu struct {
		sync.Mutex
		leader string // "": this one
	}
}

// AddMaster starts a master. It is active at once if no other one is, else
// when it is told to.
func (c *Cluster) AddMaster(addr string) *Master {
	c.t.Helper()
	m := &Master{c: c, addr: addr}
	lis, err := c.Net.Node(addr).Listen(addr)
	c.must(err)
	m.session, err = c.LS.OpenSession(c.ctx(), addr, time.Minute)
	c.must(err)
	m.grpc = rpc.NewServer(slog.New(slog.DiscardHandler), rpc.ServerOptions{})
	controlpb.RegisterMasterServer(m.grpc, m)
	m.done.Go(func() { _ = m.grpc.Serve(lis) })
	if !m.Activate() {
		locks, _, err := c.LS.Locks(c.ctx())
		c.must(err)
		m.mu.leader = string(locks[0].Data)
	}
	return m
}

// Activate makes m the active master unless another one holds the lock.
func (m *Master) Activate() bool {
	m.c.t.Helper()
	_, err := m.c.LS.TryLock(m.c.ctx(), m.session, meta.MasterLock, lockservice.LockOptions{Data: []byte(m.addr)})
	if errors.Is(err, base.ErrPrecondition) {
		return false
	}
	m.c.must(err)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.leader = ""
	return true
}

// Depose makes m a standby that names leader.
func (m *Master) Depose(leader string) {
	m.c.t.Helper()
	m.c.must(m.c.LS.Unlock(m.c.ctx(), m.session, meta.MasterLock))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.leader = leader
}

// Stop ends the process.
func (m *Master) Stop() {
	m.c.Net.Crash(m.addr)
	m.grpc.Stop()
	m.done.Wait()
	_ = m.session.Close(m.c.ctx()) // at worst it expires
}

func (m *Master) active() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.leader != "" {
		return &base.LeaderError{Leader: m.mu.leader}
	}
	return nil
}

// CreateTable implements controlpb.MasterServer.
func (m *Master) CreateTable(ctx context.Context, req *adminpb.CreateTableRequest) (*adminpb.Table, error) {
	if err := m.active(); err != nil {
		return nil, err
	}
	rec, splits, err := schema.New(req, time.Now())
	if err != nil {
		return nil, err
	}
	t, err := m.c.Meta.CreateTable(ctx, rec, splits, time.Now())
	if errors.Is(err, base.ErrExists) {
		return nil, schema.Exists(rec.Name)
	}
	if err != nil {
		return nil, err
	}
	servers := m.c.Servers()
	for i, tb := range m.c.Tablets(t.ID) {
		m.c.Serve(tb, servers[i%len(servers)])
	}
	return schema.Table(t.Record, adminpb.Table_SCHEMA_VIEW), nil
}

// DeleteTable implements controlpb.MasterServer.
func (m *Master) DeleteTable(ctx context.Context, req *adminpb.DeleteTableRequest) (*controlpb.DeleteTableResponse, error) {
	if err := m.active(); err != nil {
		return nil, err
	}
	t, err := m.c.Meta.TableByName(ctx, req.Name)
	if err != nil {
		return nil, schema.NotFound(req.Name)
	}
	if err := schema.CheckDelete(t.Record); err != nil {
		return nil, err
	}
	m.c.DropTable(t)
	return &controlpb.DeleteTableResponse{}, nil
}

// SetFamilyStorage implements controlpb.MasterServer.
func (m *Master) SetFamilyStorage(ctx context.Context, req *controlpb.SetFamilyStorageRequest) (*controlpb.SetFamilyStorageResponse, error) {
	if err := m.active(); err != nil {
		return nil, err
	}
	t, err := m.c.Meta.TableByName(ctx, req.Table)
	if err != nil {
		return nil, schema.NotFound(req.Table)
	}
	rec, err := schema.SetStorage(t.Record, req.Changes)
	if err != nil {
		return nil, err
	}
	if t, err = m.c.Meta.UpdateTable(ctx, t, rec); err != nil {
		return nil, err
	}
	return &controlpb.SetFamilyStorageResponse{Families: t.Record.Families}, nil
}

// ModifyColumnFamilies implements controlpb.MasterServer.
func (m *Master) ModifyColumnFamilies(ctx context.Context, req *adminpb.ModifyColumnFamiliesRequest) (*adminpb.Table, error) {
	if err := m.active(); err != nil {
		return nil, err
	}
	t, err := m.c.Meta.TableByName(ctx, req.Name)
	if err != nil {
		return nil, schema.NotFound(req.Name)
	}
	rec, err := schema.Modify(t.Record, req.Modifications)
	if err != nil {
		return nil, err
	}
	if t, err = m.c.Meta.UpdateTable(ctx, t, rec); err != nil {
		return nil, err
	}
	return schema.Table(t.Record, adminpb.Table_SCHEMA_VIEW), nil
}
