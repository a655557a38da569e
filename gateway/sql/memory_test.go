package sql_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/gateway/sql/plan"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/internal/rowfilter"
	"github.com/tabletdb/tabletdb/internal/rowset"
)

// memory is a sql.Backend of tables in memory.
type memory struct {
	mu     sync.Mutex
	tables map[string]*memTable
	reads  []*bigtablepb.ReadRowsRequest // all so far
	rows   int                           // given out so far
}

type memTable struct {
	schema plan.Table
	rows   []chunk.Row // sorted
}

// add adds a cell.
func (t *memTable) add(key, family, qualifier string, ts int64, val string) {
	i, ok := slices.BinarySearchFunc(t.rows, []byte(key), func(r chunk.Row, k []byte) int { return bytes.Compare(r.Key, k) })
	if !ok {
		t.rows = slices.Insert(t.rows, i, chunk.Row{Key: []byte(key)})
	}
	r := &t.rows[i]
	r.Cells = append(r.Cells, chunk.Cell{Family: family, Qualifier: []byte(qualifier), Timestamp: ts, Value: []byte(val)})
	slices.SortStableFunc(r.Cells, func(a, b chunk.Cell) int {
		if a.Family != b.Family {
			return bytes.Compare([]byte(a.Family), []byte(b.Family))
		}
		if c := bytes.Compare(a.Qualifier, b.Qualifier); c != 0 {
			return c
		}
		return int(min(max(b.Timestamp-a.Timestamp, -1), 1))
	})
}

func (m *memory) Schema(_ context.Context, instance, table string, _ bool) (*plan.Table, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.tables[instance+"/tables/"+table]
	if t == nil {
		return nil, fmt.Errorf("%s: %w", table, base.ErrNotFound)
	}
	s := t.schema
	s.Families = slices.Clone(s.Families)
	return &s, nil
}

func (m *memory) ReadRows(ctx context.Context, req *bigtablepb.ReadRowsRequest, emit func(*chunk.Row) error) error {
	m.mu.Lock()
	m.reads = append(m.reads, req)
	t := m.tables[req.TableName]
	m.mu.Unlock()
	if t == nil {
		return base.ErrNotFound
	}
	set, err := rowset.FromProto(req.Rows)
	if err != nil {
		return err
	}
	prog, err := rowfilter.Compile(req.Filter, rowfilter.Options{})
	if err != nil {
		return err
	}
	rows := slices.Clone(t.rows)
	if req.Reversed {
		slices.Reverse(rows)
	}
	ev := prog.NewEval()
	var sent int64
	for _, r := range rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !set.Contains(r.Key) {
			continue
		}
		out := filtered(ev, &r)
		if len(out.Cells) == 0 {
			continue
		}
		m.mu.Lock()
		m.rows++
		m.mu.Unlock()
		if err := emit(out); err != nil {
			return fmt.Errorf("read %s: %w", req.TableName, err)
		}
		for i := range out.Key { // borrowed: whoever kept it sees that
			out.Key[i] = 0xEE
		}
		for _, c := range out.Cells {
			clear(c.Value)
			clear(c.Qualifier)
		}
		if sent++; req.RowsLimit > 0 && sent == req.RowsLimit {
			break
		}
	}
	return nil
}

// filtered returns a copy of what passes.
func filtered(ev *rowfilter.Eval, r *chunk.Row) *chunk.Row {
	out := &chunk.Row{Key: bytes.Clone(r.Key)}
	if !ev.Row(r.Key) {
		return out
	}
	take := func(c *rowfilter.Cell) {
		out.Cells = append(out.Cells, chunk.Cell{Family: c.Family, Qualifier: bytes.Clone(c.Qualifier),
			Timestamp: c.Timestamp, Value: bytes.Clone(c.Value), Labels: slices.Clone(c.Labels)})
	}
	for _, c := range r.Cells {
		ev.Push(&rowfilter.Cell{Family: c.Family, Qualifier: c.Qualifier, Timestamp: c.Timestamp, Value: c.Value}, take)
	}
	ev.End(take)
	return out
}
