package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice/state"
	"github.com/tabletdb/tabletdb/proto/lockpb"
)

// Server is one running replica.
type Server struct {
	cfg     Config
	options Options
	log     *slog.Logger
	store   *state.Store
	stores  stores
	mux     *mux
	trans   *raft.NetworkTransport
	raft    *raft.Raft
	grpc    *grpc.Server
	peers   *peers
	confirm confirmer

	// lead is the term in which this replica leads and may answer; nil while
	// it does not.
	lead    atomic.Pointer[leadership]
	failure atomic.Pointer[error] // why the replica stopped taking part

	ctx    context.Context // the replica's lifetime
	cancel context.CancelFunc
	done   sync.WaitGroup
	closed sync.Once
}

// Open starts a replica: it listens, takes part in Raft and answers clients.
// Close stops it.
func Open(cfg Config, o Options) (*Server, error) {
	o = o.withDefaults()
	if err := cfg.validate(o); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, options: o,
		log:   cfg.Logger.With(slog.String("replica", cfg.ID)),
		store: state.NewStore(state.New(o.State)),
		peers: newPeers(cfg.Network),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.confirm.s = s
	if err := s.open(); err != nil {
		s.Close()
		return nil, fmt.Errorf("starting replica %s of the lock service: %w", cfg.ID, err)
	}
	return s, nil
}

func (s *Server) open() (err error) {
	if s.stores, err = openStores(s.cfg.Dir, s.log); err != nil {
		return err
	}
	listen := s.options.Listen
	if listen == "" {
		listen = s.cfg.Address
	}
	l, err := s.cfg.Network.Listen(listen)
	if err != nil {
		return err
	}
	s.mux = newMux(l, s.cfg.Network)
	fresh, err := s.startRaft()
	if err != nil {
		return err
	}
	s.grpc = rpc.NewServer(s.log, rpc.ServerOptions{More: []grpc.ServerOption{grpc.WaitForHandlers(true)}})
	lockpb.RegisterLockServiceServer(s.grpc, &lockServer{s: s})
	lockpb.RegisterAdminServer(s.grpc, &adminServer{s: s})
	lockpb.RegisterPeerServer(s.grpc, &peerServer{s: s})
	if s.options.Register != nil {
		s.options.Register(s.grpc)
	}
	s.done.Add(2)
	go func() {
		defer s.done.Done()
		s.grpc.Serve(s.mux.grpc)
	}()
	go s.leadLoop()
	if fresh && len(s.options.Join) > 0 || !fresh && s.moved() {
		s.done.Add(1)
		go s.joinLoop()
	}
	return nil
}

// startRaft starts Raft on the stores; fresh: they were empty and no bootstrap
// was asked for.
func (s *Server) startRaft() (fresh bool, err error) {
	rc := raftConfig(s.cfg, s.options)
	s.trans = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  advertised{s.mux.raft, s.cfg.Address},
		MaxPool: 4,
		// A follower that fsyncs slowly is late, not gone.
		Timeout: max(10*time.Second, s.options.Heartbeat),
		Logger:  newRaftLogger(s.log),
	})
	logs, stable := s.stores.logs, s.stores.stable
	if s.options.wrap != nil {
		logs, stable = s.options.wrap(logs, stable)
	}
	known, err := raft.HasExistingState(logs, stable, s.stores.snapshots)
	if err != nil {
		return false, fmt.Errorf("looking for Raft's state: %w", err)
	}
	if !known && len(s.options.Bootstrap) > 0 {
		c, err := configuration(s.options.Bootstrap)
		if err != nil {
			return false, err
		}
		if err := raft.BootstrapCluster(rc, logs, stable, s.stores.snapshots, s.trans, c); err != nil {
			return false, fmt.Errorf("bootstrapping: %w", err)
		}
		known = true
	}
	// Raft starts an election at once where it learns of a shorter heartbeat.
	hurried := rc.HeartbeatTimeout
	rc.HeartbeatTimeout += time.Millisecond
	rc.ElectionTimeout += time.Millisecond
	f := &fsm{store: s.store, options: s.options.State, fail: s.fail}
	s.raft, err = raft.NewRaft(rc, f, logs, &patientStore{stable, s.ctx, s.log}, s.stores.snapshots, plainTransport{s.trans})
	if err != nil {
		return false, fmt.Errorf("starting Raft: %w", err)
	}
	if s.onlyVoter() {
		r := s.raft.ReloadableConfig()
		r.HeartbeatTimeout = hurried
		if err := s.raft.ReloadConfig(r); err != nil {
			return false, fmt.Errorf("hurrying the first election: %w", err)
		}
	}
	return !known, nil
}

// configuration checks the members of a new cluster.
func configuration(members []Member) (raft.Configuration, error) {
	var c raft.Configuration
	for _, m := range members {
		if m.ID == "" || m.Address == "" {
			return c, fmt.Errorf("member %q at %q: needs an id and an address: %w", m.ID, m.Address, base.ErrInvalid)
		}
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(m.ID), Address: raft.ServerAddress(m.Address)})
	}
	return c, nil
}

// voters lists the voting members as this replica knows them.
func (s *Server) voters() []raft.Server {
	var out []raft.Server
	for _, m := range s.members() {
		if m.Suffrage == raft.Voter {
			out = append(out, m)
		}
	}
	return out
}

func (s *Server) members() []raft.Server {
	f := s.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

func (s *Server) onlyVoter() bool {
	v := s.voters()
	return len(v) == 1 && v[0].ID == raft.ServerID(s.cfg.ID)
}

// fail stops this replica from taking part, for ever: what it stores is
// damaged. It keeps answering that it failed.
func (s *Server) fail(err error) {
	if s.failure.CompareAndSwap(nil, &err) {
		s.log.ErrorContext(s.ctx, "replica failed and takes no part any more", slog.Any("err", err))
		s.lead.Store(nil)
		s.done.Add(1)
		go func() {
			defer s.done.Done()
			s.raft.Shutdown().Error()
		}()
	}
}

// Close stops the replica and waits. It does not hand leadership over: call
// TransferLeadership first where that is wanted.
func (s *Server) Close() error {
	var err error
	s.closed.Do(func() { err = s.close() })
	return err
}

func (s *Server) close() error {
	s.cancel()
	var errs []error
	if s.grpc != nil {
		s.grpc.Stop()
	}
	if s.raft != nil {
		errs = append(errs, s.raft.Shutdown().Error())
	}
	if s.trans != nil {
		s.trans.Close()
		s.trans.CloseStreams()
	}
	if s.mux != nil {
		s.mux.close()
	}
	s.done.Wait()
	s.confirm.done.Wait()
	s.peers.close()
	if s.stores.close != nil {
		errs = append(errs, s.stores.close())
	}
	return errors.Join(errs...)
}
