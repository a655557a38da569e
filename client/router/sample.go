package router

import (
	"bytes"
	"context"
	"sync"

	"github.com/tabletdb/tabletdb/internal/route"
)

// SampleRowKeys returns keys that cut the table into about equal parts,
// ascending, with the approximate bytes of all rows before each. The keys at
// which tablets end are among them; the last is empty and stands for the end
// of the table.
func (r *Router) SampleRowKeys(ctx context.Context, table []byte) ([]route.Sample, error) {
	ctx, cancel := r.withDeadline(ctx)
	defer cancel()
	ls, err := r.walk(ctx, table)
	if err != nil {
		return nil, err
	}
	parts := make([][]route.Sample, len(ls))
	errs := make([]error, len(ls))
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxParallel)
	for i, l := range ls {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			parts[i], errs[i] = r.sample(ctx, table, l)
		})
	}
	wg.Wait()
	var out []route.Sample
	total := int64(0)
	for i, part := range parts {
		if errs[i] != nil {
			return nil, errs[i]
		}
		for _, s := range part {
			// A tablet that was merged meanwhile was sampled more than once.
			if n := len(out); n > 0 && len(s.Key) > 0 && bytes.Compare(s.Key, out[n-1].Key) <= 0 {
				continue
			}
			out = append(out, route.Sample{Key: s.Key, Offset: total + s.Offset})
			if len(s.Key) == 0 {
				return out, nil
			}
		}
		total = out[len(out)-1].Offset
	}
	return out, nil
}

// walk returns the tablets of the table as the cache or meta has them.
func (r *Router) walk(ctx context.Context, table []byte) (locations, error) {
	var ls locations
	var row []byte
	for {
		e := effort{r: r, table: table}
		t, err := r.table(ctx, table)
		if err != nil {
			return nil, err
		}
		l := t.find(row)
		if l == nil {
			if l, err = e.place(ctx, row); err != nil {
				return nil, err
			}
		}
		ls = append(ls, l)
		if len(l.end) == 0 {
			return ls, nil
		}
		row = l.end
	}
}

// sample returns the samples of the rows that l covered, whatever tablets they
// belong to now.
func (r *Router) sample(ctx context.Context, table []byte, l *location) ([]route.Sample, error) {
	e := effort{r: r, table: table}
	var out []route.Sample
	total := int64(0)
	row, end := l.start, l.end
	for {
		if !e.usable(l) {
			var err error
			if l, err = e.place(ctx, row); err != nil {
				return nil, err
			}
		}
		part, err := l.server.pick().SampleRowKeys(ctx, l.target)
		if err != nil {
			if err := e.failed(ctx, l, err, true); err != nil {
				return nil, err
			}
			continue
		}
		r.budget.earn()
		for _, s := range part {
			out = append(out, route.Sample{Key: s.Key, Offset: total + s.Offset})
		}
		if n := len(part); n == 0 || !bytes.Equal(part[n-1].Key, l.end) {
			out = append(out, route.Sample{Key: l.end, Offset: total})
		}
		total = out[len(out)-1].Offset
		if len(l.end) == 0 || (len(end) > 0 && bytes.Compare(l.end, end) >= 0) {
			return out, nil
		}
		row, l, e = l.end, nil, effort{r: r, table: table}
	}
}
