package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice/state"
	"github.com/tabletdb/tabletdb/proto/lockpb"
)

// adminServer implements lockpb.AdminServer.
type adminServer struct {
	lockpb.UnsafeAdminServer
	s *Server
}

// membershipTimeout bounds a change of membership or of leadership.
const membershipTimeout = 30 * time.Second

func (a *adminServer) Status(context.Context, *lockpb.StatusRequest) (*lockpb.StatusResponse, error) {
	r, v := a.s.raft, a.s.store.View()
	address, id := r.LeaderWithID()
	out := &lockpb.StatusResponse{
		Id: a.s.cfg.ID, Address: a.s.cfg.Address, Role: map[raft.RaftState]string{
			raft.Leader: "leader", raft.Follower: "follower", raft.Candidate: "candidate", raft.Shutdown: "shutdown",
		}[r.State()],
		Ready:         a.s.lead.Load() != nil,
		StatusAddress: a.s.cfg.StatusAddress,
		LeaderId:      string(id), LeaderAddress: string(address),
		Term: r.CurrentTerm(), LastIndex: r.LastIndex(), CommitIndex: r.CommitIndex(), AppliedIndex: r.AppliedIndex(),
		Revision: uint64(v.Revision()), Generation: v.Generation(),
		Keys: uint64(v.Keys()), Sessions: uint64(len(v.Sessions())),
	}
	for _, m := range a.s.members() {
		out.Members = append(out.Members, &lockpb.Member{Id: string(m.ID), Address: string(m.Address), Voter: m.Suffrage == raft.Voter})
	}
	if last := r.LastContact(); r.State() != raft.Leader && !last.IsZero() {
		out.LastContact = durationpb.New(time.Since(last))
	}
	if err := a.s.failure.Load(); err != nil {
		out.Failure = (*err).Error()
	}
	return out, nil
}

func (a *adminServer) Bootstrap(_ context.Context, req *lockpb.BootstrapRequest) (*lockpb.BootstrapResponse, error) {
	var members []Member
	for _, m := range req.GetMembers() {
		members = append(members, Member{ID: m.GetId(), Address: m.GetAddress()})
	}
	c, err := configuration(members)
	if err != nil {
		return nil, err
	}
	err = a.s.raft.BootstrapCluster(c).Error()
	if errors.Is(err, raft.ErrCantBootstrap) {
		return nil, fmt.Errorf("this replica belongs to a cluster already: %w", base.ErrPrecondition)
	}
	if err != nil {
		return nil, fmt.Errorf("bootstrapping: %w: %w", err, base.ErrInvalid)
	}
	return &lockpb.BootstrapResponse{}, nil
}

func (a *adminServer) Join(ctx context.Context, req *lockpb.JoinRequest) (*lockpb.JoinResponse, error) {
	m := req.GetMember()
	if _, err := configuration([]Member{{m.GetId(), m.GetAddress()}}); err != nil {
		return nil, err
	}
	if _, err := a.s.leading(); err != nil {
		return nil, err
	}
	id, address := raft.ServerID(m.GetId()), raft.ServerAddress(m.GetAddress())
	var f raft.IndexFuture
	if m.GetVoter() {
		f = a.s.raft.AddVoter(id, address, 0, membershipTimeout)
	} else {
		f = a.s.raft.AddNonvoter(id, address, 0, membershipTimeout)
	}
	if err := f.Error(); err != nil {
		return nil, a.s.proposeError(err)
	}
	a.s.log.InfoContext(ctx, "member joined", slog.String("member", m.GetId()), slog.String("address", m.GetAddress()))
	return &lockpb.JoinResponse{}, nil
}

func (a *adminServer) Leave(ctx context.Context, req *lockpb.LeaveRequest) (*lockpb.LeaveResponse, error) {
	if _, err := a.s.leading(); err != nil {
		return nil, err
	}
	id := raft.ServerID(req.GetId())
	if !slices.ContainsFunc(a.s.members(), func(m raft.Server) bool { return m.ID == id }) {
		return nil, fmt.Errorf("member %q: %w", req.GetId(), base.ErrNotFound)
	}
	if a.s.onlyVoter() && req.GetId() == a.s.cfg.ID {
		return nil, fmt.Errorf("%q is the only voter: %w", req.GetId(), base.ErrPrecondition)
	}
	if err := a.s.raft.RemoveServer(id, 0, membershipTimeout).Error(); err != nil {
		return nil, a.s.proposeError(err)
	}
	a.s.log.InfoContext(ctx, "member left", slog.String("member", req.GetId()))
	return &lockpb.LeaveResponse{}, nil
}

func (a *adminServer) TransferLeadership(_ context.Context, req *lockpb.TransferLeadershipRequest) (*lockpb.TransferLeadershipResponse, error) {
	return &lockpb.TransferLeadershipResponse{}, a.s.TransferLeadership(req.GetId())
}

