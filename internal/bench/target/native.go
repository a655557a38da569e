package target

import (
	"context"
	"fmt"
	"slices"

	"github.com/tabletdb/tabletdb/client"
	"github.com/tabletdb/tabletdb/internal/bench/load"
)

type native struct{ c *client.Client }

// OpenNative returns a Target that is a TabletDB, which it finds by its lock
// service, or, if there are none of its addresses, at the endpoint of a
// gateway.
func OpenNative(ctx context.Context, lockService []string, endpoint string, c Config) (Target, error) {
	c = c.withDefaults()
	cfg := client.Config{
		LockService: lockService, Project: c.Project, Instance: c.Instance, Options: client.Options{Connections: c.Connections},
	}
	if len(lockService) == 0 {
		cfg.Endpoint = endpoint
	}
	cl, err := client.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &native{cl}, nil
}

func (n *native) Client() string { return "native" }

func (n *native) Close() error { return n.c.Close() }

func (n *native) CreateTable(ctx context.Context, name string, splits []string) error {
	one := client.MaxVersionsPolicy(1)
	return n.c.Admin().CreateTableFromConf(ctx, &client.TableConf{
		Table: name, Splits: splits, Families: []client.Family{{Name: family, GC: one}, {Name: counterFamily, GC: one}},
	})
}

func (n *native) HasTable(ctx context.Context, name string) (bool, error) {
	names, err := n.c.Admin().Tables(ctx)
	return slices.Contains(names, name), err
}

func (n *native) DropTable(ctx context.Context, name string) error {
	return n.c.Admin().DeleteTable(ctx, name)
}

// Tables returns one hold: the client spreads calls over its connections.
func (n *native) Tables(name string) []load.Table { return []load.Table{nativeTable{n.c.Open(name)}} }

type nativeTable struct{ t *client.Table }

func nativeSet(version int64, value []byte) *client.Mutation {
	m := client.NewMutation()
	m.Set(family, column, client.Timestamp(version*1000), value)
	return m
}

func (t nativeTable) Write(ctx context.Context, key string, version int64, value []byte) error {
	return t.t.Apply(ctx, key, nativeSet(version, value))
}

func (t nativeTable) WriteBulk(ctx context.Context, keys []string, versions []int64, values [][]byte) ([]error, error) {
	ms := make([]*client.Mutation, len(keys))
	for i := range ms {
		ms[i] = nativeSet(versions[i], values[i])
	}
	return t.t.ApplyBulk(ctx, keys, ms)
}

func (t nativeTable) Read(ctx context.Context, key string) ([]byte, error) {
	row, err := t.t.ReadRow(ctx, key)
	if err != nil {
		return nil, err
	}
	v, ok := row.Value(family, column)
	if !ok {
		return nil, fmt.Errorf("%w: %s", load.ErrMissing, key)
	}
	return v, nil
}

func (t nativeTable) Scan(ctx context.Context, start string, limit int64, f func(key string, value []byte) bool) error {
	var opts []client.ReadOption
	if limit > 0 {
		opts = append(opts, client.LimitRows(limit))
	}
	return t.t.ReadRows(ctx, client.InfiniteRange(start), func(r client.Row) bool {
		v, ok := r.Value(family, column)
		return !ok || f(r.Key, v)
	}, opts...)
}

func (t nativeTable) Increment(ctx context.Context, key string, delta int64) (int64, error) {
	m := client.NewReadModifyWrite()
	m.Increment(counterFamily, counterColumn, delta)
	row, err := t.t.ApplyReadModifyWrite(ctx, key, m)
	if err != nil {
		return 0, err
	}
	return nativeCounter(row)
}

func (t nativeTable) Counter(ctx context.Context, key string) (int64, error) {
	row, err := t.t.ReadRow(ctx, key, client.RowFilter(client.FamilyFilter(counterFamily)))
	if err != nil || !row.Exists() {
		return 0, err
	}
	return nativeCounter(row)
}

func nativeCounter(row client.Row) (int64, error) {
	v, ok := row.Value(counterFamily, counterColumn)
	if !ok {
		return 0, fmt.Errorf("%w: no counter in row %q", load.ErrWrong, row.Key)
	}
	return decodeCounter(v)
}
