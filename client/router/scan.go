package router

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rowset"
)

// Scan is what the router needs to know of a ReadRowsRequest; see ParseReadRows.
type Scan struct {
	Rows     rowset.Set
	Point    []byte // not nil: this one row, in the place of Rows
	Limit    int64  // of rows; 0: none
	Reversed bool
	// Stats: the request wants statistics of the whole in the last message.
	Stats bool
}

// resetRow is a ReadRowsResponse of one chunk with reset_row.
var resetRow = []byte{1<<3 | 2, 2, 8 << 3, 1}

// ReadRows sends a ReadRowsRequest to one tablet after the other, in the order
// of the scan, and passes the ReadRowsResponse messages to send, which owns the
// frame it is given and frees it. A scan that breaks off is resumed after the
// last row that was complete; of a row cut short, the client is told by a
// reset_row to forget the beginning. An error of send ends the scan and is
// returned. A ctx without a deadline limits only how long a tablet is waited
// for: a scan may take hours.
func (r *Router) ReadRows(ctx context.Context, table []byte, s Scan, req []byte, send func(mem.Buffer) error) error {
	sc := scanner{r: r, scan: s, req: req, send: send, e: effort{r: r, table: table}}
	if s.Stats {
		sc.stats = &statsMerge{began: time.Now()}
	}
	if s.Rows.IsEmpty() && s.Point == nil {
		if _, err := r.table(ctx, table); err != nil {
			return err
		}
		return sc.finish()
	}
	return sc.run(ctx)
}

// scanner is one scan over many tablets.
type scanner struct {
	r    *Router
	scan Scan
	req  []byte
	send func(mem.Buffer) error
	e    effort

	// What the caller has.
	after    []byte // of which, hasAfter, only rows beyond are wanted
	hasAfter bool
	rows     int64
	midRow   bool // the last frame ended within a row
	stats    *statsMerge
	guard    *guard // of the attempt under way, at a remote server
	sendErr  error
}

func (s *scanner) run(ctx context.Context) error {
	row, ok := s.first()
	for ok {
		loc, err := s.locate(ctx, row)
		if err != nil {
			return err
		}
		s.lookAhead(ctx, loc)
		err = s.tablet(ctx, loc)
		switch {
		case s.sendErr != nil:
			return s.sendErr
		case s.scan.Limit > 0 && s.rows >= s.scan.Limit:
			return s.finish() // also where the tablet failed after the last row
		case err != nil:
			if err := s.e.failed(ctx, loc, err, false); err != nil {
				return err
			}
			if s.midRow {
				s.midRow = false
				if err := s.send(mem.SliceBuffer(resetRow)); err != nil {
					return err
				}
			}
			row, ok = s.resume(row)
		default:
			s.r.budget.earn()
			s.e = effort{r: s.r, table: s.e.table}
			row, ok = s.next(loc)
		}
	}
	return s.finish()
}

// locate returns where row is served, from the cache where that will do.
func (s *scanner) locate(ctx context.Context, row []byte) (*location, error) {
	if t := s.r.cached(s.e.table); t != nil {
		if loc := t.find(row); s.e.usable(loc) {
			return loc, nil
		}
	}
	ctx, cancel := s.r.withDeadline(ctx)
	defer cancel()
	return s.e.place(ctx, row)
}

// fewRows is up to which limit a scan probably ends in the tablet it is in.
const fewRows = 100

// lookAhead begins to look up the tablet that follows loc, and those after it,
// unless they are known: so that the scan need not wait for it when it gets
// there. It joins the look-up that is under way then.
func (s *scanner) lookAhead(ctx context.Context, loc *location) {
	if s.r.whole != nil || s.scan.Limit > 0 && s.scan.Limit-s.rows <= fewRows {
		return
	}
	row, ok := s.next(loc)
	t := s.r.cached(s.e.table)
	if !ok || t == nil || t.find(row) != nil {
		return
	}
	s.r.spawn(func() {
		ctx, cancel := s.r.withDeadline(ctx)
		defer cancel()
		_, _ = t.lookup(ctx, row, nil) // the scan asks again
	})
}

