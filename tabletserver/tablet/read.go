package tablet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rowfilter"
	"github.com/tabletdb/tabletdb/internal/rowset"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/tabletserver/cells"
)

// Read says what to read of a tablet.
type Read struct {
	Rows     rowset.Set
	Reversed bool
	Filter   *rowfilter.Program // nil: everything passes
	// Limit is the most rows to return; 0: no limit.
	Limit int64

	// families are all that is asked for, ascending, where Filter does not tell;
	// nil: all but the hidden one.
	families []base.FamilyID
}

// Sink takes what a read finds, row by row. The slices of a cell are valid
// during the call only.
type Sink interface {
	// Cell takes the next cell of the row with that key.
	Cell(row []byte, c *rowfilter.Cell) error
	// EndRow ends a row of which Cell was called; Cancelled rows do not
	// happen: an error ends the read.
	EndRow(row []byte) error
	// Passed says that the rows up to row held nothing, so that a scan which
	// finds little shows that it advances. It is called now and then.
	Passed(row []byte) error
}

// ErrPause is what EndRow and Passed of a Pauser return where the reader takes
// its time: the row is taken all the same, and the scan lets go of memory and
// files until Resume returns.
var ErrPause = errors.New("the reader takes its time")

// Pauser is the optional ability of a Sink to make a scan pause between two rows.
type Pauser interface {
	Sink
	// Resume returns when the reader is ready for more.
	Resume() error
}

// Stats counts what a read looked at.
type Stats struct {
	RowsSeen, RowsReturned   int64
	CellsSeen, CellsReturned int64
}

// Limits of how long one view is held by a scan, so that a slow reader does not
// pin memory and files: it goes on with a fresh view at the next row.
const (
	maxViewAge  = 10 * time.Second
	passedEvery = 4096 // rows without a match between two calls of Passed
)

// Scan reads rows. Each row is seen as of one moment: all of a write to it, or
// nothing. It checks the lease after the request has arrived and before the
// view is taken (R13, R21).
func (t *Tablet) Scan(ctx context.Context, r Read, sink Sink) (Stats, error) {
	var st Stats
	set := r.Rows.Intersect(rowset.Range{Start: t.start, End: t.end})
	if r.Filter != nil {
		set = set.IntersectSet(r.Filter.Rows())
	}
	reloaded := false
	for {
		s := scan{t: t, read: r, sink: sink, stats: &st}
		last, done, err := s.run(ctx, set)
		if errors.Is(err, ErrPause) { // the view was let go
			err = sink.(Pauser).Resume()
		}
		switch {
		case err != nil && errors.Is(err, objstore.ErrNotFound) && !reloaded && !s.midRow:
			reloaded = true // the view is older than the garbage collection (R12)
			if rerr := t.checkOwner(ctx); rerr != nil {
				return st, rerr
			}
		case err != nil && errors.Is(err, objstore.ErrNotFound):
			return st, fmt.Errorf("%w: %w", base.ErrCorrupt, err)
		case err != nil || done:
			return st, err
		}
		if last != nil {
			if r.Reversed {
				set = set.Before(last)
			} else {
				set = set.After(last)
			}
		}
		if r.Limit > 0 && st.RowsReturned >= r.Limit {
			return st, nil
		}
	}
}

// checkOwner reads the record: a tablet whose files are gone was lost.
func (t *Tablet) checkOwner(ctx context.Context) error {
	rec, err := t.env.Meta.Tablet(ctx, t.table, t.end, t.id)
	if err == nil && (rec.Owner != t.env.Self() || rec.Epoch != t.epoch) {
		return t.errNotServing()
	}
	return err
}

// scan is a read over one view.
type scan struct {
	t      *Tablet
	read   Read
	sink   Sink
	stats  *Stats
	eval   *rowfilter.Eval
	cols   columns
	midRow bool // the sink holds a part of a row

	row      []byte
	last     []byte // the last row that was dealt with; nil: none
	returned bool   // a cell of the row was returned
	err      error
	quiet    int // rows since the sink heard of one
}

