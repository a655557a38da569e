package membudget

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/seedtest"
)

func TestAccount(t *testing.T) {
	b := New(1000)
	a := b.Account("writes", 100)
	level := int64(7)
	b.Measured("cache", 50, func() int64 { return level })
	if !a.TryTake(60) || a.TryTake(41) || !a.TryTake(40) {
		t.Fatal("100 bytes are not 60 and 40")
	}
	a.Add(30)
	if a.Used() != 130 || a.Peak() != 130 {
		t.Fatalf("%d bytes used", a.Used())
	}
	a.Give(130)
	if !a.TryTake(500) || a.TryTake(1) {
		t.Fatal("one may take more than there is, if it is the only one")
	}
	a.Give(500)
	want := []Usage{{"writes", 0, 500, 100}, {"cache", 7, 7, 50}}
	for i, u := range b.Usage() {
		if u != want[i] {
			t.Errorf("%+v, want %+v", u, want[i])
		}
	}
	var none *Account
	none.Add(1)
	if !none.TryTake(1) || none.Take(t.Context(), 1) != nil || none.Used() != 0 {
		t.Error("a nil account has limits")
	}
}

func TestTakeWaits(t *testing.T) {
	rng := seedtest.New(t)
	sizes := make([]int64, 200)
	for i := range sizes {
		sizes[i] = 1 + rng.Int64N(60)
	}
	synctest.Test(t, func(t *testing.T) {
		a := New(0).Account("a", 100)
		var wg sync.WaitGroup
		for i, n := range sizes {
			wg.Go(func() {
				if err := a.Take(t.Context(), n); err != nil {
					t.Error(err)
				}
				if a.Used() > 100 {
					t.Errorf("%d bytes of 100 are taken", a.Used())
				}
				time.Sleep(time.Duration(i) * time.Millisecond) // fake time
				a.Give(n)
			})
		}
		wg.Wait()
		if a.Used() != 0 {
			t.Fatalf("%d bytes are left", a.Used())
		}
		a.Add(100)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Take(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("waiting for ever: %v", err)
		}
	})
}

func TestMachine(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	mem := file("MemFree: 1 kB\nMemTotal:       24000000 kB\n")
	for name, c := range map[string]struct {
		files   fstest.MapFS
		bytes   int64
		limited bool
	}{
		"nothing":   {fstest.MapFS{}, 0, false},
		"no groups": {fstest.MapFS{"proc/meminfo": mem}, 24000000 << 10, false},
		"version 2": {fstest.MapFS{"proc/meminfo": mem, "proc/self/cgroup": file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/memory.max": file("max\n"), "sys/fs/cgroup/a/memory.max": file("1073741824\n")}, 1 << 30, true},
		"container": {fstest.MapFS{"proc/meminfo": mem, "proc/self/cgroup": file("0::/../../pod\n"), "sys/fs/cgroup/memory.max": file("2147483648\n")}, 2 << 30, true},
		"version 1": {fstest.MapFS{"proc/meminfo": mem, "proc/self/cgroup": file("5:cpu,cpuacct:/x\n4:memory:/x\n"),
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": file("536870912"), "sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712")}, 512 << 20, true},
		"no limit": {fstest.MapFS{"proc/meminfo": mem, "proc/self/cgroup": file("4:memory:/\n"), "sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712")}, 24000000 << 10, false},
		"above":    {fstest.MapFS{"proc/meminfo": mem, "proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("99999999999999\n")}, 24000000 << 10, false},
	} {
		if bytes, limited := Machine(c.files); bytes != c.bytes || limited != c.limited {
			t.Errorf("%s: %d, %v; want %d, %v", name, bytes, limited, c.bytes, c.limited)
		}
	}
}
