package protocol_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/master/gc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
	"github.com/tabletdb/tabletdb/wal"
)

// step does one thing that may happen.
func (w *world) step() {
	s := w.servers[w.rand.IntN(len(w.servers))]
	do := func(what string, f func()) {
		w.did[what]++
		f()
	}
	// Errors of what a server is asked for do not matter: it may fail.
	switch n := w.rand.IntN(1000); {
	case n < 480:
		do("reconcile", func() { w.reconcile(false) })
	case n < 520:
		do("keep", w.keep)
	case n < 620:
		do("flush", func() {
			w.ask(func() error { _, err := s.Control().Flush(w.ctx, &controlpb.FlushRequest{}); return err })
		})
	case n < 628:
		do("load", w.load)
	case n < 650:
		do("compact", func() {
			w.ask(func() error { _, err := s.Control().Compact(w.ctx, &controlpb.CompactRequest{}); return err })
		})
	case n < 700:
		do("move", w.move)
	case n < 760:
		do("split", w.split)
	case n < 840:
		do("merge", w.merge)
	case n < 846:
		do("cancel", w.cancelOne)
	case n < 876:
		do("land", func() { s.Lock.Land() })
	case n < 920:
		do("collect", w.collect)
	case n < 924:
		do("kill", func() { s.Kill() })
	case n < 929:
		do("revoke", func() { w.revoke(s, w.rand.IntN(2) == 0) })
	case n < 935:
		do("deafen", func() { w.deafen(s, true); w.revoke(s, true) })
	case n < 940:
		do("cut off", func() { s.Lock.Partition(true) })
	case n < 942:
		do("close", func() {
			w.ask(func() error {
				ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
				defer cancel()
				return s.Close(ctx)
			})
		})
	default:
		do("restore", func() {
			s.Lock.Partition(false)
			s.Hear()
		})
	}
}

// ask lets a server work on something in the background.
func (w *world) ask(f func() error) {
	w.clients.Go(func() { _ = f() })
}

func (w *world) deafen(s *tabletservertest.Server, on bool) {
	w.mu.Lock()
	w.deaf[s] = on
	w.mu.Unlock()
	if on {
		s.Deafen()
	} else {
		s.Hear()
	}
}

func (w *world) revoke(s *tabletservertest.Server, proved bool) {
	if !proved && w.rand.IntN(2) == 0 {
		s.Lock.Partition(true) // it does not hear of it before its deadline
	}
	if proved { // only who cannot answer reads is proved dead
		if !w.isDeaf(s) {
			s.Kill()
		}
	}
	w.Must(w.Lock.Client().Revoke(w.ctx, s.Incarnation(), proved))
}

// move releases some tablet; reconcile finds a place for it.
func (w *world) move() {
	tb := w.someTablet()
	if s := w.server(tb.Owner); s != nil {
		w.ask(func() error { return s.Unload(w.ctx, tb) })
	}
}

// split splits some tablet at some row.
func (w *world) split() {
	const most = 10
	if list := w.Tablets(w.ctx, w.table); len(list) >= most {
		return
	}
	tb, row := w.someTablet(), w.rows[w.rand.IntN(len(w.rows))]
	if s := w.server(tb.Owner); s != nil && tb.Contains([]byte(row)) {
		w.ask(func() error {
			_, err := s.Split(w.ctx, tb, row)
			if err == nil {
				w.splits.Add(1)
			}
			return err
		})
	}
}

// merge merges some tablet with the next one, or moves that one to its server.
func (w *world) merge() {
	list := w.Tablets(w.ctx, w.table)
	i := w.rand.IntN(len(list))
	if len(list) < 3 || i+1 == len(list) {
		return
	}
	l, r := list[i], list[i+1]
	at, from := w.server(l.Owner), w.server(r.Owner)
	switch {
	case at == nil || from == nil:
	case at == from:
		w.ask(func() error {
			_, err := at.Merge(w.ctx, l, r)
			if err == nil {
				w.merges.Add(1)
			}
			return err
		})
	default:
		w.ask(func() error { return from.HandOver(w.ctx, r, at) })
	}
}

// cancelOne takes back an assignment.
func (w *world) cancelOne() {
	if tb := w.someTablet(); tb.State == meta.Assigned {
		c, err := meta.Cancel(tb, time.Now())
		w.Must(err)
		w.commit(c)
	}
}

func (w *world) someTablet() meta.Tablet {
	list := w.Tablets(w.ctx, w.table)
	return list[w.rand.IntN(len(list))]
}

func (w *world) commit(c meta.Change) (meta.Tablet, bool) {
	done, err := w.Meta.Commit(w.ctx, c)
	if err != nil {
		if !errors.Is(err, base.ErrAborted) {
			w.t.Errorf("master: %v", err)
		}
		return meta.Tablet{}, false
	}
	return done[0], true
}

// alive returns the incarnations whose session is.
func (w *world) alive() map[base.Incarnation]bool {
	list, _, err := w.Lock.Client().Sessions(w.ctx)
	w.Must(err)
	alive := map[base.Incarnation]bool{}
	for _, s := range list {
		alive[s.ID] = s.State == "alive"
	}
	return alive
}

