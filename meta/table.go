package meta

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// Table is the schema of a table as read at Revision. Record must not be
// changed: clone it first.
type Table struct {
	ID       base.TableID
	Name     string // projects/P/instances/I/tables/T
	Record   *metapb.TableRecord
	Revision lockservice.Revision
}

// Key returns the key of the record, so that a transaction can compare its
// revision.
func (t Table) Key() string { return tableKey(t.ID) }

// maxTabletsPerTxn keeps a transaction within the limits of the lock service,
// also with row keys of full length.
const maxTabletsPerTxn = 512

// NewIDs draws n consecutive ids from the named counter and returns the first.
// Ids start at 1 and are never drawn twice.
func (s *Store) NewIDs(ctx context.Context, counter string, n uint64) (uint64, error) {
	key := CounterPrefix + counter
	for {
		kv, ok, _, err := s.ls.Get(ctx, key, lockservice.ReadOptions{})
		if err != nil {
			return 0, fmt.Errorf("draw %s ids: %w", counter, err)
		}
		var last uint64
		if ok {
			if len(kv.Value) != 8 {
				return 0, fmt.Errorf("%w: counter %q", base.ErrCorrupt, key)
			}
			last = binary.BigEndian.Uint64(kv.Value)
		}
		res, err := s.ls.Txn(ctx, lockservice.Txn{
			If:   []lockservice.Compare{lockservice.ModRevisionIs(key, kv.ModRevision)},
			Then: []lockservice.Op{lockservice.Put(key, binary.BigEndian.AppendUint64(nil, last+n))},
		})
		if err != nil {
			return 0, fmt.Errorf("draw %s ids: %w", counter, err)
		}
		if res.Succeeded {
			return last + 1, nil
		}
	}
}

// CreateTable stores a new table with one tablet between each two splits,
// which are sorted, distinct and not empty, and gives it its id. The tablets
// are unassigned. base.ErrExists: the name is taken.
func (s *Store) CreateTable(ctx context.Context, rec *metapb.TableRecord, splits [][]byte, now time.Time) (Table, error) {
	if len(splits) >= maxTabletsPerTxn {
		return Table{}, fmt.Errorf("%w: %d initial splits; at most %d", base.ErrInvalid, len(splits), maxTabletsPerTxn-1)
	}
	id, err := s.NewIDs(ctx, "table", 1)
	if err != nil {
		return Table{}, err
	}
	first, err := s.NewIDs(ctx, "tablet", uint64(len(splits)+1))
	if err != nil {
		return Table{}, err
	}
	rec = proto.CloneOf(rec)
	rec.Id = id
	x, err := newTableTxn(rec, emptyTablets(splits), first, now)
	if err != nil {
		return Table{}, err
	}
	res, err := s.ls.Txn(ctx, x)
	if err != nil {
		return Table{}, fmt.Errorf("create table %s: %w", rec.Name, err)
	}
	if !res.Succeeded {
		return Table{}, fmt.Errorf("table %s: %w", rec.Name, base.ErrExists)
	}
	return s.TableByName(ctx, rec.Name)
}

// emptyTablets returns the tablets of a table that begins empty, cut at splits.
func emptyTablets(splits [][]byte) []Tablet {
	list := make([]Tablet, len(splits)+1)
	for i, row := range splits {
		list[i].End, list[i+1].Start = row, row
	}
	return list
}

// newTableTxn makes a table with tablets that begin with the rows and files of
// those given, under ids from first on.
func newTableTxn(rec *metapb.TableRecord, tablets []Tablet, first uint64, now time.Time) (lockservice.Txn, error) {
	id := base.TableID(rec.Id)
	v, err := proto.Marshal(rec)
	if err != nil {
		return lockservice.Txn{}, fmt.Errorf("encode table record: %w", err)
	}
	x := lockservice.Txn{
		If: []lockservice.Compare{lockservice.Absent(tableNameKey(rec.Name)), lockservice.Absent(tableKey(id))},
		Then: []lockservice.Op{
			lockservice.Put(tableKey(id), v),
			lockservice.Put(tableNameKey(rec.Name), binary.BigEndian.AppendUint64(nil, rec.Id)),
		},
	}
	for i, from := range tablets {
		t := Tablet{
			ID: base.TabletID(first + uint64(i)), Table: id, Start: from.Start, End: from.End, State: Unassigned, Since: now,
			Manifest: from.Manifest, ManifestVersion: from.ManifestVersion, Flushed: from.Flushed, NextSeq: from.NextSeq,
		}
		tv, err := t.encode()
		if err != nil {
			return x, err
		}
		x.Then = append(x.Then, lockservice.Put(t.Key(), tv))
	}
	return x, nil
}