// run reads set until it is done or the view is old; then last is the last row
// it has dealt with.
func (s *scan) run(ctx context.Context, set rowset.Set) (last []byte, done bool, err error) {
	if err := s.t.awaitSafe(ctx); err != nil {
		return nil, false, err
	}
	v, snapshot, err := s.t.acquireView(false)
	if err != nil {
		return nil, false, err
	}
	defer v.release()
	sch, err := s.t.schema(ctx)
	if err != nil {
		return nil, false, err
	}
	ranges := set.Ranges()
	src := newSources(ctx, s.t, v, snapshot, ranges, s.read, sch)
	defer src.close()
	if s.read.Filter != nil {
		s.eval = s.read.Filter.NewEval()
		s.cols.init(s.read.Filter, sch)
	}
	rd := cells.NewReader(src.iter, sch, snapshot, nowMicros())
	defer func() { s.t.noteWaste(rd.Wasted()) }()
	began := time.Now()
	for i := range ranges {
		g := ranges[i]
		if s.read.Reversed {
			g = ranges[len(ranges)-1-i]
		}
		src.aim(g)
		full, err := s.scanRange(ctx, rd, g, began)
		if err != nil || full {
			return s.last, s.limited(), err
		}
	}
	return nil, true, rd.Err()
}

func (s *scan) limited() bool { return s.read.Limit > 0 && s.stats.RowsReturned >= s.read.Limit }

// scanRange reads the rows of g. full means that the scan stops here: the
// limit is reached, or the view is old.
func (s *scan) scanRange(ctx context.Context, rd *cells.Reader, g rowset.Range, began time.Time) (full bool, err error) {
	ok := s.seek(rd, g)
	for n := 1; ok; n++ {
		row := rd.Row()
		if bytes.Compare(row, g.Start) < 0 || len(g.End) > 0 && bytes.Compare(row, g.End) >= 0 {
			return false, nil
		}
		if err := s.readRow(rd, row); err != nil {
			return false, err
		}
		if s.limited() {
			return true, nil
		}
		if n%64 == 0 {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			if time.Since(began) > maxViewAge {
				return true, nil
			}
		}
		switch {
		case g.IsPoint():
			return false, nil
		case s.read.Reversed:
			ok = rd.PrevRow()
		default:
			ok = rd.NextRow()
		}
	}
	return false, rd.Err()
}

func (s *scan) seek(rd *cells.Reader, g rowset.Range) bool {
	if !s.read.Reversed || g.IsPoint() {
		return rd.SeekGE(g.Start)
	}
	if len(g.End) == 0 {
		return rd.SeekLT(nil)
	}
	return rd.SeekLT(g.End)
}

// readRow gives the sink what passes of the row the reader stands on.
func (s *scan) readRow(rd *cells.Reader, row []byte) error {
	s.row = append(s.row[:0], row...)
	s.returned = false
	s.stats.RowsSeen++
	switch {
	case s.eval == nil:
		for rd.Next() {
			s.stats.CellsSeen++
			s.emit(rd.Cell())
			if s.err != nil {
				return s.err
			}
		}
	case s.eval.Row(s.row):
		s.filterRow(rd)
		if s.err == nil && rd.Err() == nil {
			s.eval.End(s.emit)
		}
	}
	if s.err != nil {
		return s.err
	}
	if err := rd.Err(); err != nil {
		return err
	}
	s.midRow = false
	s.last = append(s.last[:0], s.row...)
	if s.returned {
		s.quiet = 0
		s.stats.RowsReturned++
		return s.sink.EndRow(s.row)
	}
	if s.quiet++; s.quiet >= passedEvery {
		s.quiet = 0
		return s.sink.Passed(s.row)
	}
	return nil
}

// filterRow pushes the cells of a row through the filter, seeking past what it
// does not ask for.
func (s *scan) filterRow(rd *cells.Reader) {
	s.cols.startRow(rd)
	for rd.Next() {
		c := rd.Cell()
		s.stats.CellsSeen++
		switch s.eval.Push(c, s.emit) {
		case rowfilter.SkipRow:
			return
		case rowfilter.SkipFamily:
			rd.SkipFamily()
		case rowfilter.SkipColumn:
			s.cols.next(rd, c)
		}
		if s.err != nil {
			return
		}
	}
}

func (s *scan) emit(c *rowfilter.Cell) {
	if s.err != nil {
		return
	}
	s.stats.CellsReturned++
	s.returned, s.midRow = true, true
	s.err = s.sink.Cell(s.row, c)
}

// acquireView returns the present view with a reference, and the highest
// sequence that a reader of it may see: what is acknowledged, or, with
// pending, all that was appended.
func (t *Tablet) acquireView(pending bool) (*view, base.Seq, error) {
	for {
		if t.State() != Serving {
			return nil, 0, t.errNotServing()
		}
		v := t.view.Load()
		if !v.acquire() {
			continue // exchanged this moment
		}
		seq := t.visible()
		if pending {
			seq = base.Seq(t.applied.Load())
		}
		// The view must be the one in which everything up to seq stands: one
		// taken before lacks what was added to its successor since.
		if t.view.Load() == v {
			return v, seq, nil
		}
		v.release()
	}
}
