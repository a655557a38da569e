// Package client is the remote client of the lock service. It finds the
// leader, rides through elections within the caller's deadline, retries
// transactions verbatim under one id until they are decided, and keeps
// sessions alive.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/lockservice/session"
	"github.com/tabletdb/tabletdb/proto/lockpb"
)

// Config is what a Client must be given.
type Config struct {
	// Endpoints are addresses of replicas; some of them suffice, the leader is
	// learned from them.
	Endpoints []string
	Network   rpc.Network
	Logger    *slog.Logger
	// Clock that sessions count their deadline by; nil means
	// session.Boottime. Tests in a synctest bubble pass one on time.Now.
	Clock session.Clock
	// Attempt bounds one attempt at one replica, so that a silent one is left;
	// 0 means 3 s.
	Attempt time.Duration
	// Dial adds options to every connection.
	Dial []grpc.DialOption
}

// Client implements lockservice.Client.
type Client struct {
	cfg    Config
	ctx    context.Context // the client's lifetime
	cancel context.CancelFunc

	mu struct {
		sync.Mutex
		conns    map[string]*grpc.ClientConn
		target   string // where the leader is thought to be
		sessions map[*session.Keeper]struct{}
		closed   bool
	}
}

var _ lockservice.Client = (*Client)(nil)

// New returns a client. It connects when it is used.
func New(cfg Config) (*Client, error) {
	if len(cfg.Endpoints) == 0 || cfg.Network == nil || cfg.Logger == nil {
		return nil, fmt.Errorf("lock service client: Endpoints, Network and Logger must be given: %w", base.ErrInvalid)
	}
	if cfg.Clock == nil {
		cfg.Clock = session.Boottime
	}
	if cfg.Attempt == 0 {
		cfg.Attempt = 3 * time.Second
	}
	c := &Client{cfg: cfg}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.mu.conns = make(map[string]*grpc.ClientConn)
	c.mu.sessions = make(map[*session.Keeper]struct{})
	c.mu.target = cfg.Endpoints[0]
	return c, nil
}

// Close implements lockservice.Client. Sessions that are open are abandoned.
func (c *Client) Close() error {
	c.cancel()
	c.mu.Lock()
	c.mu.closed = true
	var keepers []*session.Keeper
	for k := range c.mu.sessions {
		keepers = append(keepers, k)
	}
	conns := c.mu.conns
	c.mu.conns = nil
	c.mu.Unlock()
	for _, k := range keepers {
		k.Abandon()
	}
	var errs []error
	for _, cc := range conns {
		errs = append(errs, cc.Close())
	}
	return errors.Join(errs...)
}

// Target returns the address at which the client believes the leader.
func (c *Client) Target() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.target
}

// stubs are the services of one replica.
type stubs struct {
	address string
	lockpb.LockServiceClient
	lockpb.AdminClient
}

// stubs returns the services of the replica where the leader is thought to be.
func (c *Client) stubs() (stubs, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return stubs{}, errClosed
	}
	address := c.mu.target
	cc := c.mu.conns[address]
	if cc == nil {
		var err error
		cc, err = rpc.Dial(c.cfg.Network, address, append([]grpc.DialOption{grpc.WithStatsHandler(sentHandler{})}, c.cfg.Dial...)...)
		if err != nil {
			return stubs{}, fmt.Errorf("dialling %s: %w", address, err)
		}
		c.mu.conns[address] = cc
	}
	return stubs{address, lockpb.NewLockServiceClient(cc), lockpb.NewAdminClient(cc)}, nil
}

var errClosed = fmt.Errorf("lock service client is closed: %w", base.ErrNoLeader)

// turn leaves the replica at which an attempt failed: for the leader it named,
// else for the next endpoint. It reports whether a leader was named.
func (c *Client) turn(from string, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var leader *base.LeaderError
	named := errors.As(err, &leader) && leader.Leader != ""
	if c.mu.target != from { // another call turned already
		return named
	}
	if named {
		c.mu.target = leader.Leader
		return true
	}
	i := slices.Index(c.cfg.Endpoints, from) // -1: the first
	c.mu.target = c.cfg.Endpoints[(i+1)%len(c.cfg.Endpoints)]
	return false
}
