// Package seedtest gives randomised tests their source: the seed is logged, and
// taken from the environment where a run is to be repeated.
package seedtest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// New returns a random source for t. Its seed is drawn, or is the number in
// SEED, and is logged as SEED=n.
func New(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("SEED: %v", err)
		}
	}
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
