package router

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
)

// maxParallel is how many tablets one request is sent to at a time.
const maxParallel = 32

// MutateRows sends MutateRowsRequest.Entry messages to the tablets of their
// rows, to all tablets at the same time. It returns nil or an error for each
// entry (nil: applied), or one error for all where the table does not exist.
// Entries of one row are applied in their order. Those that certainly failed
// for a passing reason are sent again, and those whose outcome is unknown; each
// is applied at most once. The entries are not kept.
func (r *Router) MutateRows(ctx context.Context, table []byte, entries [][]byte) ([]error, error) {
	ctx, cancel := r.withDeadline(ctx)
	defer cancel()
	b := &bulk{r: r, table: table, entries: entries, rows: make([][]byte, len(entries)), slots: make(chan struct{}, maxParallel)}
	todo := make([]int, 0, len(entries))
	for i, raw := range entries {
		row, err := entryRow(raw)
		if err == nil {
			err = mutation.CheckRowKey(row)
		}
		if err != nil {
			b.fail(i, err)
			continue
		}
		b.rows[i] = row
		b.begin(i)
		todo = append(todo, i)
	}
	if len(todo) == 0 {
		return b.errs, nil
	}
	if _, err := r.table(ctx, table); err != nil {
		return nil, err
	}
	b.serve(ctx, todo, effort{r: r, table: table, write: true})
	return b.errs, nil
}

// entryRow returns MutateRowsRequest.Entry.row_key.
func entryRow(raw []byte) (row []byte, err error) {
	for rest := raw; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return nil, malformedEntry()
		}
		m := protowire.ConsumeFieldValue(num, typ, rest[n:])
		if m < 0 {
			return nil, malformedEntry()
		}
		if num == 1 && typ == protowire.BytesType {
			row, _ = protowire.ConsumeBytes(rest[n:])
		}
		rest = rest[n+m:]
	}
	return row, nil
}

func malformedEntry() error {
	return fmt.Errorf("%w: malformed MutateRowsRequest.Entry", base.ErrInvalid)
}

// bulk is one MutateRows request.
type bulk struct {
	r       *Router
	table   []byte
	entries [][]byte
	rows    [][]byte
	onces   []once        // of the entries; nil where none needs any
	owned   bool          // entries is a copy of the caller's slice
	slots   chan struct{} // one for each request in flight

	mu   sync.Mutex
	errs []error // nil while there is none
}

// begin prepares entry i for its first attempt.
func (b *bulk) begin(i int) {
	var o once
	entry := o.begin(b.r, b.entries[i], mutation.FormEntry)
	if o.began.IsZero() {
		return
	}
	if b.onces == nil {
		b.onces = make([]once, len(b.entries))
	}
	b.onces[i] = o
	if o.stamped {
		if !b.owned {
			b.entries, b.owned = slices.Clone(b.entries), true
		}
		b.entries[i] = entry
	}
}

// again reports whether entry i may be sent after an unknown outcome.
func (b *bulk) again(i int) bool {
	return b.onces == nil || b.onces[i].again()
}

// next prepares entry i, which is in one group only, for the attempt after one
// whose outcome is unknown.
func (b *bulk) next(i int) {
	if b.onces != nil {
		b.entries[i] = b.onces[i].next(b.entries[i])
	}
}

func (b *bulk) fail(i int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.errs == nil {
		b.errs = make([]error, len(b.entries))
	}
	b.errs[i] = err
}

func (b *bulk) failAll(todo []int, err error) {
	for _, i := range todo {
		b.fail(i, err)
	}
}

// group is entries that go to one tablet, in their order.
type group struct {
	loc  *location // nil: not known
	todo []int
}

// groups cuts todo by tablet. Rows that no location covers are one group.
func (b *bulk) groups(todo []int) []group {
	var ls locations
	if t := b.r.cached(b.table); t != nil {
		ls = *t.list.Load()
	}
	var out []group
	var at map[*location]int
	var last *location
	cur := -1
	for n, i := range todo {
		loc := last
		if loc == nil || !loc.contains(b.rows[i]) {
			loc = ls.find(b.rows[i])
		}
		if cur < 0 || loc != last {
			var ok bool
			if cur, ok = at[loc]; !ok {
				cur = len(out)
				out = append(out, group{loc: loc, todo: make([]int, 0, len(todo)-n)})
				if at == nil {
					at = map[*location]int{}
				}
				at[loc] = cur
			}
			last = loc
		}
		out[cur].todo = append(out[cur].todo, i)
	}
	return out
}

