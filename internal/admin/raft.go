package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/status/view"
	"github.com/tabletdb/tabletdb/proto/lockpb"
)

// raftAdmin is what a client of the lock service can do beside
// lockservice.Client where the service is a cluster of replicas.
type raftAdmin interface {
	Status(ctx context.Context, address string) (*lockpb.StatusResponse, error)
	Join(ctx context.Context, id, address string, voter bool) error
	Leave(ctx context.Context, id string) error
	TransferLeadership(ctx context.Context, id string) error
	Snapshot(ctx context.Context, w io.Writer) error
	Restore(ctx context.Context, r io.Reader) (generation uint32, err error)
}

func (e *env) raft() (raftAdmin, error) {
	a, ok := e.ls.(raftAdmin)
	if !ok {
		return nil, fmt.Errorf("%w: this lock service has no replicas to look after", base.ErrUnimplemented)
	}
	return a, nil
}

// replicaStatus is one replica of the lock service.
type replicaStatus struct {
	ID          string          `json:"id,omitempty"`
	Address     string          `json:"address"`
	Role        string          `json:"role,omitempty"`
	Voter       bool            `json:"voter"`
	Ready       bool            `json:"ready"`
	Term        uint64          `json:"term,omitempty"`
	Applied     uint64          `json:"applied_index,omitempty"`
	LastIndex   uint64          `json:"last_index,omitempty"`
	Revision    uint64          `json:"revision,omitempty"`
	Generation  uint32          `json:"generation,omitempty"`
	Keys        uint64          `json:"keys,omitempty"`
	Sessions    uint64          `json:"sessions,omitempty"`
	LastContact output.Duration `json:"last_contact_seconds,omitempty"`
	Error       string          `json:"error,omitempty"`
}

// leads reports whether the replica is a leader that serves.
func (r replicaStatus) leads() bool { return r.Error == "" && r.Role == "leader" && r.Ready }

// replicaList makes the list of what replicas said; whether one votes, the
// others say.
func replicaList(replicas []view.Replica) []replicaStatus {
	var all []replicaStatus
	members := map[string]*lockpb.Member{}
	for _, r := range replicas {
		all = append(all, newReplica(r.Address, r.Status, r.Err))
		for _, m := range r.Status.GetMembers() {
			members[m.Address] = m
		}
	}
	for i := range all {
		r := &all[i]
		m := members[r.Address]
		r.ID, r.Voter = cmp.Or(r.ID, m.GetId()), m.GetVoter()
	}
	return all
}

func newReplica(addr string, s *lockpb.StatusResponse, err error) replicaStatus {
	if err != nil {
		return replicaStatus{Address: addr, Error: "does not answer: " + err.Error()}
	}
	r := replicaStatus{
		ID: s.Id, Address: s.Address, Role: s.Role, Ready: s.Ready, Term: s.Term, Applied: s.AppliedIndex, LastIndex: s.LastIndex,
		Revision: s.Revision, Generation: s.Generation, Keys: s.Keys, Sessions: s.Sessions, Error: s.Failure,
	}
	if s.LastContact != nil {
		r.LastContact = output.Duration(s.LastContact.AsDuration())
	}
	return r
}

func (r *run) raftCommand() *cobra.Command {
	return group("raft", "Look after the replicas of the lock service",
		r.raftStatusCommand(), r.raftMembersCommand(), r.raftAddCommand(), r.raftRemoveCommand(), r.raftTransferCommand(), r.raftSnapshotCommand(), r.raftRestoreCommand())
}

func (r *run) raftStatusCommand() *cobra.Command {
	return r.command("status", "Ask every replica for its state", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		if _, err := e.raft(); err != nil {
			return err
		}
		all := replicaList(e.source().AskReplicas(ctx))
		err := e.out.Print(all, func(p *output.Page) {
			p.Header("REPLICA", "ADDRESS", "ROLE", "VOTER", "TERM", "APPLIED", "LAST", "REVISION", "KEYS", "SESSIONS", "LAST CONTACT", "ERROR")
			for _, r := range all {
				contact := ""
				if r.LastContact > 0 {
					contact = r.LastContact.String()
				}
				p.Row(r.ID, r.Address, r.Role, r.Voter, r.Term, r.Applied, r.LastIndex, r.Revision, r.Keys, r.Sessions, contact, r.Error)
			}
		})
		if err == nil && !slices.ContainsFunc(all, replicaStatus.leads) {
			return fmt.Errorf("%w: %d replicas were asked", base.ErrNoLeader, len(all))
		}
		return err
	})
}

