package status_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/client"
	"github.com/tabletdb/tabletdb/internal/bench/load"
	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/internal/daemon"
	"github.com/tabletdb/tabletdb/internal/heatmap"
	"github.com/tabletdb/tabletdb/internal/status"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/tabletserver"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

// site is a cluster in this process with its pages.
type site struct {
	*testing.T
	cluster *cluster.Cluster
	client  *client.Client
	pages   *status.Pages
	http    *httptest.Server
}

// binary is a row key that must be escaped everywhere.
const binary = "\x00\xff<b onmouseover=\"x\">&'\u202e"

// open starts a cluster of three servers with two tables, one of which has
// strange keys.
func open(t *testing.T) *site {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	s := &site{T: t}
	var err error
	s.cluster, err = cluster.Open(ctx, cluster.Config{
		TabletServers: 3, LockServers: 3, Logger: slog.New(slog.DiscardHandler), Version: "v1.2.3",
		Tablet: tabletserver.Options{
			MemtableBytes: 64 << 20, Tablet: tablet.Options{MemtableBytes: 1 << 20},
			Heat: heatmap.Options{Slot: time.Second, SampleEvery: 2, Keep: 600},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.cluster.Kill)
	s.pages, err = status.New(status.Config{
		Role: "dev", Name: "127.0.0.1:8086", Version: "v1.2.3", Logger: slog.New(slog.DiscardHandler),
		Settings: []status.Setting{
			{Name: "store", Value: "s3://AKIAKEY:hunter2@bucket/p?endpoint=http://me:hunter2@h:9000&secret_key=hunter2"},
			{Name: "s3-secret-key", Value: "hunter2"}, {Name: "lockservice", Value: "127.0.0.1:8290"}, {Name: "name"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	parts, err := daemon.DevParts(s.cluster)
	if err != nil {
		t.Fatal(err)
	}
	s.pages.Attach(parts)
	t.Cleanup(s.pages.Close)
	s.http = httptest.NewServer(s.pages)
	t.Cleanup(s.http.Close)
	if s.client, err = client.Open(ctx, client.Config{LockService: s.cluster.LockEndpoints()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.client.Close() })
	s.create(ctx, "users", 60)
	conf := &client.TableConf{Table: "strange", Families: []client.Family{{Name: "f"}}, Splits: []string{binary, "m"}}
	if err := s.client.Admin().CreateTableFromConf(ctx, conf); err != nil {
		t.Fatal(err)
	}
	return s
}

func row(i int) string { return fmt.Sprintf("user%08d", i) }

// rows is how many rows the table users has room for.
const rows = 60000

// create makes a table of n tablets.
func (s *site) create(ctx context.Context, name string, n int) {
	s.Helper()
	conf := &client.TableConf{Table: name, Families: []client.Family{{Name: "f"}}}
	for i := 1; i < n; i++ {
		conf.Splits = append(conf.Splits, row(i*rows/n))
	}
	if err := s.client.Admin().CreateTableFromConf(ctx, conf); err != nil {
		s.Fatal(err)
	}
}

func (s *site) put(ctx context.Context, table, key string) {
	s.Helper()
	m := client.NewMutation()
	m.Set("f", "q", client.Now(), make([]byte, 100))
	if err := s.client.Open(table).Apply(ctx, key, m); err != nil && ctx.Err() == nil {
		s.Errorf("write %q: %v", key, err)
	}
}

func (s *site) read(ctx context.Context, table, key string) {
	s.Helper()
	if _, err := s.client.Open(table).ReadRow(ctx, key); err != nil && ctx.Err() == nil {
		s.Errorf("read %q: %v", key, err)
	}
}

// hotTablet is the tablet of users, counted from 0, that most requests are for.
const hotTablet = 37

// work puts a skewed load on the cluster until ctx ends: some traffic
// everywhere, more at the beginning of the table, after a while very much in one
// tablet.
func (s *site) work(ctx context.Context) {
	var wg sync.WaitGroup
	began := time.Now()
	for w := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			zipf := load.NewZipf(rows)
			for ctx.Err() == nil {
				key := rng.IntN(rows)
				switch x := rng.IntN(10); {
				case x < 2:
					key = int(zipf.Next(rng))
				case x < 8 && time.Since(began) > 3*time.Second:
					key = hotTablet*rows/60 + rng.IntN(300)
				}
				if rng.IntN(3) == 0 {
					s.put(ctx, "users", row(key))
				} else {
					s.read(ctx, "users", row(key))
				}
			}
		})
	}
	wg.Wait()
}

// flush writes the memtables of all tablets out.
func (s *site) flush() {
	s.Helper()
	for _, n := range s.cluster.TabletServers() {
		if _, err := n.Control().Flush(s.Context(), &controlpb.FlushRequest{}); err != nil {
			s.Fatal(err)
		}
	}
}

// get returns the answer for a page.
func (s *site) get(path string) (*http.Response, string) {
	s.Helper()
	return fetch(s.T, s.http.URL+path)
}
