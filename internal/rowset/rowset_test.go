package rowset

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
)

func text(s Set) string {
	var b []string
	for _, r := range s.Ranges() {
		if r.IsPoint() {
			b = append(b, fmt.Sprintf("{%q}", r.Start))
		} else {
			b = append(b, fmt.Sprintf("[%q,%q)", r.Start, r.End))
		}
	}
	return strings.Join(b, " ")
}

// rng makes a range of the API: "[a,b)" and the like; * is unset.
func rng(s string) *bigtablepb.RowRange {
	from, to, _ := strings.Cut(s[1:len(s)-1], ",")
	r := &bigtablepb.RowRange{}
	if from != "*" {
		r.StartKey = &bigtablepb.RowRange_StartKeyClosed{StartKeyClosed: []byte(from)}
		if s[0] == '(' {
			r.StartKey = &bigtablepb.RowRange_StartKeyOpen{StartKeyOpen: []byte(from)}
		}
	}
	if to != "*" {
		r.EndKey = &bigtablepb.RowRange_EndKeyOpen{EndKeyOpen: []byte(to)}
		if s[len(s)-1] == ']' {
			r.EndKey = &bigtablepb.RowRange_EndKeyClosed{EndKeyClosed: []byte(to)}
		}
	}
	return r
}

func request(keys, ranges string) *bigtablepb.RowSet {
	p := &bigtablepb.RowSet{}
	for _, k := range strings.Fields(keys) {
		p.RowKeys = append(p.RowKeys, []byte(k))
	}
	for _, r := range strings.Fields(ranges) {
		p.RowRanges = append(p.RowRanges, rng(r))
	}
	return p
}

func TestFromProto(t *testing.T) {
	for _, c := range []struct{ keys, ranges, want string }{
		{"", "", `["","")`},
		{"b a b", "", `{"a"} {"b"}`},
		{"", "[b,d) [a,c)", `["a","d")`},
		{"", "[a,b) [b,c)", `["a","c")`},
		{"", "[a,b) (b,c)", `["a","b") ["b\x00","c")`},
		{"b", "[a,b) (b,c)", `["a","c")`},
		{"", "[a,b] (b,c)", `["a","c")`},
		{"", "[a,a]", `{"a"}`},
		{"", "(a,a)", ``},
		{"", "(a,a]", ``},
		{"", "[a,a)", ``},
		{"", "[*,*)", `["","")`},
		{"", "[,)", `["","")`},
		{"", "(,]", `["","")`},
		{"", "[c,*) [a,b) [d,e)", `["a","b") ["c","")`},
		{"", "[*,b) [x,*)", `["","b") ["x","")`},
		{"m", "[*,b] [x,*)", `["","b\x00") {"m"} ["x","")`},
	} {
		s, err := FromProto(request(c.keys, c.ranges))
		if err != nil || text(s) != c.want {
			t.Errorf("%q %q: %s, %v; want %s", c.keys, c.ranges, text(s), err, c.want)
		}
	}
}

func TestFromProtoErrors(t *testing.T) {
	for _, c := range []struct {
		p    *bigtablepb.RowSet
		text string
	}{
		{request("", "[a,b) [b,a]"), "Error in element #1: start_key_closed must be less than end_key_closed"},
		{request("", "(b,a)"), "Error in element #0: start_key_open must be less than end_key_open"},
		{request("", "[b,a)"), "start_key_closed must be less than end_key_open"},
		{request("", "(b,a]"), "start_key_open must be less than end_key_closed"},
		{&bigtablepb.RowSet{RowKeys: [][]byte{[]byte("a"), {}}}, "Error in element #1: Row keys must be non-empty"},
		{&bigtablepb.RowSet{RowKeys: [][]byte{make([]byte, 4097)}}, "exceeds the limit of 4096"},
		{request(strings.Repeat("abcdefgh ", MaxSize/10+1), ""), "exceeds the maximum size of 1048576 bytes"},
	} {
		_, err := FromProto(c.p)
		if !errors.Is(err, base.ErrInvalid) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("want %q: %v", c.text, err)
		}
	}
}

