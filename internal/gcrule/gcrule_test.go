package gcrule

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tabletdb/tabletdb/internal/base"
)

func versions(n int32) *adminpb.GcRule {
	return &adminpb.GcRule{Rule: &adminpb.GcRule_MaxNumVersions{MaxNumVersions: n}}
}

func age(d time.Duration) *adminpb.GcRule {
	return &adminpb.GcRule{Rule: &adminpb.GcRule_MaxAge{MaxAge: durationpb.New(d)}}
}

func union(r ...*adminpb.GcRule) *adminpb.GcRule {
	return &adminpb.GcRule{Rule: &adminpb.GcRule_Union_{Union: &adminpb.GcRule_Union{Rules: r}}}
}

func intersection(r ...*adminpb.GcRule) *adminpb.GcRule {
	return &adminpb.GcRule{Rule: &adminpb.GcRule_Intersection_{Intersection: &adminpb.GcRule_Intersection{Rules: r}}}
}

func compiled(t testing.TB, r *adminpb.GcRule) *Rule {
	t.Helper()
	c, err := Compile(r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const now = int64(1_700_000_000_000_000)

func TestDrop(t *testing.T) {
	young, exact, old := now-1, now-time.Hour.Microseconds(), now-time.Hour.Microseconds()-1
	for _, c := range []struct {
		name string
		rule *adminpb.GcRule
		n    int
		ts   int64
		want bool
	}{
		{"nil", nil, 1000, 0, false},
		{"unset", &adminpb.GcRule{}, 1000, 0, false},
		{"last version", versions(2), 1, old, false},
		{"one too many", versions(2), 2, young, true},
		{"exactly the age", age(time.Hour), 9, exact, false},
		{"older", age(time.Hour), 0, old, true},
		{"future", age(time.Hour), 0, now + 5, false},
		{"union by version", union(versions(1), age(time.Hour)), 1, young, true},
		{"union by age", union(versions(1), age(time.Hour)), 0, old, true},
		{"union neither", union(versions(1), age(time.Hour)), 0, young, false},
		{"intersection by version only", intersection(versions(1), age(time.Hour)), 1, young, false},
		{"intersection by age only", intersection(versions(1), age(time.Hour)), 0, old, false},
		{"intersection both", intersection(versions(1), age(time.Hour)), 1, old, true},
		{"nested", union(versions(10), intersection(versions(2), age(time.Hour))), 2, old, true},
		{"nested kept", union(versions(10), intersection(versions(2), age(time.Hour))), 2, young, false},
		{"longest age", age(math.MaxInt64), 0, 0, false},
	} {
		if got := compiled(t, c.rule).Drop(c.n, c.ts, now); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestErrors(t *testing.T) {
	var big []*adminpb.GcRule
	for range 200 {
		big = append(big, versions(1))
	}
	for _, c := range []struct {
		rule *adminpb.GcRule
		text string
	}{
		{versions(0), "greater than 0"},
		{versions(-1), "greater than 0"},
		{age(time.Millisecond - 1), "at least one millisecond"},
		{age(-time.Hour), "at least one millisecond"},
		{&adminpb.GcRule{Rule: &adminpb.GcRule_MaxAge{}}, "max_age"},
		{&adminpb.GcRule{Rule: &adminpb.GcRule_MaxAge{MaxAge: &durationpb.Duration{Nanos: -1, Seconds: 1}}}, "max_age"},
		{union(), "at least one rule"},
		{intersection(versions(1), union(versions(0))), "Error in field 'intersection' : Error in element #1 : Error in field 'union' : Error in element #0"},
		{union(big...), "exceeds the maximum size of 500 bytes"},
	} {
		_, err := Compile(c.rule)
		if !errors.Is(err, base.ErrInvalid) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v: %v", c.rule, err)
		}
	}
}

func random(rng *rand.Rand, depth int) *adminpb.GcRule {
	k := rng.IntN(5)
	if depth == 0 {
		k %= 3
	}
	var subs []*adminpb.GcRule
	for range 1 + rng.IntN(3) {
		if k > 2 {
			subs = append(subs, random(rng, depth-1))
		}
	}
	switch k {
	case 0:
		return &adminpb.GcRule{}
	case 1:
		return versions(1 + rng.Int32N(4))
	case 2:
		return age(time.Duration(1+rng.IntN(9)) * time.Millisecond)
	case 3:
		return union(subs...)
	}
	return intersection(subs...)
}

// TestHints checks on random rules that Drop is monotone and that the hints
// only ever exclude garbage.
func TestHints(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 3000 {
		p := random(rng, 3)
		r, err := Compile(p)
		if err != nil {
			continue // too large
		}
		dropped := false
		for n := range 6 {
			for a := int64(0); a < 10_000; a += 500 {
				d := r.Drop(n, now-a, now)
				if !d && (r.MaxVersions() > 0 && n >= r.MaxVersions() || now-a < r.MinTimestamp(now)) {
					t.Fatalf("%v keeps version %d of age %d against the hints %d, %d", p, n, a, r.MaxVersions(), r.maxAge)
				}
				if !d && (n > 0 && r.Drop(n-1, now-a, now) || r.Drop(n, now-a+500, now)) {
					t.Fatalf("%v is not monotone at version %d, age %d", p, n, a)
				}
				dropped = dropped || d
			}
		}
		if dropped && r.KeepsAll() {
			t.Fatalf("%v: KeepsAll, yet it drops", p)
		}
	}
}

func BenchmarkDrop(b *testing.B) {
	r := compiled(b, union(versions(3), age(time.Hour)))
	b.ReportAllocs()
	for b.Loop() {
		r.Drop(1, now, now)
	}
}

func TestCountsVersions(t *testing.T) {
	for _, c := range []struct {
		rule *adminpb.GcRule
		want bool
	}{
		{nil, false},
		{&adminpb.GcRule{}, false},
		{age(time.Hour), false},
		{versions(1), true},
		{union(age(time.Hour), age(time.Minute)), false},
		{intersection(age(time.Hour), union(age(time.Minute), versions(3))), true},
	} {
		if got := compiled(t, c.rule).CountsVersions(); got != c.want {
			t.Errorf("CountsVersions of %v = %v, want %v", c.rule, got, c.want)
		}
	}
	if (*Rule)(nil).CountsVersions() {
		t.Error("the nil rule counts versions")
	}
}
