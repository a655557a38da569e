package tabletstest

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/rowset"
)

// store holds the rows of a table; all its tablets share it, as they share a
// bucket.
type store struct {
	mu      sync.Mutex
	m       map[string][]cell
	applied map[string]any // answers of requests, by row and what they are recognised by
}

type cell struct {
	family, qualifier string
	timestamp         int64
	value             string
}

// row is a row at one moment.
type row struct {
	key   string
	cells []cell
}

func (r row) size() int {
	n := 0
	for _, c := range r.cells {
		n += len(r.key) + len(c.family) + len(c.qualifier) + 8 + len(c.value)
	}
	return n
}

func newStore() *store { return &store{m: map[string][]cell{}, applied: map[string]any{}} }

// once returns what f returned when the request came first. It calls f with the
// store locked.
func once[T any](s *store, row []byte, o mutation.Once, f func() (T, error)) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !o.Named() {
		return f()
	}
	key := string(row) + "\x00" + string(o.AppendKey(nil))
	if a, ok := s.applied[key]; ok {
		return a.(T), nil
	}
	a, err := f()
	if err == nil {
		s.applied[key] = a
	}
	return a, err
}

// rows returns the rows in [start, end), in order.
func (s *store) rows(start, end []byte) []row {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []row
	for k, cells := range s.m {
		if k >= string(start) && (len(end) == 0 || k < string(end)) && len(cells) > 0 {
			out = append(out, row{k, slices.Clone(cells)})
		}
	}
	slices.SortFunc(out, func(a, b row) int { return cmp.Compare(a.key, b.key) })
	return out
}

func reversed(rows []row) []row { slices.Reverse(rows); return rows }

func (s *store) mutate(key []byte, ms []*bigtablepb.Mutation, o mutation.Once) error {
	_, err := once(s, key, o, func() (bool, error) { return true, s.mutateLocked(string(key), ms) })
	return err
}

// drop deletes the rows of a set.
func (s *store) drop(rows rowset.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.m {
		if rows.Contains([]byte(k)) {
			delete(s.m, k)
		}
	}
}

// mutateLocked applies all mutations or none.
func (s *store) mutateLocked(key string, ms []*bigtablepb.Mutation) error {
	cells := slices.Clone(s.m[key])
	for _, m := range ms {
		var err error
		if cells, err = apply(cells, m); err != nil {
			return err
		}
	}
	s.m[key] = cells
	return nil
}

func apply(cells []cell, m *bigtablepb.Mutation) ([]cell, error) {
	switch m := m.Mutation.(type) {
	case *bigtablepb.Mutation_SetCell_:
		c := m.SetCell
		if c.FamilyName != "f" && c.FamilyName != "g" {
			return nil, fmt.Errorf("family %q: %w", c.FamilyName, base.ErrFamilyNotFound)
		}
		ts := c.TimestampMicros
		if ts < 0 {
			ts = time.Now().UnixMicro()
			for _, o := range cells {
				if o.family == c.FamilyName && o.qualifier == string(c.ColumnQualifier) && o.timestamp >= ts {
					ts = o.timestamp + 1
				}
			}
		}
		return put(cells, cell{c.FamilyName, string(c.ColumnQualifier), ts, string(c.Value)}), nil
	case *bigtablepb.Mutation_DeleteFromColumn_:
		d := m.DeleteFromColumn
		return slices.DeleteFunc(cells, func(c cell) bool {
			from, to := d.GetTimeRange().GetStartTimestampMicros(), d.GetTimeRange().GetEndTimestampMicros()
			return c.family == d.FamilyName && c.qualifier == string(d.ColumnQualifier) && c.timestamp >= from && (to == 0 || c.timestamp < to)
		}), nil
	case *bigtablepb.Mutation_DeleteFromFamily_:
		return slices.DeleteFunc(cells, func(c cell) bool { return c.family == m.DeleteFromFamily.FamilyName }), nil
	case *bigtablepb.Mutation_DeleteFromRow_:
		return nil, nil
	case *bigtablepb.Mutation_AddToCell_:
		a := m.AddToCell
		return put(cells, add(cells, a.FamilyName, string(a.ColumnQualifier.GetRawValue()), a.Timestamp.GetRawTimestampMicros(), a.Input.GetIntValue())), nil
	}
	return nil, fmt.Errorf("%w: mutation %T", base.ErrUnimplemented, m.Mutation)
}

