package bulkload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tabletdb/tabletdb/client/bulkload/extsort"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation/aggregate"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/sstable/compress"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// reduce walks sorted cells, and makes one of those that were added twice: the
// last one that was added stands, and in aggregate families all are folded. The
// sequence numbers of the keys become 0.
type reduce struct {
	it      *extsort.Iter
	schema  *schema.Schema
	valid   bool // it stands on an entry that was not looked at
	key     []byte
	value   []byte
	acc     aggregate.Accumulator
	dropped uint64
	err     error
}

func newReduce(it *extsort.Iter, s *schema.Schema) *reduce {
	return &reduce{it: it, schema: s, valid: it.Next()}
}

// trailerLen is the length of what ends a cell key: sequence and kind.
const trailerLen = 8

// next moves to the next cell; key and value are valid until it is called again.
func (r *reduce) next() bool {
	if !r.valid {
		if r.err == nil {
			r.err = r.it.Err()
		}
		return false
	}
	r.key = append(r.key[:0], r.it.Key()...)
	r.value = append(r.value[:0], r.it.Value()...)
	manifest.PutSeq(r.key, 0)
	_, kind := base.Trailer(r.key)
	if kind == base.KindMerge {
		k, err := base.DecodeKey(r.key)
		if err == nil {
			r.acc = aggregate.Accumulator{Type: r.schema.ByID(k.Family).Aggregate}
			err = r.acc.Add(r.value)
		}
		if err != nil {
			return r.fail(err)
		}
	}
	cell := r.key[:len(r.key)-trailerLen]
	for r.valid = r.it.Next(); r.valid && len(r.it.Key()) == len(r.key) && bytes.HasPrefix(r.it.Key(), cell); r.valid = r.it.Next() {
		r.dropped++
		if kind == base.KindMerge {
			if err := r.acc.Add(r.it.Value()); err != nil {
				return r.fail(err)
			}
		}
	}
	if kind == base.KindMerge {
		r.value = r.acc.AppendValue(r.value[:0])
	}
	return true
}

func (r *reduce) fail(err error) bool {
	r.err, r.valid = err, false
	return false
}

// uploader makes SSTables of cells that come in order and uploads them. Its
// methods are called by one goroutine.
type uploader struct {
	l       *Loader
	creator base.Incarnation
	numbers uint64 // the last one drawn
	ends    [][]byte
	slots   chan struct{}
	wg      sync.WaitGroup
	cancel  context.CancelCauseFunc

	mu struct {
		sync.Mutex
		run      manifest.Run // by number
		progress Progress
	}
}

func (l *Loader) newUploader(creator base.Incarnation) *uploader {
	return &uploader{l: l, creator: creator, slots: make(chan struct{}, l.cfg.Options.Uploads)}
}

// draw returns a number for a file of this loader's.
func (u *uploader) draw() base.FileNumber {
	u.numbers++
	return base.FileNumber{Creator: u.creator, Number: u.numbers}
}

// writeAll uploads all cells as SSTables, which are cut where tablets end.
func (u *uploader) writeAll(ctx context.Context, r *reduce) (manifest.Run, error) {
	tablets, err := u.l.meta.Tablets(ctx, u.l.schema.Table, lockservice.ReadOptions{})
	if err != nil {
		return nil, err
	}
	for _, t := range tablets {
		if len(t.End) > 0 {
			u.ends = append(u.ends, base.AppendRowPrefix(nil, t.End))
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	u.cancel = cancel
	err = u.write(ctx, r)
	u.wg.Wait()
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("write SSTables: %w", err)
	}
	slices.SortFunc(u.mu.run, func(a, b manifest.File) int { return bytes.Compare(a.Smallest, b.Smallest) })
	return u.mu.run, nil
}

// write makes the files.
func (u *uploader) write(ctx context.Context, r *reduce) error {
	for ok := r.next(); ok; {
		for len(u.ends) > 0 && bytes.Compare(r.key, u.ends[0]) >= 0 {
			u.ends = u.ends[1:]
		}
		n := u.draw()
		w := sstable.NewWriter(sstable.WriterOptions{File: n, Compression: compress.Snappy, SizeHint: int(min(u.l.cfg.Options.FileBytes, 8<<20))})
		for ; ok && w.EstimatedSize() < u.l.cfg.Options.FileBytes && !(len(u.ends) > 0 && bytes.Compare(r.key, u.ends[0]) >= 0); ok = r.next() {
			if err := w.Add(r.key, r.value); err != nil {
				return err
			}
			if w.Entries()%4096 == 0 {
				if err := ctx.Err(); err != nil {
					return err
				}
			}
		}
		if r.err != nil {
			return r.err
		}
		t, err := w.Finish()
		if err != nil {
			return err
		}
		if err := u.upload(ctx, n, &t); err != nil {
			return err
		}
	}
	return r.err
}

// upload uploads a table in the background, when there is room for it.
func (u *uploader) upload(ctx context.Context, n base.FileNumber, t *sstable.Table) error {
	select {
	case u.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	f := manifest.Describe(n, t)
	f.Loaded = true
	u.wg.Go(func() {
		defer func() { <-u.slots }()
		if err := u.put(ctx, base.SSTableObject(n), t.Data); err != nil {
			u.cancel(err)
			return
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		u.mu.run = append(u.mu.run, f)
		u.mu.progress.Cells += f.Entries
		u.mu.progress.Bytes += f.Size
		u.l.tell(u.mu.progress)
	})
	return nil
}

// put creates an object whose name is this loader's alone: where it exists, an
// earlier attempt of this very put did it.
func (u *uploader) put(ctx context.Context, key string, data []byte) error {
	if err := u.l.store.PutIfAbsent(ctx, key, data); err != nil && !errors.Is(err, objstore.ErrExists) {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

func (l *Loader) tell(p Progress) {
	if l.cfg.Options.Progress != nil {
		l.cfg.Options.Progress(p)
	}
}
