package tabletserver_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/seedtest"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/metapb"
	"github.com/tabletdb/tabletdb/tabletserver/compact"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// groupTable makes a table with the families cf, v1, w and wsum, the last of
// which adds up what is written.
func groupTable(ctx context.Context, f *tabletservertest.Fixture) meta.Table {
	sum := &adminpb.Type{Kind: &adminpb.Type_AggregateType{AggregateType: &adminpb.Type_Aggregate{
		InputType:  &adminpb.Type{Kind: &adminpb.Type_Int64Type{Int64Type: &adminpb.Type_Int64{}}},
		Aggregator: &adminpb.Type_Aggregate_Sum_{Sum: &adminpb.Type_Aggregate_Sum{}},
	}}}
	t, err := f.Meta.CreateTable(ctx, &metapb.TableRecord{
		Name: "projects/p/instances/i/tables/groups", NextFamily: 5,
		Families: []*metapb.Family{
			{Id: 1, Name: "cf"},
			{Id: 2, Name: "v1", GcRule: &adminpb.GcRule{Rule: &adminpb.GcRule_MaxNumVersions{MaxNumVersions: 1}}},
			{Id: 3, Name: "w"},
			{Id: 4, Name: "wsum", ValueType: sum},
		},
	}, nil, time.Now())
	f.Must(err)
	return t
}

// setStorage changes the storage of families of a table.
func setStorage(ctx context.Context, f *tabletservertest.Fixture, t meta.Table, changes ...*controlpb.FamilyStorage) {
	f.T.Helper()
	now, err := f.Meta.Table(ctx, t.ID)
	f.Must(err)
	rec, err := schema.SetStorage(now.Record, changes)
	f.Must(err)
	_, err = f.Meta.UpdateTable(ctx, now, rec)
	f.Must(err)
	time.Sleep(time.Second) // fake; servers watch
}

func inGroup(family, group string) *controlpb.FamilyStorage {
	return &controlpb.FamilyStorage{Family: family, LocalityGroup: proto.String(group)}
}

// filesOf returns the files of a tablet by the group that they were written for.
func filesOf(ctx context.Context, f *tabletservertest.Fixture, t meta.Tablet) map[string][]manifest.File {
	f.T.Helper()
	by := map[string][]manifest.File{}
	rec := f.Record(ctx, t)
	if rec.Manifest.IsZero() {
		return by
	}
	m, err := manifest.Read(ctx, f.Store, rec.Manifest)
	f.Must(err)
	for _, r := range m.Runs {
		for _, x := range r {
			by[x.Group] = append(by[x.Group], x)
		}
	}
	return by
}

// family passes the cells of one family.
func family(name string) *bigtablepb.RowFilter {
	return &bigtablepb.RowFilter{Filter: &bigtablepb.RowFilter_FamilyNameRegexFilter{FamilyNameRegexFilter: name}}
}

