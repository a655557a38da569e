//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"cloud.google.com/go/bigtable"

	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
)

// TestCompactorIsKilled: a worker is killed, without warning, again and again
// while it compacts. The tablet server merges by itself what it was at, nothing
// is lost, and a worker that is back gets work.
func TestCompactorIsKilled(t *testing.T) {
	c := startCluster(t, shape{locks: 1, masters: 1, tablets: 1, dir: true, flags: []string{"--flush-mb", "2", "--file-mb", "2"}})
	w := newProcess(c.dir, "compactor-1", c.env)
	c.addr[w] = freeAddress(t)
	w.args = c.command(w, "compactor", "--lockservice", c.lockAddresses()[0], "--name", w.name)
	t.Cleanup(w.end)
	w.start(t)
	w.ready(t)
	c.createTable()
	tbl := open(t, c.addr[c.gateway])
	rng := rand.New(rand.NewPCG(1, 2))
	written := map[string][]byte{}
	write := func(n int) {
		t.Helper()
		for range n {
			var keys []string
			var muts []*bigtable.Mutation
			for _, i := range rng.Perm(500)[:16] {
				row := fmt.Sprintf("%s-%03d", letter(3), i)
				value := make([]byte, 64<<10)
				for i := range value {
					value[i] = byte(rng.Uint32())
				}
				m := bigtable.NewMutation()
				m.Set(familyProbe, "q", bigtable.Timestamp(1000*int64(len(written)+1)), value)
				m.DeleteTimestampRange(familyProbe, "none", 0, 1000)
				keys, muts, written[row] = append(keys, row), append(muts, m), value
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			errs, err := tbl.ApplyBulk(ctx, keys, muts)
			cancel()
			if err != nil || errs != nil {
				t.Fatalf("write: %v %v", err, errs)
			}
		}
	}
	ask := func() *compactorpb.StatusResponse {
		cc, err := rpc.Dial(rpc.TCP{}, c.addr[w])
		if err != nil {
			t.Fatal(err)
		}
		defer cc.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		r, err := compactorpb.NewCompactorClient(cc).Status(ctx, &compactorpb.StatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	caught := 0
	for round := 1; round <= 4; round++ {
		write(12) // 12 MiB, 6 flushes
		deadline := time.Now().Add(5 * time.Second)
		for caught < round && time.Now().Before(deadline) {
			if len(ask().Running) > 0 {
				caught = round
			}
		}
		w.kill(t)
		write(4)
		w.start(t)
		w.ready(t)
	}
	t.Logf("it was killed at work in round %d last", caught)
	within(t, 2*time.Minute, "the worker works again", func() error {
		write(12)
		if ask().Done == 0 {
			return fmt.Errorf("it has done nothing")
		}
		return nil
	})
	got := map[string][]byte{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := tbl.ReadRows(ctx, bigtable.PrefixRange(letter(3)+"-"), func(r bigtable.Row) bool {
		got[r.Key()] = r[familyProbe][0].Value
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(written) {
		t.Errorf("%d rows, want %d", len(got), len(written))
	}
	for row, v := range written {
		if !bytes.Equal(got[row], v) {
			t.Errorf("row %s is wrong", row)
		}
	}
	c.checkStore(ctx)
}
