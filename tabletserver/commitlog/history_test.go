package commitlog

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/faulty"
	"github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/wal"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run only this seed of TestHistories")
	seedsFlag = flag.Int("seeds", 600, "how many seeds TestHistories tries")
)

var (
	me = base.Incarnation{Generation: 1, Index: 7}
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// TestHistories runs a writer with several tablets against racing sealers, over
// a store that fails, delays, applies and then fails, and lands late; some
// writers are paused meanwhile and go on as zombies. See world for what must
// hold.
func TestHistories(t *testing.T) {
	first, n := rand.Uint64(), *seedsFlag
	if *seedFlag != 0 {
		first, n = *seedFlag, 1
	}
	if testing.Short() {
		n = min(n, 200)
	}
	for seed := first; seed < first+uint64(n) && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, seed)
			w.run()
			if t.Failed() {
				t.Logf("seed %d", seed)
			}
		})
	}
	t.Logf("seeds from %d", first)
}

// world is one history. What must hold at its end:
//
//   - all sealers return the same end;
//   - each acknowledged record is delivered by the replay that followed the
//     seal, unless it stood below the log's low;
//   - a record whose failure was said to be certain is not delivered;
//   - what is delivered was appended, each once, in order of sequence;
//   - callbacks come in order of sequence and position, before the waiters wake;
//   - the sealed log passes wal.Check, and with the index replays the same.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	store *simStore
	log   *Log

	mu        sync.Mutex
	open      bool // log/<E> is OPEN in the lock service
	low       base.Position
	lastPos   base.Position
	visible   map[base.TabletID]base.Seq
	appended  map[base.TabletID]map[base.Seq]appendedRecord
	fencings  int
	truncated int
}

type appendedRecord struct {
	last  base.Seq
	body  string
	batch *Batch
	err   error
	done  bool
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), open: true,
		visible: make(map[base.TabletID]base.Seq), appended: make(map[base.TabletID]map[base.Seq]appendedRecord),
	}
	w.store = newSimStore(w.rng.Uint64(), w.rng.IntN(4) > 0)
	cfg := Config{
		Store: &pausable{simStore: w.store}, Incarnation: me, Nonce: [16]byte{1, byte(seed)}, Logger: quiet(),
		MaxBatchBytes: 1 << 10, MaxInFlight: 1 + w.rng.IntN(5), PutTimeout: 200 * time.Millisecond,
		HedgeAfter: time.Duration(w.rng.IntN(3)-1) * 20 * time.Millisecond,
		OnFenced:   func(error) { w.mu.Lock(); w.fencings++; w.mu.Unlock() },
	}
	if w.rng.IntN(3) == 0 {
		cfg.Compression = wal.Snappy
	}
	var err error
	if w.log, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) run() {
	ctx, stop := context.WithCancel(context.Background())
	var tablets, others sync.WaitGroup
	for id := range base.TabletID(1 + w.rng.IntN(4)) {
		rng := rand.New(rand.NewPCG(w.rng.Uint64(), 0))
		tablets.Go(func() { w.tablet(ctx, id+1, rng) })
	}
	rng := rand.New(rand.NewPCG(w.rng.Uint64(), 0))
	others.Go(func() { w.truncator(ctx, rng) })
	if w.rng.IntN(2) == 0 {
		pause, length := w.after(200), w.after(600)
		others.Go(func() {
			time.Sleep(pause)
			w.pause(true)
			time.Sleep(length)
			w.pause(false)
		})
	}
	time.Sleep(w.after(300))
	w.mu.Lock()
	w.open = false // SEALING: low is frozen
	low := w.low
	w.mu.Unlock()
	end := w.seal(low)
	got := w.replay(low, end)
	time.Sleep(w.after(500)) // the zombie goes on
	w.pause(false)
	stop()
	others.Wait()
	time.Sleep(10 * time.Second)
	w.log.Close(context.Background())
	tablets.Wait()
	w.store.faults.Drain() // what lands late
	w.store.faults.Close()
	w.verify(low, end, got)
}

// pause makes the writer's calls stop before they are issued and before they
// return, or lets them go on.
func (w *world) pause(on bool) { w.log.cfg.Store.(*pausable).set(on) }

func (w *world) after(ms int) time.Duration {
	return time.Duration(w.rng.IntN(ms*1000)) * time.Microsecond
}

