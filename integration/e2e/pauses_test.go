//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/bigtable"
)

// pauseGoal is how long a client may wait for a tablet that is split, merged or
// moved, in 99 of 100 cases.
const pauseGoal = 500 * time.Millisecond

// TestPauses splits, merges and moves tablets under load, E2E_PAUSES times (60
// by default), and measures how long a client waits that writes to the tablet
// all the time. No request may fail.
func TestPauses(t *testing.T) {
	times := 60
	if given := os.Getenv("E2E_PAUSES"); given != "" {
		n, err := strconv.Atoi(given)
		if err != nil {
			t.Fatal(err)
		}
		times = n
	}
	c := startCluster(t, shape{})
	c.createTable()
	w := startWorkload(t, official{open(t, c.addr[c.gateway])}, c.openNative(t))
	v := startVisitors(t, open(t, c.addr[c.gateway]))
	p := startProber(t, c.addr[c.gateway])
	s := &soak{cluster: c}
	rng := rand.New(rand.NewPCG(settings.seed, 0))
	var pauses []time.Duration
	done := map[string]int{}
	for len(pauses) < times {
		one, next, ok, err := s.some(t.Context(), rng)
		if err != nil {
			t.Fatal(err)
		}
		began, what := time.Now(), "move"
		switch tablets := len(c.assignments()); {
		case rng.IntN(2) == 0:
			_, err = s.adm(t.Context(), "tablet", "move", id(one), s.elsewhere(one, rng))
		case tablets > 2*tabletCount && ok:
			what = "merge"
			_, err = s.adm(t.Context(), "tablet", "merge", id(one), id(next))
		default:
			what = "split"
			_, err = s.adm(t.Context(), "tablet", "split", id(one))
		}
		if err != nil {
			done[what+" refused"]++
			if done[what+" refused"] > 20+times {
				t.Fatal(err)
			}
			continue
		}
		done[what]++
		d, err := v.longest(t.Context(), began, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		pauses = append(pauses, d)
	}
	c.awaitServing(time.Minute)
	v.stop()
	if n, text := w.errors(); n > 0 || len(v.mu.failed) > 0 {
		t.Errorf("%d requests failed\n%s\n%v", n+len(v.mu.failed), text, v.mu.failed)
	}
	c.verify(w, p)
	slices.Sort(pauses)
	at := func(percent int) time.Duration {
		return pauses[min(len(pauses)-1, len(pauses)*percent/100)].Round(time.Millisecond)
	}
	t.Logf("%d times, %v: the longest wait of a client had a median of %v, p90 %v, p99 %v, at most %v", len(pauses), done, at(50), at(90), at(99), at(100))
	if at(99) > pauseGoal {
		t.Errorf("p99 of the pauses is %v; want at most %v", at(99), pauseGoal)
	}
}

// visitors write a row of each of the table's parts all the time.
type visitors struct {
	patrol
	mu struct {
		sync.Mutex
		began  [tabletCount]time.Time // of the writes under way; zero: none
		recent []span                 // writes that ended since the last call of longest
		failed []error
	}
}

func startVisitors(t testing.TB, table *bigtable.Table) *visitors {
	v := &visitors{}
	v.start(t, 10*time.Millisecond, func(ctx context.Context, i int, stamp int64) { v.visit(ctx, table, i, stamp) })
	return v
}

func (v *visitors) visit(ctx context.Context, table *bigtable.Table, i int, stamp int64) {
	key := letter(i) + "/visit"
	m := bigtable.NewMutation()
	m.Set(familyProbe, "pause", bigtable.Timestamp(stamp*1000), nil)
	began := time.Now()
	v.mu.Lock()
	v.mu.began[i] = began
	v.mu.Unlock()
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	err := table.Apply(call, key, m)
	cancel()
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil {
		v.mu.failed = append(v.mu.failed, fmt.Errorf("write row %q: %w", key, err))
	}
	v.mu.began[i] = time.Time{}
	v.mu.recent = append(v.mu.recent, span{began, time.Now()})
}

// longest returns how long the slowest write took that was under way between
// two moments, and forgets older ones.
func (v *visitors) longest(ctx context.Context, from, to time.Time) (longest time.Duration, err error) {
	err = poll(ctx, 15*time.Second, func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		for i, began := range v.mu.began {
			if !began.IsZero() && began.Before(to) {
				return fmt.Errorf("a write of part %s is under way since %v", letter(i), time.Since(began))
			}
		}
		for _, s := range v.mu.recent {
			if s.ended.After(from) && s.began.Before(to) {
				longest = max(longest, s.ended.Sub(s.began))
			}
		}
		v.mu.recent = v.mu.recent[:0]
		return nil
	})
	return longest, err
}
