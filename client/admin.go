package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"

	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// Admin makes, shows and changes tables. Names are short: "t", not
// "projects/P/instances/I/tables/t".
type Admin struct {
	c       *Client
	backend adminBackend
}

// adminBackend is the part of BigtableTableAdmin that Admin needs.
type adminBackend interface {
	createTable(context.Context, *adminpb.CreateTableRequest) error
	deleteTable(context.Context, *adminpb.DeleteTableRequest) error
	modifyFamilies(context.Context, *adminpb.ModifyColumnFamiliesRequest) error
	getTable(context.Context, *adminpb.GetTableRequest) (*adminpb.Table, error)
	listTables(context.Context, *adminpb.ListTablesRequest) (*adminpb.ListTablesResponse, error)
	dropRows(context.Context, *adminpb.DropRowRangeRequest) error
	// setStorage changes how families are stored and returns all of the table;
	// without a change it only returns them.
	setStorage(context.Context, *controlpb.SetFamilyStorageRequest) ([]*metapb.Family, error)
}

// Family describes a column family.
type Family struct {
	Name   string
	GC     GCPolicy
	Sum    bool // cells are sums of what is added to them
	Min    bool // ... minima
	Max    bool // ... maxima
	Unique bool // ... sketches that count different values
	// Storage is how the cells are stored. TableInfo does not tell it;
	// FamilyStorage does.
	Storage Storage
}

func (f Family) proto() (*adminpb.ColumnFamily, error) {
	cf := &adminpb.ColumnFamily{GcRule: f.GC.pb}
	var kinds []*adminpb.Type_Aggregate
	if f.Sum {
		kinds = append(kinds, &adminpb.Type_Aggregate{Aggregator: &adminpb.Type_Aggregate_Sum_{Sum: &adminpb.Type_Aggregate_Sum{}}})
	}
	if f.Min {
		kinds = append(kinds, &adminpb.Type_Aggregate{Aggregator: &adminpb.Type_Aggregate_Min_{Min: &adminpb.Type_Aggregate_Min{}}})
	}
	if f.Max {
		kinds = append(kinds, &adminpb.Type_Aggregate{Aggregator: &adminpb.Type_Aggregate_Max_{Max: &adminpb.Type_Aggregate_Max{}}})
	}
	if f.Unique {
		kinds = append(kinds, &adminpb.Type_Aggregate{Aggregator: &adminpb.Type_Aggregate_HllppUniqueCount{HllppUniqueCount: &adminpb.Type_Aggregate_HyperLogLogPlusPlusUniqueCount{}}})
	}
	switch {
	case len(kinds) > 1:
		return nil, fmt.Errorf("%w: family %q: a family has one aggregation at most", ErrInvalid, f.Name)
	case len(kinds) == 1:
		kinds[0].InputType = &adminpb.Type{Kind: &adminpb.Type_Int64Type{Int64Type: &adminpb.Type_Int64{
			Encoding: &adminpb.Type_Int64_Encoding{Encoding: &adminpb.Type_Int64_Encoding_BigEndianBytes_{BigEndianBytes: &adminpb.Type_Int64_Encoding_BigEndianBytes{}}},
		}}}
		cf.ValueType = &adminpb.Type{Kind: &adminpb.Type_AggregateType{AggregateType: kinds[0]}}
	}
	return cf, nil
}

func familyOf(name string, cf *adminpb.ColumnFamily) Family {
	f := Family{Name: name, GC: GCPolicy{cf.GcRule}}
	switch cf.GetValueType().GetAggregateType().GetAggregator().(type) {
	case *adminpb.Type_Aggregate_Sum_:
		f.Sum = true
	case *adminpb.Type_Aggregate_Min_:
		f.Min = true
	case *adminpb.Type_Aggregate_Max_:
		f.Max = true
	case *adminpb.Type_Aggregate_HllppUniqueCount:
		f.Unique = true
	}
	return f
}

// TableConf describes a table to be made.
type TableConf struct {
	Table    string
	Families []Family
	// Splits are the keys at which the table is cut into tablets at first.
	Splits []string
	// Microseconds keeps timestamps as they are; else they are in milliseconds.
	Microseconds       bool
	DeletionProtection bool
}

// CreateTable makes a table without families.
func (a *Admin) CreateTable(ctx context.Context, table string) error {
	return a.CreateTableFromConf(ctx, &TableConf{Table: table})
}

// CreateTableFromConf makes a table and returns when it is served.
func (a *Admin) CreateTableFromConf(ctx context.Context, conf *TableConf) error {
	t := &adminpb.Table{ColumnFamilies: map[string]*adminpb.ColumnFamily{}, DeletionProtection: conf.DeletionProtection}
	if conf.Microseconds {
		t.Granularity = adminpb.Table_MICROS
	}
	for _, f := range conf.Families {
		cf, err := f.proto()
		if err != nil {
			return err
		}
		if t.ColumnFamilies[f.Name] != nil {
			return fmt.Errorf("%w: table %s: family %q is there twice", ErrInvalid, conf.Table, f.Name)
		}
		t.ColumnFamilies[f.Name] = cf
	}
	req := &adminpb.CreateTableRequest{Parent: a.c.parent(), TableId: conf.Table, Table: t}
	for _, s := range conf.Splits {
		req.InitialSplits = append(req.InitialSplits, &adminpb.CreateTableRequest_Split{Key: []byte(s)})
	}
	err := a.backend.createTable(ctx, req)
	if changes := storageOf(conf.Families...); err == nil && len(changes) > 0 {
		_, err = a.backend.setStorage(ctx, &controlpb.SetFamilyStorageRequest{Table: a.name(conf.Table), Changes: changes})
	}
	return a.did(err, "create table", conf.Table)
}

