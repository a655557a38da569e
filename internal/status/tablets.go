package status

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/status/view"
	"github.com/tabletdb/tabletdb/meta"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// tabletRow is one tablet in a list.
type tabletRow struct {
	ID       uint64          `json:"id"`
	Table    string          `json:"table"`
	TableID  uint64          `json:"table_id"`
	Start    output.Bytes    `json:"start"`
	End      output.Bytes    `json:"end"`
	State    string          `json:"state"`
	For      output.Duration `json:"state_seconds"`
	Server   string          `json:"server,omitempty"`
	ServerID string          `json:"incarnation,omitempty"`
	Epoch    uint64          `json:"epoch"`
	Reads    Rate            `json:"reads"`
	Writes   Rate            `json:"writes"`
	Bytes    output.Size     `json:"file_bytes"`
	Memtable output.Size     `json:"memtable_bytes"`
	Files    uint32          `json:"files"`
	Runs     uint32          `json:"runs"`
	Rows     uint64          `json:"rows_estimate"`
	Logs     int             `json:"log_entries"`
	Error    string          `json:"error,omitempty"`
}

// Ops is the sum of reads and writes.
func (t tabletRow) Ops() Rate { return t.Reads + t.Writes }

func newTabletRow(v *view.View, t *meta.Tablet) tabletRow {
	r := tabletRow{
		ID: uint64(t.ID), Table: tableName(v, t.Table), TableID: uint64(t.Table), Start: t.Start, End: t.End,
		State: t.State.String(), For: output.Duration(max(time.Since(t.Since), 0)), ServerID: id(t.Owner), Epoch: uint64(t.Epoch), Logs: len(t.Logs),
	}
	if s := v.Owner(t.Owner); s != nil {
		r.Server = s.Name()
	} else if !t.Owner.IsZero() {
		r.Server = t.OwnerAddress
	}
	if l := v.Load(t); l != nil {
		r.Reads, r.Writes, r.Bytes, r.Memtable = Rate(l.Reads), Rate(l.Writes), output.Size(l.FileBytes), output.Size(l.MemtableBytes)
		r.Files, r.Runs, r.Rows, r.Error = l.Files, l.Runs, l.RowsEstimate, l.Error
	}
	return r
}

// tabletsBody is the page of all tablets.
type tabletsBody struct {
	Total   int         `json:"total"` // that match
	Page    int         `json:"page"`
	Pages   int         `json:"pages"`
	Tablets []tabletRow `json:"tablets"`

	Table, Server, State, Sort string            `json:"-"`
	Tables, Servers            []choice          `json:"-"`
	States                     []choice          `json:"-"`
	Links                      map[string]string `json:"-"` // that sort by something
	Prev, Next                 string            `json:"-"`
	MostOps                    Rate              `json:"-"`
	MostBytes                  output.Size       `json:"-"`
}

// perPage is how many tablets a page lists.
const perPage = 100

// stateNames are the states to choose from, as meta.State has them, and those
// that are not served.
var stateNames = [...]string{"", "serving", "loading", "unassigned", "unserved", "failed"}

func tabletsPage(q *request) (any, error) {
	b := &tabletsBody{Table: q.query.Get("table"), Server: q.query.Get("server"), State: q.query.Get("state"), Sort: q.query.Get("sort")}
	order, ok := orders()[b.Sort]
	if !ok {
		return nil, fmt.Errorf("%w: sort %q; there are row, load, reads, writes, size, runs, age and id", base.ErrInvalid, b.Sort)
	}
	if !slices.Contains(stateNames[:], b.State) {
		return nil, fmt.Errorf("%w: state %q; there are serving, loading, unassigned, unserved and failed", base.ErrInvalid, b.State)
	}
	var list []tabletRow
	for i := range q.view.Tablets {
		t := &q.view.Tablets[i]
		if b.Server != "" && id(t.Owner) != b.Server {
			continue
		}
		if b.Table != "" && strconv.FormatUint(uint64(t.Table), 10) != b.Table && tableName(q.view, t.Table) != b.Table {
			continue
		}
		if r := newTabletRow(q.view, t); inState(&r, b.State) {
			list = append(list, r)
		}
	}
	if order != nil {
		slices.SortStableFunc(list, order)
	}
	if err := b.cut(q, list); err != nil {
		return nil, err
	}
	b.choices(q)
	return b, nil
}

func inState(t *tabletRow, state string) bool {
	switch state {
	case "":
		return true
	case "unserved":
		return t.State != meta.Serving.String() || t.Error != ""
	case "failed":
		return t.Error != ""
	}
	return t.State == state
}

