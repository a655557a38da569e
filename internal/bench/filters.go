package bench

import (
	"context"
	"errors"
	"fmt"

	"cloud.google.com/go/bigtable"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"google.golang.org/api/option"

	"github.com/tabletdb/tabletdb/internal/bench/load"
)

// filterGoal is how many times as fast as a whole scan one should be of which a
// filter keeps a hundredth of the cells.
const filterGoal = 3

// filterColumns is how many cells each row has.
const filterColumns = 100

// filterFamily is the family of those cells.
const filterFamily = "f"

func (a *app) filtersCommand() *cobra.Command {
	f := &studyFlags{}
	c := &cobra.Command{
		Use: "filters", Args: cobra.NoArgs,
		Short: "Measure scans of which a filter keeps a hundredth",
		Long: fmt.Sprintf(`filters runs a TabletDB with one tablet server and scans a table, whose rows
have %d cells each, by Google's client: whole, and with filters that keep one
cell in a hundred. A speed is how often the table is scanned in a second.`, filterColumns),
	}
	f.register(c)
	c.Flags().Lookup("rows").DefValue = "1000"
	c.Flags().Lookup("value-bytes").DefValue = "200"
	f.rows, f.valueBytes = 1000, 200
	c.RunE = a.body(func(ctx context.Context) error { return a.filters(ctx, f) })
	return c
}

// filterCases are filters that keep a hundredth of the cells of a filterTable.
func filterCases() []struct {
	name   string
	filter bigtable.Filter
} {
	return []struct {
		name   string
		filter bigtable.Filter
	}{
		{"column", bigtable.ChainFilters(bigtable.FamilyFilter(filterFamily), bigtable.ColumnFilter("c42"))},
		{"column-regex", bigtable.ColumnFilter("c.*42")},
		{"columns-limit", bigtable.CellsPerRowLimitFilter(1)},
		{"columns-offset", bigtable.CellsPerRowOffsetFilter(filterColumns - 1)},
		{"row-regex", bigtable.RowKeyFilter("row.*00")},
		{"row-sample", bigtable.RowSampleFilter(0.01)},
		{"value-range", bigtable.ValueRangeFilter([]byte("42"), []byte("43"))},
		{"value-regex", bigtable.ValueFilter(`42\C*`)},
		{"timestamp-range", bigtable.TimestampRangeFilterMicros(42_000, 43_000)},
	}
}

func (a *app) filters(ctx context.Context, f *studyFlags) (err error) {
	var undo undo
	defer func() { err = errors.Join(err, undo.do()) }()
	db, err := f.start(ctx, &undo)
	if err != nil {
		return err
	}
	table, err := openFilterTable(ctx, db.Endpoint, &undo)
	if err != nil {
		return err
	}
	if err := fillFilterTable(ctx, table, int(f.rows), f.valueBytes); err != nil {
		return err
	}
	var out []*Contrast
	for _, fc := range filterCases() {
		var some, all []*load.Result
		for round := range f.rounds {
			for k := range 2 {
				l, to := &filterScan{table: table}, &all
				if (k+round)%2 == 0 {
					l, to = &filterScan{table: table, opts: []bigtable.ReadOption{bigtable.RowFilter(fc.filter)}}, &some
				}
				r, err := load.Run(ctx, l, load.Options{
					Workers: 1, Duration: f.duration, Warmup: f.warmup, Seed: uint64(round) + 1, Tables: []load.Table{nil},
				})
				if err != nil {
					return fmt.Errorf("%s: %w", fc.name, err)
				}
				for c := range r.Errors {
					return fmt.Errorf("%w: %s: %s", errFailures, fc.name, r.Examples[c])
				}
				if l.opts != nil && r.Rows == 0 {
					return fmt.Errorf("%w: %s keeps no cell", load.ErrWrong, fc.name)
				}
				*to = append(*to, r)
			}
		}
		c := newContrast(fc.name, filterGoal, some, all, opsPerSecond)
		a.note("%s: %.2f times as fast, %d cells kept of %d", fc.name, c.Ratio, some[0].Rows/max(1, some[0].Ops), f.rows*filterColumns)
		out = append(out, c)
	}
	return a.printContrasts(out, "filtered scans", "whole scans", opsPerSecond, f.require)
}

func opsPerSecond(r *load.Result) float64 { return r.OpsPerSecond }

// openFilterTable makes a table and returns Google's client's hold on it.
func openFilterTable(ctx context.Context, endpoint string, u *undo) (*bigtable.Table, error) {
	const project, instance, name = "local", "main", "bench-filters"
	conn, err := grpc.NewClient("passthrough:///"+endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	u.add(conn.Close)
	admin, err := bigtable.NewAdminClient(ctx, project, instance, option.WithGRPCConn(conn))
	if err != nil {
		return nil, err
	}
	err = admin.CreateTableFromConf(ctx, &bigtable.TableConf{
		TableID: name, Families: map[string]bigtable.GCPolicy{filterFamily: bigtable.MaxVersionsGCPolicy(1)},
	})
	if err != nil {
		return nil, fmt.Errorf("create table %s: %w", name, err)
	}
	client, err := bigtable.NewClientWithConfig(ctx, project, instance,
		bigtable.ClientConfig{MetricsProvider: bigtable.NoopMetricsProvider{}}, option.WithGRPCConn(conn))
	if err != nil {
		return nil, err
	}
	return client.Open(name), nil
}

// fillFilterTable writes rows in which the n-th column has the timestamp n ms
// and a value that begins with n.
func fillFilterTable(ctx context.Context, t *bigtable.Table, rows, valueBytes int) error {
	const perRequest = 50
	for first := 0; first < rows; first += perRequest {
		var keys []string
		var muts []*bigtable.Mutation
		for r := first; r < min(rows, first+perRequest); r++ {
			m := bigtable.NewMutation()
			for c := range filterColumns {
				value := make([]byte, max(valueBytes, 16))
				load.FillValue(value, int64(r), int64(c))
				copy(value, fmt.Sprintf("%02d", c))
				m.Set(filterFamily, fmt.Sprintf("c%02d", c), bigtable.Timestamp(c*1000), value)
			}
			keys, muts = append(keys, load.Keys{}.Key(int64(r))), append(muts, m)
		}
		errs, err := t.ApplyBulk(ctx, keys, muts)
		if err := errors.Join(append(errs, err)...); err != nil {
			return fmt.Errorf("fill table: %w", err)
		}
	}
	return nil
}

// filterScan is a load of whole scans; it counts cells as rows.
type filterScan struct {
	table *bigtable.Table
	opts  []bigtable.ReadOption
}

func (l *filterScan) Do(ctx context.Context, w *load.Worker) (load.Kind, error) {
	return load.KindScan, l.table.ReadRows(ctx, bigtable.InfiniteRange(""), func(r bigtable.Row) bool {
		n := 0
		for _, items := range r {
			n += len(items)
		}
		w.Moved(int64(n), 0)
		return !w.Stopping()
	}, l.opts...)
}
