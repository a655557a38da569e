//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigtable"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/objstore/local"
	"github.com/tabletdb/tabletdb/tabletserver/manifest"
)

// TestDamagedFiles damages what tablets consist of while no server runs. Each
// damaged tablet says so, naming the object; the others work.
func TestDamagedFiles(t *testing.T) {
	c := startCluster(t, shape{locks: 1, masters: 1, tablets: 2, dir: true})
	c.createTable()
	c.writeEach("before")
	for _, p := range c.tablets {
		p.stop(t) // writes what is in memory to SSTables
	}
	damaged := map[int]string{}
	record, m := c.files(3)
	file := m.Runs[0][0]
	damaged[3] = base.SSTableObject(file.Number)
	c.flip(damaged[3], int(file.TailOffset/2)) // in a block

	record, m = c.files(5)
	file = m.Runs[0][0]
	damaged[5] = base.SSTableObject(file.Number)
	c.flip(damaged[5], int(file.TailOffset+3))

	record, _ = c.files(7)
	damaged[7] = base.ManifestObject(record.Manifest)
	c.flip(damaged[7], 9)

	_, m = c.files(9)
	damaged[9] = base.SSTableObject(m.Runs[0][0].Number)
	c.remove(damaged[9])

	record, _ = c.files(11)
	damaged[11] = base.ManifestObject(record.Manifest)
	c.remove(damaged[11])

	_, m = c.files(13)
	file = m.Runs[0][0]
	damaged[13] = base.SSTableObject(file.Number)
	if err := os.Truncate(filepath.Join(c.store, damaged[13]), file.Size-10); err != nil {
		t.Fatal(err)
	}
	for _, p := range c.tablets {
		p.start(t)
		p.ready(t)
	}
	c.expectDamage(damaged)
	out := c.findDamage()
	for _, object := range damaged {
		if !strings.Contains(out, object) {
			t.Errorf("tabletadm check does not name %s:\n%s", object, out)
		}
	}
}

// TestDamagedLog damages a record in the log of a server that died.
func TestDamagedLog(t *testing.T) {
	c := startCluster(t, shape{locks: 1, masters: 1, tablets: 1, ttl: 2 * time.Second, dir: true})
	c.createTable()
	c.writeEach("before")
	needle := strings.Repeat("needle in tablet 3; ", 20)
	if err := c.write(3, needle); err != nil {
		t.Fatal(err)
	}
	for _, p := range c.tablets {
		p.kill(t)
	}
	name, at := c.find("wal", needle)
	c.flip(name, at+5)
	for _, p := range c.tablets {
		p.start(t)
		p.ready(t)
	}
	c.expectDamage(map[int]string{3: name})
	if out := c.findDamage(); !strings.Contains(out, name) {
		t.Errorf("tabletadm check does not name %s:\n%s", name, out)
	}
}

// writeEach writes a row of each tablet.
func (c *cluster) writeEach(value string) {
	c.t.Helper()
	for i := range tabletCount {
		if err := c.write(i, fmt.Sprintf("%s %x", value, i)); err != nil {
			c.t.Fatalf("write to tablet %x: %v", i, err)
		}
	}
}

func (c *cluster) write(tablet int, value string) error {
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	m := bigtable.NewMutation()
	m.Set(familyLedger, "v", bigtable.Now(), []byte(value))
	return open(c.t, c.addr[c.gateway]).Apply(ctx, letter(tablet)+"/row", m)
}

// files returns the record of a tablet and its manifest.
func (c *cluster) files(tablet int) (meta.Tablet, *manifest.Manifest) {
	c.t.Helper()
	tablets, _, err := c.meta.All(c.t.Context(), lockservice.ReadOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	store := c.openStore()
	for _, r := range tablets {
		if !r.Contains([]byte(letter(tablet))) {
			continue
		}
		m, err := manifest.Read(c.t.Context(), store, r.Manifest)
		if err != nil {
			c.t.Fatal(err)
		}
		if len(m.Runs) == 0 {
			c.t.Fatalf("tablet %x has no SSTable", tablet)
		}
		return r, m
	}
	c.t.Fatalf("no tablet holds row %x", tablet)
	return meta.Tablet{}, nil
}

// openStore opens the directory of the cluster, beside it.
func (c *cluster) openStore() *local.Store {
	c.t.Helper()
	s, err := local.Open(c.store)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { s.Close() })
	return s
}

// flip changes a byte of an object.
func (c *cluster) flip(object string, at int) {
	c.t.Helper()
	s := c.openStore()
	b, err := s.Get(c.t.Context(), object)
	if err != nil {
		c.t.Fatal(err)
	}
	b[at] ^= 0x20
	if err := s.Put(c.t.Context(), object, b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) remove(object string) {
	c.t.Helper()
	if err := c.openStore().Delete(c.t.Context(), object); err != nil {
		c.t.Fatal(err)
	}
}

// find returns the object below a prefix that holds some bytes, and where.
func (c *cluster) find(prefix, needle string) (object string, at int) {
	c.t.Helper()
	s := c.openStore()
	for info, err := range s.List(c.t.Context(), prefix+"/", "") {
		var b []byte
		if err == nil {
			b, err = s.Get(c.t.Context(), info.Key)
		}
		if err != nil {
			c.t.Fatal(err)
		}
		if i := bytes.Index(b, []byte(needle)); i >= 0 {
			return info.Key, i
		}
	}
	c.t.Fatalf("no object below %s holds %.20q", prefix, needle)
	return "", 0
}

// expectDamage reads a row of each tablet. Those of damaged tablets fail with
// DATA_LOSS, naming the object, the others do not.
func (c *cluster) expectDamage(damaged map[int]string) {
	c.t.Helper()
	table := open(c.t, c.addr[c.gateway])
	for i := range tabletCount {
		ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
		began := time.Now()
		r, err := table.ReadRow(ctx, letter(i)+"/row")
		cancel()
		object := damaged[i]
		switch {
		case object == "" && err != nil:
			c.t.Errorf("tablet %x is intact, but: %v", i, err)
		case object == "" && (len(r[familyLedger]) == 0 || !strings.HasPrefix(string(r[familyLedger][0].Value), "before")):
			c.t.Errorf("tablet %x lost its row: %v", i, r)
		case object != "" && (status.Code(err) != codes.DataLoss || !strings.Contains(err.Error(), object)):
			c.t.Errorf("tablet %x, %s is damaged: after %v: %v, %v", i, object, time.Since(began).Round(time.Millisecond), r, err)
		}
	}
	for i := range tabletCount {
		if damaged[i] == "" {
			if err := c.write(i, "after"); err != nil {
				c.t.Errorf("write to tablet %x, which is intact: %v", i, err)
			}
		}
	}
}

// findDamage returns what tabletadm check finds.
func (c *cluster) findDamage() string {
	c.t.Helper()
	if settings.tabletadm == "" {
		c.t.Skip("no tabletadm")
	}
	cmd := exec.CommandContext(c.t.Context(), settings.tabletadm, "--lockservice", strings.Join(c.lockAddresses(), ","), "--store", c.store, "check", "--deep")
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 4 {
		c.t.Errorf("tabletadm check: exit code %d, %v; want 4\n%s", code, err, out)
	}
	return string(out)
}
