package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice/state"
)

// Member is one replica of a cluster.
type Member struct {
	ID      string // names the replica for ever
	Address string // where peers and clients dial it
}

// Config is what a replica must be given.
type Config struct {
	// ID names this replica for ever, among all that ever were in the cluster.
	ID string
	// Address is where peers and clients dial this replica; it listens there
	// unless Options.Listen says otherwise.
	Address string
	// Network to listen and dial on.
	Network rpc.Network
	// Dir holds the durable state; "" keeps it in memory.
	Dir string
	// StatusAddress is where the status pages of this process are; for people.
	StatusAddress string
	// WinGeneration wins the next generation of the lock service, by
	// create-if-absent of base.GenerationObject (rule R17). It is called at
	// bootstrap and at every restore, by the leader, and may block.
	WinGeneration func(ctx context.Context) (uint32, error)
	Logger        *slog.Logger
}

// Options are what a replica may be given. The zero value is valid.
type Options struct {
	// Bootstrap lists the first members of a new cluster, this one included,
	// the same list on each of them. It is ignored where the directory holds
	// state already.
	Bootstrap []Member
	// Join lists addresses of a cluster to join, where this replica is no
	// member yet.
	Join []string
	// Listen is the address to listen on; "" means Config.Address.
	Listen string

	// Heartbeat is how long a follower waits for a word from the leader, and a
	// leader for a majority, before it gives them up; 0 means 400 ms. Fail-over
	// takes about three of them. Elections are retried as often.
	Heartbeat time.Duration
	// DefaultTTL and MinTTL of sessions; 0 means 10 s and 1 s. The longest is
	// state.MaxTTL. Leases are looked at every eighth of MinTTL.
	DefaultTTL time.Duration
	MinTTL     time.Duration

	// SnapshotEntries is after how many log entries a snapshot is taken; 0
	// means 65,536. As many entries stay in the log for slow followers.
	SnapshotEntries uint64
	// SnapshotInterval is how often that is looked at; 0 means 30 s.
	SnapshotInterval time.Duration
	// State are the options of the state machine, the same on all replicas.
	State state.Options

	// Register adds services to the replica's gRPC server.
	Register func(*grpc.Server)

	// wrap puts faults between Raft and its stores, in tests.
	wrap func(raft.LogStore, raft.StableStore) (raft.LogStore, raft.StableStore)
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.Heartbeat, 400*time.Millisecond)
	set(&o.DefaultTTL, 10*time.Second)
	set(&o.MinTTL, time.Second)
	set(&o.SnapshotInterval, 30*time.Second)
	if o.SnapshotEntries == 0 {
		o.SnapshotEntries = 1 << 16
	}
	return o
}

func (c Config) validate(o Options) error {
	switch {
	case c.ID == "" || c.Address == "":
		return fmt.Errorf("lock service: a replica needs an id and an address: %w", base.ErrInvalid)
	case c.Network == nil || c.Logger == nil || c.WinGeneration == nil:
		return fmt.Errorf("lock service: Network, Logger and WinGeneration must be given: %w", base.ErrInvalid)
	case o.Heartbeat < 20*time.Millisecond:
		return fmt.Errorf("lock service: heartbeat of %v; at least 20ms: %w", o.Heartbeat, base.ErrInvalid)
	case o.MinTTL < 2*o.Heartbeat/10 || o.DefaultTTL < o.MinTTL || o.DefaultTTL > state.MaxTTL:
		return fmt.Errorf("lock service: default TTL %v must lie between %v and %v: %w", o.DefaultTTL, o.MinTTL, state.MaxTTL, base.ErrInvalid)
	}
	return nil
}

// raftConfig is Raft's configuration for c and o.
func raftConfig(c Config, o Options) *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(c.ID)
	rc.HeartbeatTimeout = o.Heartbeat
	rc.ElectionTimeout = o.Heartbeat
	rc.LeaderLeaseTimeout = o.Heartbeat * 4 / 5
	rc.CommitTimeout = min(50*time.Millisecond, o.Heartbeat/10)
	rc.MaxAppendEntries = 128
	rc.BatchApplyCh = true
	rc.SnapshotThreshold = o.SnapshotEntries
	rc.TrailingLogs = o.SnapshotEntries
	rc.SnapshotInterval = o.SnapshotInterval
	rc.ShutdownOnRemove = false
	rc.NoLegacyTelemetry = true
	rc.Logger = newRaftLogger(c.Logger)
	return rc
}

// errFailed marks a replica that has stopped taking part.
var errFailed = errors.New("this replica has failed")
