package schema

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/gcrule"
	"github.com/tabletdb/tabletdb/internal/mutation/aggregate"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

// MaxInitialSplits is the most splits that CreateTable takes: tablets of a new
// table are made in one transaction.
const MaxInitialSplits = 511

// New checks a request to create a table and returns the record to store
// (without an id) and the splits, sorted and distinct. Family ids follow the
// order of the names.
func New(req *adminpb.CreateTableRequest, now time.Time) (*metapb.TableRecord, [][]byte, error) {
	name, err := ParseParent(req.GetParent())
	if err != nil {
		return nil, nil, err
	}
	if err := CheckTableID(req.GetTableId()); err != nil {
		return nil, nil, err
	}
	name.Table = req.GetTableId()
	splits, err := newSplits(req.GetInitialSplits())
	if err != nil {
		return nil, nil, err
	}
	rec := &metapb.TableRecord{Name: name.String(), NextFamily: 1, CreatedUs: now.UnixMicro()}
	if rec.Spec, err = newSpec(req.GetTable()); err != nil {
		return nil, nil, err
	}
	families := req.GetTable().GetColumnFamilies()
	for _, f := range slices.Sorted(maps.Keys(families)) {
		if err := addFamily(rec, f, families[f]); err != nil {
			return nil, nil, err
		}
	}
	return rec, splits, nil
}

func newSpec(t *adminpb.Table) (*adminpb.Table, error) {
	spec := proto.CloneOf(t)
	if spec == nil {
		spec = &adminpb.Table{}
	}
	// What the record holds elsewhere, and what only the server says.
	spec.Name, spec.ColumnFamilies = "", nil
	spec.ClusterStates, spec.RestoreInfo, spec.EffectiveAutomatedBackupPolicy = nil, nil, nil
	switch spec.Granularity {
	case adminpb.Table_TIMESTAMP_GRANULARITY_UNSPECIFIED:
		spec.Granularity = adminpb.Table_MILLIS
	case adminpb.Table_MILLIS, adminpb.Table_MICROS:
	default:
		return nil, base.Invalidf("Error in field 'granularity' : unknown value %d", spec.Granularity)
	}
	return spec, nil
}

func newSplits(req []*adminpb.CreateTableRequest_Split) ([][]byte, error) {
	splits := make([][]byte, len(req))
	for i, s := range req {
		splits[i] = s.GetKey()
		if len(splits[i]) == 0 || len(splits[i]) > MaxRowKey {
			return nil, base.Invalidf("Error in field 'initial_splits' : Error in element #%d : Row key must have 1 to %d bytes, but has %d", i, MaxRowKey, len(splits[i]))
		}
	}
	slices.SortFunc(splits, bytes.Compare)
	splits = slices.CompactFunc(splits, bytes.Equal)
	if len(splits) > MaxInitialSplits {
		return nil, base.Invalidf("Error in field 'initial_splits' : at most %d splits are possible, but there are %d", MaxInitialSplits, len(splits))
	}
	return splits, nil
}

// addFamily appends a family under the next id, which is never drawn again.
func addFamily(rec *metapb.TableRecord, name string, cf *adminpb.ColumnFamily) error {
	if err := CheckFamilyName(name); err != nil {
		return err
	}
	if Family(rec, name) != nil {
		return base.Textf(base.ErrExists, "Column family already exists: %s/columnFamilies/%s", rec.Name, name)
	}
	if len(rec.Families) >= MaxFamilies {
		return base.Invalidf("Table %s would have more than %d column families", rec.Name, MaxFamilies)
	}
	if err := checkGCRule(name, cf.GetGcRule()); err != nil {
		return err
	}
	if err := checkValueType(name, cf.GetValueType()); err != nil {
		return err
	}
	rec.NextFamily = max(rec.NextFamily, 1)
	rec.Families = append(rec.Families, &metapb.Family{
		Id: rec.NextFamily, Name: name, GcRule: proto.CloneOf(cf.GetGcRule()), ValueType: completeType(cf.GetValueType()), Storage: newStorage(rec),
	})
	rec.NextFamily++
	return nil
}

func checkGCRule(family string, r *adminpb.GcRule) error {
	if _, err := gcrule.Compile(r); err != nil {
		return base.Textf(err, "Error in column family %q : %s", family, err)
	}
	return nil
}

func checkValueType(family string, t *adminpb.Type) error {
	kind, err := aggregate.Of(t)
	if err != nil {
		return base.Textf(err, "Error in column family %q : %s", family, err)
	}
	switch kind {
	case aggregate.Sum, aggregate.Min, aggregate.Max:
		in := t.GetAggregateType().GetInputType()
		if in != nil && in.GetInt64Type() == nil {
			return base.Invalidf("Error in column family %q : the input type of a %s aggregate must be int64", family, kind)
		}
	}
	return nil
}

// completeType fills in the output-only state type of an aggregate, as the
// service does.
func completeType(t *adminpb.Type) *adminpb.Type {
	t = proto.CloneOf(t)
	kind, err := aggregate.Of(t)
	a := t.GetAggregateType()
	if err != nil || a == nil {
		return t
	}
	switch {
	case kind == aggregate.HyperLogLog:
		a.StateType = &adminpb.Type{Kind: &adminpb.Type_BytesType{BytesType: &adminpb.Type_Bytes{
			Encoding: &adminpb.Type_Bytes_Encoding{Encoding: &adminpb.Type_Bytes_Encoding_Raw_{Raw: &adminpb.Type_Bytes_Encoding_Raw{}}},
		}}}
	case a.InputType != nil:
		a.StateType = proto.CloneOf(a.InputType)
	}
	return t
}
