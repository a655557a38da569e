package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/tabletdb/tabletdb/lockservice/state"
)

// Recover makes the state of a stopped replica a cluster of its own, with the
// given members, when a majority of the old cluster is lost for good. What only
// the lost replicas had is lost with them, so it enters a new generation, like
// a restore (rule R17). Start this replica first; the other members must have
// empty directories and join.
func Recover(ctx context.Context, cfg Config, o Options, members []Member) (err error) {
	o = o.withDefaults()
	if err := cfg.validate(o); err != nil {
		return err
	}
	c, err := configuration(members)
	if err != nil {
		return err
	}
	s, err := openStores(cfg.Dir, cfg.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	g, err := cfg.WinGeneration(ctx)
	if err != nil {
		return fmt.Errorf("winning a generation: %w", err)
	}
	var failure error
	f := &fsm{
		store: state.NewStore(state.New(o.State)), options: o.State, recovered: g,
		fail: func(err error) { failure = err },
	}
	// RecoverCluster uses the transport to encode addresses only.
	_, trans := raft.NewInmemTransport(raft.ServerAddress(cfg.Address))
	err = raft.RecoverCluster(raftConfig(cfg, o), f, s.logs, s.stable, s.snapshots, trans, c)
	if err = errors.Join(failure, err); err != nil {
		return fmt.Errorf("recovering replica %s: %w", cfg.ID, err)
	}
	return nil
}