func TestPrefixEnd(t *testing.T) {
	for _, c := range []struct{ in, want string }{{"a", "b"}, {"a\xff", "b"}, {"\xff\xff", ""}, {"", ""}, {"a\x00", "a\x01"}} {
		if got := PrefixEnd([]byte(c.in)); string(got) != c.want {
			t.Errorf("PrefixEnd(%q) = %q", c.in, got)
		}
	}
}

func randomKey(r *rand.Rand) []byte {
	b := make([]byte, r.IntN(3))
	for i := range b {
		b[i] = []byte{0, 'a', 'b', 0xff}[r.IntN(4)]
	}
	return b
}

func allKeys() [][]byte {
	keys := [][]byte{{}}
	for i := 0; i < len(keys); i++ {
		if len(keys[i]) < 3 {
			for _, c := range []byte{0, 'a', 'b', 0xff} {
				keys = append(keys, append(bytes.Clone(keys[i]), c))
			}
		}
	}
	return keys
}

// TestSetAgainstMembership compares every operation with the membership of
// every short key.
func TestSetAgainstMembership(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	keys := allKeys()
	random := func() (Set, []Range) {
		var in []Range
		for range r.IntN(5) {
			if r.IntN(3) == 0 {
				in = append(in, Point(append(randomKey(r), 'a')))
			} else {
				in = append(in, Range{randomKey(r), randomKey(r)})
			}
		}
		return Of(in...), in
	}
	for range 2000 {
		s, in := random()
		o, _ := random()
		cut, k := Range{randomKey(r), randomKey(r)}, randomKey(r)
		is, ia, ib, io := s.Intersect(cut), s.After(k), s.Before(k), s.IntersectSet(o)
		for i, x := range [][]Range{s.Ranges(), is.Ranges(), ia.Ranges(), ib.Ranges(), io.Ranges()} {
			for j, y := range x {
				if y.IsEmpty() || j > 0 && bytes.Compare(x[j-1].End, y.Start) >= 0 {
					t.Fatalf("set %d of %v is not normal: %v", i, in, x)
				}
			}
		}
		back := slices.Collect(s.Backward())
		slices.Reverse(back)
		if len(back) != len(s.Ranges()) || text(Set{ranges: back}) != text(s) {
			t.Fatalf("Backward of %s", text(s))
		}
		again := s
		if !s.IsEmpty() {
			var err error
			raw, _ := proto.Marshal(s.Proto())
			if again, err = Parse(raw); err != nil || text(again) != text(s) {
				t.Fatalf("%s came back as %s, %v", text(s), text(again), err)
			}
		}
		for _, key := range keys {
			want := slices.ContainsFunc(in, func(x Range) bool { return x.Contains(key) })
			if s.Contains(key) != want || is.Contains(key) != (want && cut.Contains(key)) ||
				ia.Contains(key) != (want && bytes.Compare(key, k) > 0) || ib.Contains(key) != (want && bytes.Compare(key, k) < 0) ||
				io.Contains(key) != (want && o.Contains(key)) {
				t.Fatalf("key %q, ranges %v, cut %v, k %q, other %s", key, in, cut, k, text(o))
			}
			next, ok := s.Next(key)
			if ok && (!s.Contains(next) || bytes.Compare(next, key) < 0 || want && !bytes.Equal(next, key)) {
				t.Fatalf("Next(%q) of %s = %q", key, text(s), next)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	raw, _ := proto.Marshal(request("a b", "[a,c) (d,*]"))
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := Parse(raw)
		if err != nil || s.IsEmpty() {
			return
		}
		again, err := FromProto(s.Proto())
		if err != nil || text(again) != text(s) {
			t.Fatalf("%s came back as %s, %v", text(s), text(again), err)
		}
	})
}

func BenchmarkFromProto(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := &bigtablepb.RowSet{}
			for i := range n {
				p.RowKeys = append(p.RowKeys, fmt.Appendf(nil, "user%010d", i))
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := FromProto(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
