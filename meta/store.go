package meta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/root"
)

// Store reads and writes the records. Its methods may be called concurrently.
type Store struct {
	ls lockservice.Client
}

// NewStore returns a Store over the root cell.
func NewStore(ls lockservice.Client) *Store { return &Store{ls: ls} }

// LockService returns the client of the root cell.
func (s *Store) LockService() lockservice.Client { return s.ls }

// cell returns the client of the named cell. There is one today.
func (s *Store) cell(name string) (lockservice.Client, error) {
	if name != root.RootCell {
		return nil, fmt.Errorf("%w: meta range in cell %q, of which this build knows nothing", base.ErrUnimplemented, name)
	}
	return s.ls, nil
}

// Locate returns the tablet that holds row, and up to prefetch tablets that
// follow it in the table. base.ErrNotFound: the table has no tablets.
func (s *Store) Locate(ctx context.Context, table base.TableID, row []byte, prefetch int, o lockservice.ReadOptions) ([]Tablet, error) {
	start, end := locateKey(table, row), lockservice.PrefixEnd(TablePrefixOf(table))
	o.Limit = 1 + prefetch
	tablets, err := s.scan(ctx, start, end, o)
	if err != nil {
		return nil, err
	}
	if len(tablets) == 0 || tablets[0].Table != table {
		return nil, fmt.Errorf("tablet of table %d for row %q: %w", table, row, base.ErrNotFound)
	}
	if !tablets[0].Contains(row) {
		return nil, fmt.Errorf("%w: no tablet of table %d covers row %q; the next one starts at %q", base.ErrCorrupt, table, row, tablets[0].Start)
	}
	return tablets, nil
}

// scan walks root, then the meta ranges in order, until o.Limit records (0:
// all) are found. A range in which nothing is found leads to the next (R19).
func (s *Store) scan(ctx context.Context, start, end string, o lockservice.ReadOptions) ([]Tablet, error) {
	ranges, err := root.Load(ctx, s.ls, lockservice.ReadOptions{Stale: o.Stale})
	if err != nil {
		return nil, err
	}
	var tablets []Tablet
	limit := o.Limit
	for i := root.Find(ranges, start); i < len(ranges); i++ {
		r := ranges[i]
		cell, err := s.cell(r.Cell)
		if err != nil {
			return nil, err
		}
		if limit > 0 {
			o.Limit = limit - len(tablets)
		}
		kvs, _, err := cell.List(ctx, max(start, r.After+"\x00"), min(end, r.Last+"\x00"), o)
		if err != nil {
			return nil, fmt.Errorf("read meta: %w", err)
		}
		for _, kv := range kvs {
			t, err := DecodeTablet(kv)
			if err != nil {
				return nil, err
			}
			tablets = append(tablets, t)
		}
		if end <= r.Last || (limit > 0 && len(tablets) >= limit) {
			break
		}
	}
	return tablets, nil
}

// Tablets returns all tablets of a table, in row order.
func (s *Store) Tablets(ctx context.Context, table base.TableID, o lockservice.ReadOptions) ([]Tablet, error) {
	p := TablePrefixOf(table)
	return s.scan(ctx, p, lockservice.PrefixEnd(p), o)
}

// All returns the tablets of all tables, ordered by table, then row, from one
// view at one revision. With several cells there would be one view for each.
func (s *Store) All(ctx context.Context, o lockservice.ReadOptions) ([]Tablet, lockservice.Revision, error) {
	kvs, rev, err := s.ls.List(ctx, TabletPrefix, lockservice.PrefixEnd(TabletPrefix), o)
	if err != nil {
		return nil, 0, fmt.Errorf("read meta: %w", err)
	}
	tablets := make([]Tablet, len(kvs))
	for i, kv := range kvs {
		if tablets[i], err = DecodeTablet(kv); err != nil {
			return nil, 0, err
		}
	}
	return tablets, rev, nil
}