// TestGroupsAreReadApart: a read that asks for one group opens no file of
// another, whether it scans, reads a row, reads for a condition or increments;
// a change in one group rewrites nothing of the other.
func TestGroupsAreReadApart(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		f.Options.CacheBytes = -1
		f.Options.Tablet.Compaction = compact.Options{MinMerge: 3}
		s := f.Open(ctx)
		table := groupTable(ctx, f)
		setStorage(ctx, f, table, inGroup("cf", "small"), inGroup("w", "big"))
		tb := f.Serve(ctx, f.Tablets(ctx, table)[0], s)
		const rows = 100
		for i := range rows {
			f.Must(s.Mutate(ctx, tb, fmt.Sprintf("row%03d", i), tabletservertest.SetCell("cf", "q", 1000, "0123456789"), tabletservertest.SetCell("w", "q", 1000, noise(uint64(i), 10_000))))
		}
		f.Must(s.Flush(ctx, tb))
		files := filesOf(ctx, f, tb)
		if len(files) != 2 || len(files["small"]) != 1 || len(files["big"]) != 1 {
			t.Fatalf("files %v", files)
		}
		if small, big := files["small"][0].Size, files["big"][0].Size; small > 10_000 || big < rows*9_000 {
			t.Errorf("files of %d and %d bytes", small, big)
		}
		object := func(group string) string { return base.SSTableObject(filesOf(ctx, f, tb)[group][0].Number) }
		s, tb = failOver(f, s, tb) // nothing is open
		apart := func(what string, want, not string, read func()) {
			t.Helper()
			s, tb = failOver(f, s, tb) // nothing is open
			s.Store.Reset()
			read()
			if n := s.Store.Count(tabletservertest.Get, object(want)); n == 0 {
				t.Errorf("%s: no GET of the file of group %s", what, want)
			}
			if n := s.Store.Count(tabletservertest.Get, object(not)); n > 0 {
				t.Errorf("%s: %d GETs of the file of group %s", what, n, not)
			}
		}
		read := func(r *bigtablepb.ReadRowsRequest, want int) func() {
			return func() {
				got, err := s.Read(ctx, tb, r)
				f.Must(err)
				if len(got) != want {
					t.Errorf("%d rows, want %d", len(got), want)
				}
			}
		}
		one := point("row042")
		one.Filter = family("cf")
		apart("a scan", "small", "big", read(&bigtablepb.ReadRowsRequest{Filter: family("cf")}, rows))
		apart("a reversed scan", "small", "big", read(&bigtablepb.ReadRowsRequest{Filter: family("cf"), Reversed: true}, rows))
		apart("a row", "small", "big", read(one, 1))
		one = point("row042")
		one.Filter = family("w")
		apart("a row of the other", "big", "small", read(one, 1))
		apart("an increment", "small", "big", func() {
			_, err := s.Increment(ctx, tb, "row000", "cf", "counter", 1)
			f.Must(err)
		})
		before := files["big"][0].Number
		for i := range 20 {
			f.Must(s.Set(ctx, tb, fmt.Sprintf("row%03d", i), "cf", "q", 2000, "new"))
			f.Must(s.Flush(ctx, tb))
			time.Sleep(time.Second) // compactions come to rest
		}
		files = filesOf(ctx, f, tb)
		if len(files["big"]) != 1 || files["big"][0].Number != before {
			t.Errorf("files of the big group: %v, it was %v", files["big"], before)
		}
		if n := len(files["small"]); n > 5 {
			t.Errorf("%d files of the small group", n)
		}
	})
}

// TestDeletionsReachAllGroups: a row that is deleted is deleted in every group,
// also in those of which nothing was written since, and where groups change
// between; and deletions are gone after a major compaction.
func TestDeletionsReachAllGroups(t *testing.T) {
	inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) {
		ctx := t.Context()
		f.Options.NoCompaction = true
		s := f.Open(ctx)
		table := groupTable(ctx, f)
		setStorage(ctx, f, table, inGroup("w", "big"))
		tb := f.Serve(ctx, f.Tablets(ctx, table)[0], s)
		set := func(row string) {
			f.Must(s.Mutate(ctx, tb, row, tabletservertest.SetCell("cf", "q", 1000, "c"), tabletservertest.SetCell("w", "q", 1000, "w")))
		}
		want := func(when string, rows ...string) {
			t.Helper()
			for name, mark := range map[string]string{"cf": " cf:q@1000=c", "w": " w:q@1000=w"} {
				got, err := s.Read(ctx, tb, &bigtablepb.ReadRowsRequest{Filter: family(name)})
				f.Must(err)
				var lines []string
				for _, r := range rows {
					lines = append(lines, r+mark)
				}
				if !slices.Equal(got, lines) {
					t.Errorf("%s: family %s has %q, want %q", when, name, got, lines)
				}
			}
		}
		gone := &bigtablepb.Mutation{Mutation: &bigtablepb.Mutation_DeleteFromRow_{DeleteFromRow: &bigtablepb.Mutation_DeleteFromRow{}}}
		for _, row := range []string{"a", "b", "c", "d"} {
			set(row)
		}
		f.Must(s.Flush(ctx, tb))
		f.Must(s.Mutate(ctx, tb, "b", gone))
		want("in memory", "a", "c", "d")
		f.Must(s.Flush(ctx, tb))
		want("in files", "a", "c", "d")
		setStorage(ctx, f, table, inGroup("cf", "big"), inGroup("w", ""))
		f.Must(s.Mutate(ctx, tb, "c", gone))
		f.Must(s.Flush(ctx, tb))
		want("after the groups were exchanged", "a", "d")
		s, tb = failOver(f, s, tb)
		want("at another server", "a", "d")
		f.Must(s.Compact(ctx, tb))
		want("compacted", "a", "d")
		for g, files := range filesOf(ctx, f, tb) {
			for _, x := range files {
				if x.Tombstones > 0 || x.Entries != 2 {
					t.Errorf("group %q: %d entries, %d deletions", g, x.Entries, x.Tombstones)
				}
				if id := map[string]base.FamilyID{"": 3, "big": 1}[g]; !slices.Equal(x.Families, []base.FamilyID{id}) {
					t.Errorf("group %q has families %v", g, x.Families)
				}
			}
		}
	})
}

