package tablet

import (
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
)

// TestMoments compares what moments know with all that was noted: what is found
// for a time was acknowledged by then, and holds all that was by asOf, which is
// not long before.
func TestMoments(t *testing.T) {
	r := seedtest.New(t)
	for range 20 {
		var m moments
		start := time.Unix(1e9, 0)
		var all []moment
		now, seq, flushed := start, base.Seq(0), base.Seq(0)
		upTo := func(at time.Time) (last base.Seq) {
			for _, x := range all {
				if !x.at.After(at) {
					last = x.seq
				}
			}
			return last
		}
		pace := time.Duration(1 + r.Int64N(int64(200*time.Millisecond)))
		for range 3 * maxMoments {
			now = now.Add(time.Duration(r.Int64N(int64(pace))))
			if r.IntN(50) == 0 {
				now = now.Add(time.Minute)
			}
			seq += base.Seq(r.IntN(3))
			all = append(all, moment{now, seq})
			m.note(now, seq)
			if r.IntN(2000) == 0 {
				flushed = seq
				m.forget(flushed)
			}
		}
		if len(m.mu.list) > maxMoments {
			t.Fatalf("%d moments", len(m.mu.list))
		}
		found := 0
		for range 500 {
			at := start.Add(time.Duration(r.Int64N(int64(now.Sub(start) + time.Second))))
			got, asOf, ok := m.find(at, flushed)
			if !ok {
				if asOf.IsZero() || !asOf.After(at) {
					t.Fatalf("not known at %v, but since %v", at, asOf)
				}
				if x, _, ok := m.find(asOf, flushed); !ok || x < flushed {
					t.Fatalf("not known at %v, when it should be", asOf)
				}
				continue
			}
			found++
			if got > upTo(at) || got < upTo(asOf) || got < flushed || asOf.After(at) || at.Sub(asOf) > 2*max(m.mu.tick, momentTick) {
				t.Fatalf("at %v: sequence %d as of %v; %d was acknowledged then, %d at that time; tick %v", at, got, asOf, upTo(asOf), upTo(at), m.mu.tick)
			}
		}
		if found == 0 && flushed < seq/2 {
			t.Error("nothing was found")
		}
	}
}
