package cells_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation/aggregate"
	"github.com/tabletdb/tabletdb/internal/rowfilter"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/metapb"
	"github.com/tabletdb/tabletdb/tabletserver/cells"
	"github.com/tabletdb/tabletdb/tabletserver/schema"
)

const now = int64(1_000_000_000)

func versions(n int32) *adminpb.GcRule {
	return &adminpb.GcRule{Rule: &adminpb.GcRule_MaxNumVersions{MaxNumVersions: n}}
}

func age(d time.Duration) *adminpb.GcRule {
	return &adminpb.GcRule{Rule: &adminpb.GcRule_MaxAge{MaxAge: durationpb.New(d)}}
}

func both(union bool, rules ...*adminpb.GcRule) *adminpb.GcRule {
	if union {
		return &adminpb.GcRule{Rule: &adminpb.GcRule_Union_{Union: &adminpb.GcRule_Union{Rules: rules}}}
	}
	return &adminpb.GcRule{Rule: &adminpb.GcRule_Intersection_{Intersection: &adminpb.GcRule_Intersection{Rules: rules}}}
}

// Families of the test's table. dropped is not in the schema any more.
const (
	all base.FamilyID = iota + 1
	one
	young
	union
	inter
	sums
	highest
	dropped
)

// versioned are the families whose rules count versions: what is left of a
// column there depends on when it was compacted if single versions are deleted.
var versioned = []base.FamilyID{one, union, inter}

