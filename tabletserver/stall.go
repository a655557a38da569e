package tabletserver

import (
	"context"
	"errors"
	"time"

	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// errStalled ends a server that cannot write its log while others can write
// theirs.
var errStalled = errors.New("the bucket does not take this server's log, though it takes others'")

const (
	stallCheck    = time.Second
	minStall      = 30 * time.Second
	healthyWithin = 10 * time.Second // a peer whose log was acknowledged within it proves the bucket well
)

// stallLoop gives the tablets to others when the log has not advanced for long
// (R20). The session alone would not: it is with the lock service, which may
// be reached while the bucket is not. If nobody can write, leaving helps
// nobody; the server stays and refuses writes as memory runs out.
func (s *Server) stallLoop() {
	tick := time.NewTicker(stallCheck)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.life.Done():
			return
		}
		since := s.wal.Stats().StalledSince
		if since.IsZero() || time.Since(since) < max(2*s.session.TTL(), minStall) || s.session.State() != lockservice.SessionSafe {
			continue
		}
		if s.bucketServesOthers() {
			s.log.Error("log has stalled; the tablets go to others", "since", since)
			s.die(errStalled)
			return
		}
	}
}

// bucketServesOthers asks the other tablet servers whether their logs advance.
func (s *Server) bucketServesOthers() bool {
	ctx, cancel := context.WithTimeout(s.life, 5*time.Second)
	defer cancel()
	servers, err := s.meta.Servers(ctx, lockservice.ReadOptions{})
	if err != nil {
		return false
	}
	for _, other := range servers {
		if other.Incarnation == s.Incarnation() {
			continue
		}
		if l := s.askLoad(ctx, other.Address); l != nil && l.LogStalledUs == 0 && l.LogAcknowledgedUsAgo > 0 &&
			l.LogAcknowledgedUsAgo < healthyWithin.Microseconds() {
			return true
		}
	}
	return false
}

// askLoad returns the load of the server at addr; nil: it does not answer.
func (s *Server) askLoad(ctx context.Context, addr string) *controlpb.ServerLoad {
	cc, err := rpc.Dial(s.cfg.Network, addr)
	if err != nil {
		return nil
	}
	defer cc.Close()
	r, err := controlpb.NewTabletServerClient(cc).Status(ctx, &controlpb.StatusRequest{OmitTablets: true})
	if err != nil {
		return nil
	}
	return r.Load
}
