package view

import (
	"fmt"
	"time"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/meta"
)

// Explain says why a tablet is as it is, and what it waits for: sentences for
// people.
func (v *View) Explain(t *meta.Tablet) []string {
	var why []string
	say := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	age := output.Duration(max(time.Since(t.Since), 0))
	owner := v.Owner(t.Owner)
	switch t.State {
	case meta.Serving:
		say("It has been served for %v.", age)
	case meta.Assigned:
		say("Its owner was told to load it %v ago and has not registered.", age)
	default:
		say("It has had no owner for %v: its rows cannot be read or written.", age)
	}
	if l := v.Load(t); l.GetError() != "" {
		say("Its owner does not serve it: %s. It is tried again until the master gives it to another.", l.GetError())
	}
	if !t.Owner.IsZero() && owner == nil {
		say("Its owner %v has no session any more: the next step is the fail-over, by the master.", t.Owner)
	}
	if owner != nil && owner.Err != nil {
		say("Its owner does not answer: %v.", owner.Err)
	}
	if t.State != meta.Serving {
		why = append(why, v.Waits(t)...)
	}
	if n := len(t.Logs); n > 1 {
		say("Records of it lie in %d parts of logs; a flush by the owner ends that.", n)
	}
	return why
}

// Waits says what a tablet that is not served waits for.
func (v *View) Waits(t *meta.Tablet) (why []string) {
	switch {
	case v.Master.Status == nil:
		why = append(why, "The master cannot be asked: "+v.Master.Reason()+".")
	case v.Master.Status.GetSafeMode():
		why = append(why, "The master is in safe mode and reassigns nothing: "+v.Master.Status.GetSafeModeReason()+". tabletadm safemode off ends it.")
	case len(v.Servers) == 0:
		why = append(why, "There is no tablet server to give it to.")
	case t.State == meta.Unassigned:
		why = append(why, "The master is about to choose an owner.")
	}
	for _, e := range t.Logs {
		for _, l := range v.Logs {
			if l.Incarnation == e.Log && l.State != meta.LogSealed && !e.Closed && e.Log != t.Owner {
				why = append(why, fmt.Sprintf("The log of %v, which holds records of it, is %v and must be sealed first.", l.Incarnation, l.State))
			}
		}
	}
	return why
}

// Reason says why the master's status is not known.
func (m *Master) Reason() string {
	if m.Err == nil {
		return "it has not answered"
	}
	return m.Err.Error()
}
