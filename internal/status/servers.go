package status

import (
	"fmt"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/status/view"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/proto/controlpb"
)

// serverRow is one tablet server.
type serverRow struct {
	Incarnation string      `json:"incarnation"`
	Name        string      `json:"name"`
	Address     string      `json:"address"`
	Zone        string      `json:"zone,omitempty"`
	Version     string      `json:"version,omitempty"`
	Status      string      `json:"status_address,omitempty"`
	Started     output.Time `json:"started"`
	Assigned    int         `json:"assigned"`
	Serving     int         `json:"serving"`
	Problem     string      `json:"problem,omitempty"`
	Answers     bool        `json:"answers"`
	*serverLoad
}

// Ops is the sum of reads and writes.
func (l *serverLoad) Ops() Rate { return l.Reads + l.Writes }

// serverLoad is what a server says that it does.
type serverLoad struct {
	Reads        Rate            `json:"reads"`
	Writes       Rate            `json:"writes"`
	ReadBytes    output.Size     `json:"read_bytes"`
	WriteBytes   output.Size     `json:"write_bytes"`
	CPU          float64         `json:"cpu_cores"`
	Memory       output.Size     `json:"memory_bytes"`
	Memtables    output.Size     `json:"memtable_bytes"`
	Budget       output.Size     `json:"memtable_budget_bytes"`
	Cache        output.Size     `json:"cache_bytes"`
	Session      string          `json:"session_state"`
	Loading      uint32          `json:"loading"`
	LogPut       output.Duration `json:"log_put_p50_seconds"`
	LogStalled   output.Duration `json:"log_stalled_seconds"`
	LogPinned    output.Size     `json:"log_pinned_bytes"`
	LogObjects   uint64          `json:"log_objects"`
	LogNext      uint64          `json:"log_next"`
	Unacked      uint64          `json:"log_unacknowledged"`
	FlushQueue   uint32          `json:"flush_queue"`
	CompactQueue uint32          `json:"compaction_queue"`
	Jobs         int             `json:"jobs"`
}

func newServerLoad(l *controlpb.ServerLoad, a *controlpb.ActivityResponse) *serverLoad {
	return &serverLoad{
		Reads: Rate(l.GetReads()), Writes: Rate(l.GetWrites()), ReadBytes: output.Size(l.GetReadBytes()), WriteBytes: output.Size(l.GetWriteBytes()),
		CPU: l.GetCpu(), Memory: output.Size(l.GetMemoryBytes()), Memtables: output.Size(l.GetMemtableBytes()), Budget: output.Size(l.GetMemoryBudgetBytes()),
		Cache: output.Size(l.GetCacheBytes()), Session: l.GetSessionState(), Loading: l.GetLoading(),
		LogPut: micros(l.GetLogPutP50Us()), LogStalled: micros(l.GetLogStalledUs()), LogPinned: output.Size(l.GetLogPinnedBytes()),
		LogObjects: l.GetLogNext() - min(l.GetLogLow(), l.GetLogNext()), LogNext: l.GetLogNext(),
		Unacked:    l.GetLogNext() - min(l.GetLogUnacknowledged(), l.GetLogNext()),
		FlushQueue: a.GetFlushQueue(), CompactQueue: a.GetCompactionQueue(), Jobs: len(a.GetRunning()),
	}
}

// nearlyFull is which part of its budget a server's memtables may take before
// it is said to be short of memory: flushes begin at 70 percent.
const nearlyFull = 0.95

func newServerRow(s *view.Server) serverRow {
	r := serverRow{
		Incarnation: s.Incarnation.String(), Name: s.Name(), Address: s.Address, Zone: s.Record.GetZone(), Version: s.Record.GetVersion(),
		Status: s.Record.GetStatusAddress(), Started: microTime(s.Record.GetStartedUs()), Assigned: s.Assigned, Serving: s.Serving,
		Answers: s.Err == nil && s.Load != nil, serverLoad: newServerLoad(s.Load, s.Activity),
	}
	l := r.serverLoad
	switch {
	case s.Err != nil:
		r.Problem = "does not answer: " + s.Err.Error()
	case l.Session != "" && l.Session != "safe":
		r.Problem = "its session is in " + l.Session + ": it holds its reads"
	case l.LogStalled > 0:
		r.Problem = fmt.Sprintf("its log has not been acknowledged for %v: the bucket does not take it", l.LogStalled)
	case l.Budget > 0 && float64(l.Memtables) > nearlyFull*float64(l.Budget):
		r.Problem = fmt.Sprintf("its memtables are full (%v of %v): writes wait for flushes", l.Memtables, l.Budget)
	}
	return r
}

func serverRows(v *view.View) []serverRow {
	list := make([]serverRow, 0, len(v.Servers))
	for _, s := range v.Servers {
		list = append(list, newServerRow(s))
	}
	return list
}

// serversBody is the page of all servers.
type serversBody struct {
	Servers []serverRow `json:"servers"`
	MostOps Rate        `json:"-"`
	MostOwn int         `json:"-"`
}

func serversPage(q *request) (any, error) {
	b := &serversBody{Servers: serverRows(q.view)}
	for _, s := range b.Servers {
		b.MostOps, b.MostOwn = max(b.MostOps, s.Reads+s.Writes), max(b.MostOwn, s.Assigned)
	}
	return b, nil
}

// serverBody is the page of one server.
type serverBody struct {
	serverRow
	Log     string      `json:"log_state,omitempty"`
	Busy    []tabletRow `json:"busiest_tablets"`
	Running []jobRow    `json:"running"`
	Recent  []jobRow    `json:"recent"`
}

