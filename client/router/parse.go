package router

import (
	"fmt"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rowset"
)

// Request is what the fields of a data request say of where it goes. The
// slices alias the request.
type Request struct {
	Table            []byte
	AuthorizedView   []byte
	MaterializedView []byte
	AppProfile       []byte
	Row              []byte
	Scan             Scan // of a ReadRowsRequest
}

// fields are the numbers of a request's fields; 0: it has none.
type fields struct {
	name string

	table, row, appProfile, view, materialized protowire.Number
	rows, limit, stats, reversed               protowire.Number
}

var (
	readRowsFields  = fields{name: "ReadRowsRequest", table: 1, appProfile: 5, view: 9, materialized: 11, rows: 2, limit: 4, stats: 6, reversed: 7}
	mutateRowFields = fields{name: "MutateRowRequest", table: 1, row: 2, appProfile: 4, view: 6}
	mutateRowsField = fields{name: "MutateRowsRequest", table: 1, appProfile: 3, view: 5}
	checkFields     = fields{name: "CheckAndMutateRowRequest", table: 1, row: 2, appProfile: 7, view: 9}
	modifyFields    = fields{name: "ReadModifyWriteRowRequest", table: 1, row: 2, appProfile: 4, view: 6}
)

// ParseReadRows parses a ReadRowsRequest as far as routing needs it, its rows
// included. Errors wrap base.ErrInvalid.
func ParseReadRows(req []byte) (Request, error) { return parse(req, &readRowsFields) }

// ParseMutateRow parses a MutateRowRequest as far as routing needs it.
func ParseMutateRow(req []byte) (Request, error) { return parse(req, &mutateRowFields) }

// ParseMutateRows parses a MutateRowsRequest as far as routing needs it.
func ParseMutateRows(req []byte) (Request, error) { return parse(req, &mutateRowsField) }

// ParseCheckAndMutateRow parses a CheckAndMutateRowRequest as far as routing
// needs it.
func ParseCheckAndMutateRow(req []byte) (Request, error) { return parse(req, &checkFields) }

// ParseReadModifyWriteRow parses a ReadModifyWriteRowRequest as far as routing
// needs it.
func ParseReadModifyWriteRow(req []byte) (Request, error) { return parse(req, &modifyFields) }

func parse(req []byte, f *fields) (Request, error) {
	var r Request
	var rows []byte
	for rest := req; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return r, malformed(f)
		}
		m := protowire.ConsumeFieldValue(num, typ, rest[n:])
		if m < 0 {
			return r, malformed(f)
		}
		switch v := rest[n : n+m]; typ {
		case protowire.BytesType:
			b, _ := protowire.ConsumeBytes(v)
			switch num {
			case f.table:
				r.Table = b
			case f.row:
				r.Row = b
			case f.appProfile:
				r.AppProfile = b
			case f.view:
				r.AuthorizedView = b
			case f.materialized:
				r.MaterializedView = b
			case f.rows:
				if rows != nil { // messages that occur twice are merged
					b = append(rows[:len(rows):len(rows)], b...)
				}
				rows = b
			}
		case protowire.VarintType:
			x, _ := protowire.ConsumeVarint(v)
			switch num {
			case f.limit:
				r.Scan.Limit = int64(x)
			case f.stats:
				r.Scan.Stats = bigtablepb.ReadRowsRequest_RequestStatsView(x) == bigtablepb.ReadRowsRequest_REQUEST_STATS_FULL
			case f.reversed:
				r.Scan.Reversed = x != 0
			}
		}
		rest = rest[n+m:]
	}
	if f.rows == 0 {
		return r, nil
	}
	if r.Scan.Limit < 0 {
		return r, base.Invalidf("rows_limit must not be negative, but is %d", r.Scan.Limit)
	}
	if r.Scan.Point = point(rows); r.Scan.Point != nil {
		return r, nil
	}
	var err error
	r.Scan.Rows, err = rowset.Parse(rows)
	return r, err
}

// point returns the key of a RowSet that is one row key and nothing else, or
// nil: the usual point read is worth a shorter way.
func point(raw []byte) []byte {
	if num, typ, n := protowire.ConsumeTag(raw); n > 0 && num == 1 && typ == protowire.BytesType {
		if key, m := protowire.ConsumeBytes(raw[n:]); m > 0 && n+m == len(raw) && len(key) > 0 && len(key) <= rowset.MaxRowKey {
			return key
		}
	}
	return nil
}

func malformed(f *fields) error {
	return fmt.Errorf("%w: malformed %s", base.ErrInvalid, f.name)
}
