package aggregate

import (
	"errors"
	"math"
	"testing"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"

	"github.com/tabletdb/tabletdb/internal/base"
)

func TestAccumulator(t *testing.T) {
	in := []int64{5, -7, math.MaxInt64, 3}
	sum := in[0] // wraps around, which constants may not
	for _, v := range in[1:] {
		sum += v
	}
	for _, c := range []struct {
		typ  Type
		want int64
	}{{Sum, sum}, {Min, -7}, {Max, math.MaxInt64}} {
		a := Accumulator{Type: c.typ}
		for _, v := range in {
			if err := a.Add(AppendState(nil, v)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := DecodeState(a.AppendValue(nil))
		if err != nil || got != c.want || a.Count() != len(in) {
			t.Errorf("%s = %d, %v; want %d", c.typ, got, err, c.want)
		}
		a.Reset()
		if a.Count() != 0 {
			t.Errorf("%s: count %d after Reset", c.typ, a.Count())
		}
	}
	a := Accumulator{Type: Sum}
	if err := a.Add([]byte("short")); !errors.Is(err, base.ErrCorrupt) {
		t.Errorf("short operand: %v", err)
	}
	a.Type = HyperLogLog
	if err := a.Add(AppendState(nil, 1)); !errors.Is(err, base.ErrUnimplemented) {
		t.Errorf("HyperLogLog: %v", err)
	}
}

func TestOf(t *testing.T) {
	agg := func(a *adminpb.Type_Aggregate) *adminpb.Type {
		return &adminpb.Type{Kind: &adminpb.Type_AggregateType{AggregateType: a}}
	}
	for _, c := range []struct {
		in   *adminpb.Type
		want Type
	}{
		{nil, None},
		{&adminpb.Type{Kind: &adminpb.Type_BytesType{}}, None},
		{agg(&adminpb.Type_Aggregate{Aggregator: &adminpb.Type_Aggregate_Sum_{}}), Sum},
		{agg(&adminpb.Type_Aggregate{Aggregator: &adminpb.Type_Aggregate_Min_{}}), Min},
		{agg(&adminpb.Type_Aggregate{Aggregator: &adminpb.Type_Aggregate_Max_{}}), Max},
		{agg(&adminpb.Type_Aggregate{Aggregator: &adminpb.Type_Aggregate_HllppUniqueCount{}}), HyperLogLog},
	} {
		if got, err := Of(c.in); err != nil || got != c.want {
			t.Errorf("Of(%v) = %v, %v; want %v", c.in, got, err, c.want)
		}
	}
	if _, err := Of(agg(&adminpb.Type_Aggregate{})); !errors.Is(err, base.ErrInvalid) {
		t.Errorf("no aggregator: %v", err)
	}
}
