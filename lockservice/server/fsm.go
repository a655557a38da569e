package server

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/tabletdb/tabletdb/lockservice/state"
)

// fsm applies Raft's entries to the store. Raft calls it from one goroutine.
type fsm struct {
	store   *state.Store
	options state.Options
	// fail stops the replica: an entry or snapshot that does not parse must
	// not be skipped, or replicas would differ.
	fail func(error)
	// recovered, if not zero, is the generation that the next snapshot starts
	// (Recover).
	recovered uint32
}

var (
	_ raft.FSM         = (*fsm)(nil)
	_ raft.BatchingFSM = (*fsm)(nil)
)

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM: a state.Result or an error for each
// command.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	responses := make([]any, len(logs))
	entries := make([]state.Entry, 0, len(logs))
	places := make([]int, 0, len(logs))
	for i, l := range logs {
		if l.Type != raft.LogCommand {
			continue
		}
		c, err := state.Decode(l.Data)
		if err != nil {
			err = fmt.Errorf("log entry %d: %w", l.Index, err)
			f.fail(err)
			// Nothing after it is applied either: the replica stops.
			for j := i; j < len(logs); j++ {
				responses[j] = err
			}
			break
		}
		entries = append(entries, state.Entry{Index: l.Index, Command: c})
		places = append(places, i)
	}
	for i, r := range f.store.Apply(entries...) {
		responses[places[i]] = r
	}
	return responses
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.recovered != 0 {
		f.store.Apply(state.Entry{Command: &state.SetGeneration{Generation: f.recovered}})
	}
	return fsmSnapshot{f.store.Snapshot()}, nil
}

// Restore implements raft.FSM.
func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	m, err := state.ReadSnapshot(r, f.options)
	if err != nil {
		return err
	}
	f.store.Replace(m)
	return nil
}

type fsmSnapshot struct{ s *state.Snapshot }

// Persist implements raft.FSMSnapshot.
func (s fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.s.WriteTo(sink); err != nil {
		sink.Cancel()
		return err
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (s fsmSnapshot) Release() {}
