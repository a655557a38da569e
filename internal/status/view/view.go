// Package view gathers what can be known of a cluster from one process: the
// records of the lock service, and what replicas, master and tablet servers say
// when they are asked. Whoever does not answer in time is noted as such; nothing
// here waits for long, and no part of a View that is missing keeps the others
// from being there.
package view

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rpc"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
	"github.com/tabletdb/tabletdb/proto/lockpb"
)

// Patience with those that are asked, each.
const (
	replicaPatience = time.Second
	recordPatience  = 2500 * time.Millisecond
	serverPatience  = 2 * time.Second
)

// Source is where a process can ask.
type Source struct {
	LockService lockservice.Client
	// Replicas are addresses of the lock service, to be asked for their state;
	// empty: it has none, or they are not known.
	Replicas []string
	Network  rpc.Network
	// Master is a master in this process, which can be asked where the lock
	// service does not say who the active one is; nil: none.
	Master controlpb.MasterServer
	// Brief: servers are not asked for their tablets and work, and the master not
	// for its decisions, which in a large cluster are much.
	Brief bool
	// Patience is how long the records may take; 0 means 2.5 s.
	Patience time.Duration
}

// Replica is one replica of the lock service.
type Replica struct {
	Address string
	Status  *lockpb.StatusResponse // nil: it does not answer
	Err     error
}

// Leads reports whether it is a leader that serves.
func (r Replica) Leads() bool { return r.Status.GetRole() == "leader" && r.Status.GetReady() }

// Server is one tablet server that has a session.
type Server struct {
	meta.Server
	Load     *controlpb.ServerLoad // nil: it does not answer
	Tablets  map[base.TabletID]*controlpb.TabletLoad
	Activity *controlpb.ActivityResponse
	Err      error
	// Assigned counts the tablets that name it as their owner, Serving those of
	// them that are served.
	Assigned, Serving int
}

// Name is what people call the server.
func (s *Server) Name() string {
	if n := s.Record.GetName(); n != "" {
		return n
	}
	return s.Address
}

// Master is the active master.
type Master struct {
	Address string // of the holder of the lock; "": nobody holds it, or it is not known
	Status  *controlpb.ClusterStatusResponse
	// Decisions about tablets that are served; nil: it did not tell.
	Decisions *controlpb.ExplainResponse
	Err       error // why Status is nil
}

// View is a cluster at one moment. Nobody changes it.
type View struct {
	At       time.Time
	Replicas []Replica
	// Stale: no replica leads; the records are what one of them knows.
	Stale bool
	// Err: the records could not be read; they are those of RecordsAt, or none.
	Err       error
	RecordsAt time.Time
	Revision  lockservice.Revision

	Cluster, Store string
	Drained        map[string]bool // names of servers
	Tables         []meta.Table
	Tablets        []meta.Tablet // by table, then row
	Servers        []*Server     // by name
	Logs           []meta.Log
	Sessions       []lockservice.SessionInfo
	Locks          []lockservice.LockInfo
	SessionsErr    error
	Master         Master

	tables map[base.TableID]*meta.Table
	owners map[base.Incarnation]*Server
}

// Table returns the table with an id; nil: it is not known.
func (v *View) Table(id base.TableID) *meta.Table { return v.tables[id] }

// Owner returns the server of an incarnation; nil: it has no session.
func (v *View) Owner(e base.Incarnation) *Server { return v.owners[e] }

// Load returns what the owner says of a tablet; nil: it says nothing of it at
// this epoch.
func (v *View) Load(t *meta.Tablet) *controlpb.TabletLoad {
	if s := v.owners[t.Owner]; s != nil {
		if l := s.Tablets[t.ID]; l != nil && l.Tepoch == uint64(t.Epoch) {
			return l
		}
	}
	return nil
}

// Alive reports whether a session is alive.
func (v *View) Alive(e base.Incarnation) bool {
	return slices.ContainsFunc(v.Sessions, func(s lockservice.SessionInfo) bool { return s.ID == e && s.State == "alive" })
}

