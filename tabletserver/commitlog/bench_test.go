package commitlog

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/local"
	"github.com/tabletdb/tabletdb/objstore/mem"
)

func benchStores(b *testing.B) map[string]func() objstore.Store {
	return map[string]func() objstore.Store{
		"1ms":  func() objstore.Store { return slow{discard{}, time.Millisecond} },
		"10ms": func() objstore.Store { return slow{discard{}, 10 * time.Millisecond} },
		"mem":  func() objstore.Store { return mem.New() },
		"local": func() objstore.Store {
			s, err := local.Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { s.Close() })
			return s
		},
	}
}

func benchLog(b *testing.B, store objstore.Store) *Log {
	l, err := Open(Config{Store: store, Incarnation: me, Nonce: [16]byte{1}, Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close(context.Background()) })
	return l
}

// BenchmarkCommit measures callers that append 1000 bytes each to one of 16
// tablets and wait for the acknowledgement. put/s is how many objects that
// took.
func BenchmarkCommit(b *testing.B) {
	for _, name := range []string{"mem", "1ms", "10ms", "local"} {
		for _, callers := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("%s/%d", name, callers), func(b *testing.B) {
				benchCommit(b, benchLog(b, benchStores(b)[name]()), callers)
			})
		}
	}
}

func benchCommit(b *testing.B, l *Log, callers int) {
	const tablets = 16
	type tablet struct {
		sync.Mutex
		s   *Stream
		seq base.Seq
	}
	var ts [tablets]tablet
	for i := range ts {
		ts[i].s = l.NewStream(base.TabletID(i+1), 1, nil)
	}
	body := make([]byte, 1000)
	times := make([][]time.Duration, callers)
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for c := range callers {
		wg.Go(func() {
			t := &ts[c%tablets]
			for i := c; i < b.N; i += callers {
				start := time.Now()
				t.Lock()
				t.seq++
				batch, err := t.s.Append(t.seq, t.seq, body)
				t.Unlock()
				if err == nil {
					err = batch.Wait(context.Background())
				}
				if err != nil {
					b.Error(err)
					return
				}
				times[c] = append(times[c], time.Since(start))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(times...)
	slices.Sort(all)
	if len(all) > 0 {
		b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-us")
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-us")
	}
	st := l.Stats()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rec/s")
	b.ReportMetric(float64(st.Unacknowledged)/b.Elapsed().Seconds(), "put/s")
	b.ReportMetric(float64(st.PutP50.Microseconds()), "put-p50-us")
}

// BenchmarkRawPut is what the store does with the same records, an object each.
func BenchmarkRawPut(b *testing.B) {
	for _, name := range []string{"mem", "local"} {
		for _, callers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/%d", name, callers), func(b *testing.B) {
				store := benchStores(b)[name]()
				body := make([]byte, 1000)
				var wg sync.WaitGroup
				b.ResetTimer()
				for c := range callers {
					wg.Go(func() {
						for i := c; i < b.N; i += callers {
							if err := store.PutIfAbsent(context.Background(), base.LogObject(me, base.Position(i)), body); err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "put/s")
			})
		}
	}
}

// BenchmarkAppend measures Append alone, acknowledgements aside.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100, 1000, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			l := benchLog(b, discard{})
			s := l.NewStream(1, 1, nil)
			body := make([]byte, size)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for i := range b.N {
				for {
					if _, err := s.Append(base.Seq(i+1), base.Seq(i+1), body); err == nil {
						break
					}
					b.StopTimer()
					l.Flush(context.Background())
					b.StartTimer()
				}
			}
		})
	}
}

// discard takes everything.
type discard struct{ objstore.Store }

func (discard) PutIfAbsent(context.Context, string, []byte) error { return nil }

// slow answers after a fixed time.
type slow struct {
	objstore.Store
	latency time.Duration
}

func (s slow) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	<-time.After(s.latency)
	return s.Store.PutIfAbsent(ctx, key, data)
}