// tablet scans one tablet, or the rest of it.
func (s *scanner) tablet(ctx context.Context, loc *location) error {
	rs := route.Scan{}
	if s.hasAfter && loc.contains(s.after) {
		rs.After, rs.HasAfter = s.after, true
	}
	if s.scan.Limit > 0 && s.rows > 0 {
		rs.Limit = s.scan.Limit - s.rows
	}
	if v := loc.server; v.local == nil && v.whole == nil {
		ctx, s.guard = s.r.watch(ctx, s.e.table, loc, func() bool { return true })
		defer s.guard.end()
	}
	if err := loc.server.pick().ReadRows(ctx, loc.target, rs, s.req, s.frame); err != nil {
		return err
	}
	if s.midRow {
		return fmt.Errorf("%w: the answer of a tablet ended within a row", base.ErrUnavailable)
	}
	return nil
}

// frame passes one frame on and notes how far it goes.
func (s *scanner) frame(b mem.Buffer, info route.FrameInfo) error {
	s.guard.progress()
	if info.HasLast {
		s.after, s.hasAfter = append(s.after[:0], info.LastRow...), true
		s.e.n = 0 // the scan gets on: pauses start small again
	}
	s.rows += info.Rows
	s.midRow = info.MidRow
	if s.stats != nil {
		var err error
		if b, err = s.stats.take(b); err != nil || b == nil {
			return err
		}
	}
	s.sendErr = s.send(b)
	return s.sendErr
}

// finish sends what belongs into the last message.
func (s *scanner) finish() error {
	if s.stats == nil {
		return nil
	}
	return s.send(mem.SliceBuffer(s.stats.message()))
}

// first returns a row to locate the first tablet by.
func (s *scanner) first() ([]byte, bool) {
	if s.scan.Point != nil {
		return s.scan.Point, true
	}
	if s.scan.Reversed {
		return s.backFrom(lastRow(nil))
	}
	return s.scan.Rows.Next(nil)
}

// next returns a row to locate the tablet by that follows loc; false: the scan
// is complete.
func (s *scanner) next(loc *location) ([]byte, bool) {
	if s.scan.Point != nil {
		return nil, false
	}
	if s.scan.Reversed {
		if len(loc.start) == 0 {
			return nil, false
		}
		return s.backFrom(lastRow(loc.start))
	}
	if len(loc.end) == 0 {
		return nil, false
	}
	return s.scan.Rows.Next(loc.end)
}

// resume returns a row to go on by after a failure at row.
func (s *scanner) resume(row []byte) ([]byte, bool) {
	switch {
	case !s.hasAfter:
		return row, true
	case s.scan.Point != nil:
		return nil, false // the row was passed
	case s.scan.Reversed:
		if bytes.Compare(s.after, row) > 0 { // from an earlier tablet
			return row, true
		}
		return s.backFrom(lastRow(s.after))
	case bytes.Compare(s.after, row) < 0:
		return row, true
	}
	return s.scan.Rows.Next(append(bytes.Clone(s.after), 0))
}

// backFrom returns the greatest row of the set that is not above row.
func (s *scanner) backFrom(row []byte) ([]byte, bool) {
	for x := range s.scan.Rows.Backward() {
		if bytes.Compare(x.Start, row) > 0 {
			continue
		}
		if x.Contains(row) {
			return row, len(row) > 0
		}
		row = lastRow(x.End)
		return row, len(row) > 0
	}
	return nil, false
}

// lastRow returns the greatest row key below end (empty: of all), empty where
// there is none.
func lastRow(end []byte) []byte {
	row := make([]byte, 0, mutation.MaxRowKey)
	if n := len(end); n > 0 {
		row = append(row, end[:n-1]...)
		if end[n-1] == 0 {
			return row
		}
		row = append(row, end[n-1]-1)
	}
	for len(row) < mutation.MaxRowKey {
		row = append(row, 0xff)
	}
	return row
}
