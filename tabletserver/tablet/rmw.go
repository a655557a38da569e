package tablet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/rowfilter"
	"github.com/tabletdb/tabletdb/internal/rowset"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/tabletserver/cells"
	"github.com/tabletdb/tabletdb/tabletserver/commitlog"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

// CheckAndMutate applies one of two lists of mutations to a row, atomically,
// depending on whether the predicate (nil: any cell) outputs a cell, and
// returns which. It is evaluated against everything appended before it,
// acknowledged or not; the reply waits until that is (R13).
func (t *Tablet) CheckAndMutate(ctx context.Context, r *mutation.CheckAndMutateRow, predicate *rowfilter.Program) (matched bool, err error) {
	cost := writeCost(r.True.Size())
	if err := t.admitWrite(ctx, r.Row, cost); err != nil {
		return false, err
	}
	defer t.env.Budget.Done(cost)
	yes, no := records.Get().(*[]byte), records.Get().(*[]byte)
	defer putRecord(yes)
	defer putRecord(no)
	// Both are encoded, and so checked, before either is chosen.
	sch, nYes, err := t.encodeBranch(ctx, yes, r.Row, r.True, &r.Once, 1)
	if err != nil {
		return false, err
	}
	_, nNo, err := t.encodeBranch(ctx, no, r.Row, r.False, &r.Once, 0)
	if err != nil {
		return false, err
	}
	batch, seen, matched, err := t.checkAndAppend(ctx, r, predicate, sch, *yes, nYes, *no, nNo)
	for errors.Is(err, errDropped) {
		batch, seen, matched, err = t.checkAndAppend(ctx, r, predicate, sch, *yes, nYes, *no, nNo)
	}
	switch {
	case err != nil:
		return false, err
	case batch != nil:
		err = Await(ctx, batch)
	default:
		err = t.readable(ctx, seen)
	}
	return matched, err
}

// encodeBranch is encode of a branch, which may be empty where a write may not.
// A repeat remembers its answer also where there is nothing else to write: an
// attempt that is still on its way from elsewhere must not decide otherwise.
func (t *Tablet) encodeBranch(ctx context.Context, buf *[]byte, row []byte, l mutation.List, once *mutation.Once, answer byte) (s *schema.Schema, n int, err error) {
	if l.Len() == 0 {
		s, err = t.schema(ctx)
	} else {
		s, n, err = t.encode(ctx, buf, row, l)
	}
	if err != nil || n == 0 && once.Attempt == 0 {
		return s, n, err
	}
	if n == 0 {
		b := mutation.NewBuilder((*buf)[:0], row)
		*buf = b.Bytes()
	}
	return s, n + remember(buf, once, []byte{answer}), nil
}

// checkAndAppend is the part of CheckAndMutate under the row's lock.
func (t *Tablet) checkAndAppend(ctx context.Context, r *mutation.CheckAndMutateRow, predicate *rowfilter.Program, sch *schema.Schema, yes []byte, nYes int, no []byte, nNo int) (batch *commitlog.Batch, seen base.Seq, matched bool, err error) {
	lock, err := t.env.Rows.lock(ctx, t.id, r.Row)
	if err != nil {
		return nil, 0, false, err
	}
	defer lock.unlock()
	if m, ok, err := t.remembered(ctx, r.Row, &r.Once, sch); err != nil || ok {
		return nil, m.seq, len(m.answer) == 1 && m.answer[0] == 1, err
	}
	drops := t.drops()
	seen, matched, err = t.matches(ctx, r.Row, predicate, sch)
	if err != nil {
		return nil, 0, false, err
	}
	rec, n := no, nNo
	if matched {
		rec, n = yes, nYes
	}
	if n == 0 {
		return nil, seen, matched, nil
	}
	batch, _, err = t.appendTimed(rec, n, sch, &drops)
	return batch, seen, matched, err
}

// readable makes a reply that logs nothing what a read is: it checks the lease
// and waits until what it saw is acknowledged (R13).
func (t *Tablet) readable(ctx context.Context, seen base.Seq) error {
	if err := t.awaitVisible(ctx, seen); err != nil {
		return err
	}
	if err := t.awaitSafe(ctx); err != nil {
		return err
	}
	if t.State() != Serving {
		return t.errNotServing()
	}
	return nil
}

// errFound ends a scan that has its answer.
var errFound = errors.New("found")

// found is a Sink that ends the scan at the first cell.
type found struct{}

func (found) Cell([]byte, *rowfilter.Cell) error { return errFound }
func (found) EndRow([]byte) error                { return nil }
func (found) Passed([]byte) error                { return nil }

