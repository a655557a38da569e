package load

import "sync/atomic"

// order goes through [0, n) again and again, each number once a time, in an
// order that looks random or in ascending order. Its methods may be called
// concurrently.
type order struct {
	n, step int64
	next    atomic.Int64
}

// newOrder returns an order of n numbers, n >= 1.
func newOrder(n int64, sequential bool) *order {
	o := &order{n: n, step: 1}
	if !sequential {
		o.step = coprime(n)
	}
	return o
}

// coprime returns a step through n numbers that meets all of them and takes
// neighbours far apart.
func coprime(n int64) int64 {
	s := int64(float64(n)*0.6180339887) | 1
	for gcd(s, n) != 1 {
		s += 2
	}
	return s
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// take reserves k numbers; the i-th of them is at(first + i).
func (o *order) take(k int64) (first int64) { return o.next.Add(k) - k }

func (o *order) at(i int64) int64 {
	i %= o.n
	// i*step may need 128 bits only beyond three thousand million rows.
	return i * o.step % o.n
}
