package client

import (
	"context"
	"fmt"
	"io"

	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/proto/lockpb"
)

// The calls that operate the cluster of replicas. They are no part of
// lockservice.Client.

// Status asks the replica at address, which may be any.
func (c *Client) Status(ctx context.Context, address string) (*lockpb.StatusResponse, error) {
	cc, err := rpc.Dial(c.cfg.Network, address, c.cfg.Dial...)
	if err != nil {
		return nil, fmt.Errorf("dialling %s: %w", address, err)
	}
	defer cc.Close()
	r, err := lockpb.NewAdminClient(cc).Status(ctx, &lockpb.StatusRequest{})
	return r, rpc.FromStatus(err)
}

// Join adds a replica to the cluster, or moves it to a new address.
func (c *Client) Join(ctx context.Context, id, address string, voter bool) error {
	return c.call(ctx, request{attempt: adminAttempt}, func(ctx context.Context, s stubs, _ int) error {
		_, err := s.Join(ctx, &lockpb.JoinRequest{Member: &lockpb.Member{Id: id, Address: address, Voter: voter}})
		return err
	})
}

// Leave removes a replica from the cluster.
func (c *Client) Leave(ctx context.Context, id string) error {
	return c.call(ctx, request{attempt: adminAttempt}, func(ctx context.Context, s stubs, _ int) error {
		_, err := s.Leave(ctx, &lockpb.LeaveRequest{Id: id})
		return err
	})
}

// TransferLeadership hands leadership to a voter, "" for the most up-to-date.
func (c *Client) TransferLeadership(ctx context.Context, id string) error {
	return c.call(ctx, request{attempt: adminAttempt}, func(ctx context.Context, s stubs, _ int) error {
		_, err := s.TransferLeadership(ctx, &lockpb.TransferLeadershipRequest{Id: id})
		return err
	})
}

// Snapshot writes a backup of the whole state to w. Where it fails, w may hold
// a part of one.
func (c *Client) Snapshot(ctx context.Context, w io.Writer) error {
	wrote := false
	return c.call(ctx, request{unbounded: true}, func(ctx context.Context, s stubs, _ int) error {
		stream, err := s.Snapshot(ctx, &lockpb.SnapshotRequest{})
		if err != nil {
			return err
		}
		for {
			m, err := stream.Recv()
			if err == io.EOF {
				return nil
			}
			if err != nil && wrote {
				return &callbackError{fmt.Errorf("backup broke off: %w", rpc.FromStatus(err))}
			}
			if err != nil {
				return err
			}
			wrote = true
			if _, err := w.Write(m.GetData()); err != nil {
				return &callbackError{fmt.Errorf("writing the backup: %w", err)}
			}
		}
	})
}

// Restore replaces the whole state by a backup. It makes one attempt at the
// leader, which an earlier call has found.
func (c *Client) Restore(ctx context.Context, r io.Reader) (generation uint32, err error) {
	// Any linearizable read finds the leader.
	if _, _, _, err := c.Get(ctx, "", lockservice.ReadOptions{KeysOnly: true}); err != nil {
		return 0, err
	}
	s, err := c.stubs()
	if err != nil {
		return 0, err
	}
	stream, err := s.Restore(ctx)
	if err != nil {
		return 0, rpc.FromStatus(err)
	}
	buf := make([]byte, 512<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if serr := stream.Send(&lockpb.SnapshotChunk{Data: buf[:n]}); serr != nil {
				break // the server's reason comes with CloseAndRecv
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("reading the backup: %w", err)
		}
	}
	m, err := stream.CloseAndRecv()
	return m.GetGeneration(), rpc.FromStatus(err)
}