// matches reports whether predicate outputs any cell of the row, as of all that
// was appended, and the last sequence of that.
func (t *Tablet) matches(ctx context.Context, row []byte, predicate *rowfilter.Program, sch *schema.Schema) (base.Seq, bool, error) {
	var st Stats
	s := scan{t: t, read: Read{Filter: predicate, Limit: 1}, sink: found{}, stats: &st}
	seen, err := t.pendingRow(ctx, row, s.read, sch, func(rd *cells.Reader) error {
		if predicate != nil {
			s.eval = predicate.NewEval()
			s.cols.init(predicate, sch)
		}
		return s.readRow(rd, rd.Row())
	})
	if errors.Is(err, errFound) {
		return seen, true, nil
	}
	return seen, false, err
}

// pendingRow calls f with a reader on the row, if it has any entry, as of all
// that was appended; f may be called twice. The caller holds the row's lock.
func (t *Tablet) pendingRow(ctx context.Context, row []byte, r Read, sch *schema.Schema, f func(*cells.Reader) error) (base.Seq, error) {
	for reloaded := false; ; reloaded = true {
		seq, err := t.pendingRowOnce(ctx, row, r, sch, f)
		switch {
		case !errors.Is(err, objstore.ErrNotFound):
			return seq, err
		case reloaded:
			return 0, fmt.Errorf("%w: %w", base.ErrCorrupt, err)
		}
		// The view is older than the garbage collection (R12).
		if err := t.checkOwner(ctx); err != nil {
			return 0, err
		}
	}
}

func (t *Tablet) pendingRowOnce(ctx context.Context, row []byte, r Read, sch *schema.Schema, f func(*cells.Reader) error) (base.Seq, error) {
	v, seq, err := t.acquireView(true)
	if err != nil {
		return 0, err
	}
	defer v.release()
	point := rowset.Point(row)
	src := newSources(ctx, t, v, seq, []rowset.Range{point}, r, sch)
	defer src.close()
	src.aim(point)
	rd := cells.NewReader(src.iter, sch, seq, nowMicros())
	if rd.SeekGE(row) && bytes.Equal(rd.Row(), row) {
		if err := f(rd); err != nil {
			return seq, err
		}
	}
	return seq, rd.Err()
}

// column is one column that a ReadModifyWrite changes.
type column struct {
	family    string
	id        base.FamilyID // of the family; 0 where it is not needed
	qualifier []byte
	value     []byte
	timestamp int64 // of the cell that was read; math.MinInt64: none
}

// ReadModifyWrite applies rules to the newest cells of columns of a row,
// atomically, and returns the new cells.
func (t *Tablet) ReadModifyWrite(ctx context.Context, r *mutation.ReadModifyWriteRow) (*bigtablepb.Row, error) {
	cost := writeCost(r.Rules.Size())
	if err := t.admitWrite(ctx, r.Row, cost); err != nil {
		return nil, err
	}
	defer t.env.Budget.Done(cost)
	sch, err := t.schemaFor(ctx, r)
	if err != nil {
		return nil, err
	}
	columns, batch, at, err := t.modify(ctx, r, sch)
	for errors.Is(err, errDropped) {
		columns, batch, at, err = t.modify(ctx, r, sch)
	}
	if err != nil {
		return nil, err
	}
	if batch != nil { // nil: applied before, and durable
		if err := Await(ctx, batch); err != nil {
			return nil, err
		}
	}
	return rowOf(r.Row, columns, at), nil
}

// schemaFor returns a schema that knows every family of the rules.
func (t *Tablet) schemaFor(ctx context.Context, r *mutation.ReadModifyWriteRow) (*schema.Schema, error) {
	s, err := t.schema(ctx)
	if err != nil {
		return nil, err
	}
	err = mutation.CheckRules(r.Row, r.Rules, s.Writes())
	if !errors.Is(err, base.ErrFamilyNotFound) {
		return s, err
	}
	if s, ferr := t.env.Schemas.Refresh(ctx, t.table); ferr == nil {
		return s, mutation.CheckRules(r.Row, r.Rules, s.Writes())
	}
	return nil, err
}