// busiest is how many tablets a page lists as the busiest.
const busiest = 10

func serverPage(q *request) (any, error) {
	e, err := base.ParseIncarnation(q.query.Get("id"))
	if err != nil {
		return nil, fmt.Errorf("%w: id %q; want the incarnation of a server", base.ErrInvalid, q.query.Get("id"))
	}
	s := q.view.Owner(e)
	if s == nil {
		return nil, fmt.Errorf("server %v: %w; it has no session any more, or never had one", e, base.ErrNotFound)
	}
	b := &serverBody{serverRow: newServerRow(s)}
	for _, l := range q.view.Logs {
		if l.Incarnation == e {
			b.Log = l.State.String()
		}
	}
	var mine []tabletRow
	for i := range q.view.Tablets {
		if t := &q.view.Tablets[i]; t.Owner == e {
			mine = append(mine, newTabletRow(q.view, t))
		}
	}
	b.Busy = hottest(mine, busiest)
	b.Running, b.Recent = jobRows(q.view, s.Activity.GetRunning(), s), jobRows(q.view, s.Activity.GetRecent(), s)
	return b, nil
}

// hottest returns the n tablets with most requests, most first.
func hottest(list []tabletRow, n int) []tabletRow {
	list = slices.DeleteFunc(slices.Clone(list), func(t tabletRow) bool { return t.Ops() < 0.05 })
	slices.SortStableFunc(list, func(a, b tabletRow) int { return int(sign(b.Ops() - a.Ops())) })
	return list[:min(n, len(list))]
}

func sign(x Rate) float64 {
	switch {
	case x < 0:
		return -1
	case x > 0:
		return 1
	}
	return 0
}

// jobRow is one flush, compaction or load.
type jobRow struct {
	Kind      string          `json:"kind"`
	Tablet    uint64          `json:"tablet"`
	Table     string          `json:"table"`
	Server    string          `json:"server"`
	ServerID  string          `json:"incarnation"`
	Started   output.Time     `json:"started"`
	Elapsed   output.Duration `json:"elapsed_seconds"`
	In        output.Size     `json:"bytes_in"`
	Out       output.Size     `json:"bytes_out"`
	Detail    string          `json:"detail,omitempty"`
	Error     string          `json:"error,omitempty"`
	endMicros int64
}

func jobRows(v *view.View, list []*controlpb.Job, s *view.Server) []jobRow {
	rows := make([]jobRow, 0, len(list))
	for _, j := range list {
		rows = append(rows, jobRow{
			Kind: j.Kind, Tablet: j.Tablet, Table: tableName(v, base.TableID(j.Table)), Server: s.Name(), ServerID: s.Incarnation.String(),
			Started: microTime(j.StartedUs), Elapsed: micros(j.ElapsedUs), In: output.Size(j.BytesIn), Out: output.Size(j.BytesOut),
			Detail: j.Detail, Error: j.Error, endMicros: j.StartedUs + j.ElapsedUs,
		})
	}
	return rows
}

// jobsBody is the page of flushes and compactions.
type jobsBody struct {
	Servers []serverRow `json:"servers"`
	Running []jobRow    `json:"running"`
	Recent  []jobRow    `json:"recent"`
	Kind    string      `json:"kind,omitempty"`
	Kinds   []choice    `json:"-"`
}

// recentJobs is how many jobs that ended the page lists.
const recentJobs = 100

func jobsPage(q *request) (any, error) {
	b := &jobsBody{Servers: serverRows(q.view), Kind: q.query.Get("kind")}
	for _, s := range q.view.Servers {
		b.Running = append(b.Running, jobRows(q.view, s.Activity.GetRunning(), s)...)
		b.Recent = append(b.Recent, jobRows(q.view, s.Activity.GetRecent(), s)...)
	}
	for _, k := range []string{"", "flush", "compaction", "load"} {
		b.Kinds = append(b.Kinds, choice{k, map[bool]string{true: "all", false: k}[k == ""], q.with("kind", k), k == b.Kind})
	}
	if b.Kind != "" {
		other := func(j jobRow) bool { return j.Kind != b.Kind }
		b.Running, b.Recent = slices.DeleteFunc(b.Running, other), slices.DeleteFunc(b.Recent, other)
	}
	slices.SortStableFunc(b.Running, func(a, c jobRow) int { return time.Time(a.Started).Compare(time.Time(c.Started)) })
	slices.SortStableFunc(b.Recent, func(a, c jobRow) int { return int(c.endMicros - a.endMicros) })
	b.Recent = b.Recent[:min(recentJobs, len(b.Recent))]
	return b, nil
}

// choice is one of several ways to show a page.
type choice struct {
	Value, Name, URL string
	Here             bool
}

// tableName returns the name of a table as people call it.
func tableName(v *view.View, t base.TableID) string {
	if x := v.Table(t); x != nil {
		return shortName(x.Name)
	}
	return fmt.Sprintf("table %d", t)
}

// shortName is the last part of the name, with the instance where it is not the
// usual one.
func shortName(full string) string {
	n, err := parseName(full)
	if err != nil {
		return full
	}
	return n
}

// unsealed reports whether a log waits to be sealed: its session is gone.
func unsealed(v *view.View, l meta.Log) bool {
	return l.State != meta.LogSealed && v.SessionsErr == nil && v.Err == nil && !v.Alive(l.Incarnation)
}
