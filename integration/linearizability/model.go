package linearizability

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// model returns the sequential specification of a row.
func model() porcupine.Model {
	return porcupine.Model{
		Partition:         partition,
		Init:              func() any { return Row{} },
		Step:              func(state, input, output any) (bool, any) { return step(state.(Row), input.(Call), output.(Answer)) },
		DescribeOperation: func(input, output any) string { return describe(input.(Call), output.(Answer)) },
		DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state.(Row)) },
	}
}

// step applies c to a row, and reports whether a is the answer it may give.
func step(r Row, c Call, a Answer) (bool, Row) {
	switch c.Kind {
	case Read:
		return a.Row == r, r
	case Write:
		r.Register = c.Value
	case WriteNewest:
		if c.Timestamp >= r.Timestamp {
			r.Newest, r.Timestamp = c.Value, c.Timestamp
		}
	case Increment:
		r.Counter += c.Delta
		return a.Unknown || a.Sum == r.Counter, r
	case CheckAndWrite:
		matched := r.Register == c.Expect
		if matched {
			r.Register = c.Value
		}
		return a.Unknown || a.Matched == matched, r
	}
	return true, r
}

// partition cuts a history into those of the rows, as porcupine wants it.
func partition(history []porcupine.Operation) [][]porcupine.Operation {
	rows := map[string]int{}
	var parts [][]porcupine.Operation
	for _, op := range history {
		row := op.Input.(Call).Row
		i, ok := rows[row]
		if !ok {
			i = len(parts)
			rows[row] = i
			parts = append(parts, nil)
		}
		parts[i] = append(parts[i], op)
	}
	return parts
}

func describe(c Call, a Answer) string {
	answer := ""
	switch {
	case a.Unknown:
		answer = " -> ?"
	case c.Kind == Read:
		answer = fmt.Sprintf(" -> %+v", a.Row)
	case c.Kind == Increment:
		answer = fmt.Sprintf(" -> %d", a.Sum)
	case c.Kind == CheckAndWrite:
		answer = fmt.Sprintf(" -> %t", a.Matched)
	}
	switch c.Kind {
	case Read:
		return "read" + answer
	case WriteNewest:
		return fmt.Sprintf("newest = %s @ %d%s", c.Value, c.Timestamp, answer)
	case Increment:
		return fmt.Sprintf("counter += %d%s", c.Delta, answer)
	case CheckAndWrite:
		return fmt.Sprintf("register %s => %s%s", c.Expect, c.Value, answer)
	}
	return fmt.Sprintf("register = %s%s", c.Value, answer)
}
