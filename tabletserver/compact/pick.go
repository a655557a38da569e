// Package compact decides which runs of a tablet are merged. It is pure.
//
// The runs that matter to one locality group are its *lane*. Lanes are looked
// at one by one, so that what comes to a small group rewrites nothing of a large
// one; a run that was written when the groups were others may be in several.
// Within a lane runs are tiered by size, newest first: a compaction takes
// neighbours, so that the order of age is kept. A merging compaction keeps the
// number of runs that a read must look into capped; one that takes all runs of
// a lane drops deletions and what they hide.
package compact

import (
	"slices"
	"time"
)

// Run is what matters of one run.
type Run struct {
	Size       int64 // stored bytes
	Entries    uint64
	Tombstones uint64
	// Shared: some file of the run is shown only in part, as after a split.
	Shared bool
	// Garbage is an estimate, rather too low, of the entries that a rewrite of the
	// run alone would drop: cells that are too old.
	Garbage uint64
	// Age is how long the oldest of it waits to be merged with what is older.
	Age time.Duration
	// Groups are the locality groups that the run matters to, ascending. None:
	// what it holds is of families that were dropped.
	Groups []int
}

// Options are the knobs; zero values mean the defaults.
type Options struct {
	// MinMerge is how many runs of about one size are merged at once; 4.
	MinMerge int
	// MaxMerge is the most runs in one compaction; 12.
	MaxMerge int
	// MaxRuns is the cap on the runs of a lane: beyond it the cheapest
	// neighbours are merged whatever their sizes; 8.
	MaxRuns int
	// SizeRatio is how much larger than the sum of the newer ones a run may
	// be to join them, in percent; 150.
	SizeRatio int64
	// TombstoneRatio: a run with more tombstones than this share of entries,
	// in percent, asks for a compaction of its whole lane; 30. They must also be
	// MinTombstones of the lane, in percent, lest a few deletions rewrite a large
	// table again and again; 3.
	TombstoneRatio, MinTombstones uint64
	// GarbageRatio: a run of which more than this share, in percent, is garbage is
	// rewritten; 50.
	GarbageRatio uint64
	// MajorAge: a lane is compacted as a whole when it has tombstones, or runs
	// beside its oldest, that are older; 7 days. Negative: never.
	MajorAge time.Duration
}

// EnsureDefaults fills in the defaults.
func (o *Options) EnsureDefaults() {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&o.MinMerge, 4)
	set(&o.MaxMerge, 12)
	set(&o.MaxRuns, 8)
	if o.SizeRatio == 0 {
		o.SizeRatio = 150
	}
	if o.TombstoneRatio == 0 {
		o.TombstoneRatio = 30
	}
	if o.MinTombstones == 0 {
		o.MinTombstones = 3
	}
	if o.GarbageRatio == 0 {
		o.GarbageRatio = 50
	}
	if o.MajorAge == 0 {
		o.MajorAge = 7 * 24 * time.Hour
	}
}

// Plan is the runs to merge, by their places, ascending: newest first; and why.
// What comes of them takes the place of the oldest.
type Plan struct {
	Runs   []int
	Major  bool // all runs
	Reason string
}

// All is the plan to merge n runs, which is all.
func All(n int, reason string) Plan {
	p := Plan{Runs: make([]int, n), Major: true, Reason: reason}
	for i := range p.Runs {
		p.Runs[i] = i
	}
	return p
}

// Pick returns what to merge next; ok is false where nothing needs it. runs
// are newest first. wasted is how many steps reads have lost since the last major
// compaction on entries that nobody can see: once they are as many as there are
// entries, a compaction of all would have been cheaper. (Who rents until the rent
// has reached the price, and then buys, pays at most twice what was necessary.)
// What it returns is Closed.
func Pick(runs []Run, wasted uint64, o Options) (p Plan, ok bool) {
	o.EnsureDefaults()
	entries := uint64(0)
	for _, r := range runs {
		entries += r.Entries
	}
	if wasted > max(entries, minWasted) && len(runs) > 0 && len(runs) <= o.MaxMerge {
		return All(len(runs), "reads pass over garbage"), true
	}
	for i, r := range runs {
		if len(r.Groups) == 0 {
			return Plan{Runs: []int{i}, Major: len(runs) == 1, Reason: "families that were dropped"}, true
		}
	}
	for _, lane := range lanes(runs) {
		in := make([]Run, len(lane))
		for i, at := range lane {
			in[i] = runs[at]
		}
		from, to, reason := pickInLane(in, o)
		if to > from {
			p := Plan{Runs: closure(runs, lane[from:to]), Reason: reason}
			p.Major = len(p.Runs) == len(runs)
			return p, true
		}
	}
	return Plan{}, false
}

