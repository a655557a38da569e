package compact

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// places returns from, from + 1 ... to - 1.
func places(from, to int) []int {
	var out []int
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

func sized(sizes ...int64) []Run {
	runs := make([]Run, len(sizes))
	for i, s := range sizes {
		runs[i] = Run{Size: s, Entries: 100, Groups: []int{0}}
	}
	return runs
}

func TestPick(t *testing.T) {
	deleted := sized(10, 1000)
	deleted[0].Tombstones = 40
	few := sized(10, 1000)
	few[0].Tombstones, few[1].Entries = 100, 10_000
	expired := sized(10, 1000, 100_000)
	expired[1].Garbage = 51
	older := func(age time.Duration, at int, sizes ...int64) []Run {
		runs := sized(sizes...)
		runs[at].Age = age
		return runs
	}
	buried := older(8*24*time.Hour, 1, 10, 1000)
	buried[1].Tombstones = 1
	shared := sized(500)
	shared[0].Shared = true
	for _, c := range []struct {
		name string
		runs []Run
		lost uint64
		o    Options
		want Plan
		ok   bool
	}{
		{"none", nil, 0, Options{}, Plan{}, false},
		{"one", sized(5), 0, Options{}, Plan{}, false},
		{"three equal", sized(5, 5, 5), 0, Options{}, Plan{}, false},
		{"four equal", sized(5, 5, 5, 5), 0, Options{}, Plan{places(0, 4), true, "tier"}, true},
		{"four equal over a large one", sized(5, 5, 5, 5, 1000), 0, Options{}, Plan{places(0, 4), false, "tier"}, true},
		{"tier below fresh small run", sized(1, 50, 50, 50, 50, 5000), 0, Options{}, Plan{places(1, 5), false, "tier"}, true},
		{"run cap", sized(1, 10, 100, 1000, 1e4, 1e5, 1e6, 1e7, 1e8), 0, Options{}, Plan{places(0, 2), false, "run cap"}, true},
		{"tombstones", deleted, 0, Options{}, Plan{places(0, 2), true, "many tombstones"}, true},
		{"shared", shared, 0, Options{}, Plan{places(0, 1), true, "shared with a sibling"}, true},
		{"a few tombstones over a large run", few, 0, Options{}, Plan{}, false},
		{"garbage", expired, 0, Options{}, Plan{places(1, 2), false, "garbage"}, true},
		{"less garbage", expired, 0, Options{GarbageRatio: 51}, Plan{}, false},
		{"age", older(time.Hour, 0, 5, 500), 0, Options{MajorAge: time.Minute}, Plan{places(0, 2), true, "age"}, true},
		{"no age", older(time.Hour, 0, 5, 500), 0, Options{MajorAge: -1}, Plan{}, false},
		{"the oldest run is never too old", older(time.Hour, 1, 5, 500), 0, Options{MajorAge: time.Minute}, Plan{}, false},
		{"unless it has tombstones", buried, 0, Options{}, Plan{places(0, 2), true, "age"}, true},
		{"reads have lost as much as a compaction costs", few, 10_101, Options{}, Plan{places(0, 2), true, "reads pass over garbage"}, true},
		{"and less", few, 10_099, Options{}, Plan{}, false},
		{"and little", sized(1), 9_999, Options{}, Plan{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, ok := Pick(c.runs, c.lost, c.o); ok != c.ok || !reflect.DeepEqual(got, c.want) {
				t.Errorf("Pick = %+v, %v; want %+v, %v", got, ok, c.want, c.ok)
			}
		})
	}
}

// TestWriteAmplification flushes equal runs for a long time: the number of runs
// stays capped and each byte is rewritten a few times only.
func TestWriteAmplification(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	var runs []Run
	var flushed, written int64
	o := Options{}
	o.EnsureDefaults()
	for range 5000 {
		r := Run{Size: 50 + rng.Int64N(50), Entries: 1, Groups: []int{0}}
		flushed += r.Size
		written += r.Size
		runs = append([]Run{r}, runs...)
		for {
			p, ok := Pick(runs, 0, o)
			if !ok {
				break
			}
			from, to := p.Runs[0], p.Runs[len(p.Runs)-1]+1
			if to-from < 2 || !slices.Equal(p.Runs, places(from, to)) {
				t.Fatalf("bad plan %+v for %d runs", p, len(runs))
			}
			merged := Run{Entries: 1, Groups: []int{0}}
			for _, r := range runs[from:to] {
				merged.Size += r.Size
			}
			written += merged.Size
			runs = append(append(append([]Run{}, runs[:from]...), merged), runs[to:]...)
		}
		if len(runs) > o.MaxRuns {
			t.Fatalf("%d runs", len(runs))
		}
	}
	if amp := float64(written) / float64(flushed); amp > 12 {
		t.Errorf("write amplification %.1f", amp)
	} else {
		t.Logf("write amplification %.1f with %d runs", amp, len(runs))
	}
}
