package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
	"github.com/tabletdb/tabletdb/lockservice"
	lockmem "github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/master/gc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// mergeStream is a worker's end of a call.
type mergeStream = grpc.BidiStreamingServer[compactorpb.MergeRequest, compactorpb.MergeResponse]

// steps lets a test step in before and after each thing that a worker does of
// which somebody else gets to know: each message that it sends, and each file
// that it stores.
type steps struct {
	compactorpb.CompactorServer
	mu   sync.Mutex
	n    int
	at   int
	do   func() // at step at
	what []string
}

// step counts a step.
func (p *steps) step(what string) {
	p.mu.Lock()
	hit := p.n == p.at && p.do != nil
	p.n++
	p.what = append(p.what, what)
	p.mu.Unlock()
	if hit {
		p.do()
	}
}

// Merge implements compactorpb.CompactorServer.
func (p *steps) Merge(st mergeStream) error { return p.CompactorServer.Merge(&steppedStream{st, p}) }

type steppedStream struct {
	mergeStream
	p *steps
}

func (s *steppedStream) Send(r *compactorpb.MergeResponse) error {
	name := strings.TrimPrefix(fmt.Sprintf("%T", r.Step), "*compactorpb.MergeResponse_")
	s.p.step("before " + name)
	err := s.mergeStream.Send(r)
	s.p.step("after " + name)
	return err
}

// elsewhere is a stage with a worker, and a tablet with two runs and another
// beside it.
type elsewhere struct {
	*stage
	w *tabletservertest.Worker
	p *steps
}

func newElsewhere(b *bubble, at int) *elsewhere {
	b.Options.NoCompaction, b.Options.OffloadBytes = true, 1
	b.Net = memnet.New()
	y := &elsewhere{stage: &stage{bubble: b}}
	y.w = b.OpenWorker(b.ctx, 4, func(s compactorpb.CompactorServer) compactorpb.CompactorServer {
		y.p = &steps{CompactorServer: s, at: at}
		return y.p
	})
	y.w.Store.Before(func(_ context.Context, c tabletservertest.Call) error {
		if c.Op == tabletservertest.Put {
			y.p.step("before put")
		}
		return nil
	})
	y.s = b.servers(3)
	l, r := b.pair(y.s[0])
	y.list = []meta.Tablet{l, r}
	for _, rows := range [][]string{{"a", "g", "n", "x"}, {"b", "h", "o"}} {
		for _, row := range rows {
			tb := l
			if row >= "m" {
				tb = r
			}
			y.set(y.s[0], tb, row)
			y.rows = append(y.rows, row)
		}
		b.Must(y.s[0].Flush(b.ctx, l))
		b.Must(y.s[0].Flush(b.ctx, r))
	}
	b.pause(time.Second)
	return y
}

// clean checks that nothing is left over of what was not committed.
func (y *elsewhere) clean(when string) {
	y.t.Helper()
	y.pause(3 * time.Minute) // until the worker has noticed whatever there is
	y.collectNow()
	if r := y.collectNow(); r.Garbage.Objects != 0 || r.InFlight.Objects != 0 {
		y.t.Errorf("%s: files are left over: %+v", when, r)
	}
	y.check()
}

// collectIfPossible collects; where somebody does not answer nothing is deleted.
func (y *elsewhere) collectIfPossible() {
	if _, err := gc.Run(y.ctx, y.gc(y.Store)); err != nil && !errors.Is(err, base.ErrUnavailable) && !errors.Is(err, objstore.ErrNotFound) {
		y.t.Error(err)
	}
}

// TestElsewhereDies: a compaction at a worker, in which the worker dies, or is
// cut off, or the server dies, or both, or the tablet goes, before or after each
// step of the worker. It is collected all the while. Nothing is lost, nothing
// that is named is collected, and nothing is left over.
//
// To break: in tablet.mergeElsewhere, take what there is in spite of an error.
func TestElsewhereDies(t *testing.T) {
	type event struct {
		do   func(y *elsewhere) error // in a goroutine of its own
		dies bool                     // the server does
	}
	kill := func(y *elsewhere) {
		y.s[0].Lock.SetHook(func(lockservice.Txn, int) lockmem.Fault { return lockmem.GiveUpLost })
		y.s[0].Kill()
	}
	for name, e := range map[string]event{
		"nothing": {do: func(*elsewhere) error { return nil }},
		"worker":  {do: func(y *elsewhere) error { y.w.Kill(); return nil }},
		"cut off": {do: func(y *elsewhere) error { y.Net.Partition(y.s[0].Name, y.w.Name()); return nil }},
		"server":  {do: func(y *elsewhere) error { kill(y); return nil }, dies: true},
		"both":    {do: func(y *elsewhere) error { y.w.Kill(); kill(y); return nil }, dies: true},
		"release": {do: func(y *elsewhere) error {
			y.Move(y.ctx, y.list[0], y.s[0], y.s[1])
			return nil
		}},
		"split": {do: func(y *elsewhere) error { _, err := y.s[0].Split(y.ctx, y.list[0], "f"); return err }},
		"drop":  {do: func(y *elsewhere) error { return y.s[0].Drop(y.ctx, y.list[0], nil, "c", "d") }},
	} {
		t.Run(name, func(t *testing.T) {
			points := 0
			for reached := true; reached; points++ {
				history(t, func(b *bubble) {
					y := newElsewhere(b, points)
					happened := make(chan error, 1)
					y.p.do = func() {
						go func() { happened <- e.do(y) }()
						time.Sleep(time.Second) // fake time; then the worker goes on, if it lives
					}
					done := y.background(func() error { return y.s[0].Compact(y.ctx, y.list[0]) })
					for range 60 {
						y.pause(2 * time.Second)
						y.collectIfPossible()
					}
					err := <-done
					what, hit := y.p.reached()
					if reached = hit; reached {
						b.Must(<-happened)
					}
					if !e.dies {
						b.Must(err)
					}
					when := fmt.Sprintf("%s, step %d: %s", name, points, what)
					y.Net.Join(y.s[0].Name, y.w.Name())
					table, err := b.Meta.Table(b.ctx, y.list[0].Table)
					b.Must(err)
					list := y.Tablets(y.ctx, table)
					if e.dies && reached {
						list = y.dieAndServe(table.ID, y.s[0], y.s[2])
					}
					y.wantRowsAnywhere(when, list)
					y.clean(when)
					y.wantRowsAnywhere(when, list)
				})
			}
			if t.Logf("%d steps", points); points < 6 {
				t.Errorf("%d steps: little was tested", points)
			}
		})
	}
}