// Tablet reads the record of the tablet that ends at end, linearizably. Where
// it is gone, or another tablet ends there now, the error is base.ErrNotFound.
func (s *Store) Tablet(ctx context.Context, table base.TableID, end []byte, id base.TabletID) (Tablet, error) {
	kv, ok, _, err := s.ls.Get(ctx, TabletKey(table, end), lockservice.ReadOptions{})
	if err != nil {
		return Tablet{}, fmt.Errorf("read record of tablet %d: %w", id, err)
	}
	if !ok {
		return Tablet{}, fmt.Errorf("record of tablet %d: %w", id, base.ErrNotFound)
	}
	t, err := DecodeTablet(kv)
	if err != nil {
		return Tablet{}, err
	}
	if t.ID != id {
		return Tablet{}, fmt.Errorf("record of tablet %d, where tablet %d is now: %w", id, t.ID, base.ErrNotFound)
	}
	return t, nil
}

// Place is where the record of a tablet stands.
type Place struct {
	Table base.TableID
	End   []byte
	ID    base.TabletID
}

// Records reads the records of tablets in one view, linearizably. Those that
// are gone are left out.
func (s *Store) Records(ctx context.Context, places []Place) ([]Tablet, error) {
	ranges := make([][2]string, len(places))
	for i, p := range places {
		key := TabletKey(p.Table, p.End)
		ranges[i] = [2]string{key, key + "\x00"}
	}
	kvs, _, err := s.ls.ListRanges(ctx, ranges, lockservice.ReadOptions{})
	if err != nil {
		return nil, fmt.Errorf("read records of %d tablets: %w", len(places), err)
	}
	var tablets []Tablet
	for i, p := range places {
		if len(kvs[i]) == 0 {
			continue
		}
		t, err := DecodeTablet(kvs[i][0])
		if err != nil {
			return nil, err
		}
		if t.ID == p.ID {
			tablets = append(tablets, t)
		}
	}
	return tablets, nil
}

// Commit applies changes, all or none, and returns the new records. It keeps
// trying until the outcome is decided or ctx ends (base.ErrUndecided: nothing
// may be concluded, and files named by the changes stay in flight, R4).
// base.ErrAborted: a condition did not hold; the records are as others left
// them. Where the reply was lost and a record has been changed again by the
// time that is found out, it is returned with Revision 0: whoever changes it
// next finds that it must be read.
func (s *Store) Commit(ctx context.Context, changes ...Change) ([]Tablet, error) {
	x, err := txn(changes)
	if err != nil {
		return nil, err
	}
	res, err := s.ls.Txn(ctx, x)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", describe(changes), err)
	}
	if res.Succeeded {
		tablets := make([]Tablet, len(changes))
		for i, c := range changes {
			tablets[i] = c.New
			tablets[i].Revision = res.Revision
		}
		if res.Results == nil { // recognised as applied before: at an older revision
			return s.applied(ctx, changes)
		}
		return tablets, nil
	}
	if res.Retried {
		return s.reread(ctx, changes)
	}
	return nil, fmt.Errorf("commit %s: %w", describe(changes), base.ErrAborted)
}

// applied returns the records of changes that were applied, all of them, a
// while ago.
func (s *Store) applied(ctx context.Context, changes []Change) ([]Tablet, error) {
	tablets := make([]Tablet, len(changes))
	for i, c := range changes {
		one, err := s.reread(ctx, changes[i:i+1])
		switch {
		case err == nil:
			tablets[i] = one[0]
		case errors.Is(err, base.ErrAborted): // changed again
			tablets[i] = c.New
			tablets[i].Revision = 0
		default:
			return nil, err
		}
	}
	return tablets, nil
}