// orders are the orders of the list. Tablets come by table and row.
func orders() map[string]func(a, b tabletRow) int {
	return map[string]func(a, b tabletRow) int{
		"": nil, "row": nil,
		"load":   func(a, b tabletRow) int { return cmp.Compare(b.Ops(), a.Ops()) },
		"reads":  func(a, b tabletRow) int { return cmp.Compare(b.Reads, a.Reads) },
		"writes": func(a, b tabletRow) int { return cmp.Compare(b.Writes, a.Writes) },
		"size":   func(a, b tabletRow) int { return cmp.Compare(b.Bytes+b.Memtable, a.Bytes+a.Memtable) },
		"runs":   func(a, b tabletRow) int { return cmp.Compare(b.Runs, a.Runs) },
		"age":    func(a, b tabletRow) int { return cmp.Compare(a.For, b.For) },
		"id":     func(a, b tabletRow) int { return cmp.Compare(a.ID, b.ID) },
	}
}

// cut takes the page that is asked for.
func (b *tabletsBody) cut(q *request, list []tabletRow) error {
	n, err := q.number("page")
	if err != nil {
		return err
	}
	for i := range list {
		b.MostOps, b.MostBytes = max(b.MostOps, list[i].Ops()), max(b.MostBytes, list[i].Bytes+list[i].Memtable)
	}
	b.Total, b.Pages = len(list), max(1, (len(list)+perPage-1)/perPage)
	b.Page = int(min(max(n, 1), uint64(b.Pages)))
	first := (b.Page - 1) * perPage
	b.Tablets = append([]tabletRow{}, list[first:min(first+perPage, len(list))]...)
	if b.Page > 1 {
		b.Prev = q.with("page", strconv.Itoa(b.Page-1))
	}
	if b.Page < b.Pages {
		b.Next = q.with("page", strconv.Itoa(b.Page+1))
	}
	return nil
}

// choices fills in by what the list can be filtered and sorted.
func (b *tabletsBody) choices(q *request) {
	b.Tables = append(b.Tables, choice{Name: "all tables", Here: b.Table == ""})
	for _, t := range q.view.Tables {
		n := strconv.FormatUint(uint64(t.ID), 10)
		b.Tables = append(b.Tables, choice{Value: n, Name: shortName(t.Name), Here: b.Table == n || b.Table == shortName(t.Name)})
	}
	slices.SortFunc(b.Tables[1:], func(x, y choice) int { return strings.Compare(x.Name, y.Name) })
	b.Servers = append(b.Servers, choice{Name: "all servers", Here: b.Server == ""})
	for _, s := range q.view.Servers {
		b.Servers = append(b.Servers, choice{Value: s.Incarnation.String(), Name: s.Name(), Here: b.Server == s.Incarnation.String()})
	}
	for _, s := range stateNames {
		b.States = append(b.States, choice{Value: s, Name: cmp.Or(s, "all states"), Here: s == b.State})
	}
	b.Links = map[string]string{}
	for name := range orders() {
		if name != "" {
			b.Links[name] = q.with("sort", name, "page", "")
		}
	}
}

// findRow returns the tablet that a row of a table lies in, for the form that
// asks for it.
func (q *request) findRow() (*meta.Tablet, error) {
	row, err := output.Parse(q.query.Get("row"))
	if err != nil {
		return nil, err
	}
	table := q.query.Get("table")
	for i := range q.view.Tablets {
		t := &q.view.Tablets[i]
		if (strconv.FormatUint(uint64(t.Table), 10) == table || tableName(q.view, t.Table) == table) && t.Contains(row) {
			return t, nil
		}
	}
	return nil, fmt.Errorf("tablet of row %s in table %q: %w", output.Bytes(row), table, base.ErrNotFound)
}

// findTablet returns the tablet that a request is about.
func (q *request) findTablet() (*meta.Tablet, error) {
	if q.query.Has("row") {
		return q.findRow()
	}
	n, err := q.number("id")
	if err != nil {
		return nil, err
	}
	for i := range q.view.Tablets {
		if t := &q.view.Tablets[i]; t.ID == base.TabletID(n) {
			return t, nil
		}
	}
	for i := range q.view.Tablets { // it was split or merged
		if t := &q.view.Tablets[i]; slices.Contains(t.Parents, base.TabletID(n)) {
			return nil, fmt.Errorf("tablet %d: %w; tablet %d came of it", n, base.ErrNotFound, t.ID)
		}
	}
	return nil, fmt.Errorf("tablet %d: %w", n, base.ErrNotFound)
}

// neighbours returns the tablets before and behind t in its table; 0: none.
func neighbours(v *view.View, t *meta.Tablet) (before, behind uint64) {
	for i := range v.Tablets {
		o := &v.Tablets[i]
		if o.Table != t.Table {
			continue
		}
		if len(t.Start) > 0 && bytes.Equal(o.End, t.Start) {
			before = uint64(o.ID)
		}
		if len(t.End) > 0 && bytes.Equal(o.Start, t.End) {
			behind = uint64(o.ID)
		}
	}
	return before, behind
}

func parseName(full string) (string, error) {
	n, err := schema.ParseName(full)
	if err != nil {
		return "", err
	}
	if n.Project == "local" && n.Instance == "main" {
		return n.Table, nil
	}
	return strings.TrimPrefix(n.Project+"/"+n.Instance+"/"+n.Table, "local/"), nil
}
