// Package root is the upper level of the two-level index: it says which cell
// (lock service) holds which range of the meta key space. Today all ranges live
// in the root cell; lookups walk both levels all the same, so that a second
// cell is a matter of deployment.
//
// A range is stored under the last key it holds, inclusive; the last range ends
// at a key that sorts after every meta key. So a record never leaves its range
// by being looked up, and a lookup that finds nothing in a range continues in
// the next (rule R19).
package root

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/proto/metapb"
)

const (
	// Prefix of the keys of the index.
	Prefix = "root/"
	// End sorts after every meta key.
	End = "meta0"
)

// RootCell is the name of the cell that holds the index itself.
const RootCell = ""

// Range is a range of the meta key space: the keys after After, up to and
// including Last.
type Range struct {
	After, Last string
	Cell        string
	Records     uint64 // about how many records it holds
	Revision    lockservice.Revision
}

// Contains reports whether key lies in r.
func (r Range) Contains(key string) bool { return key > r.After && key <= r.Last }

// Whole is the one range there is before any split.
func Whole() Range { return Range{Last: End, Cell: RootCell} }

// Load reads the whole index, in order. A cluster that never split a range has
// no record of it.
func Load(ctx context.Context, ls lockservice.Client, o lockservice.ReadOptions) ([]Range, error) {
	kvs, _, err := ls.List(ctx, Prefix, lockservice.PrefixEnd(Prefix), o)
	if err != nil {
		return nil, fmt.Errorf("read the root index: %w", err)
	}
	if len(kvs) == 0 {
		return []Range{Whole()}, nil
	}
	ranges := make([]Range, len(kvs))
	after := ""
	for i, kv := range kvs {
		var rec metapb.RangeRecord
		if err := proto.Unmarshal(kv.Value, &rec); err != nil {
			return nil, fmt.Errorf("%w: root record %q: %v", base.ErrCorrupt, kv.Key, err)
		}
		last := strings.TrimPrefix(kv.Key, Prefix)
		ranges[i] = Range{After: after, Last: last, Cell: rec.Cell, Records: rec.Records, Revision: kv.ModRevision}
		after = last
	}
	if after != End {
		return nil, fmt.Errorf("%w: the root index ends at %q", base.ErrCorrupt, after)
	}
	return ranges, nil
}

// Find returns the index of the range that holds key in ranges as Load
// returned them.
func Find(ranges []Range, key string) int {
	i, _ := slices.BinarySearchFunc(ranges, key, func(r Range, k string) int { return strings.Compare(r.Last, k) })
	return min(i, len(ranges)-1)
}

// Split cuts r after the key last, which must be a record's: both halves stay
// in r's cell. It fails with base.ErrAborted where r changed meanwhile, or the
// record is gone.
func Split(ctx context.Context, ls lockservice.Client, r Range, last string, left, right uint64) error {
	if !r.Contains(last) || last == r.Last {
		return fmt.Errorf("%w: split of meta range (%q, %q] at %q", base.ErrInvalid, r.After, r.Last, last)
	}
	ops, err := puts(Range{Last: last, Cell: r.Cell, Records: left}, Range{Last: r.Last, Cell: r.Cell, Records: right})
	if err != nil {
		return err
	}
	res, err := ls.Txn(ctx, lockservice.Txn{
		If: []lockservice.Compare{
			lockservice.ModRevisionIs(Prefix+r.Last, r.Revision), lockservice.Absent(Prefix + last),
			lockservice.Exists(last), // a merge may have taken it away (R19)
		},
		Then: ops,
	})
	if err != nil {
		return fmt.Errorf("split meta range: %w", err)
	}
	if !res.Succeeded {
		return fmt.Errorf("split meta range at %q: %w", last, base.ErrAborted)
	}
	return nil
}

func puts(ranges ...Range) ([]lockservice.Op, error) {
	var ops []lockservice.Op
	for _, r := range ranges {
		v, err := proto.Marshal(&metapb.RangeRecord{Cell: r.Cell, Records: r.Records})
		if err != nil {
			return nil, fmt.Errorf("encode root record: %w", err)
		}
		ops = append(ops, lockservice.Put(Prefix+r.Last, v))
	}
	return ops, nil
}

// MoveEnd returns what a transaction that deletes the record of key from, whose
// successor is the record of key to, must compare and write so that no range
// ends at a record that is gone (rule R19): a range that ends at from ends at to
// afterwards. Both keys must lie in one cell.
func MoveEnd(ctx context.Context, ls lockservice.Client, from, to string) (lockservice.Txn, error) {
	ranges, err := Load(ctx, ls, lockservice.ReadOptions{})
	if err != nil {
		return lockservice.Txn{}, err
	}
	i := Find(ranges, from)
	r := ranges[i]
	next := ranges[Find(ranges, to)]
	if r.Cell != next.Cell {
		return lockservice.Txn{}, fmt.Errorf("%w: the records %q and %q lie in different cells", base.ErrUnimplemented, from, to)
	}
	if r.Last != from { // nor may it come to end there
		return lockservice.Txn{If: []lockservice.Compare{lockservice.Absent(Prefix + from)}}, nil
	}
	x := lockservice.Txn{If: []lockservice.Compare{
		lockservice.ModRevisionIs(Prefix+from, r.Revision), lockservice.ModRevisionIs(Prefix+next.Last, next.Revision),
	}}
	records := r.Records
	if next.Last == to { // it held nothing else
		records += next.Records
	} else {
		x.If = append(x.If, lockservice.Absent(Prefix+to))
	}
	if x.Then, err = puts(Range{Last: to, Cell: r.Cell, Records: max(records, 1) - 1}); err != nil {
		return lockservice.Txn{}, err
	}
	x.Then = append(x.Then, lockservice.Delete(Prefix+from))
	return x, nil
}
