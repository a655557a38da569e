//go:build e2e

package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"cloud.google.com/go/bigtable"

	"github.com/tabletdb/tabletdb/client"
)

// cell is a cell as it is written or read.
type cell struct {
	family, column string
	micros         int64 // serverTime: the server chooses
	value          string
}

// serverTime is the timestamp that lets the server choose.
const serverTime = -1

// frontend is a client library and a way into the cluster.
type frontend interface {
	// set writes cells of a row.
	set(ctx context.Context, row string, cells ...cell) error
	// setIf writes cells if the register of the row has a value.
	setIf(ctx context.Context, row, register string, cells ...cell) (matched bool, err error)
	// setAll writes one cell of each row.
	setAll(ctx context.Context, rows []string, cells []cell) ([]error, error)
	deleteRow(ctx context.Context, row string) error
	// increment adds to the counter of a row, and returns the sum.
	increment(ctx context.Context, row string, delta int64) (int64, error)
	// read returns the newest cells of the families that linearizability.Row
	// holds.
	read(ctx context.Context, row string) ([]cell, error)
	// scan calls f with what read returns, for each row with one of the prefixes.
	scan(ctx context.Context, prefixes []string, f func(row string, cells []cell)) error
}

// content is a regular expression of the families that read and scan return.
const content = familyRegister + "|" + familyNewest + "|" + familyCounter

func sum(value []byte) (int64, error) {
	if len(value) != 8 {
		return 0, fmt.Errorf("increment returned %q", value)
	}
	return int64(binary.BigEndian.Uint64(value)), nil
}

// official is the Go client of Cloud Bigtable.
type official struct{ *bigtable.Table }

func (o official) mutation(cells []cell) *bigtable.Mutation {
	m := bigtable.NewMutation()
	for _, c := range cells {
		m.Set(c.family, c.column, bigtable.Timestamp(c.micros), []byte(c.value))
	}
	return m
}

func (o official) set(ctx context.Context, row string, cells ...cell) error {
	return o.Apply(ctx, row, o.mutation(cells))
}

func (o official) setIf(ctx context.Context, row, register string, cells ...cell) (matched bool, err error) {
	is := bigtable.ChainFilters(bigtable.FamilyFilter(familyRegister), bigtable.ColumnFilter("a"), bigtable.LatestNFilter(1), bigtable.ValueFilter(register))
	err = o.Apply(ctx, row, bigtable.NewCondMutation(is, o.mutation(cells), nil), bigtable.GetCondMutationResult(&matched))
	return matched, err
}

func (o official) setAll(ctx context.Context, rows []string, cells []cell) ([]error, error) {
	ms := make([]*bigtable.Mutation, len(cells))
	for i := range cells {
		ms[i] = o.mutation(cells[i : i+1])
	}
	return o.ApplyBulk(ctx, rows, ms)
}

func (o official) deleteRow(ctx context.Context, row string) error {
	m := bigtable.NewMutation()
	m.DeleteRow()
	return o.Apply(ctx, row, m)
}

func (o official) increment(ctx context.Context, row string, delta int64) (int64, error) {
	m := bigtable.NewReadModifyWrite()
	m.Increment(familyCounter, "v", delta)
	r, err := o.ApplyReadModifyWrite(ctx, row, m)
	if err != nil {
		return 0, err
	}
	if len(r[familyCounter]) != 1 {
		return 0, fmt.Errorf("increment returned %v", r)
	}
	return sum(r[familyCounter][0].Value)
}

func (o official) cells(r bigtable.Row) []cell {
	var cells []cell
	for family, items := range r {
		for _, item := range items {
			cells = append(cells, cell{family, item.Column[len(family)+1:], int64(item.Timestamp), string(item.Value)})
		}
	}
	return cells
}

func (o official) filter() bigtable.ReadOption {
	return bigtable.RowFilter(bigtable.ChainFilters(bigtable.FamilyFilter(content), bigtable.LatestNFilter(1)))
}

func (o official) read(ctx context.Context, row string) ([]cell, error) {
	r, err := o.ReadRow(ctx, row, o.filter())
	return o.cells(r), err
}

func (o official) scan(ctx context.Context, prefixes []string, f func(string, []cell)) error {
	var ranges bigtable.RowRangeList
	for _, p := range prefixes {
		ranges = append(ranges, bigtable.PrefixRange(p))
	}
	return o.ReadRows(ctx, ranges, func(r bigtable.Row) bool {
		f(r.Key(), o.cells(r))
		return true
	}, o.filter())
}

// native is TabletDB's own client, which talks to tablet servers directly.
type native struct{ *client.Table }

// openNative returns the table through TabletDB's client.
func (c *cluster) openNative(t testing.TB) native {
	t.Helper()
	cl, err := client.Open(t.Context(), client.Config{LockService: c.lockAddresses(), Project: project, Instance: instance})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	return native{cl.Open(tableName)}
}

func (n native) mutation(cells []cell) *client.Mutation {
	m := client.NewMutation()
	for _, c := range cells {
		m.Set(c.family, c.column, client.Timestamp(c.micros), []byte(c.value))
	}
	return m
}

func (n native) set(ctx context.Context, row string, cells ...cell) error {
	return n.Apply(ctx, row, n.mutation(cells))
}

func (n native) setIf(ctx context.Context, row, register string, cells ...cell) (matched bool, err error) {
	is := client.ChainFilters(client.FamilyFilter(familyRegister), client.ColumnFilter("a"), client.LatestNFilter(1), client.ValueFilter(register))
	err = n.Apply(ctx, row, client.NewCondMutation(is, n.mutation(cells), nil), client.GetCondMutationResult(&matched))
	return matched, err
}

func (n native) setAll(ctx context.Context, rows []string, cells []cell) ([]error, error) {
	ms := make([]*client.Mutation, len(cells))
	for i := range cells {
		ms[i] = n.mutation(cells[i : i+1])
	}
	return n.ApplyBulk(ctx, rows, ms)
}

func (n native) deleteRow(ctx context.Context, row string) error {
	m := client.NewMutation()
	m.DeleteRow()
	return n.Apply(ctx, row, m)
}

func (n native) increment(ctx context.Context, row string, delta int64) (int64, error) {
	m := client.NewReadModifyWrite()
	m.Increment(familyCounter, "v", delta)
	r, err := n.ApplyReadModifyWrite(ctx, row, m)
	if err != nil {
		return 0, err
	}
	v, ok := r.Value(familyCounter, "v")
	if !ok {
		return 0, errors.New("increment returned no cell")
	}
	return sum(v)
}

func (n native) cells(r client.Row) []cell {
	var cells []cell
	for _, c := range r.Cells {
		cells = append(cells, cell{c.Family, c.Column, int64(c.Timestamp), string(c.Value)})
	}
	return cells
}

func (n native) filter() client.ReadOption {
	return client.RowFilter(client.ChainFilters(client.FamilyFilter(content), client.LatestNFilter(1)))
}

func (n native) read(ctx context.Context, row string) ([]cell, error) {
	r, err := n.ReadRow(ctx, row, n.filter())
	return n.cells(r), err
}

func (n native) scan(ctx context.Context, prefixes []string, f func(string, []cell)) error {
	var ranges client.RowRangeList
	for _, p := range prefixes {
		ranges = append(ranges, client.PrefixRange(p))
	}
	return n.ReadRows(ctx, ranges, func(r client.Row) bool {
		f(r.Key, n.cells(r))
		return true
	}, n.filter())
}
