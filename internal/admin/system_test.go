package admin_test

import (
	"context"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tabletdb/tabletdb/internal/admin"
	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
	"github.com/tabletdb/tabletdb/objstore"
	"github.com/tabletdb/tabletdb/objstore/mem"
	"github.com/tabletdb/tabletdb/objstore/openstore"
)

// system is a whole cluster in a bubble, and the App to look after it.
type system struct {
	*cluster.Cluster
	net *memnet.Net
	app admin.App
}

// shared is a store that outlives the commands.
type shared struct{ objstore.Store }

func (shared) Close() error { return nil }

// newSystem starts a cluster. The caller kills it before the bubble ends.
func newSystem(t *testing.T) *system {
	t.Helper()
	s := &system{net: memnet.New()}
	store := mem.New()
	start := time.Now()
	var err error
	s.Cluster, err = cluster.Open(t.Context(), cluster.Config{
		Store: store, Node: func(name string) rpc.Network { return s.net.Node(name) }, Host: "host",
		Clock:  func() time.Duration { return time.Since(start) },
		Logger: slog.New(slog.DiscardHandler), GatewayAddr: "none", Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	endpoints := strings.Join(s.LockEndpoints(), ",")
	s.app = admin.App{
		Network: s.net.Node("admin"), Version: "1.2.3",
		Getenv: func(k string) string { return map[string]string{"TABLETDB_LOCKSERVICE": endpoints}[k] },
		Store:  func(context.Context, string) (openstore.Store, error) { return shared{store}, nil },
	}
	return s
}

func scrubs(list ...string) []*regexp.Regexp {
	var out []*regexp.Regexp
	for _, s := range list {
		out = append(out, regexp.MustCompile(s))
	}
	return out
}

// always are scrubs of what a run does not repeat.
func always() []*regexp.Regexp {
	return scrubs(
		`(?P<file>\b1-\d+-\d+\b)`, `(?P<session>\b1-\d+\b)`, `(?P<port>host:\d+)`, `(?P<time>\b20\d\d-\d\d-\d\dT[0-9:.]+Z)`,
		`(?P<time>\b\d+m\d+s\b|\b\d+(\.\d+)?(ms|µs|ns|s)\b)`, `(?P<hex>\b[0-9a-f]{32}\b)`, `(?P<rate>\([0-9,]+ rows/s\))`,
		`(?P<revision>revision \d+)`,
	)
}

// TestSystem runs commands against a whole cluster.
func TestSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		defer s.Kill()
		sc := script{app: s.app, scrub: always(), do: map[string]func(){
			"stop the master": func() {
				if err := s.Masters()[0].Master.Close(); err != nil {
					t.Error(err)
				}
			},
			"kill a tablet server": func() { s.KillTabletServer(s.TabletServers()[0]) },
			"wait":                 func() { time.Sleep(30 * time.Second) },
		}}
		sc.run(t, "system.txt")
	})
}
