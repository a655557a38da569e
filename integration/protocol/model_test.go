package protocol_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"

	"github.com/tabletdb/tabletdb/internal/chunk"
	"github.com/tabletdb/tabletdb/tabletserver/tabletservertest"
)

// outcome is what a writer was told of its write.
type outcome uint8

const (
	pending outcome = iota
	acked           // it is there, for ever
	refused         // it is not there, and never will be
	unknown         // one or the other
)

// history of a row: what was written and what was seen of it. Write k of a row
// puts, atomically, cf:q@k, cf:r@k (all versions are kept), v1:last at the
// server's time (the newest is kept) and adds 1 to sum:n@0. Increments add 1 to
// v1:n. So each read can be checked against itself, and against the past.
type rowModel struct {
	writes     []outcome // by k-1
	seen       []bool    // some read has returned it
	incs       map[outcome]int64
	sawCounter int64 // the highest value read
}

// model is what is known of all rows. Each row has one writer at a time.
type model struct {
	mu   sync.Mutex
	rows map[string]*rowModel
}

func newModel(rows []string) *model {
	m := &model{rows: map[string]*rowModel{}}
	for _, r := range rows {
		m.rows[r] = &rowModel{incs: map[outcome]int64{}}
	}
	return m
}

// begin announces the next write of a row and returns its number.
func (m *model) begin(row string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rows[row]
	r.writes, r.seen = append(r.writes, pending), append(r.seen, false)
	return int64(len(r.writes))
}

func (m *model) end(row string, k int64, o outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows[row].writes[k-1] = o
}

func (m *model) increment(row string, from, to outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if from == pending {
		m.rows[row].incs[pending]--
	}
	m.rows[row].incs[to]++
}

// mutations of write k.
func mutations(k int64) []*bigtablepb.Mutation {
	v := strconv.FormatInt(k, 10)
	return []*bigtablepb.Mutation{
		tabletservertest.SetCell("cf", "q", k*1000, v), tabletservertest.SetCell("cf", "r", k*1000, v),
		tabletservertest.SetCell("v1", "last", -1, v),
		{Mutation: &bigtablepb.Mutation_AddToCell_{AddToCell: &bigtablepb.Mutation_AddToCell{
			FamilyName: "sum", ColumnQualifier: &bigtablepb.Value{Kind: &bigtablepb.Value_RawValue{RawValue: []byte("n")}},
			Timestamp: &bigtablepb.Value{Kind: &bigtablepb.Value_RawTimestampMicros{}},
			Input:     &bigtablepb.Value{Kind: &bigtablepb.Value_IntValue{IntValue: 1}},
		}}},
	}
}

// past is what must be in a read that begins now.
type past struct {
	must       map[int64]bool
	counter    int64 // at least
	sawCounter int64
}

func (m *model) past(row string) past {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rows[row]
	p := past{must: map[int64]bool{}, counter: r.incs[acked], sawCounter: r.sawCounter}
	for i, o := range r.writes {
		if o == acked || r.seen[i] {
			p.must[int64(i+1)] = true
		}
	}
	return p
}

// check compares what a read that began at p has returned of a row with the
// row's past and with itself.
func (m *model) check(row string, got *rowRead, p past) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rows[row]
	var last int64
	for _, k := range got.ids["cf:q"] {
		last = max(last, k)
		switch {
		case k < 1 || k > int64(len(r.writes)):
			return fmt.Errorf("row %s has write %d, which nobody made", row, k)
		case r.writes[k-1] == refused:
			return fmt.Errorf("row %s has write %d, which was refused", row, k)
		}
		r.seen[k-1] = true
		delete(p.must, k)
	}
	switch n := r.incs; {
	case len(p.must) > 0:
		return fmt.Errorf("row %s lacks writes %v, which were acknowledged or read before; it has %v", row, keys(p.must), got.ids["cf:q"])
	case !slices.Equal(got.ids["cf:q"], got.ids["cf:r"]):
		return fmt.Errorf("row %s has %v in one column and %v in the other", row, got.ids["cf:q"], got.ids["cf:r"])
	case got.sum != int64(len(got.ids["cf:q"])):
		return fmt.Errorf("row %s counts %d for the writes %v", row, got.sum, got.ids["cf:q"])
	case got.last != last:
		return fmt.Errorf("row %s says that write %d is the last of %v", row, got.last, got.ids["cf:q"])
	case got.counter < max(p.counter, p.sawCounter):
		return fmt.Errorf("row %s: counter %d after %d increments were acknowledged and %d was read", row, got.counter, p.counter, p.sawCounter)
	case got.counter > n[acked]+n[unknown]+n[pending]:
		return fmt.Errorf("row %s: counter %d with %d acknowledged increments, %d unknown, %d pending", row, got.counter, n[acked], n[unknown], n[pending])
	}
	r.sawCounter = max(r.sawCounter, got.counter)
	return nil
}

func keys(m map[int64]bool) (list []int64) {
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// rowRead is what a row was read to hold.
type rowRead struct {
	ids                map[string][]int64 // by column, newest first
	sum, last, counter int64
	err                error
}

// add takes a row as it was read.
func (r *rowRead) add(row *chunk.Row) {
	r.ids = map[string][]int64{}
	for _, c := range row.Cells {
		switch column := c.Family + ":" + string(c.Qualifier); column {
		case "sum:n", "v1:n":
			n := int64(binary.BigEndian.Uint64(c.Value))
			if column == "sum:n" {
				r.sum = n
			} else {
				r.counter = n
			}
		default:
			k, err := strconv.ParseInt(string(c.Value), 10, 64)
			if column == "v1:last" {
				r.last = k
			} else {
				r.ids[column] = append(r.ids[column], k)
			}
			if err != nil || column != "v1:last" && c.Timestamp != k*1000 {
				r.err = fmt.Errorf("row %s: cell %s at %d holds %q", row.Key, column, c.Timestamp, c.Value)
			}
		}
	}
}
