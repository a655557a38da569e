package load

import (
	"context"
	"fmt"
)

// NewBulk returns a load of writes in batches, of each row once before any
// again.
func NewBulk(d *Data, batch int, sequential bool) Load {
	return &bulk{d: d, batch: batch, order: newOrder(d.rows, sequential)}
}

type bulk struct {
	d     *Data
	batch int
	order *order
}

// bulkBuffer is a worker's memory for a batch.
type bulkBuffer struct {
	rows     []int64
	keys     []string
	versions []int64
	values   [][]byte
}

func (b *bulkBuffer) resize(n, valueBytes int) {
	if len(b.rows) == n {
		return
	}
	b.rows, b.keys, b.versions, b.values = make([]int64, n), make([]string, n), make([]int64, n), make([][]byte, n)
	for i := range b.values {
		b.values[i] = make([]byte, valueBytes)
	}
}

func (l *bulk) Do(ctx context.Context, w *Worker) (Kind, error) {
	first := l.order.take(int64(l.batch))
	return KindBulk, l.d.writeBulk(ctx, w, l.batch, func(i int) int64 { return l.order.at(first + int64(i)) })
}

// writeBulk writes n rows. An error of one row is the error of all.
func (d *Data) writeBulk(ctx context.Context, w *Worker, n int, row func(i int) int64) error {
	b := &w.bulk
	b.resize(n, d.ValueBytes)
	for i := range n {
		b.rows[i] = row(i)
		b.keys[i] = d.Keys.Key(b.rows[i])
		b.versions[i] = d.next(b.rows[i], b.values[i])
	}
	errs, err := w.Table.WriteBulk(ctx, b.keys, b.versions, b.values)
	if err != nil {
		return err
	}
	bad := 0
	for i, row := range b.rows {
		if errs == nil || errs[i] == nil {
			d.ack(row, b.versions[i])
			continue
		}
		bad, err = bad+1, errs[i]
	}
	w.Moved(int64(n-bad), int64(n-bad)*int64(d.ValueBytes))
	if bad > 0 {
		return fmt.Errorf("%d of %d rows: %w", bad, n, err)
	}
	return nil
}

// Fill writes each row of d once, in order and in batches, with so many
// workers.
func Fill(ctx context.Context, d *Data, batch, workers int, tables []Table) (*Result, error) {
	l := &fill{d: d, batch: int64(batch), order: newOrder(d.rows, true)}
	batches := (d.rows + l.batch - 1) / l.batch
	res, err := Run(ctx, l, Options{Workers: workers, Ops: batches, Tables: tables})
	if err != nil {
		return nil, fmt.Errorf("write %d rows: %w", d.rows, err)
	}
	for c, n := range res.Errors {
		return nil, fmt.Errorf("write %d rows: %d of %d batches failed with %s: %s", d.rows, n, batches, c, res.Examples[c])
	}
	res.Load = "fill"
	return res, nil
}

type fill struct {
	d     *Data
	batch int64
	order *order
}

func (l *fill) Do(ctx context.Context, w *Worker) (Kind, error) {
	first := l.order.take(l.batch)
	n := min(l.batch, l.d.rows-first)
	return KindBulk, l.d.writeBulk(ctx, w, int(n), func(i int) int64 { return first + int64(i) })
}
