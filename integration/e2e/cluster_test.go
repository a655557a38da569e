//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	lockclient "github.com/tabletdb/tabletdb/lockservice/client"
	"github.com/tabletdb/tabletdb/meta"
)

// shape says which processes a cluster has. The zero shape is 3 lock servers, 2
// masters, 3 tablet servers and a gateway on the store of the environment.
type shape struct {
	locks, masters, tablets int
	ttl                     time.Duration // of sessions; 0: the product's default
	store                   string        // URL; "": made by the harness
	dir                     bool          // keep it in a directory, whatever the environment says
	env                     []string      // of all processes
	flags                   []string      // of the tablet servers
	masterFlags             []string
}

// cluster is a running TabletDB.
type cluster struct {
	t     testing.TB
	shape shape
	dir   string // logs and data
	store string
	env   []string

	minio   *process // nil: another store
	locks   []*process
	masters []*process
	tablets []*process
	gateway *process
	addr    map[*process]string

	ls   lockservice.Client
	meta *meta.Store
}

// small is the smallest cluster, on a directory.
var small = shape{locks: 1, masters: 1, tablets: 1, dir: true}

// newCluster prepares a cluster and starts the store below it.
func newCluster(t testing.TB, s shape) *cluster {
	t.Helper()
	if s.locks == 0 {
		s.locks = 3
	}
	if s.masters == 0 {
		s.masters = 2
	}
	if s.tablets == 0 {
		s.tablets = 3
	}
	c := &cluster{t: t, shape: s, dir: workDir(t), store: s.store, env: s.env, addr: map[*process]string{}}
	if c.store == "" {
		if settings.storeDir || s.dir {
			c.store = filepath.Join(c.dir, "bucket")
		} else {
			c.minio = startMinIO(t, c.dir)
			c.addr[c.minio] = c.minio.args[len(c.minio.args)-2]
			c.store = "s3://e2e/cluster?endpoint=http://" + c.addr[c.minio]
			c.env = append(c.env, credentials("minioadmin", "minioadmin")...)
		}
	}
	c.define()
	t.Cleanup(c.end)
	return c
}

// startCluster returns a cluster that serves.
func startCluster(t testing.TB, s shape) *cluster {
	t.Helper()
	c := newCluster(t, s)
	began := time.Now()
	for _, p := range c.all() {
		p.start(t)
	}
	for _, p := range c.all() {
		p.ready(t)
	}
	t.Logf("cluster of %d processes serves after %v on %s", len(c.all()), time.Since(began).Round(time.Millisecond), c.store)
	c.connect()
	return c
}

// define makes the processes, and does not start them.
func (c *cluster) define() {
	c.t.Helper()
	make := func(list *[]*process, n int, role string) {
		for i := range n {
			p := newProcess(c.dir, fmt.Sprintf("%s-%d", role, i+1), c.env)
			c.addr[p] = freeAddress(c.t)
			*list = append(*list, p)
		}
	}
	make(&c.locks, c.shape.locks, "lock")
	make(&c.masters, c.shape.masters, "master")
	make(&c.tablets, c.shape.tablets, "tablet")
	var gateways []*process
	make(&gateways, 1, "gateway")
	c.gateway = gateways[0]
	var members []string
	for _, p := range c.locks {
		members = append(members, p.name+"="+c.addr[p])
	}
	for _, p := range c.locks {
		p.args = c.command(p, "lockservice", "--id", p.name, "--data", filepath.Join(c.dir, p.name), "--bootstrap", strings.Join(members, ","))
	}
	var ttl []string
	if c.shape.ttl > 0 {
		ttl = []string{"--session-ttl", c.shape.ttl.String()}
	}
	server := slices.Concat([]string{"--lockservice", strings.Join(c.lockAddresses(), ",")}, ttl)
	for _, p := range c.masters {
		p.args = c.command(p, "master", slices.Concat(server, c.shape.masterFlags)...)
	}
	for _, p := range c.tablets {
		p.args = c.command(p, "tabletserver", slices.Concat(server, []string{"--name", p.name}, c.shape.flags)...)
	}
	c.gateway.args = c.command(c.gateway, "gateway", server[:2]...)
}

