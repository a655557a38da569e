package client

import (
	"context"
	"fmt"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Table is a hold on one table.
type Table struct {
	c         *Client
	name      string // in full
	key       []byte // the same
	coalescer *coalescer
}

func newTable(c *Client, name string) *Table {
	t := &Table{c: c, name: c.parent() + "/tables/" + name}
	t.key = []byte(t.name)
	if !c.config.Options.NoCoalescing {
		t.coalescer = newCoalescer(t)
	}
	return t
}

// Name returns the name of the table in full.
func (t *Table) Name() string { return t.name }

// ApplyOption qualifies an Apply.
type ApplyOption func(*applyOptions)

type applyOptions struct{ matched *bool }

// GetCondMutationResult stores whether the condition of a conditional mutation
// found a cell.
func GetCondMutationResult(matched *bool) ApplyOption {
	return func(o *applyOptions) { o.matched = matched }
}

// Apply applies m to a row.
func (t *Table) Apply(ctx context.Context, row string, m *Mutation, opts ...ApplyOption) error {
	if err := m.check(); err != nil {
		return err
	}
	if m.cond != nil {
		var o applyOptions
		for _, f := range opts {
			f(&o)
		}
		return t.applyConditional(ctx, row, m, &o)
	}
	var err error
	if t.coalescer != nil {
		err = t.coalescer.apply(ctx, row, m)
	} else {
		err = t.applyAlone(ctx, row, m)
	}
	if err != nil {
		return fmt.Errorf("apply to row %q: %w", row, err)
	}
	return nil
}

// header begins a request for one row.
func (t *Table) header(row string, size int, appProfile protowire.Number) []byte {
	b := make([]byte, 0, len(t.name)+len(row)+len(t.c.config.AppProfile)+size+16)
	b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), t.name)
	b = protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), row)
	if p := t.c.config.AppProfile; p != "" {
		b = protowire.AppendString(protowire.AppendTag(b, appProfile, protowire.BytesType), p)
	}
	return b
}

func (t *Table) applyAlone(ctx context.Context, row string, m *Mutation) error {
	req := m.appendTo(t.header(row, len(m.buf)+6*len(m.ends), 4), 3)
	return t.c.router.MutateRow(ctx, t.key, []byte(row), req)
}

func (t *Table) applyConditional(ctx context.Context, row string, m *Mutation, o *applyOptions) error {
	req := t.header(row, 64, 7)
	req = m.mfalse.appendTo(m.mtrue.appendTo(req, 4), 5)
	if m.cond.pb != nil {
		f, err := proto.Marshal(m.cond.pb)
		if err != nil {
			return fmt.Errorf("%w: encode the condition: %v", ErrInvalid, err)
		}
		req = protowire.AppendBytes(protowire.AppendTag(req, 6, protowire.BytesType), f)
	}
	matched, err := t.c.router.CheckAndMutateRow(ctx, t.key, []byte(row), req)
	if err != nil {
		return fmt.Errorf("apply to row %q on a condition: %w", row, err)
	}
	if o.matched != nil {
		*o.matched = matched
	}
	return nil
}

// ApplyBulk applies each mutation to the row of the same index: each atomically,
// those of one row in their order. It returns nil or an error for each row, or
// one error for all. For more rows than fit into memory use a BulkWriter.
func (t *Table) ApplyBulk(ctx context.Context, rows []string, ms []*Mutation) ([]error, error) {
	if len(rows) != len(ms) {
		return nil, fmt.Errorf("%w: %d rows, but %d mutations", ErrInvalid, len(rows), len(ms))
	}
	entries := make([][]byte, len(rows))
	for i, m := range ms {
		if err := m.check(); err != nil {
			return nil, fmt.Errorf("row %q: %w", rows[i], err)
		}
		if m.cond != nil {
			return nil, fmt.Errorf("%w: row %q: conditional mutations cannot be applied in bulk", ErrInvalid, rows[i])
		}
		entries[i] = m.entry(rows[i])
	}
	errs, err := t.c.router.MutateRows(ctx, t.key, entries)
	if err != nil {
		return nil, fmt.Errorf("apply to %d rows: %w", len(rows), err)
	}
	return errs, nil
}

// ApplyReadModifyWrite applies m to a row and returns the cells it wrote.
func (t *Table) ApplyReadModifyWrite(ctx context.Context, row string, m *ReadModifyWrite) (Row, error) {
	req := append(t.header(row, len(m.buf), 4), m.buf...)
	raw, err := t.c.router.ReadModifyWriteRow(ctx, t.key, []byte(row), req)
	if err != nil {
		return Row{}, fmt.Errorf("read, modify and write row %q: %w", row, err)
	}
	var resp bigtablepb.ReadModifyWriteRowResponse
	if err := proto.Unmarshal(raw, &resp); err != nil {
		return Row{}, fmt.Errorf("%w: malformed answer for row %q: %v", ErrUnknownOutcome, row, err)
	}
	out := Row{Key: row}
	for _, f := range resp.GetRow().GetFamilies() {
		for _, c := range f.Columns {
			for _, x := range c.Cells {
				out.Cells = append(out.Cells, Cell{Family: f.Name, Column: string(c.Qualifier), Timestamp: Timestamp(x.TimestampMicros), Value: x.Value, Labels: x.Labels})
			}
		}
	}
	return out, nil
}

// Sample is a key and about how many bytes the rows before it take.
type Sample struct {
	Key    string // "": the end of the table
	Offset int64
}

// SampleRowKeys returns keys that cut the table into parts of about equal size,
// ascending; the ends of the tablets are among them.
func (t *Table) SampleRowKeys(ctx context.Context) ([]Sample, error) {
	samples, err := t.c.router.SampleRowKeys(ctx, t.key)
	if err != nil {
		return nil, fmt.Errorf("sample row keys: %w", err)
	}
	out := make([]Sample, len(samples))
	for i, s := range samples {
		out[i] = Sample{Key: string(s.Key), Offset: s.Offset}
	}
	return out, nil
}
