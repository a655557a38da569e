package linearizability

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Report is the result of Check.
type Report struct {
	Operations int
	Unknown    int // operations without an answer
	Rows       int
	// Violations says what no order explains; nil: the history is linearizable.
	Violations []string
	// Unfinished are rows on which the search did not end in time.
	Unfinished []string

	illegal []porcupine.Operation // of the first row at fault
	info    porcupine.LinearizationInfo
}

// Err returns what is wrong, or nil.
func (r Report) Err() error {
	if len(r.Violations) > 0 {
		return fmt.Errorf("history is not linearizable:\n%s", strings.Join(r.Violations, "\n"))
	}
	if len(r.Unfinished) > 0 {
		return fmt.Errorf("search for an order of the operations did not end in time for %d of %d rows: %q", len(r.Unfinished), r.Rows, r.Unfinished)
	}
	return nil
}

// Visualize writes a page (HTML) that draws the history of the first row for
// which there is no order.
func (r Report) Visualize(w io.Writer) error {
	if len(r.illegal) == 0 {
		return fmt.Errorf("no row is at fault")
	}
	return porcupine.Visualize(model(), r.info, w)
}

// Check looks for an explanation of a history. It spends at most within on the
// search for each row. First come two checks that need no search and say best
// what is wrong: no value may be read that nobody wrote, and a counter may not
// hold more than was added, nor, at the last read, less than was acknowledged.
func Check(ops []Operation, within time.Duration) Report {
	r := Report{Operations: len(ops), Violations: slices.Concat(phantoms(ops), counters(ops))}
	all := make([]porcupine.Operation, len(ops))
	for i, op := range ops {
		if op.Answer.Unknown {
			r.Unknown++
		}
		all[i] = porcupine.Operation{ClientId: op.Client, Input: op.Call, Call: op.Called, Output: op.Answer, Return: op.Returned}
	}
	m := model()
	for _, part := range partition(all) {
		r.Rows++
		row := part[0].Input.(Call).Row
		result, info := porcupine.CheckOperationsVerbose(m, part, within)
		switch result {
		case porcupine.Unknown:
			r.Unfinished = append(r.Unfinished, row)
		case porcupine.Illegal:
			r.Violations = append(r.Violations, fmt.Sprintf("row %q: no order explains its %d operations", row, len(part)))
			if r.illegal == nil {
				r.illegal, r.info = part, info
			}
		}
	}
	return r
}

// phantoms returns the values that were read but never written.
func phantoms(ops []Operation) []string {
	type value struct{ row, cell, value string }
	written := map[value]bool{}
	for _, op := range ops {
		switch c := op.Call; c.Kind {
		case Write, CheckAndWrite:
			written[value{c.Row, "register", c.Value}] = true
		case WriteNewest:
			written[value{c.Row, "newest", c.Value}] = true
		}
	}
	var wrong []string
	for _, op := range ops {
		if op.Call.Kind != Read {
			continue
		}
		row := op.Answer.Row
		for _, v := range []value{{op.Call.Row, "register", row.Register}, {op.Call.Row, "newest", row.Newest}} {
			if v.value != "" && !written[v] {
				wrong = append(wrong, fmt.Sprintf("row %q: %s holds %q, which nobody wrote", v.row, v.cell, v.value))
				written[v] = true // say it once
			}
		}
	}
	return wrong
}

// counters compares the last read of each counter with what was added.
func counters(ops []Operation) []string {
	type sum struct{ acked, unknown int64 }
	sums := map[string]*sum{}
	last := map[string]Operation{}
	for _, op := range ops {
		s := sums[op.Call.Row]
		if s == nil {
			s = &sum{}
			sums[op.Call.Row] = s
		}
		switch {
		case op.Call.Kind == Read && op.Called >= last[op.Call.Row].Called:
			last[op.Call.Row] = op
		case op.Call.Kind == Increment && op.Answer.Unknown:
			s.unknown += op.Call.Delta
		case op.Call.Kind == Increment:
			s.acked += op.Call.Delta
		}
	}
	var wrong []string
	for row, op := range last {
		acked := int64(0) // before the last read
		for _, o := range ops {
			if o.Call.Row == row && o.Call.Kind == Increment && o.Returned < op.Called {
				acked += o.Call.Delta
			}
		}
		if got := op.Answer.Row.Counter; got < acked || got > sums[row].acked+sums[row].unknown {
			wrong = append(wrong, fmt.Sprintf("row %q: counter is %d; acknowledged before were %d, asked for %d",
				row, got, acked, sums[row].acked+sums[row].unknown))
		}
	}
	slices.Sort(wrong)
	return wrong
}