// Gather asks everybody. Records that cannot be read are taken from last, which
// may be nil.
func Gather(ctx context.Context, s Source, last *View) *View {
	v := &View{At: time.Now()}
	v.Replicas = s.AskReplicas(ctx)
	v.Stale = len(v.Replicas) > 0 && !slices.ContainsFunc(v.Replicas, Replica.Leads)
	answers := len(v.Replicas) == 0 || slices.ContainsFunc(v.Replicas, func(r Replica) bool { return r.Err == nil })
	if answers {
		v.Err = v.readRecords(ctx, s)
	} else {
		v.Err = errors.Join(base.ErrNoLeader, v.Replicas[0].Err)
	}
	if v.Err != nil {
		v.keep(last)
	}
	v.index()
	var all sync.WaitGroup
	all.Go(func() { v.askMaster(ctx, s) })
	for _, srv := range v.Servers {
		all.Go(func() { srv.ask(ctx, s) })
	}
	all.Wait()
	return v
}

// keep takes the records of an earlier view.
func (v *View) keep(last *View) {
	if last == nil {
		return
	}
	v.Revision, v.RecordsAt, v.Cluster, v.Store = last.Revision, last.RecordsAt, last.Cluster, last.Store
	v.Drained = last.Drained
	v.Tables, v.Tablets, v.Logs = last.Tables, last.Tablets, last.Logs
	for _, s := range last.Servers {
		v.Servers = append(v.Servers, &Server{Server: s.Server})
	}
}

func (v *View) index() {
	v.tables, v.owners = map[base.TableID]*meta.Table{}, map[base.Incarnation]*Server{}
	for i := range v.Tables {
		v.tables[v.Tables[i].ID] = &v.Tables[i]
	}
	slices.SortStableFunc(v.Servers, func(a, b *Server) int { return strings.Compare(a.Name(), b.Name()) })
	for _, s := range v.Servers {
		v.owners[s.Incarnation] = s
	}
	for i := range v.Tablets {
		if s := v.owners[v.Tablets[i].Owner]; s != nil {
			s.Assigned++
			if v.Tablets[i].State == meta.Serving {
				s.Serving++
			}
		}
	}
}

// readRecords reads what stands in the lock service.
func (v *View) readRecords(ctx context.Context, s Source) (err error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(s.Patience, recordPatience))
	defer cancel()
	o := lockservice.ReadOptions{Stale: v.Stale}
	m := meta.NewStore(s.LockService)
	if v.Tablets, v.Revision, err = m.All(ctx, o); err != nil {
		return err
	}
	if v.Tables, _, err = m.ListTables(ctx, "", o); err != nil {
		return err
	}
	servers, err := m.Servers(ctx, o)
	if err != nil {
		return err
	}
	for _, x := range servers {
		v.Servers = append(v.Servers, &Server{Server: x})
	}
	if v.Logs, err = m.Logs(ctx, o); err != nil {
		return err
	}
	if err := v.readRest(ctx, s, o); err != nil {
		return err
	}
	v.RecordsAt = v.At
	if v.Stale { // sessions and locks are only told by a leader
		v.SessionsErr = base.ErrNoLeader
		return nil
	}
	if v.Sessions, _, v.SessionsErr = s.LockService.Sessions(ctx); v.SessionsErr == nil {
		v.Locks, _, v.SessionsErr = s.LockService.Locks(ctx)
	}
	return nil
}

// readRest reads what the cluster is called, and what operators have set.
func (v *View) readRest(ctx context.Context, s Source, o lockservice.ReadOptions) error {
	const prefix = "config/"
	kvs, _, err := s.LockService.ListRanges(ctx, [][2]string{
		{prefix, lockservice.PrefixEnd(prefix)}, {meta.MarkPrefix, lockservice.PrefixEnd(meta.MarkPrefix)},
	}, o)
	if err != nil {
		return err
	}
	for _, kv := range kvs[0] {
		switch kv.Key {
		case prefix + "cluster":
			v.Cluster = string(kv.Value)
		case prefix + "store":
			v.Store = string(kv.Value)
		}
	}
	v.Drained = map[string]bool{}
	for _, kv := range kvs[1] {
		if name, ok := meta.DrainedServer(kv.Key); ok {
			v.Drained[name] = true
		}
	}
	return nil
}

// MasterSession returns the session that holds the master's lock, if one does.
func (v *View) MasterSession() (e base.Incarnation, ok bool) {
	for _, l := range v.Locks {
		if l.Name == meta.MasterLock && len(l.Holders) > 0 {
			return l.Holders[0], true
		}
	}
	return e, false
}
