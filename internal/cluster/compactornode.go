package cluster

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
	"github.com/tabletdb/tabletdb/tabletserver/offload"
)

// CompactorNode is a worker that compacts for tablet servers, with its endpoint.
type CompactorNode struct {
	*offload.Worker
	endpoint *endpoint
}

// CompactorConfig is what a CompactorNode must be given beside its Env.
type CompactorConfig struct {
	Addr, Name, Zone, StatusAddress string
	Options                         offload.WorkerOptions
}

// OpenCompactor starts a worker that listens on c.Addr.
func OpenCompactor(ctx context.Context, e *Env, c CompactorConfig) (*CompactorNode, error) {
	p, err := listen(e, c.Addr)
	if err != nil {
		return nil, err
	}
	cfg := offload.WorkerConfig{
		LockService: e.LockService, Store: e.Bucket.Data, Address: p.addr(), Name: c.Name, Zone: c.Zone,
		Version: e.Version, StatusAddress: c.StatusAddress, Logger: e.Logger.With("role", "compactor"), Options: c.Options,
	}
	if cfg.Name == "" {
		cfg.Name = p.addr()
	}
	w, err := offload.OpenWorker(ctx, cfg)
	if err != nil {
		p.listener.Close()
		return nil, err
	}
	if e.Registerer != nil {
		if err := e.Registerer.Register(offload.NewMetrics(w)); err != nil {
			e.Logger.Warn("metrics of the compactor are not there", "err", err)
		}
	}
	s := rpc.NewServer(e.Logger, rpc.ServerOptions{})
	compactorpb.RegisterCompactorServer(s, w)
	p.serve(s)
	return &CompactorNode{w, p}, nil
}

// Addr is where the node listens.
func (n *CompactorNode) Addr() string { return n.endpoint.addr() }

// Close takes no more jobs, lets those under way end for as long as ctx allows,
// and stops.
func (n *CompactorNode) Close(ctx context.Context) error {
	err := n.Worker.Close(ctx)
	n.endpoint.stop()
	return err
}

// Kill stops the node as the death of its process would.
func (n *CompactorNode) Kill() {
	n.Worker.Abandon()
	n.endpoint.cut()
	n.Worker.Kill()
}

// StartCompactor adds a worker.
func (c *Cluster) StartCompactor(ctx context.Context) (*CompactorNode, error) {
	c.mu.Lock()
	c.mu.compactorsStarted++
	name := fmt.Sprintf("compactor%d", c.mu.compactorsStarted)
	c.mu.Unlock()
	e, err := c.env(name)
	if err != nil {
		return nil, err
	}
	if c.cfg.Registerer != nil {
		e.Registerer = prometheus.WrapRegistererWith(prometheus.Labels{"node": name}, c.cfg.Registerer)
	}
	n, err := OpenCompactor(ctx, e, CompactorConfig{Addr: c.addr(""), Name: name, StatusAddress: c.cfg.StatusAddress, Options: c.cfg.Compactor})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.compactors = append(c.mu.compactors, n)
	return n, nil
}

// Compactors returns the workers that run.
func (c *Cluster) Compactors() []*CompactorNode {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*CompactorNode(nil), c.mu.compactors...)
}

// KillCompactor stops a worker as the death of its process would.
func (c *Cluster) KillCompactor(n *CompactorNode) {
	c.removeCompactor(n)
	n.Kill()
}

// StopCompactor stops a worker in an orderly way.
func (c *Cluster) StopCompactor(ctx context.Context, n *CompactorNode) error {
	c.removeCompactor(n)
	return n.Close(ctx)
}

func (c *Cluster) removeCompactor(n *CompactorNode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, x := range c.mu.compactors {
		if x == n {
			c.mu.compactors = append(c.mu.compactors[:i:i], c.mu.compactors[i+1:]...)
			return
		}
	}
}
