package status

import (
	"slices"
	"strings"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/status/view"
)

// decisionRow is one split, merge or move that the master decided.
type decisionRow struct {
	At      output.Time     `json:"at"`
	Kind    string          `json:"kind"`
	Tablet  uint64          `json:"tablet"`
	Other   uint64          `json:"other,omitempty"`
	From    string          `json:"from,omitempty"`
	To      string          `json:"to,omitempty"`
	Why     string          `json:"why"`
	Outcome string          `json:"outcome"` // "": under way
	Took    output.Duration `json:"seconds"`
	Result  []uint64        `json:"result,omitempty"`
}

// Failed reports whether it was given up.
func (d decisionRow) Failed() bool { return d.Outcome != "" && d.Outcome != "done" }

// recentDecisions is how many decisions the page of fail-overs lists.
const recentDecisions = 50

// decisionRows returns the last decisions about a tablet (0: any), newest first.
func decisionRows(v *view.View, id uint64, limit int) []decisionRow {
	list := []decisionRow{}
	for _, d := range slices.Backward(v.Master.Decisions.GetDecisions()) {
		if len(list) == limit || id != 0 && d.Tablet != id && d.Other != id && !slices.Contains(d.Result, id) {
			continue
		}
		list = append(list, decisionRow{microTime(d.AtUs), d.Kind, d.Tablet, d.Other, d.From, d.To, d.Why, d.Outcome, micros(d.TookUs), d.Result})
	}
	return list
}

// balanceState says whether the master balances, and if not, why.
func balanceState(v *view.View) string {
	x := v.Master.Decisions
	var say []string
	switch {
	case x == nil:
	case x.BalanceOff:
		say = append(say, "Balancing is off.")
	case x.IdleBecause != "":
		say = append(say, "Nothing is decided now: "+x.IdleBecause+".")
	}
	if len(x.GetDrained()) > 0 {
		say = append(say, "Being emptied: "+strings.Join(x.GetDrained(), ", ")+".")
	}
	return strings.Join(say, " ")
}