func (c *cluster) command(p *process, role string, more ...string) []string {
	return append([]string{settings.tabletd, role, "--store", c.store, "--create-bucket", "--listen", c.addr[p]}, more...)
}

func (c *cluster) lockAddresses() []string {
	var addrs []string
	for _, p := range c.locks {
		addrs = append(addrs, c.addr[p])
	}
	return addrs
}

// all returns the processes of TabletDB, without the store.
func (c *cluster) all() []*process {
	var all []*process
	all = append(all, c.locks...)
	all = append(all, c.masters...)
	all = append(all, c.tablets...)
	return append(all, c.gateway)
}

// connect makes the test's own client of the lock service.
func (c *cluster) connect() {
	c.t.Helper()
	ls, err := lockclient.New(lockclient.Config{Endpoints: c.lockAddresses(), Network: rpc.TCP{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		c.t.Fatal(err)
	}
	c.ls, c.meta = ls, meta.NewStore(ls)
}

// end ends what is left of the cluster, and keeps the logs if they are wanted.
func (c *cluster) end() {
	if c.ls != nil {
		c.ls.Close()
	}
	for _, p := range c.all() {
		p.end()
	}
	if c.minio != nil {
		c.minio.end()
	}
}

// leader returns the lock server that leads.
func (c *cluster) leader() *process {
	c.t.Helper()
	ls := c.ls.(*lockclient.Client)
	var found *process
	within(c.t, 20*time.Second, "a lock server leads", func() error {
		for _, p := range c.locks {
			ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
			s, err := ls.Status(ctx, c.addr[p])
			cancel()
			if err == nil && s.Role == "leader" && s.Ready {
				found = p
				return nil
			}
		}
		return fmt.Errorf("none does")
	})
	return found
}

// activeMaster returns the master that holds the lock.
func (c *cluster) activeMaster() *process {
	c.t.Helper()
	var found *process
	within(c.t, 20*time.Second, "a master is active", func() error {
		locks, _, err := c.ls.Locks(c.t.Context())
		if err != nil {
			return err
		}
		for _, l := range locks {
			for _, p := range c.masters {
				if l.Name == meta.MasterLock && len(l.Holders) > 0 && string(l.Data) == c.addr[p] {
					found = p
					return nil
				}
			}
		}
		return fmt.Errorf("none holds the lock")
	})
	return found
}

// assignments returns which tablet server each tablet is assigned to; nil where
// none is.
func (c *cluster) assignments() map[base.TabletID]*process {
	c.t.Helper()
	tablets, _, err := c.meta.All(c.t.Context(), lockservice.ReadOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	at := map[string]*process{}
	for _, p := range c.tablets {
		at[c.addr[p]] = p
	}
	owners := map[base.TabletID]*process{}
	for _, t := range tablets {
		owners[t.ID] = at[t.OwnerAddress]
	}
	return owners
}

// startMinIO starts a MinIO on a directory below dir.
func startMinIO(t testing.TB, dir string) *process {
	t.Helper()
	if _, err := os.Stat(settings.minio); err != nil {
		message := "MinIO is missing: run `make minio` (scripts/minio.sh), or set E2E_STORE=dir: " + err.Error()
		if settings.require {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	addr := freeAddress(t)
	p := newProcess(dir, "minio", append(credentials("minioadmin", "minioadmin"), "MINIO_ROOT_USER=minioadmin", "MINIO_ROOT_PASSWORD=minioadmin", "MINIO_BROWSER=off", "MINIO_UPDATE=off"),
		settings.minio, "server", filepath.Join(dir, "minio"), "--address", addr, "--quiet")
	p.answers = func() bool {
		resp, err := http.Get("http://" + addr + "/minio/health/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	p.start(t)
	t.Cleanup(p.end)
	p.ready(t)
	return p
}

func credentials(user, password string) []string {
	return []string{"TABLETDB_S3_ACCESS_KEY=" + user, "TABLETDB_S3_SECRET_KEY=" + password}
}

// freeAddress returns a loopback address at which nobody listens.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
