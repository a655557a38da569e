package protocol_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
	"github.com/tabletdb/tabletdb/lockservice"
	lockmem "github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/faulty"
	"github.com/tabletdb/tabletdb/objstore/retry"
	"github.com/tabletdb/tabletdb/proto/metapb"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// TestRandomHistories runs clients against three servers while a driver that
// stands in for the master does at random whatever the protocol allows, over a
// bucket and a lock service that misbehave. All that was acknowledged must be
// readable all the time, wherever a client gets an answer from. SEED repeats a
// run; HISTORIES says how many runs there are.
//
// Most of the breaks that the other tests of this package name make it fail
// within a few runs (H2's first, H3, H10 to H13, H22; not H16 and the second of
// H2, which need rarer company).
func TestRandomHistories(t *testing.T) {
	runs := 2
	if testing.Short() {
		runs = 1
	}
	if n, err := strconv.Atoi(os.Getenv("HISTORIES")); err == nil {
		runs = n
	}
	first := rand.Uint64N(1e9)
	if s := os.Getenv("SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("SEED: %v", err)
		}
		first, runs = n, 1
	}
	for i := range runs {
		seed := first + uint64(i)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newWorld(t, seed).run(3000) })
		})
	}
}

// world is one random history.
type world struct {
	*bubble
	rand   *rand.Rand // the driver's
	truth  objstore.Store
	faulty *faulty.Store
	model  *model
	rows   []string // that the writers write
	bulk   []string // that are loaded, by one loader at a time
	table  meta.Table

	mu      sync.RWMutex
	servers []*tabletservertest.Server
	deaf    map[*tabletservertest.Server]bool
	decided []map[string]int64 // loads that were pending when their loader gave up

	keeper     *keeper
	keeperLock *lockmem.Client

	stop     atomic.Bool // clients
	failed   atomic.Bool
	clients  sync.WaitGroup
	acks     atomic.Int64
	unknowns atomic.Int64
	refusals atomic.Int64
	repeats  atomic.Int64 // that were acknowledged
	ids      atomic.Uint64

	loading   atomic.Bool  // a loader is at it
	loads     atomic.Int64 // that all tablets have adopted
	collected atomic.Int64 // files
	reads     atomic.Int64
	splits    atomic.Int64
	merges    atomic.Int64
	did       map[string]int
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{rand: rand.New(rand.NewPCG(seed, 1)), deaf: map[*tabletservertest.Server]bool{}, did: map[string]int{}}
	o := lockmem.Options{}
	if w.rand.IntN(2) == 0 {
		o = forgetful()
	}
	fx := tabletservertest.NewWith(t, o)
	fx.Net = memnet.New()
	w.bubble = &bubble{Fixture: fx, t: t, ctx: t.Context()}
	w.keeper = w.newKeeper()
	w.truth = fx.Store
	w.faulty = faulty.New(fx.Store, faulty.Options{Seed: seed, Rules: mishaps()})
	// As in production: the log sees each failure, all else is retried, but
	// here not for long.
	fx.LogStore = w.faulty
	fx.Store = retry.New(w.faulty, retry.Options{Attempts: 3, BaseDelay: 5 * time.Millisecond, ThrottledDelay: 50 * time.Millisecond, Budget: -1})
	fx.Options.TruncateInterval = 200 * time.Millisecond
	fx.Options.MinTruncate = 1
	fx.Options.Tablet.MemtableBytes = 2 << 10
	fx.Options.Tablet.FileBytes = 4 << 10
	fx.Options.Tablet.BlockBytes = 4 << 10
	fx.Options.MaxInFlight = 1 + w.rand.IntN(6)
	for i := range 24 {
		w.rows = append(w.rows, fmt.Sprintf("r%02d", i))
		if i%3 == 0 {
			w.bulk = append(w.bulk, fmt.Sprintf("r%02d-bulk", i))
		}
	}
	w.model = newModel(w.everyRow())
	return w
}

// everyRow returns the rows of writers and loaders.
func (w *world) everyRow() []string { return slices.Concat(w.rows, w.bulk) }

