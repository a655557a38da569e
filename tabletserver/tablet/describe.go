package tablet

import (
	"bytes"
	"context"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// Description is everything about a tablet that people may want to know.
type Description struct {
	Record        meta.Tablet
	Manifest      *manifest.Manifest
	Next, Visible base.Seq
}

// Describe returns the description of the tablet.
func (t *Tablet) Describe() Description {
	d := Description{Record: t.Record(), Manifest: &manifest.Manifest{}, Visible: t.visible()}
	if v := t.view.Load(); v != nil {
		d.Manifest = v.manifest
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	d.Next = t.mu.next
	return d
}

// Failure returns why the tablet was stopped; "" while it was not.
func (t *Tablet) Failure() string {
	if t.State() != Stopped {
		return ""
	}
	if e := t.Events(); len(e) > 0 {
		return e[len(e)-1]
	}
	return "stopped"
}

// Damage returns the error, which wraps base.ErrCorrupt, that kept the tablet
// from being loaded; nil: there was none.
func (t *Tablet) Damage() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.damage
}

// Sample is a row and about how many bytes of the tablet lie before it.
type Sample struct {
	Row    []byte
	Offset int64
}

// sampleBytes is about how much data lies between two samples.
const sampleBytes = 64 << 20

// Sample returns rows that cut the tablet into about equal parts, ascending,
// and at last the end of the tablet with its whole size.
func (t *Tablet) Sample(ctx context.Context) ([]Sample, error) {
	if err := t.awaitSafe(ctx); err != nil {
		return nil, err
	}
	v, _, err := t.acquireView(false)
	if err != nil {
		return nil, err
	}
	defer v.release()
	total, _, _ := v.fileBytes()
	total += v.mem.size() + memBytes(v.frozen)
	var largest *file
	for _, r := range v.runs {
		for _, f := range r {
			if largest == nil || f.ShownBytes() > largest.ShownBytes() {
				largest = f
			}
		}
	}
	var samples []Sample
	if largest != nil && total > sampleBytes {
		if samples, err = t.cut(ctx, largest, int(total/sampleBytes), total); err != nil {
			return nil, err
		}
	}
	return append(samples, Sample{Row: t.end, Offset: total}), nil
}

// cut returns rows of a file that cut it into n parts.
func (t *Tablet) cut(ctx context.Context, f *file, n int, total int64) ([]Sample, error) {
	r, err := f.open(ctx)
	if err != nil {
		return nil, err
	}
	var samples []Sample
	for i := 1; i < n; i++ {
		part := float64(i) / float64(n)
		key, ok, err := r.KeyAtFraction(ctx, f.lower, f.upper, part)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		row, err := base.DecodeRow(key)
		if err != nil {
			return nil, err
		}
		if !t.contains(row) || bytes.Equal(row, t.start) || slices.ContainsFunc(samples, func(s Sample) bool { return bytes.Equal(s.Row, row) }) {
			continue
		}
		samples = append(samples, Sample{Row: bytes.Clone(row), Offset: int64(part * float64(total))})
	}
	return samples, nil
}