// minWasted is what reads must have lost for a compaction of anything.
const minWasted = 10_000

// lanes returns the places of the runs of each group, the longest lane first.
// Groups with the same runs have one lane.
func lanes(runs []Run) [][]int {
	var list [][]int
	by := map[int]int{} // group -> index in list
	for i, r := range runs {
		for _, g := range r.Groups {
			at, ok := by[g]
			if !ok {
				at = len(list)
				by[g] = at
				list = append(list, nil)
			}
			list[at] = append(list[at], i)
		}
	}
	slices.SortStableFunc(list, func(a, b []int) int { return len(b) - len(a) })
	return slices.CompactFunc(list, slices.Equal)
}

// Closed reports whether the runs at these places can be merged, and the result
// put in the place of the oldest, with the order of age kept in each group: no
// run that stays in between matters to a group that a newer one of them matters
// to.
func Closed(runs []Run, places []int) bool {
	return len(closure(runs, places)) == len(places)
}

// closure adds what is needed to make places Closed.
func closure(runs []Run, places []int) []int {
	var out []int
	groups := map[int]bool{} // of those taken so far
	for i := places[0]; i <= places[len(places)-1]; i++ {
		if !slices.Contains(places, i) && !slices.ContainsFunc(runs[i].Groups, func(g int) bool { return groups[g] }) {
			continue
		}
		out = append(out, i)
		for _, g := range runs[i].Groups {
			groups[g] = true
		}
	}
	return out
}

// pickInLane returns which neighbours [from, to) of a lane to merge, and why.
func pickInLane(runs []Run, o Options) (from, to int, reason string) {
	if from, to := pickTier(runs, o); to > from {
		return from, to, "tier"
	}
	if len(runs) > o.MaxRuns {
		from, to := pickCheapest(runs, o)
		return from, to, "run cap"
	}
	oldest := len(runs) - 1
	var entries, tombstones uint64
	for _, r := range runs {
		entries, tombstones = entries+r.Entries, tombstones+r.Tombstones
	}
	for i, r := range runs {
		switch {
		case r.Tombstones*100 > r.Entries*o.TombstoneRatio && tombstones*100 > entries*o.MinTombstones && len(runs) <= o.MaxMerge:
			return 0, len(runs), "many tombstones"
		case r.Garbage*100 > r.Entries*o.GarbageRatio:
			return i, i + 1, "garbage"
		case i == oldest && r.Shared:
			return i, i + 1, "shared with a sibling"
		case o.MajorAge > 0 && r.Age > o.MajorAge && (i != oldest || r.Tombstones > 0) && len(runs) <= o.MaxMerge:
			return 0, len(runs), "age"
		}
	}
	return 0, 0, ""
}

// pickTier finds the newest group of neighbours of about one size.
func pickTier(runs []Run, o Options) (from, to int) {
	for from := 0; from+o.MinMerge <= len(runs); from++ {
		sum, to := runs[from].Size, from+1
		for to < len(runs) && to-from < o.MaxMerge && runs[to].Size*100 <= sum*o.SizeRatio {
			sum += runs[to].Size
			to++
		}
		if to-from >= o.MinMerge {
			return from, to
		}
	}
	return 0, 0
}

// pickCheapest returns the neighbours, as many as needed to get under the cap,
// that are smallest together.
func pickCheapest(runs []Run, o Options) (from, to int) {
	n := min(max(len(runs)-o.MaxRuns+1, 2), o.MaxMerge)
	best, bestSize := 0, int64(-1)
	for from := 0; from+n <= len(runs); from++ {
		var size int64
		for _, r := range runs[from : from+n] {
			size += r.Size
		}
		if bestSize < 0 || size < bestSize {
			best, bestSize = from, size
		}
	}
	return best, best + n
}