// mishaps are what the bucket suffers from.
func mishaps() []faulty.Rule {
	rule := func(k faulty.Kind, p float64, delay, jitter time.Duration) faulty.Rule {
		return faulty.Rule{Probability: p, Fault: faulty.Fault{Kind: k, Delay: delay, Jitter: jitter}}
	}
	return []faulty.Rule{
		rule(faulty.FailBefore, 0.02, 0, 20*time.Millisecond),
		rule(faulty.FailAfter, 0.02, 0, 20*time.Millisecond),
		rule(faulty.LandLate, 0.02, 0, 5*time.Second),
		rule(faulty.LandTwice, 0.02, 0, 5*time.Second),
		rule(faulty.Throttle, 0.01, 0, 0),
		rule(faulty.Truncate, 0.01, 0, 0),
		// Flushes that take long leave more in the logs.
		{Ops: faulty.PutIfAbsent, Prefix: base.SSTablePrefix, Probability: 0.5, Fault: faulty.Fault{Kind: faulty.Slow, Jitter: 2 * time.Second}},
		rule(faulty.Slow, 0.01, 0, 500*time.Millisecond),
		rule(faulty.Slow, 1, 0, 4*time.Millisecond),
	}
}

// open opens a server; its transactions suffer from now on.
func (w *world) open() *tabletservertest.Server {
	s := w.Open(w.ctx)
	s.Lock.SetHook(w.mishap())
	return s
}

// mishap is what transactions suffer from.
func (w *world) mishap() lockmem.Hook {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(w.rand.Uint64(), 2))
	return func(lockservice.Txn, int) lockmem.Fault {
		mu.Lock()
		defer mu.Unlock()
		switch n := r.IntN(100); {
		case n < 5:
			return lockmem.LoseRequest
		case n < 10:
			return lockmem.LoseReply
		case n < 14:
			return lockmem.LandLate
		}
		return lockmem.Deliver
	}
}

func (w *world) run(steps int) {
	defer w.Close()
	defer w.faulty.Close()
	var err error
	w.table, err = w.Meta.CreateTable(w.ctx, &metapb.TableRecord{
		Name: randomTable, NextFamily: 4,
		Families: []*metapb.Family{
			{Id: 1, Name: "cf"},
			{Id: 2, Name: "v1", GcRule: &adminpb.GcRule{Rule: &adminpb.GcRule_MaxNumVersions{MaxNumVersions: 1}}},
			{Id: 3, Name: "sum", ValueType: &adminpb.Type{Kind: &adminpb.Type_AggregateType{AggregateType: &adminpb.Type_Aggregate{
				InputType:  &adminpb.Type{Kind: &adminpb.Type_Int64Type{Int64Type: &adminpb.Type_Int64{Encoding: &adminpb.Type_Int64_Encoding{Encoding: &adminpb.Type_Int64_Encoding_BigEndianBytes_{BigEndianBytes: &adminpb.Type_Int64_Encoding_BigEndianBytes{}}}}}},
				Aggregator: &adminpb.Type_Aggregate_Sum_{Sum: &adminpb.Type_Aggregate_Sum{}},
			}}}},
		},
	}, [][]byte{[]byte("r08"), []byte("r16")}, time.Now())
	w.Must(err)
	for range 3 {
		w.servers = append(w.servers, w.open())
	}
	w.reconcile(true)
	for i := range 6 {
		r := rand.New(rand.NewPCG(w.rand.Uint64(), uint64(i)))
		w.clients.Go(func() { w.writer(i, r) })
	}
	for i := range 2 {
		r := rand.New(rand.NewPCG(w.rand.Uint64(), 100+uint64(i)))
		w.clients.Go(func() { w.reader(r) })
	}
	keeping := rand.New(rand.NewPCG(w.rand.Uint64(), 200))
	w.clients.Go(func() { w.cloneReader(keeping) })
	for i := 0; i < steps && !w.failed.Load(); i++ {
		time.Sleep(time.Duration(w.rand.Int64N(int64(60 * time.Millisecond)))) // fake time
		w.step()
	}
	w.settle()
	if !w.failed.Load() {
		w.verify()
	}
	w.t.Logf("%d acknowledged (%d when repeated), %d unknown, %d refused, %d reads, %d splits, %d merges, %d loads; %v; %d faults, %d files collected", w.acks.Load(), w.repeats.Load(),
		w.unknowns.Load(), w.refusals.Load(), w.reads.Load(), w.splits.Load(), w.merges.Load(), w.loads.Load(), w.did, len(w.faulty.Events()), w.collected.Load())
	w.eventful()
	w.mustHaveKept()
	if w.acks.Load() < int64(steps)/3 || w.reads.Load() < int64(steps)/10 {
		w.t.Errorf("%d acknowledged writes and %d reads: little was tested", w.acks.Load(), w.reads.Load())
	}
}

