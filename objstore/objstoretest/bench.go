package objstoretest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/objstore"
)

// BenchmarkPutIfAbsent creates objects of several sizes with 1, 4 and 16 calls
// in flight, in one directory each, as a commit log does. It reports the median
// and the 99th percentile of the latency besides.
func BenchmarkPutIfAbsent(b *testing.B, s objstore.Store) {
	var run atomic.Int64
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
		data := make([]byte, size)
		for _, inFlight := range []int{1, 4, 16} {
			b.Run(fmt.Sprintf("%dKiB/%d", size>>10, inFlight), func(b *testing.B) {
				dir := run.Add(1)
				measure(b, size, inFlight, func(i int) error {
					return s.PutIfAbsent(b.Context(), fmt.Sprintf("bench/%d/%016x", dir, i), data)
				})
			})
		}
	}
	Clear(b, b.Context(), s)
}

// BenchmarkGetRange reads ranges of several sizes of one object of 16 MiB.
func BenchmarkGetRange(b *testing.B, s objstore.Store) {
	const objectSize = 16 << 20
	if err := s.Put(b.Context(), "bench/object", make([]byte, objectSize)); err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
		for _, inFlight := range []int{1, 4, 16} {
			b.Run(fmt.Sprintf("%dKiB/%d", size>>10, inFlight), func(b *testing.B) {
				measure(b, size, inFlight, func(i int) error {
					off := int64(i) * 7919 * 512 % (objectSize - int64(size))
					_, err := s.GetRange(b.Context(), "bench/object", off, int64(size))
					return err
				})
			})
		}
	}
	Clear(b, b.Context(), s)
}

// measure runs b.N calls, so many at a time, each of which moves size bytes.
func measure(b *testing.B, size, inFlight int, call func(i int) error) {
	b.SetBytes(int64(size))
	latencies := make([]time.Duration, b.N)
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range inFlight {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				start := time.Now()
				if err := call(i); err != nil {
					b.Error(err)
					return
				}
				latencies[i] = time.Since(start)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(latencies)
	b.ReportMetric(float64(latencies[b.N/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(latencies[b.N*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}