// TableByName reads the schema of the named table. base.ErrNotFound: there is
// none.
func (s *Store) TableByName(ctx context.Context, name string) (Table, error) {
	kv, ok, _, err := s.ls.Get(ctx, tableNameKey(name), lockservice.ReadOptions{})
	if err != nil {
		return Table{}, fmt.Errorf("look up table %s: %w", name, err)
	}
	if !ok || len(kv.Value) != 8 {
		return Table{}, fmt.Errorf("table %s: %w", name, base.ErrNotFound)
	}
	return s.Table(ctx, base.TableID(binary.BigEndian.Uint64(kv.Value)))
}

// Table reads a schema by the table's id.
func (s *Store) Table(ctx context.Context, id base.TableID) (Table, error) {
	kv, ok, _, err := s.ls.Get(ctx, tableKey(id), lockservice.ReadOptions{})
	if err != nil {
		return Table{}, fmt.Errorf("read schema of table %d: %w", id, err)
	}
	if !ok {
		return Table{}, fmt.Errorf("table %d: %w", id, base.ErrNotFound)
	}
	return DecodeTable(kv)
}

// ListTables returns the schemas of all tables whose name starts with prefix,
// deleted ones left out, and the revision at which that is true.
func (s *Store) ListTables(ctx context.Context, prefix string, o lockservice.ReadOptions) ([]Table, lockservice.Revision, error) {
	kvs, rev, err := s.ls.List(ctx, TablePrefix, lockservice.PrefixEnd(TablePrefix), o)
	if err != nil {
		return nil, 0, fmt.Errorf("list tables: %w", err)
	}
	var tables []Table
	for _, kv := range kvs {
		t, err := DecodeTable(kv)
		if err != nil {
			return nil, 0, err
		}
		if !t.Record.Deleted && strings.HasPrefix(t.Name, prefix) {
			tables = append(tables, t)
		}
	}
	return tables, rev, nil
}

// DecodeTable parses the record stored under kv.Key.
func DecodeTable(kv lockservice.KV) (Table, error) {
	rec := &metapb.TableRecord{}
	if err := proto.Unmarshal(kv.Value, rec); err != nil || tableKey(base.TableID(rec.Id)) != kv.Key {
		return Table{}, fmt.Errorf("%w: table record %q", base.ErrCorrupt, kv.Key)
	}
	return Table{ID: base.TableID(rec.Id), Name: rec.Name, Record: rec, Revision: kv.ModRevision}, nil
}

// UpdateTable replaces the schema of t with rec. base.ErrAborted: it changed
// since t was read.
func (s *Store) UpdateTable(ctx context.Context, t Table, rec *metapb.TableRecord) (Table, error) {
	v, err := proto.Marshal(rec)
	if err != nil {
		return Table{}, fmt.Errorf("encode table record: %w", err)
	}
	res, err := s.ls.Txn(ctx, lockservice.Txn{
		If:   []lockservice.Compare{lockservice.ModRevisionIs(tableKey(t.ID), t.Revision)},
		Then: []lockservice.Op{lockservice.Put(tableKey(t.ID), v)},
	})
	if err != nil {
		return Table{}, fmt.Errorf("update table %s: %w", t.Name, err)
	}
	if !res.Succeeded {
		return Table{}, fmt.Errorf("update table %s: %w", t.Name, base.ErrAborted)
	}
	return s.Table(ctx, t.ID)
}

