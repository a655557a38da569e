package assign

import "time"

// Load is what the master knows of an assignment whose owner has not
// registered.
type Load struct {
	// Age since the master saw the assignment first.
	Age time.Duration
	// Reachable: the owner answers, and has told what it knows since then.
	Reachable bool
	// Known: it says that it is loading the tablet.
	Known bool
	// Failed: it says that loading failed.
	Failed bool
}

// hopeless is how many timeouts a load gets of which its owner says that it
// goes on: it may wait for a log to be sealed, which another server would too.
const hopeless = 5

// Stuck reports whether the assignment should be taken back (rule R14: it may
// be, for it is not registered) after timeout, and why.
func Stuck(l Load, timeout time.Duration) (bool, string) {
	switch {
	case l.Age < timeout:
		return false, ""
	case !l.Reachable:
		return true, "the server does not answer"
	case l.Failed:
		return true, "the server says that the load failed"
	case !l.Known:
		return true, "the server does not know of the load"
	case l.Age >= hopeless*timeout:
		return true, "the load does not end"
	}
	return false, ""
}

// Backoff is the pause before an owner is told the n-th time (from 0) what it
// owns: it doubles from first up to most.
func Backoff(n int, first, most time.Duration) time.Duration {
	d := first
	for range n {
		if d *= 2; d >= most {
			return most
		}
	}
	return min(d, most)
}
