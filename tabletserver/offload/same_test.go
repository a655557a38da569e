package offload_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/sstable"
	"github.com/tabletdb/tabletdb/sstable/compress"
	"github.com/tabletdb/tabletdb/tabletserver/compact"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/offload"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// TestSameFiles: of random jobs, a worker and the server's own merge make the
// same references and the same files, byte for byte, and Check finds nothing
// wrong with them.
func TestSameFiles(t *testing.T) {
	rng := seedtest.New(t)
	for range 12 {
		synctest.Test(t, func(t *testing.T) {
			f := tabletservertest.New(t)
			defer f.Close()
			f.Options.NoCompaction = true
			w := f.OpenWorker(t.Context(), 4, nil)
			s := f.Open(t.Context())
			tb := f.Serve(t.Context(), f.Tablets(t.Context(), f.CreateTable(t.Context()))[0], s)
			scribble(t, rng, f, s, tb)
			pool := offload.OpenPool(offload.PoolConfig{Meta: f.Meta, Network: f.Net.Node("test"), Name: "test", Logger: f.Logger()})
			defer pool.Close()
			time.Sleep(time.Second)
			halves, err := s.Split(t.Context(), tb, "r10")
			f.Must(err)
			drawn := uint64(1 << 20)
			for _, half := range halves {
				for range 4 {
					job := randomJob(t, rng, f, half)
					slot, _ := pool.Acquire()
					if slot == nil {
						t.Fatal("no slot")
					}
					sameFiles(t, f, slot, job, &drawn)
					slot.Release()
				}
			}
			if st, err := w.Status(t.Context(), nil); err != nil || st.Done != 8 {
				t.Errorf("the worker says %v, %v", st, err)
			}
		})
	}
}

// scribble writes runs of all kinds of entries.
func scribble(t *testing.T, rng *rand.Rand, f *tabletservertest.Fixture, s *tabletservertest.Server, tb meta.Tablet) {
	t.Helper()
	ctx := t.Context()
	row := func() string { return fmt.Sprintf("r%02d", rng.IntN(20)) }
	for range 2 + rng.IntN(6) {
		for range 1 + rng.IntN(60) {
			r := row()
			switch rng.IntN(8) {
			case 0:
				f.Must(s.Mutate(ctx, tb, r, &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromRow_{DeleteFromRow: &bigtablepb.Mutation_DeleteFromRow{}}}))
			case 1:
				f.Must(s.Mutate(ctx, tb, r, &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromFamily_{DeleteFromFamily: &bigtablepb.Mutation_DeleteFromFamily{FamilyName: "cf"}}}))
			case 2:
				_, err := s.Increment(ctx, tb, r, "cf", "n", int64(rng.IntN(100)))
				f.Must(err)
			default:
				f.Must(s.Set(ctx, tb, r, []string{"cf", "v1"}[rng.IntN(2)], fmt.Sprint("q", rng.IntN(3)), int64(1000*rng.IntN(50)), string(make([]byte, rng.IntN(3000)))+"v"))
			}
		}
		if rng.IntN(4) == 0 {
			from := rng.IntN(20)
			f.Must(s.Drop(ctx, tb, nil, fmt.Sprintf("r%02d", from), fmt.Sprintf("r%02d", from+1+rng.IntN(3))))
		}
		f.Must(s.Flush(ctx, tb))
	}
}

// randomJob makes a job of some runs of a tablet.
func randomJob(t *testing.T, rng *rand.Rand, f *tabletservertest.Fixture, tb meta.Tablet) *compact.Job {
	t.Helper()
	rec := f.Record(t.Context(), tb)
	m, err := manifest.Read(t.Context(), f.Store, rec.Manifest)
	f.Must(err)
	table, err := f.Meta.Table(t.Context(), tb.Table)
	f.Must(err)
	sch, err := schema.Compile(table)
	f.Must(err)
	from := rng.IntN(len(m.Runs))
	to := from + 1 + rng.IntN(len(m.Runs)-from)
	job := &compact.Job{
		Tablet: tb.ID, Inputs: m.Runs[from:to], Drops: m.Drops, Snapshot: m.Flushed,
		Layout: compact.Layout{
			Schema: sch, Oldest: to == len(m.Runs), Older: manifest.Families(m.Runs[to:]...), Now: time.Now().UnixMicro(),
			FileBytes: int64(1<<10 + rng.IntN(64<<10)), BlockBytes: sstable.MinBlockSize, Compression: compress.Type(rng.IntN(3)),
		},
	}
	job.Families = manifest.Families(job.Inputs...)
	return job
}

// sameFiles does a job twice, under the same names, and compares.
func sameFiles(t *testing.T, f *tabletservertest.Fixture, slot *offload.Slot, job *compact.Job, drawn *uint64) {
	t.Helper()
	ctx := t.Context()
	creator := base.Incarnation{Generation: 9, Index: 9}
	first := *drawn
	var numbers []base.FileNumber
	draw := func() base.FileNumber {
		*drawn++
		n := base.FileNumber{Creator: creator, Number: *drawn}
		numbers = append(numbers, n)
		return n
	}
	there, err := slot.Merge(ctx, job, "test", draw, func(int64) {})
	f.Must(err)
	f.Must(compact.Check(job, there, numbers))
	names := numbers
	numbers, *drawn = nil, first
	local := map[base.FileNumber][]byte{}
	here, err := tablet.MergeFiles(ctx, tablet.NewFiles(f.Store, sstable.NewCache(0), 1<<20, base.Incarnation{}), job, 1<<20, tablet.FileSink{
		Draw: func(context.Context) (base.FileNumber, error) { return draw(), nil },
		Put:  func(_ context.Context, n base.FileNumber, data []byte) error { local[n] = data; return nil },
	})
	f.Must(err)
	if !slices.Equal(names, numbers) || here.Read != there.Read || len(here.Runs) != len(there.Runs) {
		t.Fatalf("here %v %d, there %v %d", numbers, here.Read, names, there.Read)
	}
	for i := range here.Runs {
		if a, b := manifest.RunProto(here.Runs[i]), manifest.RunProto(there.Runs[i]); !proto.Equal(a, b) {
			t.Errorf("here %v\nthere %v", a, b)
		}
	}
	for n, data := range local {
		object, err := f.Store.Get(ctx, base.SSTableObject(n))
		if err != nil || string(object) != string(data) {
			t.Errorf("file %v differs: %v", n, err)
		}
	}
	var keys []string
	for _, n := range names {
		keys = append(keys, base.SSTableObject(n))
	}
	f.Must(f.Store.Delete(ctx, keys...))
	*drawn += uint64(len(names))
}