// eventful checks that the machinery ran at all.
func (w *world) eventful() {
	for _, t := range w.Tablets(w.ctx, w.table) {
		if t.ManifestVersion < 5 && len(t.Parents) == 0 {
			w.t.Errorf("tablet %d: %d flushes and compactions; little was tested", t.ID, t.ManifestVersion)
		}
	}
	if w.splits.Load()+w.merges.Load() == 0 {
		w.t.Errorf("%d splits and %d merges; little was tested", w.splits.Load(), w.merges.Load())
	}
	logs, err := w.Meta.Logs(w.ctx, lockservice.ReadOptions{})
	w.Must(err)
	if !slices.ContainsFunc(logs, func(l meta.Log) bool { return l.Low > 0 }) {
		w.t.Error("no log was truncated; little was tested")
	}
}

// fail reports the first failure and ends the history.
func (w *world) fail(format string, args ...any) {
	if !w.failed.Swap(true) {
		w.t.Errorf(format, args...)
	}
}

// settle ends all mishaps and serves everything.
func (w *world) settle() {
	w.faulty.SetRules()
	w.keeperLock.SetHook(nil)
	for _, s := range w.servers {
		s.Lock.SetHook(nil)
		s.Lock.Partition(false)
		s.Hear()
	}
	w.mu.Lock()
	clear(w.deaf)
	w.mu.Unlock()
	w.stop.Store(true)
	for range 150 {
		time.Sleep(100 * time.Millisecond) // fake time
		w.reconcile(true)
	}
	w.clients.Wait()
	w.faulty.Drain()
	w.reconcile(true)
	w.adoptTheRest()
}

// server returns the server of an incarnation, if it still runs; else nil.
func (w *world) server(e base.Incarnation) *tabletservertest.Server {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for _, s := range w.servers {
		if s.Incarnation() == e {
			return s
		}
	}
	return nil
}

// isDeaf reports whether a server was ever made deaf: its reads are worth
// nothing then, for its clock tells it nothing.
func (w *world) isDeaf(s *tabletservertest.Server) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.deaf[s]
}

// locate returns the record of a row's tablet.
func (w *world) locate(row string) (meta.Tablet, error) {
	list, err := w.Meta.Locate(w.ctx, w.table.ID, []byte(row), 0, lockservice.ReadOptions{})
	if err != nil {
		return meta.Tablet{}, err
	}
	return list[0], nil
}

// judge tells what an error of a write means.
func (w *world) judge(err error) outcome {
	switch {
	case err == nil:
		w.acks.Add(1)
		return acked
	case errors.Is(err, base.ErrUnknownOutcome), errors.Is(err, context.DeadlineExceeded):
		w.unknowns.Add(1)
		return unknown
	case errors.Is(err, base.ErrNotServing), errors.Is(err, base.ErrFenced), errors.Is(err, base.ErrOverloaded):
		w.refusals.Add(1)
		return refused
	case strings.Contains(err.Error(), "injected"), strings.Contains(err.Error(), "canceled"):
		return refused // an increment could not read
	}
	w.fail("a write failed: %v", err)
	return unknown
}

// writer writes its rows, one write at a time, to whoever it believes serves
// them.
func (w *world) writer(n int, r *rand.Rand) {
	located := map[string]meta.Tablet{}
	for !w.stop.Load() {
		time.Sleep(time.Duration(r.Int64N(int64(80 * time.Millisecond)))) // fake time
		row := w.rows[r.IntN(len(w.rows)/6)*6+n]
		tb, ok := located[row]
		if !ok {
			var err error
			if tb, err = w.locate(row); err != nil {
				w.fail("locate: %v", err)
				return
			}
			located[row] = tb
		}
		s := w.server(tb.Owner)
		if s == nil {
			delete(located, row)
			continue
		}
		var o outcome
		if r.IntN(3) == 0 {
			w.model.increment(row, acked+100, pending)
			o = w.persist(r, row, s, tb, func(ctx context.Context, s *tabletservertest.Server, tb meta.Tablet, once *tabletservertest.Once) error {
				_, err := s.IncrementOnce(ctx, tb, once, row, "v1", "n", 1)
				return err
			})
			w.model.increment(row, pending, o)
		} else {
			k := w.model.begin(row)
			o = w.persist(r, row, s, tb, func(ctx context.Context, s *tabletservertest.Server, tb meta.Tablet, once *tabletservertest.Once) error {
				return s.MutateOnce(ctx, tb, once, row, mutations(k)...)
			})
			w.model.end(row, k, o)
		}
		if o != acked {
			delete(located, row)
		}
	}
}