func testSchema(t testing.TB) *schema.Schema {
	aggregated := func(a *adminpb.Type_Aggregate) *adminpb.Type {
		a.InputType = &adminpb.Type{Kind: &adminpb.Type_Int64Type{Int64Type: &adminpb.Type_Int64{Encoding: &adminpb.Type_Int64_Encoding{
			Encoding: &adminpb.Type_Int64_Encoding_BigEndianBytes_{BigEndianBytes: &adminpb.Type_Int64_Encoding_BigEndianBytes{}}}}}}
		return &adminpb.Type{Kind: &adminpb.Type_AggregateType{AggregateType: a}}
	}
	s, err := schema.Compile(meta.Table{ID: 1, Name: "t", Record: &metapb.TableRecord{Families: []*metapb.Family{
		{Id: uint32(all), Name: "all"},
		{Id: uint32(one), Name: "one", GcRule: versions(1)},
		{Id: uint32(young), Name: "young", GcRule: age(time.Second)},
		{Id: uint32(union), Name: "union", GcRule: both(true, versions(3), age(2*time.Second))},
		{Id: uint32(inter), Name: "inter", GcRule: both(false, versions(2), age(time.Second))},
		{Id: uint32(sums), Name: "sums", ValueType: aggregated(&adminpb.Type_Aggregate{Aggregator: &adminpb.Type_Aggregate_Sum_{Sum: &adminpb.Type_Aggregate_Sum{}}})},
		{Id: uint32(highest), Name: "highest", ValueType: aggregated(&adminpb.Type_Aggregate{Aggregator: &adminpb.Type_Aggregate_Max_{Max: &adminpb.Type_Aggregate_Max{}}})},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// entry is one entry of a tablet. end is of deletions of a range of times,
// which begin at ts.
type entry struct {
	row    string
	family base.FamilyID
	qual   string
	ts     int64
	end    int64
	seq    base.Seq
	kind   base.Kind
	value  []byte
}

func (e *entry) key() []byte {
	switch e.kind {
	case base.KindDeleteRow:
		return base.AppendDeleteRowKey(nil, []byte(e.row), e.seq)
	case base.KindDeleteFamily:
		return base.AppendDeleteFamilyKey(nil, []byte(e.row), e.family, e.seq)
	case base.KindDeleteColumn:
		return base.AppendDeleteColumnKey(nil, []byte(e.row), e.family, []byte(e.qual), e.seq)
	}
	return base.AppendCellKey(nil, []byte(e.row), e.family, []byte(e.qual), e.ts, e.seq, e.kind)
}

// hides reports whether deletion d hides e.
func (d *entry) hides(e *entry) bool {
	if d.row != e.row || d.seq <= e.seq {
		return false
	}
	switch d.kind {
	case base.KindDeleteRow:
		return true
	case base.KindDeleteFamily:
		return d.family == e.family
	case base.KindDeleteColumn:
		return d.family == e.family && d.qual == e.qual && e.ts >= d.ts && (d.end == 0 || e.ts < d.end)
	}
	return false
}

// cellsOf returns what a read as of snapshot finds, as "row family:qual@ts=value".
func cellsOf(s *schema.Schema, entries []entry, snapshot base.Seq) []string {
	var deletions, live []*entry
	for i := range entries {
		switch e := &entries[i]; {
		case e.seq > snapshot:
		case e.kind == base.KindDeleteRow, e.kind == base.KindDeleteFamily, e.kind == base.KindDeleteColumn:
			deletions = append(deletions, e)
		default:
			live = append(live, e)
		}
	}
	live = slices.DeleteFunc(live, func(e *entry) bool {
		return s.ByID(e.family) == nil || slices.ContainsFunc(deletions, func(d *entry) bool { return d.hides(e) })
	})
	slices.SortFunc(live, func(a, b *entry) int { return bytes.Compare(a.key(), b.key()) })
	var out []string
	for i := 0; i < len(live); {
		n := 0 // versions of the column
		for first := live[i]; i < len(live) && live[i].row == first.row && live[i].family == first.family && live[i].qual == first.qual; n++ {
			e, f := live[i], s.ByID(first.family)
			value := string(e.value)
			acc := aggregate.Accumulator{Type: f.Aggregate}
			for ; i < len(live) && live[i].row == e.row && live[i].family == e.family && live[i].qual == e.qual && live[i].ts == e.ts; i++ {
				if f.Aggregate != aggregate.None {
					if err := acc.Add(live[i].value); err != nil {
						panic(err)
					}
					value = string(acc.AppendValue(nil))
				}
			}
			if !f.GC.Drop(n, e.ts, now) {
				out = append(out, fmt.Sprintf("%q %s:%q@%d=%x", e.row, f.Name, e.qual, e.ts, value))
			}
		}
	}
	return out
}

// randomEntries returns n entries with the sequences from 1 to n.
func randomEntries(rng *rand.Rand, n, rows int) []entry {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	entries := make([]entry, n)
	for i := range entries {
		e := &entries[i]
		*e = entry{
			row: fmt.Sprintf("r%02d", rng.IntN(rows)), family: base.FamilyID(1 + rng.IntN(int(dropped))),
			qual: pick("", "\x00", "a", "a\x00", "b", "\xff"), ts: now - int64(rng.IntN(6))*500_000,
			seq: base.Seq(i + 1), kind: base.KindSet, value: []byte(strconv.Itoa(i)),
		}
		if rng.IntN(10) == 0 {
			e.row += pick("\x00", "\x00\x00", "\xff")
		}
		switch k := rng.IntN(100); {
		case k < 2:
			e.kind = base.KindDeleteRow
		case k < 6:
			e.kind = base.KindDeleteFamily
		case k < 10:
			e.kind, e.ts, e.end = base.KindDeleteColumn, 0, 0
		case k < 25 && !slices.Contains(versioned, e.family):
			e.kind = base.KindDeleteColumn
			e.end = e.ts + int64(1+rng.IntN(3))*500_000
		case e.family == sums || e.family == highest:
			e.kind = []base.Kind{base.KindAdd, base.KindMerge}[rng.IntN(2)]
			e.value = aggregate.AppendState(nil, rng.Int64N(1000)-500)
		}
		if e.kind == base.KindDeleteColumn {
			e.value = base.AppendTimeRange(nil, e.ts, e.end)
		}
	}
	return entries
}

// slice is an iterator over entries in memory.
type slice struct {
	keys, values [][]byte
	at           int
}

func newSlice(entries []entry) *slice {
	list := slices.Clone(entries)
	slices.SortFunc(list, func(a, b entry) int { return bytes.Compare(a.key(), b.key()) })
	s := &slice{}
	for _, e := range list {
		s.keys, s.values = append(s.keys, e.key()), append(s.values, e.value)
	}
	return s
}

func (s *slice) find(key []byte) int {
	i, _ := slices.BinarySearchFunc(s.keys, key, bytes.Compare)
	return i
}

func (s *slice) SeekGE(key []byte) bool { s.at = s.find(key); return s.at < len(s.keys) }
func (s *slice) SeekLT(key []byte) bool { s.at = s.find(key) - 1; return s.at >= 0 }
func (s *slice) Next() bool             { s.at++; return s.at < len(s.keys) }
func (s *slice) Key() []byte            { return s.keys[s.at] }
func (s *slice) Value() []byte          { return s.values[s.at] }
func (s *slice) Err() error             { return nil }
func (s *slice) Close() error           { return nil }

func format(row []byte, c *rowfilter.Cell) string {
	return fmt.Sprintf("%q %s:%q@%d=%x", row, c.Family, c.Qualifier, c.Timestamp, c.Value)
}

// readAll walks all rows.
func readAll(t testing.TB, it base.Iterator, s *schema.Schema, snapshot base.Seq) []string {
	t.Helper()
	var got []string
	r := cells.NewReader(it, s, snapshot, now)
	for ok := r.SeekGE(nil); ok; ok = r.NextRow() {
		for r.Next() {
			got = append(got, format(r.Row(), r.Cell()))
		}
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return got
}

func diff(t testing.TB, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("%s: cell %d is\n%s, want\n%s", what, i, g, w)
		}
	}
}