// reread decides a retried transaction by what the records hold now: its own
// values, or another's.
func (s *Store) reread(ctx context.Context, changes []Change) ([]Tablet, error) {
	tablets := make([]Tablet, len(changes))
	for i, c := range changes {
		t, err := s.Tablet(ctx, c.New.Table, c.New.End, c.New.ID)
		if errors.Is(err, base.ErrNotFound) {
			return nil, fmt.Errorf("commit %s: %w", describe(changes), base.ErrAborted)
		}
		if err != nil {
			return nil, fmt.Errorf("commit %s: %w: %w", describe(changes), base.ErrUndecided, err)
		}
		want, err := c.New.encode()
		if err != nil {
			return nil, err
		}
		got, err := t.encode()
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(want, got) || t.Revision <= c.Old.Revision {
			return nil, fmt.Errorf("commit %s: %w", describe(changes), base.ErrAborted)
		}
		tablets[i] = t
	}
	return tablets, nil
}

func describe(changes []Change) string {
	if len(changes) != 1 {
		return fmt.Sprintf("%d records", len(changes))
	}
	c := changes[0]
	return fmt.Sprintf("tablet %d (%v, epoch %d -> %v, epoch %d)", c.New.ID, c.Old.State, c.Old.Epoch, c.New.State, c.New.Epoch)
}

// CheckTiling returns what is wrong with the tablets of one table, in key
// order: holes, overlaps, a missing first or last tablet (invariant T2).
func CheckTiling(tablets []Tablet) []string {
	var wrong []string
	var at []byte
	for i, t := range tablets {
		switch {
		case i > 0 && len(at) == 0:
			wrong = append(wrong, fmt.Sprintf("tablet %d follows the last tablet", t.ID))
		case !bytes.Equal(at, t.Start):
			wrong = append(wrong, fmt.Sprintf("tablet %d starts at %q, not at %q where the one before it ends", t.ID, t.Start, at))
		}
		if len(t.End) > 0 && bytes.Compare(t.Start, t.End) >= 0 {
			wrong = append(wrong, fmt.Sprintf("tablet %d is empty: [%q, %q)", t.ID, t.Start, t.End))
		}
		at = t.End
	}
	if len(tablets) == 0 || len(at) > 0 {
		wrong = append(wrong, fmt.Sprintf("no tablet covers the rows from %q on", at))
	}
	return wrong
}

// Holes returns the ranges of rows [start, end) that no tablet of a table
// covers, in order; an empty end is none. The tablets may overlap.
func Holes(tablets []Tablet) [][2][]byte {
	byStart := slices.SortedFunc(slices.Values(tablets), func(a, b Tablet) int { return bytes.Compare(a.Start, b.Start) })
	var holes [][2][]byte
	var at []byte
	for _, t := range byStart {
		if bytes.Compare(at, t.Start) < 0 {
			holes = append(holes, [2][]byte{at, t.Start})
		}
		if len(t.End) == 0 {
			return holes
		}
		if bytes.Compare(at, t.End) < 0 {
			at = t.End
		}
	}
	return append(holes, [2][]byte{at, nil})
}

// SplitRanges splits each meta range that holds more than limit records in
// two, and returns how many it split.
func (s *Store) SplitRanges(ctx context.Context, limit int) (int, error) {
	ranges, err := root.Load(ctx, s.ls, lockservice.ReadOptions{})
	if err != nil {
		return 0, err
	}
	n := 0
	for _, r := range ranges {
		cell, err := s.cell(r.Cell)
		if err != nil {
			return n, err
		}
		kvs, _, err := cell.List(ctx, max(TabletPrefix, r.After+"\x00"), r.Last+"\x00", lockservice.ReadOptions{KeysOnly: true})
		if err != nil {
			return n, fmt.Errorf("count meta range: %w", err)
		}
		if len(kvs) <= limit {
			continue
		}
		half := len(kvs) / 2
		if err := root.Split(ctx, s.ls, r, kvs[half-1].Key, uint64(half), uint64(len(kvs)-half)); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Ranges returns the root index.
func (s *Store) Ranges(ctx context.Context, o lockservice.ReadOptions) ([]root.Range, error) {
	return root.Load(ctx, s.ls, o)
}