// persist makes a write as a router does: while its outcome is unknown it is
// repeated, where the row is served by then. Some attempts arrive late, when a
// later one has been made and even answered.
func (w *world) persist(r *rand.Rand, row string, s *tabletservertest.Server, tb meta.Tablet,
	write func(context.Context, *tabletservertest.Server, meta.Tablet, *tabletservertest.Once) error) outcome {
	once := tabletservertest.Once{}
	binary.BigEndian.PutUint64(once.ID[:], w.ids.Add(1))
	try := func(once tabletservertest.Once) outcome {
		ctx, cancel := context.WithTimeout(w.ctx, time.Duration(r.Int64N(int64(3*time.Second))))
		defer cancel()
		return w.judge(write(ctx, s, tb, &once))
	}
	o := try(once)
	uncertain := o == unknown
	for n := 0; uncertain && o != acked && n < 100 && !w.stop.Load(); n++ {
		time.Sleep(time.Duration(r.Int64N(int64(200 * time.Millisecond)))) // fake time
		late, lateAt, lateS := once, tb, s
		if o == unknown {
			once.Attempt++
		}
		var err error
		if tb, err = w.locate(row); err != nil {
			w.fail("locate: %v", err)
			break
		}
		if s = w.server(tb.Owner); s == nil {
			s, o = lateS, refused // certainly not applied
			continue
		}
		if o = try(once); o == acked {
			w.repeats.Add(1)
		}
		if late.Attempt < once.Attempt && r.IntN(2) == 0 {
			ctx, cancel := context.WithTimeout(w.ctx, time.Second)
			if err := write(ctx, lateS, lateAt, &late); err == nil && lateAt.Epoch == tb.Epoch && o == acked && s == lateS {
				w.fail("row %s: attempt %d was answered after attempt %d", row, late.Attempt, once.Attempt)
			}
			cancel()
		}
	}
	if uncertain && o == refused {
		o = unknown // the earlier attempts
	}
	return o
}

// reader reads rows wherever it gets an answer, also by locations that are old.
func (w *world) reader(r *rand.Rand) {
	var old []meta.Tablet
	rows := w.everyRow()
	for !w.stop.Load() {
		time.Sleep(time.Duration(r.Int64N(int64(40 * time.Millisecond)))) // fake time
		row := rows[r.IntN(len(rows))]
		tb, err := w.locate(row)
		if err != nil {
			w.fail("locate: %v", err)
			return
		}
		if len(old) > 0 && r.IntN(4) == 0 {
			if x := old[r.IntN(len(old))]; x.Contains([]byte(row)) {
				tb = x
			}
		}
		if len(old) < 50 {
			old = append(old, tb)
		} else {
			old[r.IntN(len(old))] = tb
		}
		if s := w.server(tb.Owner); s != nil && !w.isDeaf(s) {
			w.read(s, tb, row, time.Duration(r.Int64N(int64(2*time.Second))))
		}
	}
}

// read reads a row and checks it; whether it got an answer does not matter.
func (w *world) read(s *tabletservertest.Server, tb meta.Tablet, row string, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	p := w.model.past(row)
	var got rowRead
	err := s.Scan(ctx, tb, &bigtablepb.ReadRowsRequest{Rows: &bigtablepb.RowSet{RowKeys: [][]byte{[]byte(row)}}}, got.add)
	if errors.Is(err, base.ErrCorrupt) { // also a zombie has what its views need pinned
		w.fail("read from %v at epoch %d: %v", s.Incarnation(), tb.Epoch, err)
	}
	if err != nil || w.isDeaf(s) { // perhaps it became deaf meanwhile
		return false
	}
	if got.err == nil {
		got.err = w.model.check(row, &got, p)
	}
	if got.err != nil {
		w.fail("read from %v at epoch %d: %v", s.Incarnation(), tb.Epoch, got.err)
	}
	w.reads.Add(1)
	return true
}
