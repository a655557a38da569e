// Package faulty is the decorator that makes an object store misbehave the way
// real ones do: requests fail before or after they were applied, replies get
// lost while the request lands much later, answers are slow, cut short or wrong.
// Faults come from a seed, by rules, or from a script. It works inside and
// outside of testing/synctest bubbles.
package faulty

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/tabletdb/tabletdb/objstore"
)

// ErrInjected is what all made-up errors wrap, besides the sentinel that the
// kind of fault asks for.
var ErrInjected = errors.New("injected fault")

// Op is a set of operations.
type Op uint16

// One bit for each method.
const (
	Put Op = 1 << iota
	PutIfAbsent
	Delete
	Upload
	Get
	GetRange
	Stat
	List
	Download

	Writes = Put | PutIfAbsent | Delete | Upload
	Reads  = Get | GetRange | Stat | List | Download
	Any    = Writes | Reads
)

// String returns the names of the operations in o.
func (o Op) String() string {
	var names []string
	for i, name := range []string{"Put", "PutIfAbsent", "Delete", "Upload", "Get", "GetRange", "Stat", "List", "Download"} {
		if o&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

// Kind says what goes wrong.
type Kind int

const (
	// FailBefore fails the call, which has no effect.
	FailBefore Kind = iota + 1
	// FailAfter applies a write, whatever its result, and fails the call: the
	// reply got lost.
	FailAfter
	// LandLate fails a write, which is applied later all the same, possibly
	// long after its caller has given up.
	LandLate
	// LandTwice applies a write, returns its result, and applies it again later:
	// something on the way repeated the request.
	LandTwice
	// Torn fails a write half-way: of an object nothing is ever seen, of the keys
	// of a Delete the first half is gone.
	Torn
	// Throttle fails the call with objstore.ErrThrottled; it has no effect.
	Throttle
	// Slow delays the call; a listing again after every PageSize objects.
	Slow
	// Hang holds the call, without effect, until its context ends.
	Hang
	// Truncate fails a read as the real stores fail a body that is too short; a
	// listing or a stream breaks off somewhere.
	Truncate
	// Flip flips one bit of what is read, without any error.
	Flip
)

// kinds lists, in the order of Kind, each one's name and the operations that can
// suffer from it.
func kinds() []struct {
	name string
	ops  Op
} {
	return []struct {
		name string
		ops  Op
	}{
		{"none", 0}, {"fail before", Any}, {"fail after", Writes}, {"land late", Writes}, {"land twice", Writes},
		{"torn", Writes}, {"throttle", Any}, {"slow", Any}, {"hang", Any},
		{"truncate", Reads &^ Stat}, {"flip", Get | GetRange | Download},
	}
}

// String returns the name of k.
func (k Kind) String() string { return kinds()[k].name }

// Fault is one thing that goes wrong.
type Fault struct {
	Kind Kind
	// Delay, plus a random part of Jitter, is how long Slow delays, how late
	// LandLate and LandTwice land, and how long the kinds that fail take to.
	Delay  time.Duration
	Jitter time.Duration
	// Calls, if positive, makes LandLate and LandTwice land when that many
	// further calls on the store have begun, just before the last of them runs,
	// instead of after Delay.
	Calls int
}

// Rule makes a fraction of the calls it matches suffer a fault.
type Rule struct {
	Ops         Op     // Any if 0; operations that the kind does not fit are passed over
	Prefix      string // of the key, or of any key of a Delete, or of the prefix of a List
	Probability float64
	Fault
}

// Options of a Store.
type Options struct {
	// Seed of all decisions. They depend on the order of calls besides, so only
	// what is single-threaded repeats exactly.
	Seed uint64
	// Rules are tried in order for each call; the first that strikes counts.
	Rules []Rule
	// PageSize is the number of objects between two delays of a slow listing:
	// 1000 by default.
	PageSize int
}

// Event records a fault that struck, or a late write that landed.
type Event struct {
	Op     Op
	Key    string // the first, of a Delete
	Kind   Kind
	Landed bool  // the late write was applied now, with
	Err    error // this result
}

// Store makes another store misbehave. It implements objstore.Store and
// objstore.Streamer.
type Store struct {
	inner    objstore.Store
	pageSize int
	landing  sync.WaitGroup // late writes being applied

	mu struct {
		sync.Mutex
		rand   *rand.Rand
		rules  []Rule
		script []scripted
		late   []*late // in the order of their calls
		events []Event
	}
}

// scripted is a fault that waits for its call.
type scripted struct {
	ops    Op
	prefix string
	fault  Fault
}

// New returns inner with faults. Close or Drain it at the end of a test, so that
// nothing lands afterwards.
func New(inner objstore.Store, opts Options) *Store {
	s := &Store{inner: inner, pageSize: opts.PageSize}
	if s.pageSize <= 0 {
		s.pageSize = 1000
	}
	s.mu.rand = rand.New(rand.NewPCG(opts.Seed, 0))
	s.mu.rules = opts.Rules
	return s
}

// SetRules replaces the rules; without arguments it ends all random faults.
func (s *Store) SetRules(rules ...Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.rules = rules
}

// FailNext makes the next call of one of ops on a key with the prefix suffer the
// fault. Several of them for one call strike one call after the other. It panics
// if the fault fits none of the operations.
func (s *Store) FailNext(ops Op, prefix string, fault Fault) {
	if ops&kinds()[fault.Kind].ops == 0 {
		panic(fmt.Sprintf("faulty: %v cannot suffer from %v", ops, fault.Kind))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.script = append(s.mu.script, scripted{ops & kinds()[fault.Kind].ops, prefix, fault})
}

// Unmet returns how many faults of the script have not met their call yet.
func (s *Store) Unmet() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.script)
}

// Events returns what happened so far.
func (s *Store) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Event(nil), s.mu.events...)
}

