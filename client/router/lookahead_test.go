package router_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/client/tabletstest"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
)

// slowMeta is a lock service that takes its time to list records of tablets.
type slowMeta struct{ lockservice.Client }

const lookupTime = 50 * time.Millisecond

func (s slowMeta) List(ctx context.Context, start, end string, o lockservice.ReadOptions) ([]lockservice.KV, lockservice.Revision, error) {
	if strings.HasPrefix(start, meta.TabletPrefix) {
		time.Sleep(lookupTime) // fake time
	}
	return s.Client.List(ctx, start, end, o)
}

// TestLookAhead: a scan looks tablets up in lots, and those that follow while it
// reads: it waits for the first lot only. One with a small limit looks up no more
// than it needs.
func TestLookAhead(t *testing.T) {
	const tablets, lot, readTime = 40, 4, 100 * time.Millisecond
	var splits []string
	for i := 1; i < tablets; i++ {
		splits = append(splits, fmt.Sprintf("%02d", i))
	}
	inBubble(t, 2, splits, func(x *fixture) {
		var rows []string
		for i := range tablets {
			rows = append(rows, fmt.Sprintf("%02d", i))
		}
		x.fill(rows...)
		for _, s := range x.servers {
			s.SetFault(tabletstest.Fault{Before: func(op tabletstest.Op) error {
				if op.Method == "ReadRows" {
					time.Sleep(readTime) // fake time
				}
				return nil
			}})
		}
		cold := func() *router.Router {
			return router.New(router.Config{Meta: meta.NewStore(slowMeta{x.NewLockService()}), Network: x.Net.Node("client"), Options: router.Options{Prefetch: lot - 1}})
		}
		x.r.Close()
		x.r = cold()
		began := time.Now()
		x.expect(&bigtablepb.ReadRowsRequest{}, rows...)
		took, lookups := time.Since(began), x.r.Stats().Lookups
		t.Logf("%d tablets in %v, of which %v are reading, with %d look-ups", tablets, took, tablets*readTime, lookups)
		if most := uint64(tablets/lot + 1); lookups > most { // and one of the table
			t.Errorf("%d look-ups, want at most %d", lookups, most)
		}
		if most := tablets*readTime + 2*lookupTime; took > most {
			t.Errorf("the scan took %v, want at most %v", took, most)
		}
		x.r.Close()
		x.r = cold()
		defer x.r.Close()
		x.expect(&bigtablepb.ReadRowsRequest{RowsLimit: lot}, rows[:lot]...)
		if n := x.r.Stats().Lookups; n != 2 {
			t.Errorf("%d look-ups for %d rows, want 2", n, lot)
		}
	})
}