func (a *Admin) did(err error, what, table string) error {
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, table, err)
	}
	return nil
}

func (a *Admin) name(table string) string { return a.c.parent() + "/tables/" + table }

// DeleteTable deletes a table and its rows.
func (a *Admin) DeleteTable(ctx context.Context, table string) error {
	err := a.backend.deleteTable(ctx, &adminpb.DeleteTableRequest{Name: a.name(table)})
	a.c.router.Forget(a.name(table))
	return a.did(err, "delete table", table)
}

// Tables returns the names of the tables, sorted.
func (a *Admin) Tables(ctx context.Context) ([]string, error) {
	var names []string
	req := &adminpb.ListTablesRequest{Parent: a.c.parent(), View: adminpb.Table_NAME_ONLY}
	for {
		resp, err := a.backend.listTables(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("list tables: %w", err)
		}
		for _, t := range resp.Tables {
			names = append(names, t.Name[strings.LastIndexByte(t.Name, '/')+1:])
		}
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			slices.Sort(names)
			return names, nil
		}
	}
}

// TableInfo describes a table.
type TableInfo struct {
	Families           []Family // by name
	Microseconds       bool
	DeletionProtection bool
}

// TableInfo returns the description of a table.
func (a *Admin) TableInfo(ctx context.Context, table string) (*TableInfo, error) {
	t, err := a.backend.getTable(ctx, &adminpb.GetTableRequest{Name: a.name(table), View: adminpb.Table_SCHEMA_VIEW})
	if err != nil {
		return nil, a.did(err, "describe table", table)
	}
	info := &TableInfo{Microseconds: t.Granularity == adminpb.Table_MICROS, DeletionProtection: t.DeletionProtection}
	for name, cf := range t.ColumnFamilies {
		info.Families = append(info.Families, familyOf(name, cf))
	}
	slices.SortFunc(info.Families, func(x, y Family) int { return strings.Compare(x.Name, y.Name) })
	return info, nil
}

func (a *Admin) modify(ctx context.Context, table string, m *adminpb.ModifyColumnFamiliesRequest_Modification) error {
	return a.backend.modifyFamilies(ctx, &adminpb.ModifyColumnFamiliesRequest{
		Name: a.name(table), Modifications: []*adminpb.ModifyColumnFamiliesRequest_Modification{m},
	})
}

// CreateColumnFamily adds a family that keeps all cells.
func (a *Admin) CreateColumnFamily(ctx context.Context, table, family string) error {
	return a.CreateColumnFamilyFromConf(ctx, table, Family{Name: family})
}

// CreateColumnFamilyFromConf adds a family.
func (a *Admin) CreateColumnFamilyFromConf(ctx context.Context, table string, f Family) error {
	cf, err := f.proto()
	if err != nil {
		return err
	}
	err = a.modify(ctx, table, &adminpb.ModifyColumnFamiliesRequest_Modification{
		Id: f.Name, Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Create{Create: cf}})
	if changes := storageOf(f); err == nil && len(changes) > 0 {
		_, err = a.backend.setStorage(ctx, &controlpb.SetFamilyStorageRequest{Table: a.name(table), Changes: changes})
	}
	return a.did(err, "create a column family of", table)
}

// SetGCPolicy replaces the policy of a family.
func (a *Admin) SetGCPolicy(ctx context.Context, table, family string, p GCPolicy) error {
	err := a.modify(ctx, table, &adminpb.ModifyColumnFamiliesRequest_Modification{
		Id: family, Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Update{Update: &adminpb.ColumnFamily{GcRule: p.pb}}})
	return a.did(err, "set the garbage policy of "+family+" in", table)
}

// DeleteColumnFamily drops a family and its cells.
func (a *Admin) DeleteColumnFamily(ctx context.Context, table, family string) error {
	err := a.modify(ctx, table, &adminpb.ModifyColumnFamiliesRequest_Modification{
		Id: family, Mod: &adminpb.ModifyColumnFamiliesRequest_Modification_Drop{Drop: true}})
	return a.did(err, "delete column family "+family+" of", table)
}

// DropRowRange deletes the rows whose keys begin with prefix.
func (a *Admin) DropRowRange(ctx context.Context, table, prefix string) error {
	if prefix == "" {
		return errors.Join(ErrInvalid, errors.New("an empty prefix is all rows: use DropAllRows"))
	}
	return a.did(a.backend.dropRows(ctx, &adminpb.DropRowRangeRequest{
		Name: a.name(table), Target: &adminpb.DropRowRangeRequest_RowKeyPrefix{RowKeyPrefix: []byte(prefix)},
	}), "drop rows of", table)
}

// DropAllRows deletes all rows of a table.
func (a *Admin) DropAllRows(ctx context.Context, table string) error {
	return a.did(a.backend.dropRows(ctx, &adminpb.DropRowRangeRequest{
		Name: a.name(table), Target: &adminpb.DropRowRangeRequest_DeleteAllDataFromTable{DeleteAllDataFromTable: true},
	}), "drop all rows of", table)
}
