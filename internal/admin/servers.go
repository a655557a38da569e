package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/status/view"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// serverStatus is one tablet server.
type serverStatus struct {
	Incarnation   string      `json:"incarnation"`
	Name          string      `json:"name"`
	Address       string      `json:"address"`
	Zone          string      `json:"zone,omitempty"`
	Version       string      `json:"version,omitempty"`
	StatusAddress string      `json:"status_address,omitempty"`
	Started       output.Time `json:"started"`
	Assigned      int         `json:"assigned"` // tablets that name it as owner
	Serving       int         `json:"serving"`  // of them, those it serves
	Reachable     *bool       `json:"reachable,omitempty"`
	Drained       bool        `json:"drained,omitempty"`
	Error         string      `json:"error,omitempty"`
	Load          *serverLoad `json:"load,omitempty"`
}

// serverLoad is what a server does; rates are per second.
type serverLoad struct {
	CPU             float64         `json:"cpu_cores"`
	Memory          output.Size     `json:"memory_bytes"`
	Memtables       output.Size     `json:"memtable_bytes"`
	Reads           float64         `json:"reads"`
	Writes          float64         `json:"writes"`
	LogLow          uint64          `json:"log_low"`
	LogNext         uint64          `json:"log_next"`
	LogPut          output.Duration `json:"log_put_p50_seconds"`
	LogStalled      output.Duration `json:"log_stalled_seconds"`
	SessionState    string          `json:"session_state,omitempty"`
	LogPinned       output.Size     `json:"log_pinned_bytes"`
	Unacknowledged  uint64          `json:"log_unacknowledged"`
	LoadingNow      uint32          `json:"loading"`
	CacheBytes      output.Size     `json:"cache_bytes"`
	ReadBytes       float64         `json:"read_bytes"`
	WriteBytes      float64         `json:"write_bytes"`
	MemoryBudgetNow output.Size     `json:"memory_budget_bytes"`
}

// serverList makes the list of what was gathered, by name.
func serverList(v *view.View) []serverStatus {
	list := make([]serverStatus, len(v.Servers))
	for i, s := range v.Servers {
		r, ok := s.Record, s.Err == nil
		list[i] = serverStatus{
			Incarnation: s.Incarnation.String(), Name: r.GetName(), Address: s.Address, Zone: r.GetZone(), Version: r.GetVersion(),
			StatusAddress: r.GetStatusAddress(), Assigned: s.Assigned, Serving: s.Serving, Drained: v.Drained[r.GetName()], Reachable: &ok,
		}
		if r.GetStartedUs() > 0 {
			list[i].Started = output.TimeMicros(r.GetStartedUs())
		}
		if list[i].take(s.Load); !ok {
			list[i].Error = s.Err.Error()
		}
	}
	return list
}

// take fills in the load; nil: not known.
func (s *serverStatus) take(l *controlpb.ServerLoad) {
	if l == nil {
		return
	}
	s.Load = &serverLoad{
		CPU: l.Cpu, Memory: output.Size(l.MemoryBytes), Memtables: output.Size(l.MemtableBytes), Reads: l.Reads, Writes: l.Writes,
		LogLow: l.LogLow, LogNext: l.LogNext, LogPut: micros(l.LogPutP50Us), LogStalled: micros(l.LogStalledUs),
		SessionState: l.SessionState, LogPinned: output.Size(l.LogPinnedBytes), Unacknowledged: l.LogUnacknowledged, LoadingNow: l.Loading,
		CacheBytes: output.Size(l.CacheBytes), ReadBytes: l.ReadBytes, WriteBytes: l.WriteBytes, MemoryBudgetNow: output.Size(l.MemoryBudgetBytes),
	}
}

func micros(us int64) output.Duration { return output.Duration(time.Duration(us) * time.Microsecond) }

func (r *run) serversCommand() *cobra.Command {
	c := r.command("servers", "List the tablet servers and what they do", cobra.NoArgs, func(ctx context.Context, e *env, _ []string) error {
		v, err := e.gather(ctx, true)
		if err != nil {
			return err
		}
		list := serverList(v)
		return e.out.Print(list, func(p *output.Page) { humanServers(p, list) })
	})
	c.Long = `List the tablet servers that have a session, and ask each what it does. This
needs no master.`
	return c
}

// peerPatience is how long one of many servers or replicas is waited for.
const peerPatience = 2 * time.Second

// each calls f(0) to f(n-1), all at once, and waits.
func each(n int, f func(i int)) {
	done := make(chan struct{})
	for i := range n {
		go func() {
			f(i)
			done <- struct{}{}
		}()
	}
	for range n {
		<-done
	}
}

func humanServers(p *output.Page, list []serverStatus) {
	if len(list) == 0 {
		p.Line("no tablet server is running")
		return
	}
	p.Header("SERVER", "INCARNATION", "ADDRESS", "ZONE", "UP", "SERVING", "ASSIGNED", "READS/S", "WRITES/S", "MEMTABLES", "LOG", "STATE")
	for _, s := range list {
		up := ""
		if !time.Time(s.Started).IsZero() {
			up = output.Duration(time.Since(time.Time(s.Started))).String()
		}
		reads, writes, memtables, log := "", "", "", ""
		if l := s.Load; l != nil {
			reads, writes = fmt.Sprintf("%.0f", l.Reads), fmt.Sprintf("%.0f", l.Writes)
			memtables, log = l.Memtables.String(), fmt.Sprintf("%d..%d", l.LogLow, l.LogNext)
		}
		p.Row(s.Name, s.Incarnation, s.Address, s.Zone, up, s.Serving, s.Assigned, reads, writes, memtables, log, s.state())
	}
}

// state is one word, or more where something is wrong.
func (s *serverStatus) state() string {
	switch {
	case s.Error != "":
		return s.Error
	case s.Reachable == nil:
		return "?"
	case !*s.Reachable && s.Load == nil:
		return "not reached yet"
	case !*s.Reachable:
		return "unreachable"
	case s.Drained:
		return "drained"
	case s.Load != nil && s.Load.LogStalled > 0:
		return "log stalled for " + s.Load.LogStalled.String()
	case s.Load != nil && s.Load.SessionState != "" && s.Load.SessionState != "safe":
		return s.Load.SessionState
	}
	return "ok"
}