// groupWorld is a table whose families change groups while it is split, merged,
// compacted and moved, and what it should hold.
type groupWorld struct {
	f       *tabletservertest.Fixture
	s       *tabletservertest.Server
	table   meta.Table
	tablets []meta.Tablet // in order
	m       table
	x       *traffic
	once    []onceWrite
}

// onceWrite is a write that a repeat must not apply again.
type onceWrite struct {
	row     string
	id      mutation.ID
	attempt uint32
	m       *bigtablepb.Mutation
	at      time.Time
}

func (w *groupWorld) tablet(row string) meta.Tablet {
	i := slices.IndexFunc(w.tablets, func(t meta.Tablet) bool {
		return row >= string(t.Start) && (len(t.End) == 0 || row < string(t.End))
	})
	return w.tablets[i]
}

// TestGroupsAgainstModel: whatever becomes of groups and tablets, reads see what
// was written. Runs and files are tiny, and merged as compact.Pick says.
func TestGroupsAgainstModel(t *testing.T) {
	rng := seedtest.New(t)
	for range 4 {
		inBubble(t, func(t *testing.T, f *tabletservertest.Fixture) { groupsAgainstModel(t, f, rng) })
	}
}

func groupsAgainstModel(t *testing.T, f *tabletservertest.Fixture, rng *rand.Rand) {
	ctx := t.Context()
	f.Options.Tablet.FileBytes = int64(2+rng.IntN(8)) << 10
	f.Options.Tablet.BlockBytes = 4 << 10
	f.Options.Tablet.Compaction = compact.Options{MinMerge: 2 + rng.IntN(3), MaxRuns: 2 + rng.IntN(4), TombstoneRatio: 60}
	w := &groupWorld{f: f, s: f.Open(ctx), table: groupTable(ctx, f), m: table{}}
	w.x = &traffic{rand: rng, rows: 60, more: []string{"w", "wsum"}}
	w.tablets = []meta.Tablet{f.Serve(ctx, f.Tablets(ctx, w.table)[0], w.s)}
	for range 1500 {
		w.step(ctx, rng)
	}
	for _, tb := range w.tablets {
		f.Must(w.s.Compact(ctx, tb))
	}
	w.read(ctx, &bigtablepb.ReadRowsRequest{})
	for range 50 {
		w.read(ctx, w.x.request())
	}
}

func (w *groupWorld) step(ctx context.Context, rng *rand.Rand) {
	f, s := w.f, w.s
	i := rng.IntN(len(w.tablets))
	switch k := rng.IntN(1000); {
	case k < 60:
		f.Must(s.Flush(ctx, w.tablets[i]))
	case k < 64:
		f.Must(s.Compact(ctx, w.tablets[i]))
	case k < 80:
		w.regroup(ctx, rng)
	case k < 90:
		w.split(ctx, i)
	case k < 100 && i > 0:
		m, err := s.Merge(ctx, w.tablets[i-1], w.tablets[i])
		f.Must(err)
		w.tablets = slices.Replace(w.tablets, i-1, i+1, m)
	case k < 103:
		w.moveAll(ctx)
	case k < 106:
		time.Sleep(time.Duration(rng.IntN(8)) * time.Minute)
	case k < 116:
		start, end := w.x.dropRange()
		for _, tb := range w.tablets {
			if err := s.Drop(ctx, tb, nil, start, end); err != nil && !errors.Is(err, base.ErrWrongTablet) {
				f.Must(err)
			}
		}
		maps.DeleteFunc(w.m, func(row string, _ map[column]map[int64]string) bool { return row >= start && (end == "" || row < end) })
		w.once = nil // not told apart any more
	case k < 160:
		w.writeOnce(ctx, rng)
	case k < 200 && len(w.once) > 0:
		w.repeat(ctx, rng)
	case k < 600:
		row := w.x.row()
		var list []*bigtablepb.Mutation
		for range 1 + rng.IntN(4) {
			mut := w.x.mutation()
			list = append(list, mut)
			w.m.apply(row, mut)
		}
		f.Must(s.Mutate(ctx, w.tablet(row), row, list...))
	default:
		w.read(ctx, w.x.request())
	}
}

