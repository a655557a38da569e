package local_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/tabletdb/tabletdb/objstore/local"
	"github.com/tabletdb/tabletdb/objstore/objstoretest"
)

func BenchmarkPutIfAbsent(b *testing.B) {
	objstoretest.BenchmarkPutIfAbsent(b, open(b, b.TempDir()))
}

func BenchmarkGetRange(b *testing.B) {
	objstoretest.BenchmarkGetRange(b, open(b, b.TempDir()))
}

// BenchmarkProcesses is BenchmarkPutIfAbsent with 1 KiB, spread over stores that
// share no state, as processes do.
func BenchmarkProcesses(b *testing.B) {
	root := b.TempDir()
	stores := []*local.Store{open(b, root), open(b, root), open(b, root), open(b, root)}
	var n atomic.Int64
	data := make([]byte, 1<<10)
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			if err := stores[i%4].PutIfAbsent(b.Context(), fmt.Sprintf("wal/%d/%d", i%4, i), data); err != nil {
				b.Error(err)
			}
		}
	})
}
