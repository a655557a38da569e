// Package balance holds the master's decisions about tablets that are served: to
// move them from one server to another, to split and to merge them. Each is a
// pure function of what the master knows: no clock is read, nothing is sent.
//
//	moves.go    drained servers are emptied, the others made even
//	zones.go    no zone has more than its share of a table
//	splits.go   tablets that are large or hot become two
//	merges.go   neighbours that are small and cold become one
//
// What keeps a tablet from being split, moved and merged to and fro: a move is
// made only where it helps markedly; a merger is smaller than a split needs to
// be; and what was touched lately is left alone for a while.
package balance

import (
	"fmt"
	"slices"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Server is a live tablet server.
type Server struct {
	ID        base.Incarnation
	Name      string
	Zone      string // what may fail as a whole; "": a zone of its own
	Drained   bool   // it is to be left
	Reachable bool   // it answers
	// Releases is set while it gave something up of its own accord a moment ago:
	// it shuts down, or sheds load. It gets nothing.
	Releases bool
}

// usable reports whether tablets may be moved to s.
func (s *Server) usable() bool { return s.Reachable && !s.Drained && !s.Releases }

// Tablet is a tablet that is served, with what its owner says of it.
type Tablet struct {
	ID         base.TabletID
	Table      base.TableID
	Start, End []byte
	Owner      base.Incarnation
	Bytes      int64   // stored and in memory
	Requests   float64 // per second, reads and writes
	// Known: the owner has told of it at its present epoch.
	Known bool
	// Age since its record changed hands or shape.
	Age time.Duration
	// Busy: something is under way, or failed a moment ago.
	Busy bool
}

// State is what decisions are made of. Tablets are in the order of their tables,
// then rows; those that are not served are left out.
type State struct {
	Servers []Server
	Tablets []Tablet
	// Moving is how many moves are under way.
	Moving int
}

// Options say when something is worth doing; zeros mean the defaults.
type Options struct {
	// SplitBytes is the size at which a tablet is split; 1 GiB.
	SplitBytes int64
	// SplitRequests is how many requests per second make a tablet hot: it is
	// split where they are for different rows; 5,000.
	SplitRequests float64
	// SplitAge is how long a tablet is left alone before it is split by load,
	// until its rate is known; 30 s.
	SplitAge time.Duration
	// MergeBytes is what two neighbours may have together to be merged;
	// SplitBytes/4. Negative: nothing is merged.
	MergeBytes int64
	// MergeRequests is what they may do together; SplitRequests/20.
	MergeRequests float64
	// MergeAge is how long both have been as they are; 1 h.
	MergeAge time.Duration
	// MergeAbove is how many tablets for each server a table keeps, so that it
	// is spread; 2.
	MergeAbove int
	// Slack is how uneven servers may be, as a part of the average, before
	// tablets are moved; 0.2.
	Slack float64
	// MoveAge is how long a tablet stays before it is moved again for evenness;
	// 1 min. HasteAge is the same where one server has grossly more than another,
	// as when a new table has grown on it: 5 s.
	MoveAge, HasteAge time.Duration
	// Moves is how many moves are under way at most; 8.
	Moves int
	// Splits and Merges are how many are begun at once; 4 and 1.
	Splits, Merges int
}

// EnsureDefaults replaces zeros by the defaults.
func (o *Options) EnsureDefaults() {
	def(&o.SplitBytes, 1<<30)
	def(&o.SplitRequests, 5000)
	def(&o.SplitAge, 30*time.Second)
	def(&o.MergeBytes, o.SplitBytes/4)
	def(&o.MergeRequests, o.SplitRequests/20)
	def(&o.MergeAge, time.Hour)
	def(&o.MergeAbove, 2)
	def(&o.Slack, 0.2)
	def(&o.MoveAge, time.Minute)
	def(&o.HasteAge, 5*time.Second)
	def(&o.Moves, 8)
	def(&o.Splits, 4)
	def(&o.Merges, 1)
}

func def[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Kind is what a Decision does.
type Kind string

const (
	Move  Kind = "move"
	Split Kind = "split"
	Merge Kind = "merge"
)

// Decision is one thing to do, and why.
type Decision struct {
	Kind   Kind
	Tablet base.TabletID
	Other  base.TabletID    // Merge: the right neighbour
	From   base.Incarnation // Move: its owner
	To     base.Incarnation // Move
	ByLoad bool             // Split
	Row    []byte           // Split, where it is asked for: the first row of the right child
	Why    string           // for people
}

// String returns what is decided, without the reason.
func (d Decision) String() string {
	switch d.Kind {
	case Move:
		return fmt.Sprintf("move tablet %d from %v to %v", d.Tablet, d.From, d.To)
	case Split:
		return fmt.Sprintf("split tablet %d", d.Tablet)
	}
	return fmt.Sprintf("merge tablets %d and %d", d.Tablet, d.Other)
}

// Plan returns what to do now. No tablet occurs twice.
func Plan(s State, o Options) []Decision {
	o.EnsureDefaults()
	s.Tablets = slices.Clone(s.Tablets)
	var out []Decision
	for _, decide := range []func(State, Options) []Decision{Splits, Moves, Merges} {
		some := decide(s, o)
		taken := map[base.TabletID]bool{}
		for _, d := range some {
			taken[d.Tablet], taken[d.Other] = true, true
		}
		for i := range s.Tablets {
			s.Tablets[i].Busy = s.Tablets[i].Busy || taken[s.Tablets[i].ID]
		}
		out = append(out, some...)
	}
	return out
}