// regroup puts a family into another group, and changes how it is stored.
func (w *groupWorld) regroup(ctx context.Context, rng *rand.Rand) {
	setStorage(ctx, w.f, w.table, &controlpb.FamilyStorage{
		Family: w.x.family(), LocalityGroup: proto.String([]string{"", "g", "h"}[rng.IntN(3)]), InMemory: proto.Bool(rng.IntN(3) == 0),
		Compression: metapb.Storage_Compression(rng.IntN(4)).Enum(), Bloom: metapb.Storage_Bloom(rng.IntN(4)).Enum(),
	})
}

func (w *groupWorld) split(ctx context.Context, i int) {
	tb, row := w.tablets[i], w.x.row()
	if row <= string(tb.Start) || len(tb.End) > 0 && row >= string(tb.End) || len(w.tablets) > 4 {
		return
	}
	children, err := w.s.Split(ctx, tb, row)
	w.f.Must(err)
	w.tablets = slices.Replace(w.tablets, i, i+1, children...)
}

// moveAll kills the server and serves its tablets at another.
func (w *groupWorld) moveAll(ctx context.Context) {
	to := w.f.Open(ctx)
	w.s.Kill()
	dead := w.s.Incarnation()
	w.f.Expire(ctx, dead)
	for i := range w.tablets {
		w.tablets[i] = w.f.Bump(ctx, w.tablets[i])
	}
	w.f.Seal(ctx, dead)
	for i := range w.tablets {
		w.tablets[i] = w.f.Serve(ctx, w.tablets[i], to)
	}
	w.s = to
}

// writeOnce writes a cell in a way that is remembered, in the hidden family.
func (w *groupWorld) writeOnce(ctx context.Context, rng *rand.Rand) {
	o := onceWrite{row: w.x.row(), m: w.x.mutation(), at: time.Now()}
	for i := range o.id {
		o.id[i] = byte(rng.Uint32())
	}
	w.m.apply(o.row, o.m)
	w.f.Must(w.s.MutateOnce(ctx, w.tablet(o.row), &tabletservertest.Once{ID: o.id}, o.row, o.m))
	w.once = append(w.once, o)
}

// repeat sends such a write again, which must change nothing.
func (w *groupWorld) repeat(ctx context.Context, rng *rand.Rand) {
	w.once = slices.DeleteFunc(w.once, func(o onceWrite) bool { return time.Since(o.at) > 10*time.Minute })
	if len(w.once) == 0 {
		return
	}
	o := &w.once[rng.IntN(len(w.once))]
	o.attempt++
	w.f.Must(w.s.MutateOnce(ctx, w.tablet(o.row), &tabletservertest.Once{ID: o.id, Attempt: o.attempt}, o.row, o.m))
}

// read compares what a request yields, over all tablets, with the model.
func (w *groupWorld) read(ctx context.Context, r *bigtablepb.ReadRowsRequest) {
	w.f.T.Helper()
	if len(w.tablets) > 1 {
		r.RowsLimit = 0
	}
	list := slices.Clone(w.tablets)
	if r.Reversed {
		slices.Reverse(list)
	}
	var got []string
	for _, tb := range list {
		rows, err := w.s.Read(ctx, tb, r)
		w.f.Must(err)
		got = append(got, rows...)
	}
	if want := w.m.read(w.f.T.(*testing.T), r); !slices.Equal(got, want) {
		w.f.T.Fatalf("read %v of %d tablets\n%s\nwant\n%s", r, len(list), strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
