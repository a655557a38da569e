package load

import (
	"fmt"
	"strconv"
	"strings"
)

// Keys gives the rows of a table, which are numbered from 0, their keys.
type Keys struct {
	// Hashed scatters neighbouring numbers over all keys, so that rows which
	// are inserted one after the other fall into different tablets. No two
	// numbers share a key.
	Hashed bool
}

const (
	orderedPrefix = "row"
	orderedDigits = 12
	hashedPrefix  = "user"
)

// Key returns the key of row n.
func (k Keys) Key(n int64) string {
	if k.Hashed {
		return hashedPrefix + hex16(mix(uint64(n)))
	}
	var b [len(orderedPrefix) + orderedDigits]byte
	copy(b[:], orderedPrefix)
	for i := len(b) - 1; i >= len(orderedPrefix); i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return string(b[:])
}

// Number returns the number of the row with that key; false: there is none.
func (k Keys) Number(key string) (int64, bool) {
	if k.Hashed {
		h, ok := strings.CutPrefix(key, hashedPrefix)
		u, err := strconv.ParseUint(h, 16, 64)
		return int64(unmix(u)), ok && err == nil && len(h) == 16
	}
	d, ok := strings.CutPrefix(key, orderedPrefix)
	n, err := strconv.ParseInt(d, 10, 64)
	return n, ok && err == nil && len(d) == orderedDigits && d[0] != '-' && d[0] != '+'
}

// Splits returns the keys that cut a table of that many rows into n tablets
// with about as many rows each.
func (k Keys) Splits(n int, rows int64) []string {
	var out []string
	for i := 1; i < n; i++ {
		switch {
		case k.Hashed:
			out = append(out, hashedPrefix+hex16(uint64(i)*(^uint64(0)/uint64(n))))
		default:
			key := k.Key(int64(float64(rows) * float64(i) / float64(n)))
			if len(out) == 0 || out[len(out)-1] != key {
				out = append(out, key)
			}
		}
	}
	return out
}

func hex16(u uint64) string { return fmt.Sprintf("%016x", u) }

// mix is the finalizer of SplitMix64: a bijection that looks random.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// unmix is the inverse of mix.
func unmix(x uint64) uint64 {
	x ^= x>>31 ^ x>>62
	x *= 0x319642b2d24d8ec3
	x ^= x>>27 ^ x>>54
	x *= 0x96de1b173f119089
	return x ^ x>>30 ^ x>>60
}
