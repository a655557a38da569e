//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/bigtable"
)

// probeEvery is the time between two probes of a tablet, and so the resolution
// of what is measured.
const probeEvery = 100 * time.Millisecond

// outage is the shortest time without a successful probe that counts.
const outage = time.Second

// patrol does something for each of the table's parts again and again.
type patrol struct {
	done sync.WaitGroup
	end  context.CancelFunc
}

// start calls visit with the number of a part and a stamp that rises with each
// call for it, until the patrol is stopped, which the end of the test does too.
func (p *patrol) start(t testing.TB, every time.Duration, visit func(ctx context.Context, part int, stamp int64)) {
	var ctx context.Context
	ctx, p.end = context.WithCancel(t.Context())
	for i := range tabletCount {
		p.done.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for stamp := time.Now().UnixMilli(); ; stamp++ {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				visit(ctx, i, stamp)
			}
		})
	}
	t.Cleanup(p.stop)
}

// stop returns when the last visit has ended.
func (p *patrol) stop() {
	p.end()
	p.done.Wait()
}

// prober writes and reads a row of each tablet all the time.
type prober struct {
	patrol
	t  testing.TB
	mu struct {
		sync.Mutex
		good  [tabletCount][]span // successful probes, in order
		wrong []string
	}
}

// span is a probe that succeeded.
type span struct{ began, ended time.Time }

func startProber(t testing.TB, addr string) *prober {
	t.Helper()
	p := &prober{t: t}
	table := open(t, addr)
	p.start(t, probeEvery, func(ctx context.Context, i int, stamp int64) { p.visit(ctx, table, i, stamp) })
	return p
}

func (p *prober) visit(ctx context.Context, table *bigtable.Table, i int, stamp int64) {
	key := letter(i) + "/probe"
	began := time.Now()
	call, cancel := context.WithTimeout(ctx, 3*time.Second)
	got, err := probe(call, table, key, stamp)
	cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && got != stamp {
		p.mu.wrong = append(p.mu.wrong, fmt.Sprintf("row %q: read %d after writing %d", key, got, stamp))
	}
	if err == nil {
		p.mu.good[i] = append(p.mu.good[i], span{began, time.Now()})
	}
}

// probe writes a cell and reads it back.
func probe(ctx context.Context, table *bigtable.Table, key string, stamp int64) (int64, error) {
	m := bigtable.NewMutation()
	m.Set(familyProbe, "v", bigtable.Timestamp(stamp*1000), nil)
	if err := table.Apply(ctx, key, m); err != nil {
		return 0, err
	}
	r, err := table.ReadRow(ctx, key, bigtable.RowFilter(bigtable.LatestNFilter(1)))
	if err != nil {
		return 0, err
	}
	if len(r[familyProbe]) == 0 {
		return 0, nil
	}
	return int64(r[familyProbe][0].Timestamp) / 1000, nil
}

// awaitAll waits until a probe of every tablet that began after a moment has
// succeeded.
func (p *prober) awaitAll(after time.Time, d time.Duration) {
	p.t.Helper()
	within(p.t, d, "every tablet answers", func() error {
		var missing []string
		p.mu.Lock()
		defer p.mu.Unlock()
		for i, good := range p.mu.good {
			if len(good) == 0 || good[len(good)-1].began.Before(after) {
				missing = append(missing, letter(i))
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("no answer from tablets %v", missing)
		}
		return nil
	})
}

// away is how long tablets did not answer after a fault.
type away struct {
	tablets   int           // that were away for longer than outage
	all       time.Duration // from the fault until the last of them answered again
	median    time.Duration // the same for the median of them
	longest   time.Duration // between two successful probes of one tablet
	unharmed  time.Duration // the same for the tablets that were not away
	succeeded int           // probes
}

// measure returns what happened since a fault.
func (p *prober) measure(fault time.Time) away {
	p.mu.Lock()
	defer p.mu.Unlock()
	var a away
	var back []time.Duration
	for _, good := range p.mu.good {
		a.succeeded += len(good)
		var last, longest time.Duration
		for i := 1; i < len(good); i++ {
			gap := good[i].ended.Sub(good[i-1].ended)
			if good[i].ended.Before(fault) {
				continue
			}
			longest = max(longest, gap)
			if gap > outage {
				last = good[i].ended.Sub(fault)
			}
		}
		if last > 0 {
			back = append(back, last)
			a.longest = max(a.longest, longest)
		} else {
			a.unharmed = max(a.unharmed, longest)
		}
	}
	if a.tablets = len(back); a.tablets > 0 {
		slices.Sort(back)
		a.median, a.all = back[len(back)/2], back[len(back)-1]
	}
	return a
}

func (p *prober) wrong() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.wrong
}
