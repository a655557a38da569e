package assign

import (
	"fmt"
	"time"
)

// SafeModeOptions say when so many servers have vanished that it looks like a
// fault of the network or of the master rather than of the servers.
type SafeModeOptions struct {
	// Fraction of the servers that must be exceeded; default 0.5.
	Fraction float64
	// AtLeast is how many servers must have vanished; default 3: a
	// cluster of three that loses two goes on with one.
	AtLeast int
	// Window in which they vanish; default 15 s: a lease and some.
	Window time.Duration
	// Timeout after which safe mode ends though they did not return; default
	// 60 s.
	Timeout time.Duration
}

// EnsureDefaults replaces zeros by the defaults.
func (o *SafeModeOptions) EnsureDefaults() {
	if o.Fraction == 0 {
		o.Fraction = 0.5
	}
	if o.AtLeast == 0 {
		o.AtLeast = 3
	}
	if o.Window == 0 {
		o.Window = 15 * time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
}

// SafeMode decides whether tablets may be reassigned. The zero value with
// Options is off. It is not safe for concurrent use.
type SafeMode struct {
	Options SafeModeOptions

	live     int
	vanished []time.Time // within the window, less those that returned
	manual   bool
	since    time.Time // not zero: on by itself
	before   int       // servers there were before the incident
}

// Started says that a server appeared.
func (s *SafeMode) Started(now time.Time) {
	s.Tick(now)
	s.live++
	if len(s.vanished) > 0 {
		s.vanished = s.vanished[1:]
	}
	s.Tick(now)
}

// Left says that a server went away that owned nothing: it shut down in order,
// or never did anything.
func (s *SafeMode) Left(now time.Time) {
	s.live--
	if s.since.IsZero() {
		s.Tick(now)
		return
	}
	s.before--
	s.Tick(now)
}

// Vanished says that a server went away that owned tablets.
func (s *SafeMode) Vanished(now time.Time) {
	s.live--
	s.vanish(now)
}

// Missing says, when a master starts to look, that dead servers which owned
// tablets are gone, and that fresh of the live ones own nothing: those count as
// come back.
func (s *SafeMode) Missing(dead, fresh int, now time.Time) {
	before := s.live - fresh + dead
	for range dead - fresh {
		s.vanished = append(s.vanished, now)
	}
	if s.since.IsZero() && s.tooMany(len(s.vanished)) {
		s.since, s.before = now, before
	}
}

func (s *SafeMode) vanish(now time.Time) {
	s.Tick(now)
	s.vanished = append(s.vanished, now)
	if s.since.IsZero() && s.tooMany(len(s.vanished)) {
		s.since, s.before = now, s.live+len(s.vanished)
	}
}

// Would reports whether one server more that vanishes now would turn safe mode
// on, or it is on: then the master does not itself end sessions.
func (s *SafeMode) Would(now time.Time) bool {
	s.Tick(now)
	if !s.since.IsZero() {
		return true
	}
	n := len(s.vanished) + 1
	return n >= s.Options.AtLeast && float64(n) > s.Options.Fraction*float64(s.live+len(s.vanished))
}

func (s *SafeMode) tooMany(n int) bool {
	return n >= s.Options.AtLeast && float64(n) > s.Options.Fraction*float64(s.live+n)
}

// Set turns safe mode on until it is set off, or off, whatever turned it on.
func (s *SafeMode) Set(on bool) {
	s.manual = on
	if !on {
		s.since, s.vanished = time.Time{}, nil
	}
}

// Tick forgets what is over.
func (s *SafeMode) Tick(now time.Time) {
	if s.since.IsZero() {
		for len(s.vanished) > 0 && now.Sub(s.vanished[0]) > s.Options.Window {
			s.vanished = s.vanished[1:]
		}
		return
	}
	returned := float64(s.before-s.live) <= s.Options.Fraction*float64(s.before)
	if returned || now.Sub(s.since) >= s.Options.Timeout {
		s.since, s.vanished = time.Time{}, nil
	}
}

// On returns whether safe mode is on, and why.
func (s *SafeMode) On(now time.Time) (bool, string) {
	s.Tick(now)
	switch {
	case s.manual:
		return true, "set by an operator"
	case !s.since.IsZero():
		return true, fmt.Sprintf("%d of %d servers vanished; waiting for them until %s", s.before-s.live, s.before,
			s.since.Add(s.Options.Timeout).UTC().Format(time.RFC3339))
	}
	return false, ""
}

// Until returns when safe mode ends by itself; false: it is off or lasts until
// somebody acts.
func (s *SafeMode) Until() (time.Time, bool) {
	if s.since.IsZero() || s.manual {
		return time.Time{}, false
	}
	return s.since.Add(s.Options.Timeout), true
}
