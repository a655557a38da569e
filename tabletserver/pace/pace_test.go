package pace

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestNext(t *testing.T) {
	const rate = 100 << 20
	calm := Sample{Elapsed: time.Second, Requests: 10, Cores: 2, OutOf: 2}
	users := calm
	users.Requests = 1000
	for _, c := range []struct {
		name   string
		rate   int64
		ingest float64
		sample Sample
		want   int64
	}{
		{"nobody is there", rate, 0, calm, rate * 3 / 2},
		{"all cores are busy", rate, 0, users, rate * 3 / 4},
		{"there are idle cores", rate, 0, Sample{Elapsed: time.Second, Requests: 1000, Cores: 1, OutOf: 2}, rate * 3 / 2},
		{"the log is slow", rate, 0, Sample{Elapsed: time.Second, Requests: 1000, OutOf: 2, LogPut: 31 * time.Millisecond, Usual: 10 * time.Millisecond}, rate * 3 / 4},
		{"writes stall", rate, 0, Sample{Elapsed: time.Second, Stalled: true}, rate * 3 / 4},
		{"never less than the least", Min, 0, users, Min},
		{"never less than keeps up", rate, 20 << 20, users, keepUp * 20 << 20},
		{"never more than the most", Max, 0, calm, Max},
		{"behind", Min, 0, Sample{Elapsed: time.Second, Stalled: true, Behind: true}, Max},
	} {
		if got := Next(c.rate, c.ingest, c.sample); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestKeepsUp: whatever users feel, compactions get what they need for the writes
// that come, soon after these have begun.
func TestKeepsUp(t *testing.T) {
	b := NewBucket()
	const ingest = 10 << 20
	for range 600 {
		b.Adjust(Sample{Elapsed: time.Second, Flushed: ingest, Stalled: true})
	}
	if r := b.Rate(); r < (keepUp-1)*ingest || r > (keepUp+1)*ingest {
		t.Errorf("%d bytes per second for %d that come in", r, ingest)
	}
	for range 600 {
		b.Adjust(Sample{Elapsed: time.Second, Stalled: true})
	}
	if r := b.Rate(); r > 2*Min {
		t.Errorf("%d bytes per second though nothing comes in", r)
	}
	b.Adjust(Sample{Elapsed: time.Second, Behind: true})
	if r := b.Rate(); r != Max {
		t.Errorf("%d bytes per second though there are too many runs", r)
	}
}

func TestTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBucket()
		for range 100 {
			b.Adjust(Sample{Elapsed: time.Second, Stalled: true})
		}
		began := time.Now()
		for range 64 {
			if err := b.Take(t.Context(), 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(began); d < 15*time.Second || d > 17*time.Second {
			t.Errorf("64 MiB at %d bytes per second took %v", b.Rate(), d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Take(ctx, 1<<30); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("more than there is time for: %v", err)
		}
	})
}
