package server

import "github.com/hashicorp/raft"

// SetWrap puts faults between Raft and its stores.
func SetWrap(o *Options, wrap func(raft.LogStore, raft.StableStore) (raft.LogStore, raft.StableStore)) {
	o.wrap = wrap
}

// LastIndex of the replica's Raft log.
func (s *Server) LastIndex() uint64 { return s.raft.LastIndex() }