// reconcile does what a master would, or, unless all, some of it.
func (w *world) reconcile(all bool) {
	some := func() bool { return all || w.rand.IntN(3) > 0 }
	for i, s := range w.servers {
		select {
		case <-s.Done():
			if some() {
				fresh := w.open()
				w.mu.Lock()
				w.servers[i] = fresh
				w.mu.Unlock()
			}
		default:
		}
	}
	alive := w.alive()
	logs, err := w.Meta.Logs(w.ctx, lockservice.ReadOptions{})
	w.Must(err)
	for _, l := range logs {
		if !alive[l.Incarnation] && l.State != meta.LogSealed && some() {
			w.seal(l.Incarnation)
		}
	}
	tablets, deleted := w.everyTablet()
	for _, t := range tablets {
		if !some() {
			continue
		}
		if t.State != meta.Unassigned && !alive[t.Owner] {
			t, _ = w.commit(meta.Bump(t, time.Now()))
		}
		if deleted[t.Table] {
			w.release(t)
			continue
		}
		if t.State == meta.Unassigned {
			to := w.servers[w.rand.IntN(len(w.servers))]
			t, _ = w.commit(meta.Assign(t, meta.Server{Incarnation: to.Incarnation(), Address: to.Addr}, time.Now()))
		}
		w.tell(t)
	}
	w.adoptSome(some)
}

// seal lets two sealers race for a dead incarnation's log. Either may fail.
func (w *world) seal(e base.Incarnation) {
	l, err := w.Meta.BeginSeal(w.ctx, e)
	if err != nil || l.State == meta.LogSealed {
		return
	}
	var wg sync.WaitGroup
	ends := make([]base.Position, 2)
	ok := make([]bool, 2)
	for i := range ends {
		wg.Go(func() {
			end, err := wal.Seal(w.ctx, w.Store, e, l.Low, e)
			ends[i], ok[i] = end, err == nil
		})
	}
	wg.Wait()
	if ok[0] && ok[1] && ends[0] != ends[1] {
		w.t.Errorf("two sealers of %v: %d and %d", e, ends[0], ends[1])
	}
	for i := range ends {
		if !ok[i] {
			continue
		}
		if l, err = w.Meta.EndSeal(w.ctx, e, ends[i]); err != nil {
			w.t.Error(err)
		}
		if w.rand.IntN(2) == 0 { // else loaders write it
			_ = wal.WriteIndex(w.ctx, w.Store, e, l.Low, l.End)
		}
	}
}

// collect collects garbage as a master does. Nothing that it deletes may ever be
// named again. It reads the truth. A round in which a server that counts as
// alive does not answer is void.
func (w *world) collect() {
	r, err := gc.Run(w.ctx, w.gc(w.truth))
	if err == nil {
		w.collected.Add(int64(r.Removed))
	}
}

// gc returns what a collection needs that asks the servers of the fixture.
func (b *bubble) gc(store objstore.Store) gc.Config {
	return gc.Config{LockService: b.Lock.Client(), Store: store, Manifest: manifest.Files(store), Ask: func(_ context.Context, v meta.Server) (gc.Server, error) {
		s := b.Server(v.Incarnation)
		if s == nil {
			return gc.Server{}, base.ErrUnavailable
		}
		return gc.Server{Floor: s.Files().Floor(), Pinned: s.Files().Pinned()}, nil
	}}
}

// named returns the files that a record names.
func (w *world) named(t meta.Tablet) []string {
	if t.Manifest.IsZero() {
		return nil
	}
	m, err := manifest.Read(w.ctx, w.truth, t.Manifest)
	if err != nil {
		w.t.Fatalf("tablet %d: %v", t.ID, err)
	}
	list := []string{base.ManifestObject(t.Manifest)}
	for _, r := range m.Runs {
		for _, f := range r {
			list = append(list, base.SSTableObject(f.Number))
		}
	}
	return list
}

// verify checks everything when all is quiet, before and after a last fail-over.
func (w *world) verify() {
	for _, last := range []bool{false, true} {
		if last {
			for _, s := range w.servers {
				s.Kill()
				w.Must(w.Lock.Client().Revoke(w.ctx, s.Incarnation(), true))
			}
			for range 20 {
				w.reconcile(true)
				time.Sleep(100 * time.Millisecond) // fake time
			}
		}
		list := w.Tablets(w.ctx, w.table)
		for _, wrong := range meta.CheckTiling(list) {
			w.t.Error(wrong)
		}
		for _, t := range list {
			w.verifyObjects(t)
		}
		for _, row := range w.everyRow() {
			tb, err := w.locate(row)
			w.Must(err)
			s := w.server(tb.Owner)
			if s == nil || !w.read(s, tb, row, time.Minute) {
				w.t.Errorf("row %s is not served at the end: %+v", row, tb)
			}
		}
		w.verifyKept()
	}
}

// verifyObjects checks that every object that a record names exists.
func (w *world) verifyObjects(t meta.Tablet) {
	keys := w.named(t)
	for _, e := range t.Logs {
		l, err := w.Meta.Log(w.ctx, e.Log)
		w.Must(err)
		to := l.End
		if l.State != meta.LogSealed {
			to = e.To // 0 where it is open: nothing is known to be there
		} else if e.Closed {
			to = min(to, e.To)
		}
		for p := max(e.From, l.Low); p < to; p++ {
			keys = append(keys, base.LogObject(e.Log, p))
		}
	}
	for _, key := range keys {
		if _, err := w.truth.Stat(w.ctx, key); err != nil {
			if errors.Is(err, objstore.ErrNotFound) {
				w.t.Errorf("tablet %d names %s, which does not exist", t.ID, key)
				continue
			}
			w.t.Error(err)
		}
	}
}
