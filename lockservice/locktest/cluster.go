package locktest

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/client"
	"github.com/tabletdb/tabletdb/lockservice/server"
	"github.com/tabletdb/tabletdb/proto/lockpb"
)

// ClusterConfig describes a Cluster. The zero value is one replica in memory.
type ClusterConfig struct {
	Replicas int
	// Dir keeps the replicas on disk, each in a directory below it; "" keeps
	// them in memory, where a restarted replica has lost everything.
	Dir string
	// Options of all replicas; Bootstrap is set by the cluster.
	Options server.Options
	// Each, if given, changes the options of replica i.
	Each   func(i int, o *server.Options)
	Logger *slog.Logger
	// Generation counts the generations won; 0 is before the first.
	Generation atomic.Uint32
}

// Cluster is the real lock service on a network in memory: it fits into a
// synctest bubble. Its methods are for one goroutine.
type Cluster struct {
	Net     *memnet.Net
	cfg     *ClusterConfig
	Servers []*server.Server // nil while stopped
	clients int
}

var _ Service = (*Cluster)(nil)

// NewCluster starts a cluster.
func NewCluster(t *testing.T, cfg *ClusterConfig) *Cluster {
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{Net: memnet.New(), cfg: cfg, Servers: make([]*server.Server, cfg.Replicas)}
	for i := range c.Servers {
		c.Start(t, i)
	}
	return c
}

// Name is the id and the network name of replica i; Address is where it
// listens.
func Name(i int) string { return fmt.Sprintf("r%d", i) }

// Address returns where replica i listens.
func Address(i int) string { return Name(i) + ":1" }

// Start starts replica i, which is stopped.
func (c *Cluster) Start(t *testing.T, i int) {
	t.Helper()
	o := c.cfg.Options
	if o.Join == nil {
		for j := range c.Servers {
			o.Bootstrap = append(o.Bootstrap, server.Member{ID: Name(j), Address: Address(j)})
		}
	}
	if c.cfg.Each != nil {
		c.cfg.Each(i, &o)
	}
	s, err := server.Open(c.Config(i), o)
	if err != nil {
		t.Fatalf("starting replica %d: %v", i, err)
	}
	c.Servers[i] = s
}

// Config returns the configuration of replica i.
func (c *Cluster) Config(i int) server.Config {
	cfg := server.Config{
		ID: Name(i), Address: Address(i), Network: c.Net.Node(Name(i)), Logger: c.cfg.Logger,
		WinGeneration: func(context.Context) (uint32, error) { return c.cfg.Generation.Add(1), nil },
	}
	if c.cfg.Dir != "" {
		cfg.Dir = fmt.Sprintf("%s/%s", c.cfg.Dir, Name(i))
	}
	return cfg
}

// Stop stops replica i, loudly: its connections are reset.
func (c *Cluster) Stop(t *testing.T, i int) {
	t.Helper()
	c.Net.Crash(Name(i))
	if err := c.Servers[i].Close(); err != nil {
		t.Errorf("closing replica %d: %v", i, err)
	}
	c.Servers[i] = nil
}

// Isolate cuts replica i off from the other replicas (not from clients).
func (c *Cluster) Isolate(i int, on bool) {
	for j := range c.Servers {
		switch {
		case i == j:
		case on:
			c.Net.Partition(Name(i), Name(j))
		default:
			c.Net.Join(Name(i), Name(j))
		}
	}
}

// NewClient implements Service. The node of the n-th client is called
// "client<n>", from 1.
func (c *Cluster) NewClient(t *testing.T) lockservice.Client {
	t.Helper()
	return c.Client(t)
}

// Client returns a client that knows all replicas.
func (c *Cluster) Client(t *testing.T) *client.Client {
	t.Helper()
	var all []string
	for i := range c.Servers {
		all = append(all, Address(i))
	}
	return c.ClientOf(t, all...)
}

// ClientOf returns a client that knows the given addresses.
func (c *Cluster) ClientOf(t *testing.T, endpoints ...string) *client.Client {
	t.Helper()
	c.clients++
	start := time.Now()
	cl, err := client.New(client.Config{
		Endpoints: endpoints,
		Network:   c.Net.Node(fmt.Sprintf("client%d", c.clients)),
		Logger:    c.cfg.Logger,
		Clock:     func() time.Duration { return time.Since(start) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

// Leader waits for a leader that is ready and returns its number.
func (c *Cluster) Leader(t *testing.T) int {
	t.Helper()
	cl := c.Client(t)
	defer cl.Close()
	for range 600 {
		for i, s := range c.Servers {
			if s == nil {
				continue
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			st, err := cl.Status(ctx, Address(i))
			cancel()
			if err == nil && st.GetReady() {
				return i
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("no leader")
	return 0
}

// Status returns what replica i says of itself.
func (c *Cluster) Status(t *testing.T, i int) *lockpb.StatusResponse {
	t.Helper()
	cl := c.Client(t)
	defer cl.Close()
	st, err := cl.Status(t.Context(), Address(i))
	if err != nil {
		t.Fatalf("status of replica %d: %v", i, err)
	}
	return st
}

// Close implements Service.
func (c *Cluster) Close(t *testing.T) {
	t.Helper()
	for i, s := range c.Servers {
		if s != nil {
			c.Stop(t, i)
		}
	}
}
