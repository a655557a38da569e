package admin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/status/view"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
)

// clusterStatus is the answer of status.
type clusterStatus struct {
	LockService []replicaStatus `json:"lock_service,omitempty"`
	// Stale: the records come from a replica without a leader, and may be old.
	Stale     bool                 `json:"stale,omitempty"`
	Revision  lockservice.Revision `json:"revision"`
	Cluster   string               `json:"cluster,omitempty"`
	Store     string               `json:"store,omitempty"`
	Master    masterStatus         `json:"master"`
	Tables    int                  `json:"tables"`
	Tablets   tabletCounts         `json:"tablets"`
	Servers   []serverStatus       `json:"servers"`
	Recovery  []recoveryStatus     `json:"recoveries"`
	Unsealed  []string             `json:"logs_to_seal,omitempty"`
	SafeMode  *bool                `json:"safe_mode,omitempty"` // nil: the master does not say
	SafeCause string               `json:"safe_mode_reason,omitempty"`
}

type masterStatus struct {
	Address string `json:"address,omitempty"` // of the holder of the lock
	Session string `json:"session,omitempty"`
	Active  bool   `json:"active"`          // it holds the lock and answers
	Error   string `json:"error,omitempty"` // why it is not active
}

type tabletCounts struct {
	Total          int             `json:"total"`
	Serving        int             `json:"serving"`
	Loading        int             `json:"loading"`
	Unassigned     int             `json:"unassigned"`
	OldestUnserved output.Duration `json:"oldest_unserved_seconds"`
}

type recoveryStatus struct {
	Log         string          `json:"log"`
	Phase       string          `json:"phase"`
	Age         output.Duration `json:"age_seconds"`
	Tablets     uint32          `json:"tablets"`
	TabletsLeft uint32          `json:"tablets_left"`
}

func (r *run) statusCommand() *cobra.Command {
	c := r.command("status", "Show the state of the cluster", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		s, err := e.status(ctx)
		if err != nil {
			return err
		}
		return e.out.Print(s, s.human)
	})
	c.Long = `Show the lock service, the master, the tablet servers and how many tablets are
served. The records are read from the lock service, so that this works while the
master is down; without a majority of the lock service's replicas what one of
them knows is shown.`
	return c
}

// gather asks everybody who is to be asked. An error means that there are no
// records.
func (e *env) gather(ctx context.Context, brief bool) (*view.View, error) {
	s := e.source()
	s.Brief = brief
	v := view.Gather(ctx, s, nil)
	if n := len(v.Replicas); n > 0 && !slices.ContainsFunc(v.Replicas, func(r view.Replica) bool { return r.Err == nil }) {
		return nil, fmt.Errorf("%w: no replica answers: %w", base.ErrNoLeader, v.Replicas[0].Err)
	}
	return v, v.Err
}

// source is where this program can ask.
func (e *env) source() view.Source {
	s := view.Source{LockService: e.ls, Network: e.run.app.Network, Patience: e.run.flags.timeout}
	if _, err := e.raft(); err == nil {
		s.Replicas = e.run.flags.lockService
	}
	return s
}

func (e *env) status(ctx context.Context) (*clusterStatus, error) {
	v, err := e.gather(ctx, true)
	if err != nil {
		return nil, err
	}
	s := &clusterStatus{
		LockService: replicaList(v.Replicas), Stale: v.Stale, Revision: v.Revision, Cluster: v.Cluster, Store: v.Store,
		Tables: len(v.Tables), Servers: serverList(v), Recovery: []recoveryStatus{},
	}
	s.Tablets = count(slices.DeleteFunc(slices.Clone(v.Tablets), func(t meta.Tablet) bool { return v.Table(t.Table) == nil })) // of deleted tables, which may come back
	if v.SessionsErr == nil {
		for _, l := range v.Logs {
			if l.State != meta.LogSealed && !v.Alive(l.Incarnation) {
				s.Unsealed = append(s.Unsealed, l.Incarnation.String())
			}
		}
	}
	s.fromMaster(v)
	return s, nil
}

