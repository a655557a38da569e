package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
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

// masterPatience is how long status waits for the master.
const masterPatience = 3 * time.Second

func (e *env) status(ctx context.Context) (*clusterStatus, error) {
	s := &clusterStatus{Servers: []serverStatus{}, Recovery: []recoveryStatus{}}
	s.LockService = e.replicas(ctx)
	if s.LockService != nil && !slices.ContainsFunc(s.LockService, func(r replicaStatus) bool { return r.Role != "" }) {
		return nil, fmt.Errorf("%w: no replica answers: %s", base.ErrNoLeader, s.LockService[0].Error)
	}
	o := lockservice.ReadOptions{Stale: s.LockService != nil && !slices.ContainsFunc(s.LockService, replicaStatus.leads)}
	s.Stale = o.Stale
	tablets, rev, err := e.meta.All(ctx, o)
	if err != nil {
		return nil, err
	}
	s.Revision = rev
	tables, _, err := e.meta.ListTables(ctx, "", o)
	if err != nil {
		return nil, err
	}
	tablets = slices.DeleteFunc(tablets, func(t meta.Tablet) bool { // of deleted tables, which may come back
		return !slices.ContainsFunc(tables, func(x meta.Table) bool { return x.ID == t.Table })
	})
	s.Tablets = count(tablets)
	s.Tables = len(tables)
	if err := e.identity(ctx, s, o); err != nil {
		return nil, err
	}
	servers, err := e.meta.Servers(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := e.unsealed(ctx, s, o); err != nil {
		return nil, err
	}
	s.Servers = fromRecords(servers, tablets)
	if e.fromMaster(ctx, s); !s.Master.Active {
		e.askServers(ctx, s.Servers)
	}
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

// identity fills in what the lock service says of the cluster as a whole.
func (e *env) identity(ctx context.Context, s *clusterStatus, o lockservice.ReadOptions) error {
	const prefix = "config/"
	kvs, _, err := e.ls.List(ctx, prefix, lockservice.PrefixEnd(prefix), o)
	for _, kv := range kvs {
		switch kv.Key {
		case prefix + "cluster":
			s.Cluster = string(kv.Value)
		case StoreKey:
			s.Store = string(kv.Value)
		}
	}
	return err
}

// unsealed lists the logs that a fail-over is at, or has yet to begin with.
func (e *env) unsealed(ctx context.Context, s *clusterStatus, o lockservice.ReadOptions) error {
	logs, err := e.meta.Logs(ctx, o)
	if err != nil || s.Stale { // sessions are only told by a leader
		return err
	}
	sessions, _, err := e.ls.Sessions(ctx)
	if err != nil {
		return err
	}
	for _, l := range logs {
		alive := slices.ContainsFunc(sessions, func(i lockservice.SessionInfo) bool { return i.ID == l.Incarnation && i.State == "alive" })
		if l.State != meta.LogSealed && !alive {
			s.Unsealed = append(s.Unsealed, l.Incarnation.String())
		}
	}
	return nil
}

// fromMaster adds what only the master knows, where it answers.
func (e *env) fromMaster(ctx context.Context, s *clusterStatus) {
	ctx, cancel := context.WithTimeout(ctx, masterPatience)
	defer cancel()
	if s.Stale {
		s.Master.Error = "not known without a leader of the lock service"
		return
	}
	lock, err := e.masterLock(ctx)
	switch {
	case errors.Is(err, base.ErrNotFound):
		s.Master.Error = "no master is running; tablets stay where they are until one does"
		return
	case err != nil:
		s.Master.Error = err.Error()
		return
	}
	s.Master.Address, s.Master.Session = string(lock.Data), lock.Holders[0].String()
	err = e.askMaster(ctx, func(ctx context.Context, m controlpb.MasterClient) error {
		r, err := m.ClusterStatus(ctx, &controlpb.ClusterStatusRequest{OmitTablets: true})
		if err == nil {
			s.merge(r)
		}
		return err
	})
	if err != nil {
		s.Master.Error = "it holds the lock but does not answer: " + err.Error()
	}
}

// merge takes over what the master says.
func (s *clusterStatus) merge(r *controlpb.ClusterStatusResponse) {
	s.Master.Active = true
	s.SafeMode, s.SafeCause = &r.SafeMode, r.SafeModeReason
	for _, p := range r.Servers {
		id := meta.Incarnation(p.GetServer().GetIncarnation()).String()
		i := slices.IndexFunc(s.Servers, func(x serverStatus) bool { return x.Incarnation == id })
		if i >= 0 {
			s.Servers[i].Reachable, s.Servers[i].Drained = &p.Reachable, p.Drained
			s.Servers[i].take(p.GetLoad())
		}
	}
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
