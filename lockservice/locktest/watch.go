package locktest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/tabletdb/tabletdb/lockservice"
)

var errDone = errors.New("done")

// collect watches until n events came and returns them as text.
func (e *env) collect(start, end string, from lockservice.Revision, n int) []string {
	e.Helper()
	var out []string
	last := from
	err := e.Watch(e.ctx, start, end, from, func(r lockservice.WatchResponse) error {
		if r.Revision < last {
			e.Errorf("watch went back from revision %d to %d", last, r.Revision)
		}
		for _, ev := range r.Events {
			if ev.KV.ModRevision <= last || ev.KV.ModRevision > r.Revision {
				e.Errorf("event of revision %d outside (%d, %d]", ev.KV.ModRevision, last, r.Revision)
			}
			kind := "put"
			if ev.Kind == lockservice.EventDelete {
				kind = "del"
			}
			out = append(out, fmt.Sprintf("%s %s=%s@%d", kind, ev.KV.Key, ev.KV.Value, ev.KV.ModRevision))
		}
		last = r.Revision
		if len(out) >= n {
			return errDone
		}
		return nil
	})
	if !errors.Is(err, errDone) {
		e.Errorf("watch: got %v, want the callback's error", err)
	}
	return out
}

func testWatchNoGaps(e *env) {
	const n = 300
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			e.put("k", strconv.Itoa(i))
		}
	})
	got := e.collect("", "", 0, n)
	wg.Wait()
	e.want("events", len(got), n)
	for i, g := range got {
		e.want("event", g, fmt.Sprintf("put k=%d@%d", i, i+1))
	}
	e.want("from the middle", e.collect("", "", n-1, 1), []string{got[n-1]})
}

func testWatchRange(e *env) {
	e.put("a", "1")
	e.put("b", "2")
	e.put("c", "3")
	e.txn(lockservice.Txn{Then: []lockservice.Op{lockservice.Delete("b"), lockservice.Delete("c")}})
	e.want("b", e.collect("b", "c", 0, 2), "[put b=2@2 del b=@4]")
	e.want("b on", e.collect("b", "", 1, 4), "[put b=2@2 put c=3@3 del b=@4 del c=@4]")
}

func testWatchOneRevision(e *env) {
	e.txn(lockservice.Txn{Then: []lockservice.Op{
		lockservice.Put("b", []byte("1")), lockservice.Put("a", []byte("1")), lockservice.Put("b", []byte("2")),
	}})
	e.want("the last event of each key", e.collect("", "", 0, 2), "[put a=1@1 put b=2@1]")
}

func testWatchStops(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	calls := 0
	err := e.Watch(ctx, "", "", 0, func(lockservice.WatchResponse) error {
		calls++
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		e.Errorf("watch ended with %v, want context.Canceled", err)
	}
	e.want("a progress mark came", calls > 0, true)
}
