package balance

import (
	"bytes"
	"fmt"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Merges returns pairs of neighbours to be merged, the smallest together first.
// Both have been small and cold for MergeAge, and their table has tablets enough
// without them.
func Merges(s State, o Options) []Decision {
	o.EnsureDefaults()
	if o.MergeBytes < 0 {
		return nil
	}
	usable := 0
	for i := range s.Servers {
		if s.Servers[i].usable() {
			usable++
		}
	}
	tablets := map[base.TableID]int{}
	for _, t := range s.Tablets {
		tablets[t.Table]++
	}
	best, at := int64(0), -1
	for i := 1; i < len(s.Tablets); i++ {
		l, r := &s.Tablets[i-1], &s.Tablets[i]
		if !mergeable(l, r, o) || tablets[l.Table] <= o.MergeAbove*max(usable, 1) {
			continue
		}
		if sum := l.Bytes + r.Bytes; at < 0 || sum < best {
			best, at = sum, i
		}
	}
	if at < 0 || o.Merges < 1 {
		return nil
	}
	l, r := &s.Tablets[at-1], &s.Tablets[at]
	return []Decision{{Kind: Merge, Tablet: l.ID, Other: r.ID, From: r.Owner, To: l.Owner,
		Why: fmt.Sprintf("they have %s and get %.1f requests/s together, for at least %v", size(best), l.Requests+r.Requests, min(l.Age, r.Age).Truncate(1e9))}}
}

func mergeable(l, r *Tablet, o Options) bool {
	return l.Table == r.Table && len(l.End) > 0 && bytes.Equal(l.End, r.Start) && l.Known && r.Known && !l.Busy && !r.Busy &&
		l.Age >= o.MergeAge && r.Age >= o.MergeAge && l.Bytes+r.Bytes <= o.MergeBytes && l.Requests+r.Requests <= o.MergeRequests
}
