package load

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// The longest scan of YCSB's workload E.
const ycsbScan = 100

// ycsbMix is the probabilities of operations, in percent; the rest are reads.
type ycsbMix struct {
	update, insert, scan, readModifyWrite int
	latest                                bool // the newest rows are the popular ones
}

// mixOf returns the mix of one of YCSB's core workloads.
func mixOf(workload string) (ycsbMix, error) {
	switch strings.ToLower(workload) {
	case "a":
		return ycsbMix{update: 50}, nil
	case "b":
		return ycsbMix{update: 5}, nil
	case "c":
		return ycsbMix{}, nil
	case "d":
		return ycsbMix{insert: 5, latest: true}, nil
	case "e":
		return ycsbMix{insert: 5, scan: 95}, nil
	case "f":
		return ycsbMix{readModifyWrite: 50}, nil
	}
	return ycsbMix{}, fmt.Errorf("workload %q: want a, b, c, d, e or f", workload)
}

// NewYCSB returns one of YCSB's core workloads, "a" to "f". The rows of d must
// exist and their keys be hashed. A record is one value instead of ten fields.
func NewYCSB(d *Data, workload string) (Load, error) {
	m, err := mixOf(workload)
	if err != nil {
		return nil, err
	}
	l := &ycsb{d: d, mix: m, scrambled: NewScrambled()}
	l.rows.next, l.rows.acked = d.rows, d.rows
	l.rows.done = map[int64]bool{}
	if m.latest {
		l.zipf = NewZipf(d.rows)
	}
	return l, nil
}

type ycsb struct {
	d         *Data
	mix       ycsbMix
	scrambled *Zipf // not written to
	zipf      *Zipf // copied by each worker
	rows      inserted
}

func (l *ycsb) Do(ctx context.Context, w *Worker) (Kind, error) {
	p := w.Rand.IntN(100)
	for _, c := range []struct {
		percent int
		kind    Kind
		do      func(context.Context, *Worker) error
	}{
		{l.mix.update, KindWrite, l.update},
		{l.mix.insert, KindInsert, l.insert},
		{l.mix.scan, KindScan, l.scan},
		{l.mix.readModifyWrite, KindReadModifyWrite, l.readModifyWrite},
	} {
		if p < c.percent {
			return c.kind, c.do(ctx, w)
		}
		p -= c.percent
	}
	return KindRead, l.d.read(ctx, w, l.draw(w))
}

// draw draws a row that exists.
func (l *ycsb) draw(w *Worker) int64 {
	n := l.rows.count()
	if !l.mix.latest {
		return l.scrambled.Scrambled(w.Rand, n)
	}
	if w.zipf == nil {
		z := *l.zipf
		w.zipf = &z
	}
	w.zipf.Grow(n)
	return max(0, n-1-w.zipf.Next(w.Rand))
}

func (l *ycsb) update(ctx context.Context, w *Worker) error { return l.d.write(ctx, w, l.draw(w)) }

func (l *ycsb) insert(ctx context.Context, w *Worker) error {
	row := l.rows.begin()
	if row >= l.d.maxRows() {
		return fmt.Errorf("row %d: there can be %d", row, l.d.maxRows())
	}
	err := l.d.write(ctx, w, row)
	if err == nil {
		l.rows.end(row)
	}
	return err
}

func (l *ycsb) scan(ctx context.Context, w *Worker) error {
	return l.d.scan(ctx, w, l.draw(w), 1+w.Rand.Int64N(ycsbScan))
}

func (l *ycsb) readModifyWrite(ctx context.Context, w *Worker) error {
	row := l.draw(w)
	if err := l.d.read(ctx, w, row); err != nil {
		return err
	}
	return l.d.write(ctx, w, row)
}

// inserted knows which rows exist: all below a number that grows when the
// insertions up to it were acknowledged. After one that failed it grows no
// more, and what comes later is not read.
type inserted struct {
	mu    sync.Mutex
	next  int64          // the row of the next insertion
	acked int64          // all rows below exist
	done  map[int64]bool // rows above that exist
}

func (i *inserted) count() int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.acked
}

func (i *inserted) begin() int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.next++
	return i.next - 1
}

func (i *inserted) end(row int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.done[row] = true
	for i.done[i.acked] {
		delete(i.done, i.acked)
		i.acked++
	}
}
