package master

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// CreateTable implements controlpb.MasterServer.
func (m *Master) CreateTable(ctx context.Context, req *adminpb.CreateTableRequest) (*adminpb.Table, error) {
	t, err := m.leader(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := t.bind(ctx)
	defer cancel()
	rec, splits, err := schema.New(req, time.Now())
	if err != nil {
		return nil, err
	}
	tbl, err := t.store.CreateTable(ctx, rec, splits, time.Now())
	if errors.Is(err, base.ErrExists) {
		return nil, schema.Exists(rec.Name)
	}
	if err != nil {
		return nil, t.outcome(err)
	}
	t.log.InfoContext(ctx, "table created", "table", uint64(tbl.ID), "name", tbl.Name, "tablets", len(splits)+1)
	t.awaitServed(ctx, tbl)
	return schema.Table(tbl.Record, adminpb.Table_SCHEMA_VIEW), nil
}

// awaitServed returns when all tablets of a table are served, or shortly before
// the deadline.
func (t *term) awaitServed(ctx context.Context, tbl meta.Table) {
	const reserve = 10 // of the time left, one part is kept for the way back
	wait := t.opt.CreateWait
	if d, ok := ctx.Deadline(); ok {
		wait = time.Until(d) - time.Until(d)/reserve
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		changed := t.mirror.watch()
		if t.mirror.served(tbl.ID, tbl.Revision) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.log.WarnContext(ctx, "new table is not served yet", "table", uint64(tbl.ID), "name", tbl.Name)
			return
		}
	}
}

