package tablet

import (
	"bytes"
	"context"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rowset"
)

// ahead is what a walk over the files of a run knows of what comes.
type ahead struct {
	// upper is where the scan ends, as a cell key; nil: it does not.
	upper []byte
	// expect is how far the last file was read ahead: so the next one begins.
	expect int

	cancel context.CancelFunc
	done   chan struct{} // closed when the next file is open; nil: nobody opens it
}

// end returns the key at which a scan of these ranges ends, or nil.
func end(ranges []rowset.Range) []byte {
	if len(ranges) == 0 || len(ranges[len(ranges)-1].End) == 0 {
		return nil
	}
	return base.AppendRowPrefix(nil, ranges[len(ranges)-1].End)
}

// beyond reports whether the scan ends before the file.
func (a *ahead) beyond(f *file) bool { return a.upper != nil && bytes.Compare(f.first, a.upper) >= 0 }

// clip returns the lower of the two upper bounds.
func (a *ahead) clip(upper []byte) []byte {
	if a.upper == nil || upper != nil && bytes.Compare(upper, a.upper) <= 0 {
		return upper
	}
	return a.upper
}

// open opens a file that the walk is going to need, in a goroutine of its own.
// An error is left to the one who needs it.
func (a *ahead) open(ctx context.Context, f *file) {
	a.stop()
	if f.reader.Load() != nil {
		return
	}
	ctx, a.cancel = context.WithCancel(ctx)
	done := make(chan struct{})
	a.done = done
	go func() {
		defer close(done)
		_, _ = f.handle.open(ctx)
	}()
}

// stop waits for the goroutine.
func (a *ahead) stop() {
	if a.done != nil {
		a.cancel()
		<-a.done
		a.done = nil
	}
}

// SkipPrefix implements merging.Skipper: what a deletion hides in older files
// need not be read.
func (r *runIter) SkipPrefix(prefix []byte, seq base.Seq) (moved, ok bool) {
	if !r.valid || !bytes.HasPrefix(r.it.Key(), prefix) {
		return false, true
	}
	for i := r.at; i < len(r.files); i++ {
		f := r.files[i]
		if i > r.at && bytes.Compare(f.first, prefix) > 0 && !bytes.HasPrefix(f.first, prefix) {
			break
		}
		if f.MaxSeq > seq {
			return false, true
		}
	}
	behind := bytes.Clone(prefix)
	behind[len(behind)-1]++ // the prefix of a row or family does not end in ff
	return true, r.SeekGE(behind)
}
