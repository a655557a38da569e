package value

import (
	"math"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"
)

// samples are values of each kind, in their order.
func samples() map[Kind][]Value {
	return map[Kind][]Value{
		Bool:      {nil, false, true},
		Int64:     {nil, int64(math.MinInt64), int64(-1), int64(0), int64(math.MaxInt64)},
		Float32:   {nil, float32(math.NaN()), float32(math.Inf(-1)), float32(-1.5), float32(0), float32(math.MaxFloat32)},
		Float64:   {nil, math.NaN(), math.Inf(-1), -1.5, 0.0, math.SmallestNonzeroFloat64, math.Inf(1)},
		String:    {nil, "", "a", "a\x00", "b", "é"},
		Bytes:     {nil, []byte{}, []byte("a"), []byte("a\x00"), []byte{0xff}},
		Timestamp: {nil, minTime, Time(-1), Time(0), Time(1500), maxTime},
		Date:      {nil, Day(-719162), Day(-1), Day(0), Day(19782), Day(2932896)},
	}
}

func TestOrderAndKeys(t *testing.T) {
	for kind, vs := range samples() {
		keys := map[string]bool{}
		for i, a := range vs {
			for j, b := range vs {
				if got, want := Compare(a, b), min(max(i-j, -1), 1); got != want {
					t.Errorf("%s: Compare(%v, %v) = %d, want %d", Of(kind), a, b, got, want)
				}
			}
			keys[string(AppendKey(nil, a))] = true
		}
		if len(keys) != len(vs) {
			t.Errorf("%s: %d keys of %d values", Of(kind), len(keys), len(vs))
		}
	}
}

// TestProtoRoundTrip sends values of all types, and arrays of them, as the
// messages of the API and back.
func TestProtoRoundTrip(t *testing.T) {
	for kind, vs := range samples() {
		for _, tc := range []struct {
			t  Type
			vs []Value
		}{{Of(kind), vs}, {ArrayOf(Of(kind)), []Value{nil, List{}, List(vs)}}} {
			got, err := TypeFromProto(tc.t.Proto())
			if err != nil || !got.Equal(tc.t) {
				t.Errorf("%s: %s, %v", tc.t, got, err)
			}
			for _, v := range tc.vs {
				wire, err := proto.Marshal(ToProto(v))
				if err != nil {
					t.Fatal(err)
				}
				var p bigtablepb.Value
				if err := proto.Unmarshal(wire, &p); err != nil {
					t.Fatal(err)
				}
				if got, err := FromProto(&p, tc.t); err != nil || Compare(got, v) != 0 {
					t.Errorf("%s: %v came back as %v, %v", tc.t, v, got, err)
				}
			}
		}
	}
}

// TestTextRoundTrip casts values to STRING and back.
func TestTextRoundTrip(t *testing.T) {
	for kind, vs := range samples() {
		for _, v := range vs {
			if b, ok := v.([]byte); ok && len(b) > 0 && b[0] == 0xff {
				continue // is no text
			}
			s, err := Cast(v, Of(String))
			if err != nil {
				t.Fatalf("%s %v: %v", Of(kind), v, err)
			}
			if got, err := Cast(s, Of(kind)); err != nil || Compare(got, v) != 0 {
				t.Errorf("%s %v is %q, which is %v, %v", Of(kind), v, s, got, err)
			}
		}
	}
}

func TestCasts(t *testing.T) {
	for _, tc := range []struct {
		in   Value
		to   Kind
		want Value // nil: an error
	}{
		{2.5, Int64, int64(3)}, {-2.5, Int64, int64(-3)}, {1e19, Int64, nil}, {math.NaN(), Int64, nil},
		{1e300, Float32, nil}, {int64(3), Float32, float32(3)}, {true, Int64, int64(1)}, {int64(2), Bool, true},
		{" 12 ", Int64, int64(12)}, {"0x1F", Int64, int64(31)}, {"-0x1F", Int64, int64(-31)}, {"1.5", Int64, nil}, {"", Int64, nil},
		{"1e3", Float64, 1000.0}, {"-inf", Float64, math.Inf(-1)}, {"1_0", Float64, nil}, {"0x10p1", Float64, nil},
		{"TRUE", Bool, true}, {"1", Bool, nil}, {[]byte{0xff}, String, nil}, {"é", Bytes, []byte("é")},
		{"2024-2-30", Date, nil}, {"2024-02-29", Date, Day(19782)}, {"2024-02-29 23:00:00-02", Date, Day(19783)},
		{"2024-02-29T00:00:00Z", Timestamp, Day(19782).Time()}, {"2024-02-29 01:00:00.5+01:00", Timestamp, Day(19782).Time() + 500_000},
		{"2024-02-29 00:00:00 UTC", Timestamp, Day(19782).Time()}, {"0000-01-01", Timestamp, nil}, {"yesterday", Timestamp, nil},
		{Time(-1), Date, Day(-1)}, {Day(1), Timestamp, Time(dayMicros)},
		{1.0, String, "1"}, {0.1, String, "0.1"}, {1e20, String, "1e+20"}, {float32(0.1), String, "0.1"},
		{Time(1_500_000), String, "1970-01-01 00:00:01.500+00"},
	} {
		got, err := Cast(tc.in, Of(tc.to))
		if (err != nil) != (tc.want == nil) || err == nil && Compare(got, tc.want) != 0 {
			t.Errorf("CAST(%v AS %s) = %v, %v, want %v", tc.in, Of(tc.to), got, err, tc.want)
		}
	}
}

func TestSupertypes(t *testing.T) {
	for _, tc := range []struct {
		a, b, want Type
		none       bool
	}{
		{a: Of(Int64), b: Of(Float64), want: Of(Float64)},
		{a: Of(Int64), b: Of(Float32), want: Of(Float64)},
		{a: Of(Unknown), b: Of(Date), want: Of(Date)},
		{a: ArrayOf(Of(Unknown)), b: ArrayOf(Of(String)), want: ArrayOf(Of(String))},
		{a: Of(String), b: Of(Bytes), none: true},
		{a: StructOf(Field{"a", Of(Int64)}), b: StructOf(Field{"b", Of(Float64)}), want: StructOf(Field{"b", Of(Float64)})},
	} {
		got, ok := Supertype(tc.a, tc.b)
		if ok == tc.none || ok && !got.Equal(tc.want) {
			t.Errorf("Supertype(%s, %s) = %s, %t", tc.a, tc.b, got, ok)
		}
	}
}