// tablet appends records until the log fails or ctx ends, a few at a time.
func (w *world) tablet(ctx context.Context, id base.TabletID, rng *rand.Rand) {
	var waiters sync.WaitGroup
	defer waiters.Wait()
	w.mu.Lock()
	records := make(map[base.Seq]appendedRecord)
	w.appended[id] = records
	w.mu.Unlock()
	s := w.log.NewStream(id, 1, func(last base.Seq, pos base.Position) { w.ack(id, last, pos) })
	seq := base.Seq(1)
	for ctx.Err() == nil {
		time.Sleep(time.Duration(rng.IntN(8000)) * time.Microsecond)
		for range 1 + rng.IntN(3) {
			first := seq + base.Seq(rng.IntN(2))
			last := first + base.Seq(rng.IntN(3))
			body := fmt.Sprintf("%d:%d:%s", id, first, strings.Repeat("b", rng.IntN(400)))
			if rng.IntN(50) == 0 {
				body = strings.Repeat(body, 10) // larger than a batch
			}
			half := rng.IntN(len(body))
			b, err := s.Append(first, last, []byte(body[:half]), []byte(body[half:]))
			if errors.Is(err, ErrClosed) || errors.Is(err, base.ErrFenced) {
				return
			}
			if err != nil {
				w.t.Errorf("Append: %v", err)
				return
			}
			seq = last + 1
			w.mu.Lock()
			records[first] = appendedRecord{last: last, body: body, batch: b}
			w.mu.Unlock()
			waiters.Go(func() { w.wait(id, first, records) })
		}
	}
}

// wait records how the batch of a record ends.
func (w *world) wait(id base.TabletID, first base.Seq, records map[base.Seq]appendedRecord) {
	w.mu.Lock()
	r := records[first]
	w.mu.Unlock()
	err := r.batch.Wait(context.Background())
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil && w.visible[id] < r.last {
		w.t.Errorf("waiter of tablet %d sequence %d woke at watermark %d", id, r.last, w.visible[id])
	}
	r.err, r.done = err, true
	records[first] = r
}

func (w *world) ack(id base.TabletID, last base.Seq, pos base.Position) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if last <= w.visible[id] || pos < w.lastPos {
		w.t.Errorf("acknowledged tablet %d up to %d at position %d after %d at %d", id, last, pos, w.visible[id], w.lastPos)
	}
	w.visible[id], w.lastPos = last, pos
}

// truncator plays rule R2: it raises low by a transaction that compares OPEN,
// then deletes.
func (w *world) truncator(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		time.Sleep(time.Duration(rng.IntN(80)) * time.Millisecond)
		low := w.log.Unacknowledged()
		w.mu.Lock()
		ok := w.open
		if ok {
			w.low = low // as if all tablets had flushed
		}
		w.mu.Unlock()
		if !ok {
			return
		}
		for w.log.Truncate(ctx, low) != nil && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}
}

// seal lets several sealers race and returns the end, on which they agree.
func (w *world) seal(low base.Position) base.Position {
	ends := make([]base.Position, 1+w.rng.IntN(3))
	var sealers sync.WaitGroup
	for i := range ends {
		pause := w.after(30)
		sealers.Go(func() {
			time.Sleep(pause)
			damaged := 0 // an attempt may end with bytes that were damaged on their way
			for tries := 0; ; tries++ {
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				end, err := wal.Seal(ctx, w.store, me, low, base.Incarnation{Generation: 1, Index: uint64(100 + i)})
				cancel()
				if err == nil {
					ends[i] = end
					return
				}
				if errors.Is(err, base.ErrCorrupt) {
					damaged++
				}
				if damaged > 3 || tries > 100 {
					w.t.Errorf("Seal: %v", err)
					return
				}
			}
		})
	}
	sealers.Wait()
	for _, end := range ends {
		if end != ends[0] {
			w.t.Errorf("sealers disagree: %v", ends)
		}
	}
	return ends[0]
}

// replay returns what new owners find, once with the index and once without.
func (w *world) replay(low, end base.Position) map[base.TabletID][]wal.Record {
	ctx, clean := context.Background(), w.store.clean
	for _, err := range wal.Check(ctx, clean, me, low, end) {
		w.t.Errorf("Check: %v", err)
	}
	if err := wal.WriteIndex(ctx, clean, me, low, end); err != nil {
		w.t.Errorf("WriteIndex: %v", err)
		return nil
	}
	index, err := wal.ReadIndex(ctx, clean, me)
	if err != nil {
		w.t.Errorf("ReadIndex: %v", err)
		return nil
	}
	out := make(map[base.TabletID][]wal.Record)
	for id := base.TabletID(1); id <= 5; id++ {
		var lists [2][]wal.Record
		for i, x := range []*wal.Index{nil, index} {
			err := wal.Replay(ctx, clean, wal.Entry{Log: me, Tablet: id, Epoch: 1}, wal.Bounds{Low: low, End: end}, x,
				func(_ base.Position, r wal.Record) error { lists[i] = append(lists[i], r); return nil })
			if err != nil {
				w.t.Errorf("Replay: %v", err)
			}
		}
		if !slices.EqualFunc(lists[0], lists[1], func(a, b wal.Record) bool { return a.First == b.First && string(a.Body) == string(b.Body) }) {
			w.t.Errorf("tablet %d: %d records without the index, %d with it", id, len(lists[0]), len(lists[1]))
		}
		out[id] = lists[0]
	}
	return out
}

