package load

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestZipfFollowsItsLaw(t *testing.T) {
	const n, draws, seed = 1000, 1_000_000, 5
	r := rand.New(rand.NewPCG(seed, 0))
	z := NewZipf(n)
	got := make([]int, n)
	for range draws {
		i := z.Next(r)
		if i < 0 || i >= n {
			t.Fatalf("seed %d: drew %d of %d", seed, i, n)
		}
		got[i]++
	}
	// The two first are exact in this method.
	for i := range 2 {
		want := 1 / math.Pow(float64(i+1), theta) / z.zetaN
		if p := float64(got[i]) / draws; math.Abs(p-want) > 0.05*want {
			t.Errorf("seed %d: P(%d) = %.4f; want %.4f", seed, i, p, want)
		}
	}
	// The rest follows in sum.
	for _, upTo := range []int{10, 100, 500} {
		sum, want := 0, 0.0
		for i := range upTo {
			sum += got[i]
			want += 1 / math.Pow(float64(i+1), theta) / z.zetaN
		}
		if p := float64(sum) / draws; math.Abs(p-want) > 0.03 {
			t.Errorf("seed %d: P(less than %d) = %.4f; want %.4f", seed, upTo, p, want)
		}
	}
}

func TestZipfGrows(t *testing.T) {
	a, b := NewZipf(10), NewZipf(500)
	a.Grow(500)
	a.Grow(3)
	if math.Abs(a.zetaN-b.zetaN) > 1e-9 || a.n != b.n || math.Abs(a.eta-b.eta) > 1e-9 {
		t.Errorf("grown %+v; want %+v", a, b)
	}
	one := NewZipf(1)
	if i := one.Next(rand.New(rand.NewPCG(1, 1))); i != 0 {
		t.Errorf("drew %d of 1", i)
	}
}

func TestScrambledIsSkewedAndScattered(t *testing.T) {
	const n, draws, seed = 1000, 200_000, 6
	r := rand.New(rand.NewPCG(seed, 0))
	z := NewScrambled()
	got := make([]int, n)
	for range draws {
		got[z.Scrambled(r, n)]++
	}
	most, top := 0, 0
	for i, c := range got {
		if c > got[most] {
			most = i
		}
		if c == 0 {
			t.Errorf("seed %d: row %d is never drawn", seed, i)
		}
	}
	for _, c := range got {
		if c > got[most]/4 {
			top++
		}
	}
	// The most popular value has 1/zeta of all, wherever it is scattered to.
	if p := float64(got[most]) / draws; math.Abs(p-1/scrambledZeta) > 0.01 {
		t.Errorf("seed %d: the most popular row has %.4f; want about %.4f", seed, p, 1/scrambledZeta)
	}
	if want := int(fnv64(0) % n); most != want {
		t.Errorf("seed %d: the most popular row is %d; want %d", seed, most, want)
	}
	if top > 10 {
		t.Errorf("seed %d: %d rows are about as popular as the first", seed, top)
	}
}

func TestFNV(t *testing.T) {
	// FNV-1a of eight zero bytes, from the definition in another notation.
	want := uint64(14695981039346656037)
	for range 8 {
		want *= 1099511628211
	}
	if got := fnv64(0); got != want {
		t.Errorf("fnv64(0) = %d; want %d", got, want)
	}
}
