package load

import (
	"math"
	"math/rand/v2"
)

// theta is YCSB's skew.
const theta = 0.99

// Zipf draws from [0, n), 0 most often: the i-th with a probability that falls
// as 1/(i+1)^theta (Gray et al., "Quickly generating billion-record synthetic
// databases", as YCSB does it). It is used by one goroutine.
type Zipf struct {
	n                int64
	zeta2, zetaN     float64
	alpha, eta, half float64
}

// NewZipf returns a Zipf over n values, n >= 1. It takes O(n) time.
func NewZipf(n int64) *Zipf {
	z := &Zipf{zeta2: 1 + math.Pow(0.5, theta), alpha: 1 / (1 - theta), half: math.Pow(0.5, theta)}
	z.Grow(n)
	return z
}

// Grow makes z draw from n values. Fewer than before are ignored.
func (z *Zipf) Grow(n int64) {
	if n <= z.n {
		return
	}
	for i := z.n + 1; i <= n; i++ {
		z.zetaN += 1 / math.Pow(float64(i), theta)
	}
	z.setN(n)
}

func (z *Zipf) setN(n int64) {
	z.n = n
	z.eta = (1 - math.Pow(2/float64(n), 1-theta)) / (1 - z.zeta2/z.zetaN)
}

// Next draws a value.
func (z *Zipf) Next(r *rand.Rand) int64 {
	u := r.Float64()
	uz := u * z.zetaN
	switch {
	case uz < 1 || z.n == 1:
		return 0
	case uz < 1+z.half:
		return min(1, z.n-1)
	}
	return min(z.n-1, int64(float64(z.n)*math.Pow(z.eta*u-z.eta+1, z.alpha)))
}

// Of the distribution that YCSB scrambles: ten thousand million values and
// their zeta.
const (
	scrambledItems = 10_000_000_000
	scrambledZeta  = 26.46902820178302
)

// NewScrambled returns the distribution of which Scrambled draws.
func NewScrambled() *Zipf {
	z := &Zipf{zeta2: 1 + math.Pow(0.5, theta), zetaN: scrambledZeta, alpha: 1 / (1 - theta), half: math.Pow(0.5, theta)}
	z.setN(scrambledItems)
	return z
}

// Scrambled draws from [0, n), where the popular values are scattered.
func (z *Zipf) Scrambled(r *rand.Rand, n int64) int64 {
	return int64(fnv64(uint64(z.Next(r))) % uint64(n))
}

// fnv64 is the FNV-1a hash of the bytes of x, lowest first.
func fnv64(x uint64) uint64 {
	h := uint64(0xcbf29ce484222325)
	for range 8 {
		h ^= x & 0xff
		h *= 0x100000001b3
		x >>= 8
	}
	return h
}
