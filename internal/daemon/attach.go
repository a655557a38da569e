package daemon

import (
	"github.com/tabletdb/tabletdb/internal/cluster"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/internal/status"
	"github.com/tabletdb/tabletdb/internal/status/view"
	lockclient "github.com/tabletdb/tabletdb/lockservice/client"
	lockserver "github.com/tabletdb/tabletdb/lockservice/server"
	"github.com/tabletdb/tabletdb/master"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// source is where the pages of a process ask; m: the master that is in it, or
// nil.
func (p *process) source(e *cluster.Env, m *master.Master) view.Source {
	s := view.Source{LockService: e.LockService, Replicas: p.cfg.LockService, Network: e.Network}
	if m != nil { // no interface that holds a nil
		s.Master = m
	}
	return s
}

// attachLockServer gives the pages of a lock server a client of the lock
// service, which it needs for nothing else.
func (p *process) attachLockServer(o lockserver.Options) (detach func(), err error) {
	if p.pages == nil {
		return func() {}, nil
	}
	replicas := []string{p.cfg.Listen}
	for _, m := range o.Bootstrap {
		if m.Address != p.cfg.Listen {
			replicas = append(replicas, m.Address)
		}
	}
	replicas = append(replicas, o.Join...)
	ls, err := lockclient.New(lockclient.Config{Endpoints: replicas, Network: rpc.TCP{}, Logger: p.log})
	if err != nil {
		return nil, err
	}
	end := p.attach(status.Parts{Source: view.Source{LockService: ls, Replicas: replicas, Network: rpc.TCP{}}})
	return func() { end(); ls.Close() }, nil
}

// attachDev shows a whole cluster that is in this process.
func (p *process) attachDev(cl *cluster.Cluster) (detach func(), err error) {
	if p.pages == nil {
		return func() {}, nil
	}
	parts, err := DevParts(cl)
	if err != nil {
		return nil, err
	}
	return p.attach(parts), nil
}

// DevParts returns what the pages of a process show that runs all of cl.
func DevParts(cl *cluster.Cluster) (status.Parts, error) {
	e, err := cl.Env("status")
	if err != nil {
		return status.Parts{}, err
	}
	parts := status.Parts{
		Source: view.Source{LockService: e.LockService, Replicas: cl.LockEndpoints(), Network: e.Network},
		Store:  cl.Bucket().Data, Router: cl.RouterStats, Memory: cl.Memory(), Tablets: map[string]controlpb.TabletServerServer{},
	}
	for _, m := range cl.Masters() {
		parts.Source.Master = m.Master
	}
	for _, n := range cl.TabletServers() {
		parts.Tablets[n.Name()] = n.Control()
	}
	parts.Compactors = map[string]compactorpb.CompactorServer{}
	for _, n := range cl.Compactors() {
		parts.Compactors[n.Name()] = n.Worker
	}
	return parts, nil
}