// DeleteTable marks the table deleted and frees its name. It returns the
// revision of that. Its tablets stay, without owners, for as long as the table
// may come back; then DropTablets removes them.
func (s *Store) DeleteTable(ctx context.Context, t Table, now time.Time) (lockservice.Revision, error) {
	rec := proto.CloneOf(t.Record)
	rec.Deleted, rec.DeletedUs = true, now.UnixMicro()
	v, err := proto.Marshal(rec)
	if err != nil {
		return 0, fmt.Errorf("encode table record: %w", err)
	}
	res, err := s.ls.Txn(ctx, lockservice.Txn{
		If:   []lockservice.Compare{lockservice.ModRevisionIs(tableKey(t.ID), t.Revision)},
		Then: []lockservice.Op{lockservice.Put(tableKey(t.ID), v), lockservice.Delete(tableNameKey(t.Name))},
	})
	if err != nil {
		return 0, fmt.Errorf("delete table %s: %w", t.Name, err)
	}
	if !res.Succeeded {
		return 0, fmt.Errorf("delete table %s: %w", t.Name, base.ErrAborted)
	}
	return res.Revision, nil
}

// DeletedTable returns the table of that name that was deleted last and is not
// gone yet. base.ErrNotFound: there is none.
func (s *Store) DeletedTable(ctx context.Context, name string) (Table, error) {
	kvs, _, err := s.ls.List(ctx, TablePrefix, lockservice.PrefixEnd(TablePrefix), lockservice.ReadOptions{})
	if err != nil {
		return Table{}, fmt.Errorf("list tables: %w", err)
	}
	var last Table
	for _, kv := range kvs {
		t, err := DecodeTable(kv)
		if err != nil {
			return Table{}, err
		}
		if t.Record.Deleted && t.Name == name && (last.ID == 0 || t.Record.DeletedUs >= last.Record.DeletedUs) {
			last = t
		}
	}
	if last.ID == 0 {
		return last, fmt.Errorf("deleted table %s: %w", name, base.ErrNotFound)
	}
	return last, nil
}

// UndeleteTable takes the mark of a deleted table away and gives it its name
// back. base.ErrExists: the name is taken; base.ErrAborted: the table was
// changed meanwhile, or is gone.
func (s *Store) UndeleteTable(ctx context.Context, t Table) (Table, error) {
	rec := proto.CloneOf(t.Record)
	rec.Deleted, rec.DeletedUs = false, 0
	v, err := proto.Marshal(rec)
	if err != nil {
		return Table{}, fmt.Errorf("encode table record: %w", err)
	}
	_, err = s.ls.Txn(ctx, lockservice.Txn{
		If:   []lockservice.Compare{lockservice.ModRevisionIs(tableKey(t.ID), t.Revision), lockservice.Absent(tableNameKey(t.Name))},
		Then: []lockservice.Op{lockservice.Put(tableKey(t.ID), v), lockservice.Put(tableNameKey(t.Name), binary.BigEndian.AppendUint64(nil, uint64(t.ID)))},
	})
	if err != nil {
		return Table{}, fmt.Errorf("undelete table %s: %w", t.Name, err)
	}
	now, err := s.TableByName(ctx, t.Name)
	switch {
	case err == nil && now.ID == t.ID:
		return now, nil
	case err == nil:
		return Table{}, fmt.Errorf("undelete table %s: %w", t.Name, base.ErrExists)
	case errors.Is(err, base.ErrNotFound):
		return Table{}, fmt.Errorf("undelete table %s: %w", t.Name, base.ErrAborted)
	}
	return Table{}, err
}

// DropTablets removes the records of unassigned tablets of a deleted table,
// and what they reference with them; with forget, the schema as well. The table
// still is as it was read, so that it did not come back.
func (s *Store) DropTablets(ctx context.Context, t Table, tablets []Tablet, forget bool) error {
	x := lockservice.Txn{If: []lockservice.Compare{lockservice.ModRevisionIs(tableKey(t.ID), t.Revision)}}
	for _, tb := range tablets {
		x.If = append(x.If, lockservice.ModRevisionIs(tb.Key(), tb.Revision))
		x.Then = append(append(x.Then, lockservice.Delete(tb.Key())), refOps(tb, Tablet{})...)
	}
	if forget { // loads of it are decided no more, for they compare the schema
		p := bulkPrefixOf(t.ID)
		x.Then = append(x.Then, lockservice.Delete(tableKey(t.ID)), lockservice.DeleteRange(p, lockservice.PrefixEnd(p)))
	}
	res, err := s.ls.Txn(ctx, x)
	if err != nil {
		return fmt.Errorf("drop tablets of table %d: %w", t.ID, err)
	}
	if !res.Succeeded {
		return fmt.Errorf("drop tablets of table %d: %w", t.ID, base.ErrAborted)
	}
	return nil
}
