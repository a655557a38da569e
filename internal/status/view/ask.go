package view

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/lockpb"
)

// dialled calls f with a connection to addr.
func dialled(n rpc.Network, addr string, f func(*grpc.ClientConn) error) error {
	cc, err := rpc.Dial(n, addr)
	if err != nil {
		return fmt.Errorf("dial %s: %w", addr, err)
	}
	defer cc.Close() // nothing was left to send
	return rpc.FromStatus(f(cc))
}

// AskReplicas asks the replicas that are known and those they name.
func (s Source) AskReplicas(ctx context.Context) []Replica {
	known := map[string]bool{}
	var all []Replica
	for ask := slices.Clone(s.Replicas); len(ask) > 0; {
		part := make([]Replica, len(ask))
		var wg sync.WaitGroup
		for i, addr := range ask {
			known[addr] = true
			wg.Go(func() { part[i] = s.replica(ctx, addr) })
		}
		wg.Wait()
		ask = nil
		for _, r := range part {
			for _, m := range r.Status.GetMembers() {
				if !known[m.Address] && !slices.Contains(ask, m.Address) {
					ask = append(ask, m.Address)
				}
			}
		}
		all = append(all, part...)
	}
	// A replica that is known by two addresses is one.
	slices.SortStableFunc(all, func(a, b Replica) int { return strings.Compare(a.Status.GetId(), b.Status.GetId()) })
	return slices.CompactFunc(all, func(a, b Replica) bool { return a.Status.GetId() != "" && a.Status.GetId() == b.Status.GetId() })
}

func (s Source) replica(ctx context.Context, addr string) Replica {
	ctx, cancel := context.WithTimeout(ctx, replicaPatience)
	defer cancel()
	r := Replica{Address: addr}
	r.Err = dialled(s.Network, addr, func(cc *grpc.ClientConn) (err error) {
		r.Status, err = lockpb.NewAdminClient(cc).Status(ctx, &lockpb.StatusRequest{})
		return err
	})
	return r
}

// ask asks the server for its load, its tablets' and what it is at.
func (s *Server) ask(ctx context.Context, from Source) {
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	s.Err = dialled(from.Network, s.Address, func(cc *grpc.ClientConn) error {
		c := controlpb.NewTabletServerClient(cc)
		r, err := c.Status(ctx, &controlpb.StatusRequest{OmitTablets: from.Brief})
		if err != nil {
			return err
		}
		if e := meta.Incarnation(r.GetServer().GetIncarnation()); !e.IsZero() && e != s.Incarnation {
			return fmt.Errorf("incarnation %v answers at its address", e)
		}
		s.Load, s.Tablets = r.GetLoad(), make(map[base.TabletID]*controlpb.TabletLoad, len(r.GetTablets()))
		for _, l := range r.GetTablets() {
			s.Tablets[base.TabletID(l.Tablet)] = l
		}
		if from.Brief {
			return nil
		}
		s.Activity, err = c.Activity(ctx, &controlpb.ActivityRequest{})
		return err
	})
}

// keptDecisions is how many of the master's decisions a View has.
const keptDecisions = 500

// errNoMaster: nobody holds the master's lock.
var errNoMaster = errors.New("no master is running; tablets stay where they are until one does")

// askMaster asks the active master, which is found by its lock, or is in this
// process.
func (v *View) askMaster(ctx context.Context, s Source) {
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	m := &v.Master
	if s.Master != nil {
		if r, err := s.Master.ClusterStatus(ctx, &controlpb.ClusterStatusRequest{OmitTablets: true}); err == nil {
			m.Address, m.Status = r.Master, r
			m.Decisions, _ = s.Master.Explain(ctx, &controlpb.ExplainRequest{Limit: keptDecisions}) // nil on an error
			return
		}
	}
	switch {
	case v.Err != nil || v.SessionsErr != nil:
		m.Err = errors.New("who it is is not known without a leader of the lock service")
		return
	default:
		for _, l := range v.Locks {
			if l.Name == meta.MasterLock && len(l.Holders) > 0 {
				m.Address = string(l.Data)
			}
		}
	}
	if m.Address == "" {
		m.Err = errNoMaster
		return
	}
	m.Err = dialled(s.Network, m.Address, func(cc *grpc.ClientConn) (err error) {
		c := controlpb.NewMasterClient(cc)
		if m.Status, err = c.ClusterStatus(ctx, &controlpb.ClusterStatusRequest{OmitTablets: true}); err == nil && !s.Brief {
			m.Decisions, err = c.Explain(ctx, &controlpb.ExplainRequest{Limit: keptDecisions})
		}
		return err
	})
	if m.Err != nil {
		m.Err = fmt.Errorf("it holds the lock but does not answer: %w", m.Err)
	}
}

// Describe asks the owner of a tablet for everything about it.
func Describe(ctx context.Context, n rpc.Network, t meta.Tablet) (r *controlpb.DescribeResponse, err error) {
	ctx, cancel := context.WithTimeout(ctx, serverPatience)
	defer cancel()
	err = dialled(n, t.OwnerAddress, func(cc *grpc.ClientConn) (err error) {
		r, err = controlpb.NewTabletServerClient(cc).Describe(ctx, &controlpb.DescribeRequest{Tablet: uint64(t.ID)})
		return err
	})
	return r, err
}

// Heat asks all servers for their heat maps of a table.
func Heat(ctx context.Context, n rpc.Network, servers []*Server, table base.TableID, sinceMicros int64) (answers []*controlpb.HeatResponse, errs []error) {
	ctx, cancel := context.WithTimeout(ctx, 2*serverPatience)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(func() {
			err := dialled(n, s.Address, func(cc *grpc.ClientConn) error {
				r, err := controlpb.NewTabletServerClient(cc).Heat(ctx, &controlpb.HeatRequest{Table: uint64(table), SinceUs: sinceMicros})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					answers = append(answers, r)
				}
				return err
			})
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("%s: %w", s.Name(), err))
			}
		})
	}
	wg.Wait()
	return answers, errs
}