// modify is the part of ReadModifyWrite under the row's lock. at is the
// timestamp of the new cells whose column had none newer.
func (t *Tablet) modify(ctx context.Context, r *mutation.ReadModifyWriteRow, sch *schema.Schema) (columns []*column, batch *commitlog.Batch, at int64, err error) {
	lock, err := t.env.Rows.lock(ctx, t.id, r.Row)
	if err != nil {
		return nil, nil, 0, err
	}
	defer lock.unlock()
	if m, ok, err := t.remembered(ctx, r.Row, &r.Once, sch); err != nil || ok {
		if err == nil {
			columns, err = parseAnswer(m.answer)
		}
		return columns, t.original(m.seq), m.time, err
	}
	drops := t.drops()
	if columns, err = t.applyRules(ctx, r, sch); err != nil {
		return nil, nil, 0, err
	}
	buf := records.Get().(*[]byte)
	defer putRecord(buf)
	t.mu.Lock()
	now := t.nextTimeLocked(sch)
	t.mu.Unlock()
	b := mutation.NewBuilder((*buf)[:0], r.Row)
	for _, c := range columns {
		if c.timestamp > now { // a client's clock is ahead: the new cell must still be the newest
			b.Cell(base.KindSet, c.id, c.qualifier, c.timestamp, c.value)
		} else {
			b.CellAtServerTime(base.KindSet, c.id, c.qualifier, c.value)
			c.timestamp = math.MinInt64
		}
	}
	*buf = b.Bytes()
	n := b.Len()
	if r.Once.Named() {
		answer := records.Get().(*[]byte)
		*answer = appendAnswer((*answer)[:0], columns)
		n += remember(buf, &r.Once, *answer)
		putRecord(answer)
	}
	batch, at, err = t.appendTimed(*buf, n, sch, &drops)
	return columns, batch, at, err
}

// applyRules reads the columns and applies the rules in order.
func (t *Tablet) applyRules(ctx context.Context, r *mutation.ReadModifyWriteRow, sch *schema.Schema) ([]*column, error) {
	var columns []*column
	var rule mutation.Rule
	for it := r.Rules.Iter(); ; {
		ok, err := it.Next(&rule)
		if err != nil {
			return nil, err
		}
		if !ok {
			return columns, nil
		}
		c, err := t.columnOf(ctx, r.Row, &rule, sch, columns)
		if err != nil {
			return nil, err
		}
		if c.value, err = mutation.ApplyRule(nil, bytes.Clone(c.value), &rule); err != nil {
			return nil, err
		}
		if !contains(columns, c) {
			columns = append(columns, c)
		}
	}
}

func contains(columns []*column, c *column) bool {
	for _, x := range columns {
		if x == c {
			return true
		}
	}
	return false
}

// columnOf returns the column of a rule: as an earlier rule left it, or as it
// is read.
func (t *Tablet) columnOf(ctx context.Context, row []byte, rule *mutation.Rule, sch *schema.Schema, columns []*column) (*column, error) {
	spec, ok := sch.Writes().Family(rule.Family)
	if !ok {
		return nil, fmt.Errorf("%w: %q", base.ErrFamilyNotFound, rule.Family)
	}
	for _, c := range columns {
		if c.id == spec.ID && bytes.Equal(c.qualifier, rule.Qualifier) {
			return c, nil
		}
	}
	c := &column{family: sch.ByID(spec.ID).Name, id: spec.ID, qualifier: bytes.Clone(rule.Qualifier), timestamp: math.MinInt64}
	_, err := t.pendingRow(ctx, row, Read{Limit: 1, families: []base.FamilyID{c.id}}, sch, func(rd *cells.Reader) error {
		if rd.SeekColumn(c.id, c.qualifier) && rd.Next() {
			if x := rd.Cell(); x.FamilyID == c.id && bytes.Equal(x.Qualifier, c.qualifier) {
				c.value, c.timestamp = bytes.Clone(x.Value), x.Timestamp
			}
		}
		return rd.Err()
	})
	return c, err
}

// rowOf returns the answer to a ReadModifyWrite: families and columns in the
// order in which the rules first named them.
func rowOf(key []byte, columns []*column, at int64) *bigtablepb.Row {
	row := &bigtablepb.Row{Key: bytes.Clone(key)}
	families := map[string]*bigtablepb.Family{}
	for _, c := range columns {
		f := families[c.family]
		if f == nil {
			f = &bigtablepb.Family{Name: c.family}
			families[c.family] = f
			row.Families = append(row.Families, f)
		}
		ts := c.timestamp
		if ts == math.MinInt64 {
			ts = at
		}
		f.Columns = append(f.Columns, &bigtablepb.Column{Qualifier: c.qualifier, Cells: []*bigtablepb.Cell{
			{TimestampMicros: ts, Value: c.value},
		}})
	}
	return row
}
