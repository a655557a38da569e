package tabletservertest

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/internal/rpc/memnet"
	lockmem "github.com/tabletdb/tabletdb/lockservice/mem"
	"github.com/tabletdb/tabletdb/proto/compactorpb"
	"github.com/tabletdb/tabletdb/tabletserver/offload"
)

// Worker is a compactor of a fixture, with its endpoint. What it works with is
// its own.
type Worker struct {
	*offload.Worker
	Lock  *lockmem.Client
	Store *Spy

	server *grpc.Server
	served chan struct{}
}

// OpenWorker opens a worker that the servers opened afterwards, or before with
// a Net, can reach. between, if not nil, is put between callers and the worker:
// it gets the worker and returns what is served in its place.
func (f *Fixture) OpenWorker(ctx context.Context, slots int, between func(compactorpb.CompactorServer) compactorpb.CompactorServer) *Worker {
	f.T.Helper()
	if f.Net == nil {
		f.Net = memnet.New()
	}
	f.names++
	name := fmt.Sprintf("worker%d", f.names)
	l, err := f.Net.Node(name).Listen("mem:0")
	f.Must(err)
	x := &Worker{Lock: f.Lock.Client(), Store: NewSpy(f.Store), served: make(chan struct{})}
	x.Worker, err = offload.OpenWorker(ctx, offload.WorkerConfig{
		LockService: x.Lock, Store: x.Store, Address: l.Addr().String(), Name: name, Logger: f.Logger(),
		Options: offload.WorkerOptions{SessionTTL: TTL, Slots: slots},
	})
	f.Must(err)
	x.server = rpc.NewServer(f.Logger(), rpc.ServerOptions{})
	var service compactorpb.CompactorServer = x.Worker
	if between != nil {
		service = between(service)
	}
	compactorpb.RegisterCompactorServer(x.server, service)
	go func() {
		defer close(x.served)
		x.server.Serve(l) // ends with Kill
	}()
	f.workers = append(f.workers, x)
	return x
}

// Kill stops the worker as the death of its process would. It may be called
// again.
func (x *Worker) Kill() {
	x.Worker.Abandon()
	x.server.Stop()
	<-x.served
	x.Worker.Kill()
}