func (r *run) raftMembersCommand() *cobra.Command {
	type member struct {
		ID      string `json:"id"`
		Address string `json:"address"`
		Voter   bool   `json:"voter"`
		Leader  bool   `json:"leader"`
	}
	return r.command("members", "List the members of the Raft cluster", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		a, err := e.raft()
		if err != nil {
			return err
		}
		var s *lockpb.StatusResponse
		var errs []error
		for _, addr := range e.run.flags.lockService {
			st, err := a.Status(ctx, addr)
			if err != nil {
				errs = append(errs, err)
			} else if s == nil || st.Term > s.Term || st.Role == "leader" {
				s = st
			}
		}
		if s == nil {
			return fmt.Errorf("%w: no replica answers: %w", base.ErrUnavailable, errors.Join(errs...))
		}
		list := []member{}
		for _, m := range s.Members {
			list = append(list, member{m.Id, m.Address, m.Voter, m.Id == s.LeaderId})
		}
		return e.out.Print(list, func(p *output.Page) {
			p.Header("MEMBER", "ADDRESS", "VOTER", "LEADER")
			for _, m := range list {
				p.Row(m.ID, m.Address, m.Voter, m.Leader)
			}
		})
	})
}

func (r *run) raftAddCommand() *cobra.Command {
	var learner bool
	c := r.command("add <id> <address>", "Add a replica, or move one to a new address", cobra.ExactArgs(2), func(ctx context.Context, e *env, args []string) error {
		a, err := e.raft()
		if err != nil {
			return err
		}
		if err := a.Join(ctx, args[0], args[1], !learner); err != nil {
			return fmt.Errorf("add replica %s: %w", args[0], err)
		}
		return e.done("replica %s at %s is a member", args[0], args[1])
	})
	c.Flags().BoolVar(&learner, "learner", false, "it gets the log but has no vote")
	return c
}

func (r *run) raftRemoveCommand() *cobra.Command {
	var yes bool
	c := r.command("remove <id>", "Remove a replica", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		a, err := e.raft()
		if err != nil {
			return err
		}
		if err := e.confirm(yes, "remove replica %s from the lock service", args[0]); err != nil {
			return err
		}
		if err := a.Leave(ctx, args[0]); err != nil {
			return fmt.Errorf("remove replica %s: %w", args[0], err)
		}
		return e.done("replica %s is no member any more", args[0])
	})
	yesFlag(c, &yes)
	return c
}

func yesFlag(c *cobra.Command, yes *bool) {
	c.Flags().BoolVarP(yes, "yes", "y", false, "do not ask")
}

func (r *run) raftTransferCommand() *cobra.Command {
	return r.command("transfer [id]", "Hand leadership to a replica, or to the most up-to-date", cobra.MaximumNArgs(1), func(ctx context.Context, e *env, args []string) error {
		a, err := e.raft()
		if err != nil {
			return err
		}
		id := ""
		if len(args) > 0 {
			id = args[0]
		}
		if err := a.TransferLeadership(ctx, id); err != nil {
			return fmt.Errorf("transfer leadership: %w", err)
		}
		return e.done("leadership was handed over")
	})
}

func (r *run) raftSnapshotCommand() *cobra.Command {
	return long(r.command("snapshot <file>", "Write a backup of the lock service's state", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) (err error) {
		a, err := e.raft()
		if err != nil {
			return err
		}
		began := time.Now()
		f, err := os.OpenFile(args[0]+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		if err = a.Snapshot(ctx, f); err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err == nil {
			err = os.Rename(args[0]+".part", args[0])
		}
		if err != nil {
			return errors.Join(fmt.Errorf("write backup %s: %w", args[0], err), os.Remove(args[0]+".part"))
		}
		return e.done("backup is in %s, after %v", args[0], output.Duration(time.Since(began)))
	}))
}

func (r *run) raftRestoreCommand() *cobra.Command {
	var yes bool
	c := long(r.command("restore <file>", "Replace the lock service's state by a backup", cobra.ExactArgs(1), func(ctx context.Context, e *env, args []string) error {
		a, err := e.raft()
		if err != nil {
			return err
		}
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close() // only read
		if err := e.confirm(yes, "replace the whole state of the lock service by %s and end all sessions", args[0]); err != nil {
			return err
		}
		g, err := a.Restore(ctx, f)
		if err != nil {
			return fmt.Errorf("restore %s: %w", args[0], err)
		}
		return e.done("the lock service is at generation %d", g)
	}))
	yesFlag(c, &yes)
	return c
}
