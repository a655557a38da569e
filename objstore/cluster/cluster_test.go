package cluster_test

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/objstore/cluster"
	"github.com/tabletdb/tabletdb/objstore/faulty"
	"github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/objstore/retry"
)

const golden = "tabletdb cluster\nformat 1\nid 000102030405060708090a0b0c0d0e0f\ncreated 2026-01-02T03:04:05Z\ncrc32c cb30b3b4\n"

func goldenIdentity() cluster.Identity {
	id := cluster.Identity{FormatVersion: 1, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	for i := range id.ID {
		id.ID[i] = byte(i)
	}
	return id
}

func seal(lines string) []byte {
	return fmt.Appendf([]byte(lines), "crc32c %08x\n", crc32.Checksum([]byte(lines), crc32.MakeTable(crc32.Castagnoli)))
}

func TestFormat(t *testing.T) {
	if got := string(goldenIdentity().Append(nil)); got != golden {
		t.Errorf("encoding\n%s\nwant\n%s", got, golden)
	}
	got, err := cluster.ParseIdentity([]byte(golden))
	if err != nil || got != goldenIdentity() {
		t.Errorf("ParseIdentity = %+v, %v", got, err)
	}
	for i := range golden {
		if _, err := cluster.ParseIdentity([]byte(golden[:i])); !errors.Is(err, base.ErrCorrupt) {
			t.Errorf("cut at %d: %v", i, err)
		}
		flipped := []byte(golden)
		flipped[i] ^= 1
		if _, err := cluster.ParseIdentity(flipped); !errors.Is(err, base.ErrCorrupt) {
			t.Errorf("flipped at %d: %v", i, err)
		}
	}
	for _, lines := range []string{
		"tabletdb cluster\n", "tabletdb cluster\nformat x\n", "tabletdb cluster\nformat 1\n",
		"tabletdb cluster\nformat 1\nid 00000000000000000000000000000000\ncreated 2026-01-02T03:04:05Z\n",
		"tabletdb cluster\nformat 1\nid 000102030405060708090A0B0C0D0E0F\ncreated 2026-01-02T03:04:05Z\n",
		"tabletdb cluster\nformat 1\nid 000102030405060708090a0b0c0d0e0f\ncreated today\n",
		"tabletdb cluster\nformat 1\nid 000102030405060708090a0b0c0d0e0f\ncreated 2026-01-02T03:04:05+01:00\n",
		"tabletdb cluster\nformat 01\nid 000102030405060708090a0b0c0d0e0f\ncreated 2026-01-02T03:04:05Z\n",
		"tabletdb cluster\nformat 1\nid 000102030405060708090a0b0c0d0e0f\ncreated 2026-01-02T03:04:05Z\nmore\n",
	} {
		if _, err := cluster.ParseIdentity(seal(lines)); !errors.Is(err, base.ErrCorrupt) || !strings.Contains(err.Error(), "CLUSTER") {
			t.Errorf("%q: %v", lines, err)
		}
	}
	if _, err := cluster.ParseIdentity(seal("tabletdb cluster\nformat 2\nsomething else\n")); !errors.Is(err, cluster.ErrNewer) {
		t.Errorf("newer format: %v", err)
	}
}

func FuzzParseIdentity(f *testing.F) {
	f.Add([]byte(golden))
	f.Add(seal("tabletdb cluster\nformat 2\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, input := range [][]byte{data, seal(string(data))} {
			id, err := cluster.ParseIdentity(input)
			if err == nil && !slices.Equal(id.Append(nil), input) {
				t.Errorf("%q parses to %+v", input, id)
			}
			if err != nil && !errors.Is(err, base.ErrCorrupt) && !errors.Is(err, cluster.ErrNewer) {
				t.Errorf("%q: %v", input, err)
			}
		}
	})
}

