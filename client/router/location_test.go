package router

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/lockservice"
)

var seed = flag.Uint64("seed", 0, "of randomised tests; 0: the time")

// history is the tablets of a table at each revision.
type history struct {
	rng  *rand.Rand
	next base.TabletID
	at   []locations // by revision
}

func (h *history) tablet(start, end []byte) *location {
	h.next++
	return &location{target: route.Target{Tablet: h.next, Epoch: 1}, start: start, end: end, revision: lockservice.Revision(len(h.at))}
}

// step moves, splits or merges a random tablet.
func (h *history) step() {
	now := slices.Clone(h.at[len(h.at)-1])
	i := h.rng.IntN(len(now))
	t := now[i]
	switch h.rng.IntN(3) {
	case 0:
		now[i] = &location{target: t.target, start: t.start, end: t.end, revision: lockservice.Revision(len(h.at))}
		now[i].target.Epoch++
	case 1:
		key := fmt.Appendf(nil, "%03d", h.rng.IntN(1000))
		if t.contains(key) && !bytes.Equal(key, t.start) {
			now = slices.Replace(now, i, i+1, h.tablet(t.start, key), h.tablet(key, t.end))
		}
	case 2:
		if i+1 < len(now) {
			now = slices.Replace(now, i, i+2, h.tablet(t.start, now[i+1].end))
		}
	}
	h.at = append(h.at, now)
}

// window returns what a look-up at a revision reads: a run of tablets, as new
// locations.
func (h *history) window(revision int) locations {
	ls := h.at[revision]
	from := h.rng.IntN(len(ls))
	var out locations
	for _, l := range ls[from:min(len(ls), from+1+h.rng.IntN(5))] {
		out = append(out, &location{target: l.target, start: l.start, end: l.end, revision: l.revision})
	}
	return out
}

func check(ls locations) error {
	for i := 1; i < len(ls); i++ {
		if bytes.Compare(ls[i-1].start, ls[i].start) >= 0 || ls[i-1].overlaps(ls[i]) {
			return fmt.Errorf("[%q, %q) before [%q, %q)", ls[i-1].start, ls[i-1].end, ls[i].start, ls[i].end)
		}
	}
	return nil
}

// TestLocationsFollowAnyReads brings reads of old and new revisions into a list
// in any order: it never overlaps, never gives up what is newer for what is
// stale, and is right after a linearizable read.
func TestLocationsFollowAnyReads(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", *seed)
	for round := range uint64(50) {
		h := &history{rng: rand.New(rand.NewPCG(*seed, round))}
		h.at = []locations{nil}
		h.at = append(h.at, locations{h.tablet(nil, nil)})
		var ls locations
		clock := uint64(0)
		for range 400 {
			h.step()
			clock++
			asOf, revision := uint64(0), 1+h.rng.IntN(len(h.at)-1)
			if h.rng.IntN(3) == 0 { // linearizable
				asOf, revision = clock, len(h.at)-1
			}
			read := h.window(revision)
			for _, l := range read {
				l.seen = clock
			}
			before := ls
			ls = ls.with(read, asOf)
			if err := check(ls); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			for _, l := range read {
				got := ls.find(l.start)
				if asOf > 0 && (got == nil || got.target != l.target) {
					t.Fatalf("round %d: a linearizable read of %+v left %+v", round, l, got)
				}
				if old := before.find(l.start); old != nil && old.revision > l.revision && got != old && asOf == 0 {
					t.Fatalf("round %d: %+v gave way to the older %+v", round, old, l)
				}
			}
		}
	}
}

func BenchmarkFind(b *testing.B) {
	var ls locations
	for i := range 50_000 {
		l := &location{start: fmt.Appendf(nil, "user%06d", i), end: fmt.Appendf(nil, "user%06d", i+1)}
		ls = append(ls, l)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if ls.find(ls[i*7919%len(ls)].start) == nil {
			b.Fatal("not found")
		}
	}
}

func TestLastRow(t *testing.T) {
	for _, c := range []struct{ end, want string }{{"b", "a"}, {"a\x00", "a"}, {"\x00", ""}, {"ab", "aa"}} {
		got := lastRow([]byte(c.end))
		if !bytes.HasPrefix(got, []byte(c.want)) || bytes.Compare(got, []byte(c.end)) >= 0 || len(got) > 4096 {
			t.Errorf("before %q: %.10q (%d bytes)", c.end, got, len(got))
		}
		if next := append(bytes.Clone(got), 0); len(next) <= 4096 && !bytes.Equal(next, []byte(c.end)) {
			t.Errorf("before %q: %.10q is not the last", c.end, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{0x0a, 1, 't', 0x12, 3, 0x0a, 1, 'r', 0x20, 5, 0x38, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func([]byte) (Request, error){ParseReadRows, ParseMutateRow, ParseMutateRows, ParseCheckAndMutateRow, ParseReadModifyWriteRow} {
			if r, err := parse(b); err == nil && r.Scan.Limit < 0 {
				t.Fatal("negative limit")
			}
		}
		entryRow(b)
		for f := mutation.FormMutateRow; f <= mutation.FormReadModifyWriteRow; f++ {
			mutation.Repeatable(b, f)
		}
	})
}