// serve sees to it that todo is applied or has errors.
func (b *bulk) serve(ctx context.Context, todo []int, e effort) {
	for len(todo) > 0 {
		groups := b.groups(todo)
		if len(groups) > 1 {
			var wg sync.WaitGroup
			for _, g := range groups[1:] {
				wg.Go(func() { b.serve(ctx, g.todo, e) })
			}
			b.serve(ctx, groups[0].todo, e)
			wg.Wait()
			return
		}
		g := groups[0]
		if !e.usable(g.loc) {
			loc, err := e.place(ctx, b.rows[todo[0]])
			if err != nil {
				b.failAll(todo, err)
				return
			}
			if g.loc != loc && !b.covers(loc, todo) {
				e.bad = nil // it is another tablet now, of some of the rows
				continue
			}
			g.loc = loc
		}
		todo = b.send(ctx, g.loc, todo, &e)
	}
}

func (b *bulk) covers(loc *location, todo []int) bool {
	for _, i := range todo {
		if !loc.contains(b.rows[i]) {
			return false
		}
	}
	return true
}

// send makes one attempt and returns what is to be tried again.
func (b *bulk) send(ctx context.Context, loc *location, todo []int, e *effort) []int {
	entries := b.entries
	if len(todo) < len(entries) {
		entries = make([][]byte, len(todo))
		for n, i := range todo {
			entries[n] = b.entries[i]
		}
	}
	errs, err := b.call(ctx, loc, entries, todo)
	if err == nil && errs == nil {
		b.r.budget.earn()
		return nil
	}
	if err == nil && len(errs) != len(todo) {
		err = fmt.Errorf("%w: %d statuses for %d entries", base.ErrUnknownOutcome, len(errs), len(todo))
	}
	if err != nil {
		return b.retry(ctx, loc, todo, err, e)
	}
	b.r.budget.earn()
	return b.sort(ctx, loc, todo, errs, e)
}

func (b *bulk) call(ctx context.Context, loc *location, entries [][]byte, todo []int) ([]error, error) {
	b.slots <- struct{}{}
	defer func() { <-b.slots }()
	if s := loc.server; s.local == nil && s.whole == nil {
		var g *guard
		ctx, g = b.r.watch(ctx, b.table, loc, func() bool {
			return !slices.ContainsFunc(todo, func(i int) bool { return !b.again(i) })
		})
		defer g.end()
	}
	return loc.server.pick().MutateRows(ctx, loc.target, entries)
}

// retry judges an error of all of todo and returns what is to be tried again.
func (b *bulk) retry(ctx context.Context, loc *location, todo []int, err error, e *effort) []int {
	retry := todo
	if unknownOutcome(err) {
		retry = nil
		for _, i := range todo {
			if b.again(i) {
				b.next(i)
				retry = append(retry, i)
			} else {
				b.fail(i, e.undecided(err))
			}
		}
	}
	if len(retry) == 0 {
		return nil
	}
	if ferr := e.failed(ctx, loc, err, true); ferr != nil {
		b.failAll(retry, ferr)
		return nil
	}
	return retry
}

// sort judges the errors of entries one by one and returns those to be tried
// again.
func (b *bulk) sort(ctx context.Context, loc *location, todo []int, errs []error, e *effort) (retry []int) {
	var why error
	for n, i := range todo {
		err := errs[n]
		switch {
		case err == nil:
			continue
		case passing(err), unknownOutcome(err) && b.again(i):
			if !passing(err) {
				b.next(i)
			}
			retry = append(retry, i)
			if why == nil {
				why = err
			}
		case unknownOutcome(err) || e.unknown:
			b.fail(i, e.undecided(err))
		default:
			b.fail(i, err)
		}
	}
	if why == nil {
		return nil
	}
	if ferr := e.failed(ctx, loc, why, true); ferr != nil {
		b.failAll(retry, ferr)
		return nil
	}
	return retry
}