// reached returns the step at which something was done, if it came to that.
func (p *steps) reached() (what string, reached bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n <= p.at {
		return "none", false
	}
	return p.what[p.at], true
}

// TestElsewhereCrashPoints: the server dies before and after each write of its
// own in a compaction at a worker, which lives or dies with it.
//
// To break: in meta.Flush, do not compare that the session is alive.
func TestElsewhereCrashPoints(t *testing.T) {
	points := 0
	for _, both := range []bool{false, true} {
		for _, happens := range []bool{false, true} {
			for reached, n := true, 0; reached; n++ {
				points++
				history(t, func(b *bubble) {
					y := newElsewhere(b, -1)
					z := freeze(y.s[0], n, happens)
					done := y.background(func() error { return y.s[0].Compact(y.ctx, y.list[0]) })
					y.pause(5 * time.Second)
					if reached = z.isFrozen(); !reached {
						b.Must(<-done)
						z.write() // nothing of what follows happens
					}
					y.collectIfPossible() // it hangs, and lives
					if both {
						y.w.Kill()
					}
					list := y.dieAndServe(y.list[0].Table, y.s[0], y.s[2])
					if reached {
						<-done
					}
					when := fmt.Sprintf("write %d, which happens: %v, worker dies: %v", n, happens, both)
					y.wantRowsAnywhere(when, list)
					y.clean(when)
					y.wantRowsAnywhere(when, list)
				})
			}
		}
	}
	if t.Logf("%d crash points", points); points < 10 {
		t.Errorf("%d crash points: little was tested", points)
	}
}

// TestH7WorkerGoneBeforeCommit: a worker has stored its files and answered, and
// dies; it is collected before the server names them. They are in flight, for
// their names are the server's.
//
// To break: in tablet.mergeElsewhere, say that the numbers are decided when the
// worker has answered.
func TestH7WorkerGoneBeforeCommit(t *testing.T) {
	history(t, func(b *bubble) {
		y := newElsewhere(b, -1)
		release := y.s[0].Store.Hang(tabletservertest.Put, base.ManifestPrefix)
		done := y.background(func() error { return y.s[0].Compact(y.ctx, y.list[0]) })
		y.running("the compaction", done)
		if st, err := y.w.Status(b.ctx, nil); err != nil || st.Done != 1 {
			t.Fatalf("the worker says %v, %v", st, err)
		}
		y.w.Kill()
		b.pause(3 * tabletservertest.TTL)
		if r := y.collectNow(); r.InFlight.Objects == 0 {
			t.Errorf("nothing is in flight: %+v", r)
		}
		release()
		b.Must(<-done)
		y.wantRowsAnywhere("at the end", y.list)
		y.clean("at the end")
	})
}

// TestLateFileOfWorker: a worker that was given up stores its file late, after
// the server has done the merge, and after a collection. The file is garbage:
// its number is decided.
func TestLateFileOfWorker(t *testing.T) {
	history(t, func(b *bubble) {
		y := newElsewhere(b, -1)
		late := make(chan struct{})
		y.w.Store.Before(func(_ context.Context, c tabletservertest.Call) error {
			if c.Op == tabletservertest.Put {
				<-late // whatever its context says
			}
			return nil
		})
		done := y.background(func() error { return y.s[0].Compact(y.ctx, y.list[0]) })
		y.running("the compaction", done)
		y.Net.Partition(y.s[0].Name, y.w.Name())
		b.Must(<-done)
		before := y.collectNow()
		close(late)
		b.pause(time.Second)
		if r := y.collectNow(); r.Removed != 1 || r.Live != before.Live {
			t.Errorf("collected %+v, before %+v", r, before)
		}
		y.wantRowsAnywhere("at the end", y.list)
		y.clean("at the end")
	})
}
