// Package compact decides which runs of a tablet are merged. It is pure.
//
// Runs are tiered by size, newest first: a compaction takes neighbours, so that
// the order of age is kept. A merging compaction keeps the number of runs that
// a read must look into capped; one that takes all runs is a major compaction,
// which drops deletions and what they hide.
package compact

import "time"

// Run is what matters of one run.
type Run struct {
	Size       int64 // stored bytes
	Entries    uint64
	Tombstones uint64
	// Shared: some file of the run is shown only in part, as after a split.
	Shared bool
}

// Options are the knobs; zero values mean the defaults.
type Options struct {
	// MinMerge is how many runs of about one size are merged at once; 4.
	MinMerge int
	// MaxMerge is the most runs in one compaction; 12.
	MaxMerge int
	// MaxRuns is the cap on runs: beyond it the cheapest neighbours are
	// merged whatever their sizes; 8.
	MaxRuns int
	// SizeRatio is how much larger than the sum of the newer ones a run may
	// be to join them, in percent; 150.
	SizeRatio int64
	// TombstoneRatio: a run with more tombstones than this share of entries,
	// in percent, asks for a major compaction; 30.
	TombstoneRatio uint64
	// MajorAge: a tablet with several runs, or with tombstones, that saw no
	// major compaction for that long gets one; 0: never.
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
}

// Plan is the runs [From, To) to merge, newest first, and why.
type Plan struct {
	From, To int
	Major    bool // all runs
	Reason   string
}

// Pick returns what to merge next; ok is false where nothing needs it. runs
// are newest first. sinceMajor is the age of the last major compaction, or of
// the oldest run.
func Pick(runs []Run, sinceMajor time.Duration, o Options) (p Plan, ok bool) {
	o.EnsureDefaults()
	if len(runs) == 0 {
		return Plan{}, false
	}
	if tiered, ok := pickTier(runs, o); ok {
		return tiered, true
	}
	if len(runs) > o.MaxRuns {
		return pickCheapest(runs, o), true
	}
	oldest := len(runs) - 1
	for i, r := range runs {
		switch {
		case r.Entries > 0 && r.Tombstones*100 > r.Entries*o.TombstoneRatio && len(runs) <= o.MaxMerge:
			return plan(runs, 0, len(runs), "many tombstones"), true
		case i == oldest && r.Shared:
			return plan(runs, i, i+1, "shared with a sibling"), true
		}
	}
	if o.MajorAge > 0 && sinceMajor > o.MajorAge && (len(runs) > 1 || runs[0].Tombstones > 0) && len(runs) <= o.MaxMerge {
		return plan(runs, 0, len(runs), "age"), true
	}
	return Plan{}, false
}

func plan(runs []Run, from, to int, reason string) Plan {
	return Plan{From: from, To: to, Major: from == 0 && to == len(runs), Reason: reason}
}

// pickTier finds the newest group of neighbours of about one size.
func pickTier(runs []Run, o Options) (Plan, bool) {
	for from := 0; from+o.MinMerge <= len(runs); from++ {
		sum, to := runs[from].Size, from+1
		for to < len(runs) && to-from < o.MaxMerge && runs[to].Size*100 <= sum*o.SizeRatio {
			sum += runs[to].Size
			to++
		}
		if to-from >= o.MinMerge {
			return plan(runs, from, to, "tier"), true
		}
	}
	return Plan{}, false
}

// pickCheapest returns the neighbours, as many as needed to get under the cap,
// that are smallest together.
func pickCheapest(runs []Run, o Options) Plan {
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
	return plan(runs, best, best+n, "run cap")
}