func count(tablets []meta.Tablet) tabletCounts {
	c := tabletCounts{Total: len(tablets)}
	for _, t := range tablets {
		switch t.State {
		case meta.Serving:
			c.Serving++
			continue
		case meta.Assigned:
			c.Loading++
		default:
			c.Unassigned++
		}
		c.OldestUnserved = max(c.OldestUnserved, output.Duration(time.Since(t.Since)))
	}
	return c
}

// fromMaster adds what only the master knows, where it answers.
func (s *clusterStatus) fromMaster(v *view.View) {
	s.Master.Address = v.Master.Address
	if e, ok := v.MasterSession(); ok {
		s.Master.Session = e.String()
	}
	r := v.Master.Status
	if r == nil {
		s.Master.Error = v.Master.Reason()
		return
	}
	s.Master.Active = true
	s.SafeMode, s.SafeCause = &r.SafeMode, r.SafeModeReason
	for _, x := range r.Recoveries {
		s.Recovery = append(s.Recovery, recoveryStatus{
			Log: meta.Incarnation(x.Log).String(), Phase: x.Phase, Tablets: x.Tablets, TabletsLeft: x.TabletsLeft,
			Age: output.Duration(time.Since(time.UnixMicro(x.StartedUs))),
		})
	}
}

func (s *clusterStatus) human(p *output.Page) {
	if s.Cluster != "" {
		p.Line("cluster       %s in %s", s.Cluster, s.Store)
	}
	s.humanReplicas(p)
	switch m := s.Master; {
	case m.Active:
		p.Line("master        %s, active (session %s)", m.Address, m.Session)
	case m.Address != "":
		p.Line("master        DOWN: %s, session %s: %s", m.Address, m.Session, m.Error)
	default:
		p.Line("master        DOWN: %s", m.Error)
	}
	if s.SafeMode != nil && *s.SafeMode {
		p.Line("safe mode     ON: %s; tablets are not reassigned (tabletadm safemode off)", s.SafeCause)
	}
	t := s.Tablets
	line := fmt.Sprintf("tablets       %d of %d tables: %d serving, %d loading, %d unassigned", t.Total, s.Tables, t.Serving, t.Loading, t.Unassigned)
	if t.Serving < t.Total {
		line += fmt.Sprintf("; the longest for %v", t.OldestUnserved)
	}
	p.Line("%s", line)
	if len(s.Unsealed) > 0 {
		p.Line("logs to seal  %s", strings.Join(s.Unsealed, ", "))
	}
	p.Line("")
	humanServers(p, s.Servers)
	if len(s.Recovery) > 0 {
		p.Line("")
		p.Header("RECOVERY OF LOG", "PHASE", "BEGAN", "TABLETS", "LEFT")
		for _, r := range s.Recovery {
			p.Row(r.Log, r.Phase, r.Age.String()+" ago", r.Tablets, r.TabletsLeft)
		}
	}
}

func (s *clusterStatus) humanReplicas(p *output.Page) {
	if s.LockService == nil {
		p.Line("lock service  revision %d", s.Revision)
		return
	}
	i := slices.IndexFunc(s.LockService, replicaStatus.leads)
	up := 0
	for _, r := range s.LockService {
		if r.Error == "" {
			up++
		}
	}
	if i < 0 {
		p.Line("lock service  NO LEADER: %d of %d replicas answer; what follows may be old (revision %d)", up, len(s.LockService), s.Revision)
	} else {
		l := s.LockService[i]
		p.Line("lock service  %d of %d replicas answer; leader %s at %s (term %d, revision %d)", up, len(s.LockService), l.ID, l.Address, l.Term, s.Revision)
	}
	for _, r := range s.LockService {
		if r.Error != "" {
			p.Line("              %s: %s", cmp.Or(r.ID, r.Address), r.Error)
		}
	}
}

func incarnationOrNone(e base.Incarnation) string {
	if e.IsZero() {
		return ""
	}
	return e.String()
}
