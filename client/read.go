package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/internal/rowset"
)

// Cell is one cell of a row.
type Cell struct {
	Family    string
	Column    string // the qualifier
	Timestamp Timestamp
	Value     []byte
	Labels    []string
}

// Row is a row as it was read: cells by family, column, newest first. It is the
// caller's to keep; the values share memory.
type Row struct {
	Key   string
	Cells []Cell
}

// Exists reports whether the row has a cell.
func (r Row) Exists() bool { return len(r.Cells) > 0 }

// Family returns the cells of a family.
func (r Row) Family(family string) []Cell {
	from := 0
	for from < len(r.Cells) && r.Cells[from].Family != family {
		from++
	}
	to := from
	for to < len(r.Cells) && r.Cells[to].Family == family {
		to++
	}
	return r.Cells[from:to:to]
}

// Value returns the newest value of a column; false: it has none.
func (r Row) Value(family, column string) ([]byte, bool) {
	for _, c := range r.Cells {
		if c.Family == family && c.Column == column {
			return c.Value, true
		}
	}
	return nil, false
}

// ReadOption qualifies a read.
type ReadOption func(*readOptions)

type readOptions struct {
	req   bigtablepb.ReadRowsRequest
	stats func(*FullReadStats)
}

// RowFilter lets a read return what passes f.
func RowFilter(f Filter) ReadOption { return func(o *readOptions) { o.req.Filter = f.pb } }

// LimitRows ends a read after n rows that pass its filter.
func LimitRows(n int64) ReadOption { return func(o *readOptions) { o.req.RowsLimit = n } }

// ReverseScan reads from the last row to the first.
func ReverseScan() ReadOption { return func(o *readOptions) { o.req.Reversed = true } }

// FullReadStats says what a read cost.
type FullReadStats struct {
	RowsSeen, RowsReturned   int64
	CellsSeen, CellsReturned int64
	Latency                  time.Duration // at the server
}

// WithFullReadStats calls f with the statistics of the read when it is over.
func WithFullReadStats(f func(*FullReadStats)) ReadOption {
	return func(o *readOptions) {
		o.req.RequestStatsView, o.stats = bigtablepb.ReadRowsRequest_REQUEST_STATS_FULL, f
	}
}

// ReadRow reads one row. A row without cells, or of which the filter passes
// none, is no error: see Row.Exists.
func (t *Table) ReadRow(ctx context.Context, row string, opts ...ReadOption) (Row, error) {
	out := Row{Key: row}
	ctx, cancel := t.c.withDeadline(ctx)
	defer cancel()
	err := t.ReadRows(ctx, SingleRow(row), func(r Row) bool { out = r; return true }, opts...)
	return out, err
}

// withDeadline gives a context for a short call its deadline.
func (c *Client) withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	d := c.config.Options.Deadline
	if d <= 0 {
		d = time.Minute
	}
	return context.WithTimeout(ctx, d)
}

// errEnough ends a read early.
var errEnough = errors.New("the caller has read enough")

// ReadRows calls f with each row of the set, in order of the keys, until f
// returns false. A read that breaks off is resumed where it was: f gets each
// row once, and none in part. Without a deadline in ctx, it takes as long as it
// takes.
func (t *Table) ReadRows(ctx context.Context, rows RowSet, f func(Row) bool, opts ...ReadOption) error {
	var o readOptions
	for _, opt := range opts {
		opt(&o)
	}
	set := rowset.Of(rows.ranges()...)
	o.req.TableName, o.req.AppProfileId, o.req.Rows = t.name, t.c.config.AppProfile, set.Proto()
	if set.IsEmpty() {
		return nil
	}
	req, err := proto.Marshal(&o.req)
	if err != nil {
		return fmt.Errorf("%w: encode the request: %v", ErrInvalid, err)
	}
	s := router.Scan{Rows: set, Limit: o.req.RowsLimit, Reversed: o.req.Reversed, Stats: o.stats != nil}
	if r := set.Ranges(); len(r) == 1 && r[0].IsPoint() {
		s.Point = r[0].Start
	}
	d := chunk.Decoder{Reversed: s.Reversed}
	emit := func(r *chunk.Row) error {
		if !f(keep(r)) {
			return errEnough
		}
		return nil
	}
	err = t.c.router.ReadRows(ctx, t.key, s, req, func(b mem.Buffer) error {
		defer b.Free()
		return d.Decode(b.ReadOnlyData(), emit)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	if err == nil {
		err = d.Close()
	}
	if err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	return report(&d, o.stats)
}

func report(d *chunk.Decoder, f func(*FullReadStats)) error {
	if f == nil {
		return nil
	}
	s, err := d.Stats()
	if err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	it := s.GetFullReadStatsView().GetReadIterationStats()
	f(&FullReadStats{
		RowsSeen: it.GetRowsSeenCount(), RowsReturned: it.GetRowsReturnedCount(),
		CellsSeen: it.GetCellsSeenCount(), CellsReturned: it.GetCellsReturnedCount(),
		Latency: s.GetFullReadStatsView().GetRequestLatencyStats().GetFrontendServerLatency().AsDuration(),
	})
	return nil
}

// keep copies a row out of the decoder's memory, in one piece.
func keep(r *chunk.Row) Row {
	size := 0
	for i := range r.Cells {
		size += len(r.Cells[i].Value)
	}
	values := make([]byte, 0, size)
	out := Row{Key: string(r.Key), Cells: make([]Cell, len(r.Cells))}
	for i := range r.Cells {
		c := &r.Cells[i]
		at := len(values)
		values = append(values, c.Value...)
		out.Cells[i] = Cell{Family: c.Family, Timestamp: Timestamp(c.Timestamp), Value: values[at:len(values):len(values)], Labels: slices.Clone(c.Labels)}
		if p := i - 1; p >= 0 && out.Cells[p].Column == string(c.Qualifier) {
			out.Cells[i].Column = out.Cells[p].Column // versions share the name
		} else {
			out.Cells[i].Column = string(c.Qualifier)
		}
	}
	return out
}

// Rows is ReadRows as an iterator:
//
//	for row, err := range t.Rows(ctx, client.PrefixRange("com.cnn")) {
//
// An error is the last pair.
func (t *Table) Rows(ctx context.Context, rows RowSet, opts ...ReadOption) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		ended := false
		err := t.ReadRows(ctx, rows, func(r Row) bool {
			ended = !yield(r, nil)
			return !ended
		}, opts...)
		if err != nil && !ended {
			yield(Row{}, err)
		}
	}
}
