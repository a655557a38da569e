package route

import "testing"

func TestBufferPool(t *testing.T) {
	p := &bufferPool{}
	for _, n := range []int{0, 1, 1023, 1024, 1025, 100_000, 1 << 20, 1<<20 + 1, 4 << 20, 4<<20 + 1} {
		b := p.Get(n)
		if len(*b) != n {
			t.Errorf("Get(%d) returned %d bytes", n, len(*b))
		}
		if n > 0 && n <= 4<<20 && cap(*b) > 2*max(n, 512) {
			t.Errorf("Get(%d) has capacity %d", n, cap(*b))
		}
		p.Put(b)
		if again := p.Get(n); len(*again) != n {
			t.Errorf("Get(%d) after Put returned %d bytes", n, len(*again))
		}
	}
}
