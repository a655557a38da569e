package balance

import (
	"cmp"
	"fmt"
	"slices"
)

// Splits returns the tablets to be split, the largest first, then the hottest.
func Splits(s State, o Options) []Decision {
	o.EnsureDefaults()
	var large, hot []Tablet
	for _, t := range s.Tablets {
		switch {
		case !t.Known || t.Busy:
		case t.Bytes > o.SplitBytes:
			large = append(large, t)
		case t.Requests > o.SplitRequests && t.Age >= o.SplitAge:
			hot = append(hot, t)
		}
	}
	slices.SortStableFunc(large, func(a, b Tablet) int { return cmp.Compare(b.Bytes, a.Bytes) })
	slices.SortStableFunc(hot, func(a, b Tablet) int { return cmp.Compare(b.Requests, a.Requests) })
	var out []Decision
	for _, t := range large {
		out = append(out, Decision{Kind: Split, Tablet: t.ID, Why: fmt.Sprintf("it has %s, more than %s", size(t.Bytes), size(o.SplitBytes))})
	}
	for _, t := range hot {
		out = append(out, Decision{Kind: Split, Tablet: t.ID, ByLoad: true, Why: fmt.Sprintf("it gets %.0f requests/s, more than %.0f", t.Requests, o.SplitRequests)})
	}
	return out[:min(len(out), o.Splits)]
}

// size words a number of bytes.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
}