// alter reads the named table and applies f to it until no other change comes
// between.
func (t *term) alter(ctx context.Context, name string, f func(meta.Table) error) error {
	if _, err := schema.ParseName(name); err != nil {
		return err
	}
	for {
		tbl, err := t.store.TableByName(ctx, name)
		if errors.Is(err, base.ErrNotFound) {
			return schema.NotFound(name)
		}
		if err != nil {
			return err
		}
		if err := f(tbl); !errors.Is(err, base.ErrAborted) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// DeleteTable implements controlpb.MasterServer. The table takes no requests any
// more when it returns; its tablets go afterwards.
func (m *Master) DeleteTable(ctx context.Context, req *adminpb.DeleteTableRequest) (*controlpb.DeleteTableResponse, error) {
	t, err := m.leader(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := t.bind(ctx)
	defer cancel()
	var rev lockservice.Revision
	err = t.alter(ctx, req.GetName(), func(tbl meta.Table) error {
		err := schema.CheckDelete(tbl.Record)
		if err != nil {
			return err
		}
		rev, err = t.store.DeleteTable(ctx, tbl, time.Now())
		return err
	})
	if err != nil {
		return nil, t.outcome(err)
	}
	t.log.InfoContext(ctx, "table deleted", "name", req.GetName())
	t.refreshSchemas(ctx, rev)
	return &controlpb.DeleteTableResponse{}, nil
}

// UndeleteTable implements controlpb.MasterServer. The table is served when it
// returns, with what it held when it was deleted.
func (m *Master) UndeleteTable(ctx context.Context, req *adminpb.UndeleteTableRequest) (*adminpb.Table, error) {
	t, err := m.leader(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := t.bind(ctx)
	defer cancel()
	if _, err := schema.ParseName(req.GetName()); err != nil {
		return nil, err
	}
	for {
		tbl, err := t.store.DeletedTable(ctx, req.GetName())
		if err == nil && time.Since(time.UnixMicro(tbl.Record.DeletedUs)) >= t.opt.KeepDeleted {
			err = base.ErrNotFound // it goes this moment
		}
		if errors.Is(err, base.ErrNotFound) {
			return nil, base.Textf(base.ErrNotFound, "Table not found among those deleted in the last %v: %s", max(t.opt.KeepDeleted, 0), req.GetName())
		}
		if err != nil {
			return nil, t.outcome(err)
		}
		tbl, err = t.store.UndeleteTable(ctx, tbl)
		switch {
		case errors.Is(err, base.ErrExists):
			return nil, schema.Exists(req.GetName())
		case errors.Is(err, base.ErrAborted) && ctx.Err() == nil:
			continue
		case err != nil:
			return nil, t.outcome(err)
		}
		t.log.InfoContext(ctx, "table undeleted", "table", uint64(tbl.ID), "name", tbl.Name)
		t.refreshSchemas(ctx, tbl.Revision)
		t.awaitServed(ctx, tbl)
		return schema.Table(tbl.Record, adminpb.Table_SCHEMA_VIEW), nil
	}
}

// ModifyColumnFamilies implements controlpb.MasterServer.
func (m *Master) ModifyColumnFamilies(ctx context.Context, req *adminpb.ModifyColumnFamiliesRequest) (*adminpb.Table, error) {
	after, err := m.changeFamilies(ctx, req.GetName(), "column families modified", func(rec *metapb.TableRecord) (*metapb.TableRecord, error) {
		return schema.Modify(rec, req.GetModifications())
	})
	if err != nil {
		return nil, err
	}
	return schema.Table(after, adminpb.Table_SCHEMA_VIEW), nil
}

// SetFamilyStorage implements controlpb.MasterServer.
func (m *Master) SetFamilyStorage(ctx context.Context, req *controlpb.SetFamilyStorageRequest) (*controlpb.SetFamilyStorageResponse, error) {
	after, err := m.changeFamilies(ctx, req.GetTable(), "storage of column families set", func(rec *metapb.TableRecord) (*metapb.TableRecord, error) {
		return schema.SetStorage(rec, req.GetChanges())
	})
	if err != nil {
		return nil, err
	}
	return &controlpb.SetFamilyStorageResponse{Families: after.Families}, nil
}

// changeFamilies changes the schema of a table, and returns when the tablet
// servers know it.
func (m *Master) changeFamilies(ctx context.Context, name, what string, change func(*metapb.TableRecord) (*metapb.TableRecord, error)) (*metapb.TableRecord, error) {
	t, err := m.leader(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := t.bind(ctx)
	defer cancel()
	var after meta.Table
	err = t.alter(ctx, name, func(tbl meta.Table) error {
		rec, err := change(tbl.Record)
		if err != nil {
			return err
		}
		after, err = t.store.UpdateTable(ctx, tbl, rec)
		return err
	})
	if err != nil {
		return nil, t.outcome(err)
	}
	t.log.InfoContext(ctx, what, "name", name)
	t.refreshSchemas(ctx, after.Revision)
	return after.Record, nil
}

// refreshSchemas returns when every live server knows the schemas as of rev, or
// has lost its session, or the wait is over: the change is committed, so there
// is nothing to refuse then.
func (t *term) refreshSchemas(ctx context.Context, rev lockservice.Revision) {
	ctx, cancel := context.WithTimeout(ctx, t.opt.SchemaWait)
	defer cancel()
	t.mu.Lock()
	peers := make([]*peer, 0, len(t.mu.peers))
	for _, p := range t.mu.peers {
		peers = append(peers, p)
	}
	t.mu.Unlock()
	var all sync.WaitGroup
	for _, p := range peers {
		all.Go(func() { p.refresh(ctx, rev) })
	}
	all.Wait()
}

func (p *peer) refresh(ctx context.Context, rev lockservice.Revision) {
	for {
		try, cancel := context.WithTimeout(ctx, p.t.opt.StatusTimeout)
		_, err := p.client.RefreshSchemas(try, &controlpb.RefreshSchemasRequest{Revision: uint64(rev)})
		cancel()
		if err == nil {
			return
		}
		if _, live := p.t.mirror.server(p.server.Incarnation); !live {
			return
		}
		if !p.t.sleep(ctx, jobPause) {
			p.log.WarnContext(ctx, "server did not confirm the schemas", "revision", uint64(rev), "err", rpc.FromStatus(err))
			return
		}
	}
}

// GetTable implements controlpb.MasterServer.
func (m *Master) GetTable(ctx context.Context, req *adminpb.GetTableRequest) (*adminpb.Table, error) {
	if _, err := m.leader(ctx); err != nil {
		return nil, err
	}
	if _, err := schema.ParseName(req.GetName()); err != nil {
		return nil, err
	}
	tbl, err := m.store.TableByName(ctx, req.GetName())
	if errors.Is(err, base.ErrNotFound) {
		return nil, schema.NotFound(req.GetName())
	}
	if err != nil {
		return nil, err
	}
	return schema.Table(tbl.Record, req.GetView()), nil
}

// ListTables implements controlpb.MasterServer. Tables are listed by name; a
// page token is the last name of the page before.
func (m *Master) ListTables(ctx context.Context, req *adminpb.ListTablesRequest) (*adminpb.ListTablesResponse, error) {
	if _, err := m.leader(ctx); err != nil {
		return nil, err
	}
	if _, err := schema.ParseParent(req.GetParent()); err != nil {
		return nil, err
	}
	tables, _, err := m.store.ListTables(ctx, req.GetParent()+"/tables/", lockservice.ReadOptions{})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(tables, func(a, b meta.Table) int { return strings.Compare(a.Name, b.Name) })
	return listPage(tables, req)
}

func listPage(tables []meta.Table, req *adminpb.ListTablesRequest) (*adminpb.ListTablesResponse, error) {
	if req.GetPageSize() < 0 {
		return nil, base.Invalidf("Error in field 'page_size' : must not be negative")
	}
	view := req.GetView()
	if view == adminpb.Table_VIEW_UNSPECIFIED {
		view = adminpb.Table_NAME_ONLY
	}
	resp := &adminpb.ListTablesResponse{}
	for _, tbl := range tables {
		if tbl.Name <= req.GetPageToken() {
			continue
		}
		if n := len(resp.Tables); n > 0 && n == int(req.GetPageSize()) {
			resp.NextPageToken = resp.Tables[n-1].Name
			break
		}
		resp.Tables = append(resp.Tables, schema.Table(tbl.Record, view))
	}
	return resp, nil
}