// TransferLeadership hands leadership to a member, or to the most up-to-date
// voter where id is "". Call it before Close to spare clients an election.
func (s *Server) TransferLeadership(id string) error {
	if _, err := s.leading(); err != nil {
		return err
	}
	if id == "" {
		if s.onlyVoter() {
			return fmt.Errorf("there is no other voter: %w", base.ErrPrecondition)
		}
		return s.transferError(s.raft.LeadershipTransfer().Error())
	}
	for _, m := range s.voters() {
		if string(m.ID) == id {
			return s.transferError(s.raft.LeadershipTransferToServer(m.ID, m.Address).Error())
		}
	}
	return fmt.Errorf("voter %q: %w", id, base.ErrNotFound)
}

func (s *Server) transferError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("handing leadership over: %w: %w", err, base.ErrUnavailable)
}

// chunkWriter sends what is written as messages.
type chunkWriter struct {
	stream grpc.ServerStreamingServer[lockpb.SnapshotChunk]
}

func (w chunkWriter) Write(b []byte) (int, error) {
	for sent := 0; sent < len(b); {
		n := min(chunkBytes, len(b)-sent)
		if err := w.stream.Send(&lockpb.SnapshotChunk{Data: b[sent : sent+n]}); err != nil {
			return sent, err
		}
		sent += n
	}
	return len(b), nil
}

func (a *adminServer) Snapshot(_ *lockpb.SnapshotRequest, stream grpc.ServerStreamingServer[lockpb.SnapshotChunk]) error {
	if _, err := a.s.confirmed(stream.Context()); err != nil {
		return err
	}
	_, err := a.s.store.Snapshot().WriteTo(chunkWriter{stream})
	return err
}

// chunkReader reads the messages of a stream.
type chunkReader struct {
	stream grpc.ClientStreamingServer[lockpb.SnapshotChunk, lockpb.RestoreResponse]
	left   []byte
}

func (r *chunkReader) Read(b []byte) (int, error) {
	for len(r.left) == 0 {
		m, err := r.stream.Recv()
		if err != nil {
			return 0, err
		}
		r.left = m.GetData()
	}
	n := copy(b, r.left)
	r.left = r.left[n:]
	return n, nil
}

func (a *adminServer) Restore(stream grpc.ClientStreamingServer[lockpb.SnapshotChunk, lockpb.RestoreResponse]) error {
	r, err := a.s.restore(stream.Context(), &chunkReader{stream: stream})
	if err != nil {
		return err
	}
	return stream.SendAndClose(r)
}

// restore replaces the state by a backup that has entered a new generation
// already, so that no instant exists in which the ids of the old one could be
// given out again (rule R17).
func (s *Server) restore(ctx context.Context, backup io.Reader) (*lockpb.RestoreResponse, error) {
	if _, err := s.leading(); err != nil {
		return nil, err
	}
	m, err := state.ReadSnapshot(backup, s.options.State)
	if err != nil {
		return nil, err
	}
	older := max(m.View().Generation(), s.store.View().Generation())
	g, err := s.cfg.WinGeneration(ctx)
	if err != nil {
		return nil, fmt.Errorf("winning a generation: %w", err)
	}
	if g <= older {
		return nil, fmt.Errorf("won generation %d, but %d was in use: %w", g, older, base.ErrPrecondition)
	}
	m.Apply(0, &state.SetGeneration{Generation: g})
	var buf bytes.Buffer
	if _, err := m.Snapshot().WriteTo(&buf); err != nil {
		return nil, err
	}
	meta := &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Size: int64(buf.Len())}
	if err := s.raft.Restore(meta, &buf, membershipTimeout); err != nil {
		return nil, s.proposeError(err)
	}
	s.log.WarnContext(ctx, "state was replaced by a backup", slog.Uint64("generation", uint64(g)))
	return &lockpb.RestoreResponse{Generation: g, Revision: uint64(m.View().Revision())}, nil
}

// moved reports whether the cluster knows this replica by another address.
func (s *Server) moved() bool {
	for _, m := range s.members() {
		if m.ID == raft.ServerID(s.cfg.ID) {
			return string(m.Address) != s.cfg.Address
		}
	}
	return false
}

// joinLoop asks the cluster to take this replica in, at its present address.
func (s *Server) joinLoop() {
	defer s.done.Done()
	targets := slices.Clone(s.options.Join)
	for _, m := range s.members() {
		targets = append(targets, string(m.Address))
	}
	targets = append(targets, s.cfg.Address) // alone, or elected all the same: it may lead
	for {
		for _, t := range targets {
			err := s.join(t)
			if err == nil {
				return
			}
			s.log.InfoContext(s.ctx, "joining", slog.String("at", t), slog.Any("err", err))
		}
		if !sleep(s.ctx, time.Second) {
			return
		}
	}
}

func (s *Server) join(address string) error {
	ctx, cancel := context.WithTimeout(s.ctx, membershipTimeout)
	defer cancel()
	req := &lockpb.JoinRequest{Member: &lockpb.Member{Id: s.cfg.ID, Address: s.cfg.Address, Voter: true}}
	for range 2 { // once more where it names the leader
		c, err := s.peers.conn(address)
		if err != nil {
			return err
		}
		_, err = lockpb.NewAdminClient(c).Join(ctx, req)
		err = rpc.FromStatus(err)
		var leader *base.LeaderError
		if !errors.As(err, &leader) || leader.Leader == "" {
			return err
		}
		address = leader.Leader
	}
	return base.ErrNotLeader
}