func add(cells []cell, family, qualifier string, ts, delta int64) cell {
	n := delta
	for _, c := range cells {
		if c.family == family && c.qualifier == qualifier && c.timestamp == ts && len(c.value) == 8 {
			n += int64(binary.BigEndian.Uint64([]byte(c.value)))
		}
	}
	return cell{family, qualifier, ts, string(binary.BigEndian.AppendUint64(nil, uint64(n)))}
}

// put inserts c in order, in the place of what has its timestamp.
func put(cells []cell, c cell) []cell {
	i, found := slices.BinarySearchFunc(cells, c, func(a, b cell) int {
		return cmp.Or(cmp.Compare(a.family, b.family), cmp.Compare(a.qualifier, b.qualifier), cmp.Compare(b.timestamp, a.timestamp))
	})
	if found {
		cells[i] = c
		return cells
	}
	return slices.Insert(cells, i, c)
}

func (s *store) checkAndMutateLocked(m *bigtablepb.CheckAndMutateRowRequest) (bool, error) {
	matched := len(s.m[string(m.RowKey)]) > 0
	switch f := m.PredicateFilter.GetFilter().(type) {
	case nil, *bigtablepb.RowFilter_PassAllFilter:
	case *bigtablepb.RowFilter_BlockAllFilter:
		matched = false
	default:
		return false, fmt.Errorf("%w: predicate %T", base.ErrUnimplemented, f)
	}
	ms := m.FalseMutations
	if matched {
		ms = m.TrueMutations
	}
	return matched, s.mutateLocked(string(m.RowKey), ms)
}

func (s *store) modifyLocked(m *bigtablepb.ReadModifyWriteRowRequest) ([]byte, error) {
	cells := slices.Clone(s.m[string(m.RowKey)])
	out := &bigtablepb.Row{Key: m.RowKey}
	for _, r := range m.Rules {
		old := ""
		for _, c := range cells {
			if c.family == r.FamilyName && c.qualifier == string(r.ColumnQualifier) {
				old = c.value
				break
			}
		}
		c := cell{r.FamilyName, string(r.ColumnQualifier), time.Now().UnixMicro(), old + string(r.GetAppendValue())}
		if inc, ok := r.Rule.(*bigtablepb.ReadModifyWriteRule_IncrementAmount); ok {
			n := inc.IncrementAmount
			if len(old) == 8 {
				n += int64(binary.BigEndian.Uint64([]byte(old)))
			}
			c.value = string(binary.BigEndian.AppendUint64(nil, uint64(n)))
		}
		cells = put(cells, c)
		out.Families = append(out.Families, &bigtablepb.Family{Name: c.family, Columns: []*bigtablepb.Column{{
			Qualifier: []byte(c.qualifier), Cells: []*bigtablepb.Cell{{TimestampMicros: c.timestamp, Value: []byte(c.value)}},
		}}})
	}
	s.m[string(m.RowKey)] = cells
	return proto.Marshal(&bigtablepb.ReadModifyWriteRowResponse{Row: out})
}

func parse[M proto.Message](raw []byte, m M) (M, error) {
	if err := proto.Unmarshal(raw, m); err != nil {
		return m, base.Invalidf("malformed %T: %v", m, err)
	}
	return m, nil
}

func parseMutateRow(raw []byte) (*bigtablepb.MutateRowRequest, error) {
	return parse(raw, &bigtablepb.MutateRowRequest{})
}

func parseEntry(raw []byte) (*bigtablepb.MutateRowsRequest_Entry, error) {
	return parse(raw, &bigtablepb.MutateRowsRequest_Entry{})
}

func parseCheck(raw []byte) (*bigtablepb.CheckAndMutateRowRequest, error) {
	return parse(raw, &bigtablepb.CheckAndMutateRowRequest{})
}

func parseModify(raw []byte) (*bigtablepb.ReadModifyWriteRowRequest, error) {
	return parse(raw, &bigtablepb.ReadModifyWriteRowRequest{})
}

func parseRead(raw []byte) (*bigtablepb.ReadRowsRequest, rowset.Set, error) {
	m, err := parse(raw, &bigtablepb.ReadRowsRequest{})
	if err != nil {
		return nil, rowset.Set{}, err
	}
	set, err := rowset.FromProto(m.Rows)
	return m, set, err
}
