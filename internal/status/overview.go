package status

import (
	"fmt"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/status/view"
	"github.com/tabletdb/tabletdb/meta"
)

// overviewBody is the page of the cluster as a whole.
type overviewBody struct {
	Health   string      `json:"health"`
	OK       bool        `json:"ok"`
	Problems []problem   `json:"problems"`
	Cluster  string      `json:"cluster,omitempty"`
	Store    string      `json:"store,omitempty"`
	Revision uint64      `json:"revision"`
	Master   masterRow   `json:"master"`
	Tables   []tableRow  `json:"tables"`
	Tablets  tabletCount `json:"tablets"`
	Servers  []serverRow `json:"servers"`
	Hot      []tabletRow `json:"busiest_tablets"`
	Events   []event     `json:"events"`
	Reads    Rate        `json:"reads"`
	Writes   Rate        `json:"writes"`
	Bytes    output.Size `json:"file_bytes"`
	Memory   output.Size `json:"memtable_bytes"`
	Replicas int         `json:"lock_replicas"`
	Up       int         `json:"lock_replicas_up"`
	MostOps  Rate        `json:"-"`
}

// problem is something that people should look at. Grave: rows cannot be read
// or written, or soon cannot.
type problem struct {
	Grave bool   `json:"grave"`
	Text  string `json:"text"`
	Link  string `json:"link,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

type masterRow struct {
	Address string `json:"address,omitempty"`
	Active  bool   `json:"active"`
	Error   string `json:"error,omitempty"`
	Status  string `json:"status_address,omitempty"`
}

type tabletCount struct {
	Total      int             `json:"total"`
	Serving    int             `json:"serving"`
	Loading    int             `json:"loading"`
	Unassigned int             `json:"unassigned"`
	Failed     int             `json:"failed"`
	Oldest     output.Duration `json:"oldest_unserved_seconds"`
}

// tableRow is one table with the sum of its tablets.
type tableRow struct {
	ID      uint64      `json:"id"`
	Name    string      `json:"name"`
	Tablets int         `json:"tablets"`
	Serving int         `json:"serving"`
	Reads   Rate        `json:"reads"`
	Writes  Rate        `json:"writes"`
	Bytes   output.Size `json:"file_bytes"`
}

// event is something that the master saw or decided.
type event struct {
	At   output.Time `json:"at"`
	Text string      `json:"text"`
}

// shownEvents is how many events the overview shows.
const shownEvents = 12

func overviewPage(q *request) (any, error) {
	v := q.view
	b := &overviewBody{Cluster: v.Cluster, Store: Redact(v.Store), Revision: uint64(v.Revision), Servers: serverRows(v), Replicas: len(v.Replicas)}
	for _, r := range v.Replicas {
		if r.Err == nil {
			b.Up++
		}
	}
	b.Master = newMasterRow(v)
	rows := b.count(v)
	b.Hot = hottest(rows, busiest)
	for _, t := range b.Hot {
		b.MostOps = max(b.MostOps, t.Ops())
	}
	b.Events = events(v)
	b.Events = b.Events[:min(shownEvents, len(b.Events))]
	b.Problems = b.problems(v)
	b.Health, b.OK = health(b)
	return b, nil
}

func newMasterRow(v *view.View) masterRow {
	m := masterRow{Address: v.Master.Address, Active: v.Master.Status != nil, Status: v.Master.Status.GetStatusAddress()}
	if !m.Active {
		m.Error = v.Master.Reason()
	}
	return m
}

// count adds up tablets and tables.
func (b *overviewBody) count(v *view.View) []tabletRow {
	tables := map[uint64]*tableRow{}
	rows := make([]tabletRow, 0, len(v.Tablets))
	for i := range v.Tables {
		t := &v.Tables[i]
		if t.Record.GetDeleted() {
			continue
		}
		tables[uint64(t.ID)] = &tableRow{ID: uint64(t.ID), Name: shortName(t.Name)}
	}
	b.Tablets.Total = len(v.Tablets)
	for i := range v.Tablets {
		t := &v.Tablets[i]
		r := newTabletRow(v, t)
		rows = append(rows, r)
		switch t.State {
		case meta.Serving:
			b.Tablets.Serving++
		case meta.Assigned:
			b.Tablets.Loading++
		default:
			b.Tablets.Unassigned++
		}
		if t.State != meta.Serving {
			b.Tablets.Oldest = max(b.Tablets.Oldest, r.For)
		}
		if r.Error != "" {
			b.Tablets.Failed++
		}
		b.Reads, b.Writes = b.Reads+r.Reads, b.Writes+r.Writes
		b.Bytes, b.Memory = b.Bytes+r.Bytes, b.Memory+r.Memtable
		if x := tables[r.TableID]; x != nil {
			x.Tablets++
			x.Reads, x.Writes, x.Bytes = x.Reads+r.Reads, x.Writes+r.Writes, x.Bytes+r.Bytes
			if t.State == meta.Serving {
				x.Serving++
			}
		}
	}
	b.Tables = make([]tableRow, 0, len(tables))
	for i := range v.Tables {
		if x := tables[uint64(v.Tables[i].ID)]; x != nil {
			b.Tables = append(b.Tables, *x)
		}
	}
	slices.SortStableFunc(b.Tables, func(x, y tableRow) int { return int(sign(y.Reads + y.Writes - x.Reads - x.Writes)) })
	return rows
}

// events returns what the master remembers, newest first.
func events(v *view.View) []event {
	list := []event{}
	for _, e := range v.Master.Status.GetEvents() {
		list = append(list, event{microTime(e.AtUs), e.Text})
	}
	slices.Reverse(list)
	return list
}

// health says in one sentence how the cluster is.
func health(b *overviewBody) (string, bool) {
	grave := 0
	for _, p := range b.Problems {
		if p.Grave {
			grave++
		}
	}
	switch t := b.Tablets; {
	case grave > 0 && t.Serving < t.Total:
		return fmt.Sprintf("%s of %s tablets cannot be read or written now.", output.Count(t.Total-t.Serving), output.Count(t.Total)), false
	case grave > 0:
		return "Needs attention now: " + b.Problems[0].Text + ".", false
	case len(b.Problems) > 0:
		return fmt.Sprintf("All rows are served; %s worth a look.", isAre(len(b.Problems), "thing")), true
	case t.Total == 0:
		return "Healthy. There are no tables yet.", true
	}
	return fmt.Sprintf("Healthy: all %s of %s are served by %s.", plural(b.Tablets.Total, "tablet"), plural(len(b.Tables), "table"), plural(len(b.Servers), "server")), true
}

func isAre(n int, one string) string {
	if n == 1 {
		return "1 " + one + " is"
	}
	return plural(n, one) + " are"
}

// manyRuns is from how many runs on a tablet's reads are slow; compactions keep
// them to 8.
const manyRuns = 16

// problems lists what is wrong, the grave first.
func (b *overviewBody) problems(v *view.View) []problem {
	list := []problem{}
	add := func(grave bool, link, hint, format string, args ...any) {
		list = append(list, problem{grave, fmt.Sprintf(format, args...), link, hint})
	}
	lockProblems(v, b.Up, add)
	if !b.Master.Active {
		add(b.Tablets.Serving < b.Tablets.Total, "/recovery", "start one: tabletd master", "no master: %s", b.Master.Error)
	} else if v.Master.Status.GetSafeMode() {
		add(true, "/recovery", "tabletadm safemode off", "safe mode is on (%s): tablets are not reassigned", v.Master.Status.GetSafeModeReason())
	}
	if len(v.Servers) == 0 {
		add(b.Tablets.Total > 0, "/servers", "start one: tabletd tabletserver", "no tablet server is running")
	}
	if n := b.Tablets.Unassigned + b.Tablets.Loading; n > 0 {
		add(true, "/tablets?state=unserved", "", "%s not served, the longest for %v", isAre(n, "tablet"), b.Tablets.Oldest)
	}
	if b.Tablets.Failed > 0 {
		add(true, "/tablets?state=failed", "", "%s could not be loaded", plural(b.Tablets.Failed, "tablet"))
	}
	for _, s := range b.Servers {
		if s.Problem != "" {
			add(true, "/server?id="+s.Incarnation, "", "%s %s", s.Name, s.Problem)
		}
	}
	for _, r := range v.Master.Status.GetRecoveries() {
		if r.Phase != "done" {
			add(false, "/recovery", "", "a fail-over is under way: %s, %s of %d left", r.Phase, plural(r.TabletsLeft, "tablet"), r.Tablets)
		}
	}
	b.slowReads(v, add)
	if n := versions(b.Servers); n > 1 {
		add(false, "/servers", "", "the tablet servers run %d different versions", n)
	}
	slices.SortStableFunc(list, func(x, y problem) int {
		switch {
		case x.Grave == y.Grave:
			return 0
		case x.Grave:
			return -1
		}
		return 1
	})
	return list
}

func lockProblems(v *view.View, up int, add func(bool, string, string, string, ...any)) {
	switch n := len(v.Replicas); {
	case v.Err != nil:
		add(true, "/locks", "", "the lock service cannot be read: %v", v.Err)
	case v.Stale:
		add(true, "/locks", "start the replicas that are down", "the lock service has no leader: %d of %s up", up, plural(n, "replica"))
	case up < n:
		add(false, "/locks", "", "%d of %s of the lock service up", up, plural(n, "replica"))
	}
	for _, r := range v.Replicas {
		if f := r.Status.GetFailure(); f != "" {
			add(true, "/locks", "", "lock server %s has stopped taking part: %s", r.Status.GetId(), f)
		}
	}
	for _, l := range v.Logs {
		if unsealed(v, l) && time.Since(v.RecordsAt) < time.Minute {
			add(false, "/recovery", "", "the log of %v is %v though its server is gone: its fail-over is due", l.Incarnation, l.State)
		}
	}
}

func (b *overviewBody) slowReads(v *view.View, add func(bool, string, string, string, ...any)) {
	slow := 0
	for i := range v.Tablets {
		if l := v.Load(&v.Tablets[i]); l.GetRuns() >= manyRuns {
			slow++
		}
	}
	if slow > 0 {
		add(false, "/tablets?sort=runs", "", "%s %d runs or more: reads of them are slow until they are compacted", have(slow, "tablet"), manyRuns)
	}
}

func have(n int, one string) string {
	if n == 1 {
		return "1 " + one + " has"
	}
	return plural(n, one) + " have"
}

func versions(servers []serverRow) int {
	seen := map[string]bool{}
	for _, s := range servers {
		seen[s.Version] = true
	}
	return len(seen)
}

// recoveryBody is the page of fail-overs.
type recoveryBody struct {
	Master     masterRow     `json:"master"`
	SafeMode   bool          `json:"safe_mode"`
	SafeReason string        `json:"safe_mode_reason,omitempty"`
	Running    []recoveryRow `json:"running"`
	Past       []recoveryRow `json:"past"` // newest first
	Unsealed   []logRow      `json:"logs_to_seal"`
	Events     []event       `json:"events"`
	Decisions  []decisionRow `json:"decisions"`
	Idle       string        `json:"balance_idle_because,omitempty"`
}

type recoveryRow struct {
	Server  string          `json:"server"`
	Log     string          `json:"log"`
	Address string          `json:"address,omitempty"`
	Phase   string          `json:"phase"`
	Began   output.Time     `json:"began"`
	Sealing output.Duration `json:"sealing_seconds"`
	Took    output.Duration `json:"seconds"` // so far, or as a whole
	Tablets uint32          `json:"tablets"`
	Left    uint32          `json:"tablets_left"`
}

// Done is how many tablets are served again.
func (r recoveryRow) Done() uint32 { return r.Tablets - min(r.Left, r.Tablets) }

func recoveryPage(q *request) (any, error) {
	v, s := q.view, q.view.Master.Status
	b := &recoveryBody{Master: newMasterRow(v), SafeMode: s.GetSafeMode(), SafeReason: s.GetSafeModeReason(), Running: []recoveryRow{}, Past: []recoveryRow{}, Unsealed: []logRow{}, Events: events(v)}
	for _, r := range s.GetRecoveries() {
		x := recoveryRow{
			Server: r.Name, Log: meta.Incarnation(r.Log).String(), Address: r.Address, Phase: r.Phase, Began: microTime(r.StartedUs),
			Tablets: r.Tablets, Left: r.TabletsLeft,
		}
		if r.SealedUs > 0 {
			x.Sealing = micros(r.SealedUs - r.StartedUs)
		}
		if r.DoneUs > 0 {
			x.Took = micros(r.DoneUs - r.StartedUs)
			b.Past = append(b.Past, x)
			continue
		}
		x.Took = output.Duration(time.Since(time.UnixMicro(r.StartedUs)))
		b.Running = append(b.Running, x)
	}
	slices.Reverse(b.Past)
	b.Decisions, b.Idle = decisionRows(v, 0, recentDecisions), balanceState(v)
	for _, l := range v.Logs {
		if unsealed(v, l) {
			b.Unsealed = append(b.Unsealed, newLogRow(v, l))
		}
	}
	return b, nil
}

// logRow is one commit log.
type logRow struct {
	Log    string `json:"log"`
	Server string `json:"server,omitempty"`
	State  string `json:"state"`
	Low    uint64 `json:"low"`
	End    uint64 `json:"end"`
}

func newLogRow(v *view.View, l meta.Log) logRow {
	r := logRow{Log: l.Incarnation.String(), State: l.State.String(), Low: uint64(l.Low), End: uint64(l.End)}
	if s := v.Owner(l.Incarnation); s != nil {
		r.Server = s.Name()
	}
	return r
}