// strike decides what happens to a call. The zero Fault means nothing. Late
// writes whose call this is land before it returns.
func (s *Store) strike(op Op, keys ...string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countLocked()
	fault := s.decideLocked(op, keys)
	if fault.Kind == 0 {
		return Fault{}
	}
	if fault.Jitter > 0 {
		fault.Delay += time.Duration(s.mu.rand.Int64N(int64(fault.Jitter)))
	}
	s.mu.events = append(s.mu.events, Event{Op: op, Key: first(keys), Kind: fault.Kind})
	return fault
}

func (s *Store) decideLocked(op Op, keys []string) Fault {
	for i, c := range s.mu.script {
		if c.ops&op != 0 && anyHasPrefix(keys, c.prefix) {
			s.mu.script = append(s.mu.script[:i:i], s.mu.script[i+1:]...)
			return c.fault
		}
	}
	for _, r := range s.mu.rules {
		if (r.Ops == 0 || r.Ops&op != 0) && kinds()[r.Kind].ops&op != 0 &&
			anyHasPrefix(keys, r.Prefix) && s.mu.rand.Float64() < r.Probability {
			return r.Fault
		}
	}
	return Fault{}
}

// random returns a number in [0, n).
func (s *Store) random(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.rand.IntN(n)
}

func anyHasPrefix(keys []string, prefix string) bool {
	for _, key := range keys {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return prefix == ""
}

func first(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	return keys[0]
}

// wait sleeps for d or until the context ends.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fail carries out the kinds that let no part of the call happen; handled is
// false for the others.
func (f Fault) fail(ctx context.Context, op Op, key string) (err error, handled bool) {
	what := fmt.Sprintf("%v %s", op, key)
	switch f.Kind {
	case FailBefore, Throttle, Torn, Truncate:
		if err := wait(ctx, f.Delay); err != nil {
			return fmt.Errorf("%s: %w", what, err), true
		}
		if f.Kind == Throttle {
			return fmt.Errorf("%s: %w: %w", what, ErrInjected, objstore.ErrThrottled), true
		}
		return fmt.Errorf("%s: %w: %v", what, ErrInjected, f.Kind), true
	case Hang:
		<-ctx.Done()
		return fmt.Errorf("%s: %w", what, ctx.Err()), true
	case Slow:
		if err := wait(ctx, f.Delay); err != nil {
			return fmt.Errorf("%s: %w", what, err), true
		}
	}
	return nil, false
}
