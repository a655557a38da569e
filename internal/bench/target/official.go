package target

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cloud.google.com/go/bigtable"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tabletdb/tabletdb/internal/bench/load"
)

// official reaches a server by Google's client, in the way it goes with
// BIGTABLE_EMULATOR_HOST: over a given connection, without the client's own
// pool, sessions and metrics.
type official struct {
	admin   *bigtable.AdminClient
	clients []*bigtable.Client
	conns   []*grpc.ClientConn
}

// OpenOfficial returns a Target at the address of a Bigtable endpoint.
func OpenOfficial(ctx context.Context, endpoint string, c Config) (Target, error) {
	c = c.withDefaults()
	o := &official{}
	if err := o.open(ctx, endpoint, c); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to %s: %w", endpoint, err), o.Close())
	}
	return o, nil
}

func (o *official) open(ctx context.Context, endpoint string, c Config) error {
	for range c.Connections {
		conn, err := grpc.NewClient("passthrough:///"+endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		o.conns = append(o.conns, conn)
		client, err := bigtable.NewClientWithConfig(ctx, c.Project, c.Instance,
			bigtable.ClientConfig{MetricsProvider: bigtable.NoopMetricsProvider{}}, option.WithGRPCConn(conn))
		if err != nil {
			return err
		}
		o.clients = append(o.clients, client)
	}
	var err error
	o.admin, err = bigtable.NewAdminClient(ctx, c.Project, c.Instance, option.WithGRPCConn(o.conns[0]))
	return err
}

func (o *official) Client() string { return "official" }

func (o *official) Close() error {
	var errs []error
	if o.admin != nil {
		errs = append(errs, o.admin.Close())
	}
	for _, c := range o.clients {
		errs = append(errs, c.Close())
	}
	for _, c := range o.conns {
		errs = append(errs, c.Close())
	}
	// Each client closes the connection that it was given, which the admin
	// client shares.
	errs = slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, grpc.ErrClientConnClosing) })
	return errors.Join(errs...)
}

func (o *official) CreateTable(ctx context.Context, name string, splits []string) error {
	one := bigtable.MaxVersionsGCPolicy(1)
	err := o.admin.CreateTableFromConf(ctx, &bigtable.TableConf{
		TableID: name, SplitKeys: splits, Families: map[string]bigtable.GCPolicy{family: one, counterFamily: one},
	})
	if err != nil {
		return fmt.Errorf("create table %s: %w", name, err)
	}
	return nil
}

func (o *official) HasTable(ctx context.Context, name string) (bool, error) {
	names, err := o.admin.Tables(ctx)
	if err != nil {
		return false, fmt.Errorf("list tables: %w", err)
	}
	return slices.Contains(names, name), nil
}

func (o *official) DropTable(ctx context.Context, name string) error {
	if err := o.admin.DeleteTable(ctx, name); err != nil {
		return fmt.Errorf("drop table %s: %w", name, err)
	}
	return nil
}

func (o *official) Tables(name string) []load.Table {
	var out []load.Table
	for _, c := range o.clients {
		out = append(out, officialTable{c.Open(name)})
	}
	return out
}

type officialTable struct{ t *bigtable.Table }

func officialSet(version int64, value []byte) *bigtable.Mutation {
	m := bigtable.NewMutation()
	m.Set(family, column, bigtable.Timestamp(version*1000), value)
	return m
}

func (t officialTable) Write(ctx context.Context, key string, version int64, value []byte) error {
	return t.t.Apply(ctx, key, officialSet(version, value))
}

func (t officialTable) WriteBulk(ctx context.Context, keys []string, versions []int64, values [][]byte) ([]error, error) {
	ms := make([]*bigtable.Mutation, len(keys))
	for i := range ms {
		ms[i] = officialSet(versions[i], values[i])
	}
	return t.t.ApplyBulk(ctx, keys, ms)
}

func (t officialTable) Read(ctx context.Context, key string) ([]byte, error) {
	row, err := t.t.ReadRow(ctx, key)
	if err != nil {
		return nil, err
	}
	cells := row[family]
	if len(cells) == 0 {
		return nil, fmt.Errorf("%w: %s", load.ErrMissing, key)
	}
	return cells[0].Value, nil
}

func (t officialTable) Scan(ctx context.Context, start string, limit int64, f func(key string, value []byte) bool) error {
	var opts []bigtable.ReadOption
	if limit > 0 {
		opts = append(opts, bigtable.LimitRows(limit))
	}
	return t.t.ReadRows(ctx, bigtable.InfiniteRange(start), func(r bigtable.Row) bool {
		for _, c := range r[family] {
			return f(c.Row, c.Value)
		}
		return true // a counter
	}, opts...)
}

func (t officialTable) Increment(ctx context.Context, key string, delta int64) (int64, error) {
	m := bigtable.NewReadModifyWrite()
	m.Increment(counterFamily, counterColumn, delta)
	row, err := t.t.ApplyReadModifyWrite(ctx, key, m)
	if err != nil {
		return 0, err
	}
	return officialCounter(row)
}

func (t officialTable) Counter(ctx context.Context, key string) (int64, error) {
	row, err := t.t.ReadRow(ctx, key, bigtable.RowFilter(bigtable.FamilyFilter(counterFamily)))
	if err != nil || len(row) == 0 {
		return 0, err
	}
	return officialCounter(row)
}

func officialCounter(row bigtable.Row) (int64, error) {
	cells := row[counterFamily]
	if len(cells) == 0 {
		return 0, fmt.Errorf("%w: no counter in %v", load.ErrWrong, row)
	}
	return decodeCounter(cells[0].Value)
}