func TestClaim(t *testing.T) {
	ctx := t.Context()
	s := mem.New()
	if _, err := cluster.Verify(ctx, s, cluster.ID{}); !errors.Is(err, cluster.ErrUnclaimed) {
		t.Errorf("Verify before: %v", err)
	}
	mine, err := cluster.Claim(ctx, s, cluster.ID{})
	if err != nil || mine.ID.IsZero() || mine.FormatVersion != cluster.FormatVersion {
		t.Fatalf("Claim = %+v, %v", mine, err)
	}
	for _, expect := range []cluster.ID{{}, mine.ID} {
		for _, f := range []string{"claim", "verify"} {
			again, err := cluster.Claim(ctx, s, expect)
			if f == "verify" {
				again, err = cluster.Verify(ctx, s, expect)
			}
			if err != nil || again != mine {
				t.Errorf("%s with %v = %+v, %v", f, expect, again, err)
			}
		}
	}
	other := cluster.ID{1}
	if _, err := cluster.Claim(ctx, s, other); !errors.Is(err, cluster.ErrForeign) || !strings.Contains(err.Error(), mine.ID.String()) {
		t.Errorf("Claim for another: %v", err)
	}
	if got, err := cluster.Claim(ctx, mem.New(), other); err != nil || got.ID != other {
		t.Errorf("Claim of a free store with an id = %+v, %v", got, err)
	}
}

func TestClaimRace(t *testing.T) {
	s := mem.New()
	ids := make([]cluster.ID, 32)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			identity, err := cluster.Claim(t.Context(), s, cluster.ID{})
			if err != nil {
				t.Error(err)
			}
			ids[i] = identity.ID
		})
	}
	wg.Wait()
	if len(slices.Compact(ids)) != 1 {
		t.Errorf("racing claims saw several ids")
	}
}

func TestWinGeneration(t *testing.T) {
	ctx := t.Context()
	s := mem.New()
	for _, c := range []struct{ wanted, won uint32 }{
		{0, 1}, {1, 2}, {2, 3}, {0, 4}, {10, 10}, {5, 11}, {math.MaxUint32, math.MaxUint32},
	} {
		got, err := cluster.WinGeneration(ctx, s, c.wanted)
		if err != nil || got != c.won {
			t.Errorf("WinGeneration(%d) = %d, %v, want %d", c.wanted, got, err, c.won)
		}
	}
	if _, err := cluster.WinGeneration(ctx, s, 1); !errors.Is(err, base.ErrPrecondition) {
		t.Errorf("after the last one: %v", err)
	}
}

// TestWinGenerationLostReply: the generation that a lost reply won is the
// caller's own.
func TestWinGenerationLostReply(t *testing.T) {
	f := faulty.New(mem.New(), faulty.Options{})
	r := retry.New(f, retry.Options{BaseDelay: time.Microsecond})
	f.FailNext(faulty.PutIfAbsent, base.GenerationObject(1), faulty.Fault{Kind: faulty.FailAfter})
	if got, err := cluster.WinGeneration(t.Context(), r, 0); got != 1 || err != nil {
		t.Errorf("WinGeneration = %d, %v", got, err)
	}
	f.FailNext(faulty.PutIfAbsent, base.GenerationObject(2), faulty.Fault{Kind: faulty.FailAfter})
	if got, err := cluster.WinGeneration(t.Context(), f, 0); err == nil {
		t.Errorf("WinGeneration = %d without a reply", got)
	}
	if got, err := cluster.WinGeneration(t.Context(), f, 2); got != 3 || err != nil {
		t.Errorf("WinGeneration = %d, %v", got, err)
	}
}

func TestWinGenerationRace(t *testing.T) {
	s := mem.New()
	won := make([]uint32, 32)
	var wg sync.WaitGroup
	for i := range won {
		wg.Go(func() {
			var err error
			if won[i], err = cluster.WinGeneration(t.Context(), s, 1); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	slices.Sort(won)
	if len(slices.Compact(won)) != 32 {
		t.Errorf("racers won %v", won)
	}
}
