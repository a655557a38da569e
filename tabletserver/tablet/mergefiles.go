package tablet

import (
	"context"
	"errors"
	"fmt"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/pagecache"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/sstable/compress"
	"github.com/tabletdb/tabletdb/sstable/merging"
	"github.com/tabletdb/tabletdb/tabletserver/cells"
	"github.com/tabletdb/tabletdb/tabletserver/compact"
)

// FileSink takes the files that a flush or a merge makes. Its functions are called
// by one goroutine.
type FileSink struct {
	// Draw returns the name of the next file, which nobody has used or ever
	// will.
	Draw func(context.Context) (base.FileNumber, error)
	// Put stores a file under its name, durably.
	Put func(ctx context.Context, n base.FileNumber, data []byte) error
	// Progress is told, now and then, how many entries were read and how many
	// bytes are in files; nil: nobody wants to know.
	Progress func(read uint64, written int64)
	// Pace, called now and then with how many bytes were kept since, may take its
	// time; an error ends the work. nil: as fast as it goes.
	Pace func(ctx context.Context, bytes int) error
}

// MergeFiles does a job: it reads its inputs through f and writes what must be
// kept of them to sink. It depends on nothing but the job. After an error some
// files may have been written; nobody may name them.
func MergeFiles(ctx context.Context, f *Files, job *compact.Job, readahead int, sink FileSink) (compact.Result, error) {
	drops := make([]*drop, len(job.Drops))
	for i, d := range job.Drops {
		drops[i] = newDrop(d)
	}
	var inputs []base.Iterator
	var opened []*file
	defer func() {
		for _, x := range opened {
			x.release()
		}
	}()
	reads := pagecache.WithMode(ctx, pagecache.Bypass)
	for _, run := range job.Inputs {
		files := make([]*file, len(run))
		for i, ref := range run {
			files[i] = f.newFile(ref)
		}
		opened = append(opened, files...)
		r := &runIter{}
		r.init(reads, files, sstable.IterOptions{Readahead: readahead, Eager: true}, nil)
		r.drops, r.snapshot, r.all = drops, job.Snapshot, true
		inputs = append(inputs, r)
	}
	res, err := writeFiles(ctx, merging.New(inputs...), &job.Layout, job.Size(), &f.encoders, sink)
	settled(res.Runs, drops, job.Snapshot)
	return res, err
}

// progressEvery is how many entries are written between two looks at whether
// that is still wanted.
const progressEvery = 4096

// paceEvery is after how many bytes a merge asks whether it is too fast.
const paceEvery = 256 << 10

// writeFiles makes SSTables of what a compactor keeps of it, for each locality
// group its own. It closes it. hint is about how many bytes there will be.
func writeFiles(ctx context.Context, it base.Iterator, l *compact.Layout, hint int64, encoders *compress.Pool, sink FileSink) (res compact.Result, err error) {
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	w, oldest := newGroupWriter(l, hint, encoders, sink)
	if w.empty() {
		return res, nil // all of it is of families that were dropped
	}
	c := cells.NewCompactor(it, l.Schema, oldest, l.Now)
	var kept uint64
	paced := 0
	for ok := c.First(); ok; ok = c.Next() {
		if err := w.add(ctx, c); err != nil {
			return res, err
		}
		if paced += len(c.Key()) + len(c.Value()); paced >= paceEvery && sink.Pace != nil {
			if err := sink.Pace(ctx, paced); err != nil {
				return res, err
			}
			paced = 0
		}
		if kept++; kept%progressEvery == 0 {
			if ctx.Err() != nil {
				return res, context.Cause(ctx)
			}
			if sink.Progress != nil {
				sink.Progress(kept+uint64(c.Dropped), w.written+w.begun())
			}
		}
	}
	if err := c.Err(); err != nil {
		return res, err
	}
	res.Read = kept + uint64(c.Dropped)
	res.Runs, err = w.finish(ctx)
	return res, err
}

// PutFile puts an SSTable whose name was drawn for it and never used before:
// where it exists, an earlier attempt of this very put did it.
func PutFile(ctx context.Context, store objstore.Store, n base.FileNumber, data []byte) error {
	return create(ctx, store, base.SSTableObject(n), data)
}

func create(ctx context.Context, store objstore.Store, key string, data []byte) error {
	if err := store.PutIfAbsent(ctx, key, data); err != nil && !errors.Is(err, objstore.ErrExists) {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}
