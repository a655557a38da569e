package tablet

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/tabletserver/compact"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// Elsewhere does merges somewhere else.
type Elsewhere interface {
	// String says where, for people.
	String() string
	// Takes reports whether it takes such a job.
	Takes(*compact.Job) bool
	// Merge does a job. The files get the names that draw returns, in that
	// order, and are in the bucket when it returns without an error. After an
	// error, or once ctx has ended, some may come later: nobody may name them.
	Merge(ctx context.Context, job *compact.Job, reason string, draw func() base.FileNumber, progress func(written int64)) (compact.Result, error)
}

var (
	// ErrElsewhere: a merge was not done elsewhere. It can be done here.
	ErrElsewhere = errors.New("not done elsewhere")
	// ErrSmall is ErrElsewhere of a job that was not worth the way.
	ErrSmall = fmt.Errorf("%w: the job is small", ErrElsewhere)
)

// mergeElsewhere lets away do a job of this tablet's, and believes of the result
// what it can check. The names are this server's and in flight until its
// transaction is decided, as if it had written the files itself: whoever wrote
// them may be gone by then (R1, R12).
func (t *Tablet) mergeElsewhere(ctx context.Context, job *compact.Job, reason string, away Elsewhere, progress func(int64)) (out output, err error) {
	res, err := away.Merge(ctx, job, reason, func() base.FileNumber {
		n := t.env.Files.Draw()
		out.numbers = append(out.numbers, n)
		return n
	}, progress)
	if err == nil {
		err = compact.Check(job, res, out.numbers)
		if err == nil {
			out.held, err = t.env.Files.verify(ctx, res.Runs)
		}
		if err != nil && ctx.Err() == nil {
			t.env.Counts.Refused.Add(1)
			t.log.ErrorContext(ctx, "result of a merge elsewhere is refused", "server", away.String(), "err", err)
		}
	}
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, base.ErrOverloaded) {
			t.env.Counts.Failed.Add(1)
		}
		t.env.Files.Decided(out.numbers...)
		return out, fmt.Errorf("%w: at worker %s: %w", ErrElsewhere, away, err)
	}
	out.runs = res.Runs
	return out, nil
}

// verify opens files that another process wrote, which reads their tails: index,
// filters and properties, with their checksums. It compares what they say with
// their references. Blocks of data are checked when they are read, as in any
// file. The files stay open until the handles are released.
func (f *Files) verify(ctx context.Context, runs []manifest.Run) (held []*handle, err error) {
	for _, run := range runs {
		for _, ref := range run {
			h := f.acquire(ref)
			held = append(held, h)
			r, err := h.open(ctx)
			if err == nil && !describes(ref, &sstable.Table{Meta: r.Meta(), Properties: *r.Properties()}) {
				err = fmt.Errorf("%w: file %v is not what its reference says", base.ErrCorrupt, ref.Number)
			}
			if err != nil {
				releaseAll(held)
				return nil, err
			}
		}
	}
	return held, nil
}

// describes reports whether a reference, which compact.Check has found possible,
// describes the file.
func describes(ref manifest.File, t *sstable.Table) bool {
	is := manifest.Describe(ref.Number, t)
	// Some of it stands in references only: what was dropped before, and for
	// which families deletions of rows are meant.
	if ref.Tombstones == 0 && len(ref.Families) != len(is.Families) {
		return false
	}
	for _, f := range is.Families {
		if !slices.Contains(ref.Families, f) {
			return false
		}
	}
	is.Settled, is.Families = ref.Settled, ref.Families
	return proto.Equal(manifest.RunProto(manifest.Run{is}), manifest.RunProto(manifest.Run{ref}))
}

func releaseAll(list []*handle) {
	for _, h := range list {
		h.release()
	}
}
