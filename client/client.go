package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/client/masterclient"
	"github.com/tabletdb/tabletdb/client/router"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	lsclient "github.com/tabletdb/tabletdb/lockservice/client"
	"github.com/tabletdb/tabletdb/meta"
)

// The errors that calls may be asked for, with errors.Is.
var (
	ErrNotFound       = base.ErrNotFound       // table, instance, ...
	ErrFamilyNotFound = base.ErrFamilyNotFound // the table has no such column family
	ErrExists         = base.ErrExists
	ErrInvalid        = base.ErrInvalid        // the request can never succeed
	ErrPrecondition   = base.ErrPrecondition   // the state forbids it
	ErrUnknownOutcome = base.ErrUnknownOutcome // the write may have been applied, or not
	ErrOverloaded     = base.ErrOverloaded     // try again later
	ErrUnavailable    = base.ErrUnavailable    // try again
	ErrUnimplemented  = base.ErrUnimplemented
)

// Config says where the cluster is. One of LockService and Endpoint must be
// given.
type Config struct {
	// LockService are addresses of replicas of the lock service; some suffice.
	LockService []string
	// Endpoint is the address of a gateway.
	Endpoint string
	// Project and Instance name tables in full; "" means "local" and "main".
	Project, Instance string
	// AppProfile is sent with each request; "" means the default one.
	AppProfile string
	// Network; nil means TCP.
	Network rpc.Network
	// Cell, if not nil, takes the place of LockService. It is the caller's.
	Cell lockservice.Client
	// Logger; nil discards.
	Logger *slog.Logger

	Options Options
}

// Options qualify a Client. The zero value is valid.
type Options struct {
	// Connections to each tablet server, or to the gateway; 0 means 1.
	Connections int
	// Deadline of calls whose context has none; 0 means 60 s.
	Deadline time.Duration
	// NoCoalescing sends each Apply as a request of its own. By default, calls
	// of Apply that are made while others of the same tablet are under way
	// travel together.
	NoCoalescing bool
	// Budget limits retries.
	Budget router.Budget
	// Dial is appended to the options of each connection.
	Dial []grpc.DialOption
}

func (c Config) withDefaults() (Config, error) {
	if c.Project == "" {
		c.Project = "local"
	}
	if c.Instance == "" {
		c.Instance = "main"
	}
	if c.Network == nil {
		c.Network = rpc.TCP{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Options.Connections = max(1, c.Options.Connections)
	ways := 0
	for _, given := range []bool{len(c.LockService) > 0, c.Endpoint != "", c.Cell != nil} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return c, fmt.Errorf("%w: a client needs either the addresses of the lock service or the endpoint of a gateway", ErrInvalid)
	}
	return c, nil
}

// Client is a hold on a cluster. Close it.
type Client struct {
	config Config
	router *router.Router
	admin  *Admin
	close  []func() error

	mu struct {
		sync.Mutex
		tables map[string]*Table
	}
}

// Open returns a Client. It dials in the background, so that an address where
// nobody answers shows with the first call.
func Open(_ context.Context, config Config) (*Client, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{config: config}
	c.mu.tables = map[string]*Table{}
	o := router.Options{Connections: config.Options.Connections, Dial: config.Options.Dial, Deadline: config.Options.Deadline, Budget: config.Options.Budget}
	if config.Endpoint != "" {
		g, err := dialGateway(config)
		if err != nil {
			return nil, fmt.Errorf("open client of %s: %w", config.Endpoint, err)
		}
		c.router = router.New(router.Config{Whole: g.table, Logger: config.Logger, Options: o})
		c.admin = &Admin{c: c, backend: g}
		c.close = append(c.close, c.router.Close, g.close)
		return c, nil
	}
	ls := config.Cell
	if ls == nil {
		ls, err = lsclient.New(lsclient.Config{Endpoints: config.LockService, Network: config.Network, Logger: config.Logger})
		if err != nil {
			return nil, fmt.Errorf("open client: %w", err)
		}
		c.close = append(c.close, ls.Close)
	}
	store := meta.NewStore(ls)
	c.router = router.New(router.Config{Meta: store, Network: config.Network, Logger: config.Logger, Options: o})
	master := masterclient.New(ls, config.Network)
	c.admin = &Admin{c: c, backend: &native{meta: store, master: master, router: c.router}}
	c.close = append([]func() error{c.router.Close, master.Close}, c.close...)
	return c, nil
}

// Close ends the client; calls in flight fail.
func (c *Client) Close() error {
	var errs []error
	for _, f := range c.close {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// Admin returns the calls that make, show and change tables.
func (c *Client) Admin() *Admin { return c.admin }

// Stats returns what the client did so far.
func (c *Client) Stats() router.Stats { return c.router.Stats() }

// parent is projects/P/instances/I.
func (c *Client) parent() string {
	return "projects/" + c.config.Project + "/instances/" + c.config.Instance
}

// Open returns the table of that name, which need not exist yet. It does no
// I/O.
func (c *Client) Open(table string) *Table {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.mu.tables[table]
	if t == nil {
		t = newTable(c, table)
		c.mu.tables[table] = t
	}
	return t
}
