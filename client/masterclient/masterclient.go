// Package masterclient calls the active master, whichever process that is.
package masterclient

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

const (
	// deadline is for calls whose context has no deadline.
	deadline = 60 * time.Second
	// electionPause is about how long to wait before asking again who the
	// master is.
	electionPause = 100 * time.Millisecond
)

// Client calls the active master. Its methods may be called concurrently.
type Client struct {
	ls      lockservice.Client
	network rpc.Network

	mu struct {
		sync.Mutex
		addr string // of the last known active master; "": unknown
		conn *grpc.ClientConn
	}
}

// New returns a Client that finds the master in ls. It starts nothing.
func New(ls lockservice.Client, n rpc.Network) *Client {
	return &Client{ls: ls, network: n}
}

// Close closes the connection to the master.
func (m *Client) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.setLocked("")
}

// setLocked makes addr the master's address.
func (m *Client) setLocked(addr string) error {
	if addr == m.mu.addr {
		return nil
	}
	var err error
	if m.mu.conn != nil {
		err = m.mu.conn.Close()
		m.mu.conn = nil
	}
	m.mu.addr = addr
	if addr != "" {
		if m.mu.conn, err = rpc.Dial(m.network, addr); err != nil {
			m.mu.addr, m.mu.conn = "", nil
		}
	}
	return err
}

// Call runs f against the active master. While there is none, and where a
// call certainly was not executed, it tries again until ctx ends; a ctx without
// a deadline gets one of a minute. Errors wrap the sentinels of internal/base.
func (m *Client) Call(ctx context.Context, f func(context.Context, controlpb.MasterClient) error) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, deadline)
		defer cancel()
	}
	for {
		addr, conn, err := m.find(ctx)
		if err == nil {
			err = rpc.FromStatus(f(ctx, controlpb.NewMasterClient(router.Conn(conn))))
		}
		var leader *base.LeaderError
		switch {
		case errors.As(err, &leader):
			m.moved(addr, leader.Leader)
		case errors.Is(err, base.ErrNotServing), errors.Is(err, errNoMaster), errors.Is(err, base.ErrNotLeader):
			m.moved(addr, "")
		default:
			return err
		}
		if serr := pause(ctx); serr != nil {
			return fmt.Errorf("%w: no active master answered in time: %v", base.ErrUnavailable, err)
		}
	}
}

func pause(ctx context.Context) error {
	t := time.NewTimer(electionPause/2 + rand.N(electionPause))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errNoMaster = errors.New("no master is active")

// find returns the address of the active master and a connection to it.
func (m *Client) find(ctx context.Context) (string, *grpc.ClientConn, error) {
	m.mu.Lock()
	addr, conn := m.mu.addr, m.mu.conn
	m.mu.Unlock()
	if conn != nil {
		return addr, conn, nil
	}
	locks, _, err := m.ls.Locks(ctx)
	if err != nil {
		return "", nil, fmt.Errorf("find the active master: %w", err)
	}
	for _, l := range locks {
		if l.Name == meta.MasterLock && len(l.Holders) > 0 && len(l.Data) > 0 {
			addr = string(l.Data)
		}
	}
	if addr == "" {
		return "", nil, errNoMaster
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.setLocked(addr); err != nil {
		return "", nil, fmt.Errorf("dial master %s: %w", addr, err)
	}
	return addr, m.mu.conn, nil
}

// moved notes that the master is not at addr any more, but perhaps at next.
func (m *Client) moved(addr, next string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.addr == addr {
		_ = m.setLocked(next) // an address that cannot be dialled is looked up
	}
}
