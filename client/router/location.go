package router

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"sync/atomic"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
)

// location is what the cache knows of one tablet. It is immutable but for
// confirmed.
type location struct {
	target     route.Target
	start, end []byte
	state      meta.State
	since      time.Time
	owner      base.Incarnation
	addr       string
	revision   lockservice.Revision
	server     *server // nil unless state is Serving, or made by at
	seen       uint64  // the table's clock when it was learned

	// confirmed is the table's clock when a linearizable read, or the watch,
	// last said the same. It is the one field that changes.
	confirmed atomic.Uint64
}

// at returns l with s as the way to its server, though it does not serve yet.
func (l *location) at(s *server) *location {
	return &location{target: l.target, start: l.start, end: l.end, state: l.state, since: l.since,
		owner: l.owner, addr: l.addr, revision: l.revision, server: s, seen: l.seen}
}

// same reports whether l and o send a request to the same place.
func (l *location) same(o *location) bool {
	return l.target == o.target && l.state == o.state && l.addr == o.addr && l.server == o.server
}

func (l *location) contains(row []byte) bool {
	return bytes.Compare(row, l.start) >= 0 && (len(l.end) == 0 || bytes.Compare(row, l.end) < 0)
}

func (l *location) overlaps(o *location) bool {
	return (len(o.end) == 0 || bytes.Compare(l.start, o.end) < 0) && (len(l.end) == 0 || bytes.Compare(o.start, l.end) < 0)
}

// String describes l for errors.
func (l *location) String() string {
	where := ""
	if l.addr != "" {
		where = " at " + l.addr
	}
	return fmt.Sprintf("tablet %d, epoch %d, %v%s since %s", l.target.Tablet, l.target.Epoch, l.state, where, l.since.UTC().Format(time.RFC3339))
}

// locations is a list sorted by start, without overlaps; there may be gaps. It
// is immutable.
type locations []*location

// find returns the location that contains row, or nil.
func (ls locations) find(row []byte) *location {
	lo, hi := 0, len(ls)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if bytes.Compare(ls[mid].start, row) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return nil
	}
	if l := ls[lo-1]; len(l.end) == 0 || bytes.Compare(row, l.end) < 0 {
		return l
	}
	return nil
}

// gap returns the end of the last location before row, which no location
// contains: those who miss in the same gap share a look-up.
func (ls locations) gap(row []byte) []byte {
	i := sort.Search(len(ls), func(i int) bool { return bytes.Compare(ls[i].start, row) > 0 })
	if i == 0 {
		return nil
	}
	return ls[i-1].end
}

// overlapping returns the part of ls that overlaps l.
func (ls locations) overlapping(l *location) locations {
	from := sort.Search(len(ls), func(i int) bool { return len(ls[i].end) == 0 || bytes.Compare(ls[i].end, l.start) > 0 })
	to := len(ls)
	if len(l.end) > 0 {
		to = sort.Search(len(ls), func(i int) bool { return bytes.Compare(ls[i].start, l.end) >= 0 })
	}
	return ls[min(from, to):to]
}

// with returns ls with what was read, in order of start, in the place of what
// it contradicts. What was read loses against what has a higher revision,
// unless that was learned at or before asOf: the read began after it and is
// linearizable.
func (ls locations) with(read locations, asOf uint64) locations {
	var keep locations
	news := false
	for _, l := range read {
		old := ls.overlapping(l)
		if slices.ContainsFunc(old, func(o *location) bool { return o.revision > l.revision && o.seen > asOf }) {
			continue
		}
		if len(old) == 1 && old[0].same(l) && bytes.Equal(old[0].start, l.start) {
			old[0].confirmed.Store(max(old[0].confirmed.Load(), l.confirmed.Load()))
			l = old[0] // no news: waiters and callers compare by identity
		} else {
			news = true
		}
		keep = append(keep, l)
	}
	if !news {
		return ls
	}
	out := make(locations, 0, len(ls)+len(keep))
	for _, o := range ls {
		for len(keep) > 0 && bytes.Compare(keep[0].start, o.start) < 0 {
			out, keep = append(out, keep[0]), keep[1:]
		}
		switch n := len(out); {
		case n > 0 && out[n-1].overlaps(o):
		case len(keep) > 0 && keep[0].overlaps(o):
		default:
			out = append(out, o)
		}
	}
	return append(out, keep...)
}

// without returns ls without those for which drop is true.
func (ls locations) without(drop func(*location) bool) locations {
	if !slices.ContainsFunc(ls, drop) {
		return ls
	}
	return slices.DeleteFunc(slices.Clone(ls), drop)
}
