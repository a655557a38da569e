// Package protocol tests the tablet protocol, history by history: for each way
// to lose data or to answer wrongly that the review of the protocol found, a
// test runs the history against real tablet servers over an in-memory lock
// service and bucket, in a synctest bubble. Each test says which line of the
// code to break to see it fail.
package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	lockmem "github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// bubble is one history in progress.
type bubble struct {
	*tabletservertest.Fixture
	t   *testing.T
	ctx context.Context
	all []*tabletservertest.Server // that servers opened
}

// history runs a test in a bubble. Logs are truncated eagerly.
func history(t *testing.T, f func(b *bubble)) { historyOver(t, lockmem.Options{}, f) }

func historyOver(t *testing.T, o lockmem.Options, f func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fx := tabletservertest.NewWith(t, o)
		defer fx.Close()
		fx.Options.TruncateInterval = 100 * time.Millisecond
		fx.Options.MinTruncate = 1
		f(&bubble{Fixture: fx, t: t, ctx: t.Context()})
	})
}

// servers opens n servers.
func (b *bubble) servers(n int) []*tabletservertest.Server {
	b.t.Helper()
	list := make([]*tabletservertest.Server, n)
	for i := range list {
		list[i] = b.Open(b.ctx)
	}
	b.all = append(b.all, list...)
	return list
}

// table creates a table of one tablet.
func (b *bubble) table() meta.Tablet {
	b.t.Helper()
	return b.Tablets(b.ctx, b.CreateTable(b.ctx))[0]
}

// set writes a cell of its own row and must succeed.
func (b *bubble) set(s *tabletservertest.Server, t meta.Tablet, rows ...string) {
	b.t.Helper()
	for _, row := range rows {
		b.Must(s.Set(b.ctx, t, row, "cf", "q", 1000, "v"+row))
	}
}

// wantRows checks that a server has exactly these rows, as set writes them.
func (b *bubble) wantRows(s *tabletservertest.Server, t meta.Tablet, rows ...string) {
	b.t.Helper()
	var want []string
	for _, row := range rows {
		want = append(want, fmt.Sprintf("%s cf:q@1000=v%s", row, row))
	}
	if got := s.All(b.ctx, t); !slices.Equal(got, want) {
		b.t.Fatalf("rows %q, want %q", got, want)
	}
}

// want fails the test where err is not the sentinel.
func (b *bubble) want(err, sentinel error) {
	b.t.Helper()
	if !errors.Is(err, sentinel) {
		b.t.Fatalf("error %v, want one that wraps %q", err, sentinel)
	}
}

// pause lets fake time pass.
func (b *bubble) pause(d time.Duration) {
	time.Sleep(d) // fake time
	synctest.Wait()
}

// background runs f beside the test until the channel yields its error.
func (b *bubble) background(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	synctest.Wait()
	return done
}

// running fails the test where a background call has returned.
func (b *bubble) running(what string, done <-chan error) {
	b.t.Helper()
	synctest.Wait()
	select {
	case err := <-done:
		b.t.Fatalf("%s returned (%v); it must wait", what, err)
	default:
	}
}

// noFlushes makes flushes of a server hang before their first file.
func (b *bubble) noFlushes(s *tabletservertest.Server) (release func()) {
	return s.Store.Hang(tabletservertest.Put, base.SSTablePrefix)
}

// writeDuringFlush writes rows after the next flush of s took what it flushes,
// so that they are in the log and in no file when it has ended.
func (b *bubble) writeDuringFlush(s *tabletservertest.Server, t meta.Tablet, rows ...string) {
	s.Store.Once(tabletservertest.Put, base.ManifestPrefix, func() { b.set(s, t, rows...) })
}

// log reads the record of a log.
func (b *bubble) log(e base.Incarnation) meta.Log {
	b.t.Helper()
	l, err := b.Meta.Log(b.ctx, e)
	b.Must(err)
	return l
}

// exists reports whether the bucket holds an object.
func (b *bubble) exists(key string) bool {
	b.t.Helper()
	_, err := b.Store.Stat(b.ctx, key)
	if err != nil && !errors.Is(err, objstore.ErrNotFound) {
		b.t.Fatal(err)
	}
	return err == nil
}

// writes reports whether a transaction puts the record of a tablet.
func writesTablet(x lockservice.Txn) bool {
	return slices.ContainsFunc(x.Then, func(o lockservice.Op) bool {
		return o.Kind == lockservice.OpPut && strings.HasPrefix(o.Key, meta.TabletPrefix)
	})
}

// tabletFaults makes the n-th attempt of a server's next transaction on a
// tablet record suffer faults[n].
func tabletFaults(s *tabletservertest.Server, faults ...lockmem.Fault) {
	s.Lock.SetHook(func(x lockservice.Txn, attempt int) lockmem.Fault {
		if !writesTablet(x) {
			return lockmem.Deliver
		}
		if attempt+1 >= len(faults) {
			s.Lock.SetHook(nil)
		}
		return faults[attempt]
	})
}