func (w *world) verify(low, end base.Position, got map[base.TabletID][]wal.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fencings > 1 {
		w.t.Errorf("OnFenced was called %d times", w.fencings)
	}
	for id, records := range w.appended {
		found := make(map[base.Seq]bool)
		prev := base.Seq(0)
		for _, r := range got[id] {
			a, ok := records[r.First]
			if !ok || a.last != r.Last || a.body != string(r.Body) {
				w.t.Errorf("tablet %d: delivered [%d, %d], which was not appended so", id, r.First, r.Last)
			}
			if r.First <= prev {
				w.t.Errorf("tablet %d: delivered %d after %d", id, r.First, prev)
			}
			prev, found[r.First] = r.Last, true
		}
		for first, a := range records {
			pos := a.batch.Position()
			switch {
			case !a.done:
				w.t.Errorf("tablet %d sequence %d: nobody was told", id, first)
			case a.err == nil && pos >= end:
				w.t.Errorf("tablet %d sequence %d: acknowledged at %d, the log ends at %d", id, first, pos, end)
			case a.err == nil && !found[first] && pos >= low:
				w.t.Errorf("tablet %d sequence %d: acknowledged at %d and lost; log is [%d, %d)", id, first, pos, low, end)
			case a.err != nil && found[first] && !errors.Is(a.err, base.ErrUnknownOutcome):
				w.t.Errorf("tablet %d sequence %d: delivered, but failed with %v", id, first, a.err)
			}
		}
	}
}

// simStore is a store in memory that takes its time and, if faulty, does what
// real ones do: objstore/faulty's faults, and the conflict of two writers of
// which both are told that the other won.
type simStore struct {
	objstore.Store // faulty, over clean
	clean          *mem.Store
	faults         *faulty.Store
	conflicts      bool

	mu  sync.Mutex
	rng *rand.Rand
}

func newSimStore(seed uint64, bad bool) *simStore {
	s := &simStore{clean: mem.New(), conflicts: bad, rng: rand.New(rand.NewPCG(seed, 1))}
	opts := faulty.Options{Seed: seed, PageSize: 10}
	if bad {
		ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
		rule := func(ops faulty.Op, p float64, kind faulty.Kind, jitter time.Duration) {
			opts.Rules = append(opts.Rules, faulty.Rule{Ops: ops, Probability: p, Fault: faulty.Fault{Kind: kind, Jitter: jitter}})
		}
		rule(faulty.Any, 0.05, faulty.FailBefore, ms(10))
		rule(faulty.Writes, 0.08, faulty.FailAfter, ms(10))
		rule(faulty.Writes, 0.08, faulty.LandLate, ms(400))
		rule(faulty.Writes, 0.04, faulty.LandTwice, ms(400))
		rule(faulty.Writes, 0.03, faulty.Torn, ms(10))
		rule(faulty.Any, 0.02, faulty.Throttle, 0)
		rule(faulty.Any, 0.02, faulty.Hang, 0)
		rule(faulty.Any, 0.05, faulty.Slow, ms(150))
		rule(faulty.Reads, 0.03, faulty.Truncate, ms(5))
		rule(faulty.Reads, 0.03, faulty.Flip, 0)
	}
	s.faults = faulty.New(s.clean, opts)
	s.Store = s.faults
	return s
}

// pass takes the time of half a call and reports whether there is a conflict.
func (s *simStore) pass(ctx context.Context) (conflict bool, err error) {
	s.mu.Lock()
	d, conflict := time.Duration(s.rng.IntN(4000))*time.Microsecond, s.conflicts && s.rng.IntN(30) == 0
	s.mu.Unlock()
	select {
	case <-time.After(d):
		return conflict, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (s *simStore) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	switch conflict, err := s.pass(ctx); {
	case err != nil:
		return err
	case conflict:
		return fmt.Errorf("%s: %w", key, objstore.ErrExists)
	}
	err := s.Store.PutIfAbsent(ctx, key, data)
	if _, late := s.pass(ctx); late != nil {
		return late
	}
	return err
}

func (s *simStore) Put(ctx context.Context, key string, data []byte) error {
	if _, err := s.pass(ctx); err != nil {
		return err
	}
	return s.Store.Put(ctx, key, data)
}

func (s *simStore) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if _, err := s.pass(ctx); err != nil {
		return nil, err
	}
	return s.Store.GetRange(ctx, key, off, n)
}

func (s *simStore) Delete(ctx context.Context, keys ...string) error {
	if _, err := s.pass(ctx); err != nil {
		return err
	}
	return s.Store.Delete(ctx, keys...)
}

// pausable is the store as a writer sees it that can be stopped like a process.
type pausable struct {
	*simStore
	mu      sync.Mutex
	resumed chan struct{} // nil while running
}

func (p *pausable) set(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.resumed == nil:
		p.resumed = make(chan struct{})
	case !on && p.resumed != nil:
		close(p.resumed)
		p.resumed = nil
	}
}

func (p *pausable) wait() {
	p.mu.Lock()
	c := p.resumed
	p.mu.Unlock()
	if c != nil {
		<-c
	}
}

func (p *pausable) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	p.wait()
	defer p.wait()
	return p.simStore.PutIfAbsent(ctx, key, data)
}

func (p *pausable) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	p.wait()
	defer p.wait()
	return p.simStore.GetRange(ctx, key, off, n)
}
