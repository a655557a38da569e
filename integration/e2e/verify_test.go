//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/integration/linearizability"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
)

// awaitServing waits until all tablets of all tables are served.
func (c *cluster) awaitServing(d time.Duration) {
	c.t.Helper()
	within(c.t, d, "all tablets are served", func() error {
		tablets, _, err := c.meta.All(c.t.Context(), lockservice.ReadOptions{})
		if err != nil {
			return err
		}
		for _, t := range tablets {
			if t.State != meta.Serving {
				return fmt.Errorf("tablet %d [%q, %q) is %v at %s", t.ID, t.Start, t.End, t.State, t.OwnerAddress)
			}
		}
		return nil
	})
}

// verify stops the clients and checks everything that they were promised.
func (c *cluster) verify(w *workload, p *prober) linearizability.Report {
	c.t.Helper()
	w.stop()
	p.stop()
	c.awaitServing(time.Minute)
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	c.readAll(ctx, w)
	wrong, rows, err := w.ledger.check(ctx, open(c.t, c.addr[c.gateway]))
	if err != nil {
		c.t.Errorf("read the ledger: %v", err)
	}
	c.complain("ledger", wrong)
	c.complain("probes", p.wrong())
	c.complain("clients", w.mu.wrong)
	c.checkTiling(ctx)
	c.checkStore(ctx)
	r := linearizability.Check(w.history.Operations(), 30*time.Second)
	if err := r.Err(); err != nil {
		c.t.Error(err)
		c.draw(r)
	}
	n, text := w.errors()
	c.t.Logf("%d operations on %d rows without an answer for %d; %d rows in the ledger; %d errors reached clients\n%s",
		r.Operations, r.Rows, r.Unknown, rows, n, text)
	return r
}

func (c *cluster) complain(what string, wrong []string) {
	c.t.Helper()
	if len(wrong) > 0 {
		c.t.Errorf("%s: %d things are wrong:\n%s", what, len(wrong), strings.Join(wrong[:min(len(wrong), 10)], "\n"))
	}
}

// readAll ends the history with a read of every row, alone and by a scan.
func (c *cluster) readAll(ctx context.Context, w *workload) {
	c.t.Helper()
	var prefixes []string
	expected := map[string]bool{}
	for i := range tabletCount {
		prefixes = append(prefixes, w.prefix(i))
		for j := range rowsPerTablet {
			key := w.rowKey(i, j)
			expected[key] = true
			called := w.history.Now()
			row, err := w.readRow(ctx, w.fronts[0], key)
			if err != nil {
				c.t.Fatalf("read row %q in the end: %v", key, err)
			}
			w.history.Add(0, called, linearizability.Call{Kind: linearizability.Read, Row: key}, linearizability.Answer{Row: row})
		}
	}
	if err := w.record(ctx, 0, w.fronts[0], prefixes, expected); err != nil {
		c.t.Fatalf("scan all rows in the end: %v", err)
	}
}

// checkTiling checks that the tablets of each table cover its rows once.
func (c *cluster) checkTiling(ctx context.Context) {
	c.t.Helper()
	tablets, _, err := c.meta.All(ctx, lockservice.ReadOptions{})
	if err != nil {
		c.t.Error(err)
		return
	}
	tables := map[base.TableID][]meta.Tablet{}
	for _, t := range tablets {
		tables[t.Table] = append(tables[t.Table], t)
	}
	for table, tablets := range tables {
		c.complain(fmt.Sprintf("tablets of table %d", table), meta.CheckTiling(tablets))
	}
}

// checkStore runs `tabletadm check`, if there is a tabletadm.
func (c *cluster) checkStore(ctx context.Context) {
	c.t.Helper()
	if settings.tabletadm == "" {
		c.t.Log("no tabletadm: the bucket is not checked")
		return
	}
	cmd := exec.CommandContext(ctx, settings.tabletadm, "--lockservice", strings.Join(c.lockAddresses(), ","), "--store", c.store, "check", "--deep")
	cmd.Env = append(os.Environ(), c.env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Errorf("tabletadm check: %v\n%s", err, out)
	}
}

// draw writes a page that shows the first row that is not linearizable.
func (c *cluster) draw(r linearizability.Report) {
	name := filepath.Join(settings.artifacts, strings.ReplaceAll(c.t.Name(), "/", "-")+".html")
	f, err := os.Create(name)
	if err != nil {
		c.t.Log(err)
		return
	}
	defer f.Close()
	if r.Visualize(f) == nil {
		c.t.Logf("the history of a row at fault is drawn in %s", name)
	}
}
