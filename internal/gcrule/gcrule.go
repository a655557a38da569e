// Package gcrule decides which cells of a column family are garbage. A rule is
// compiled once from the schema and then asked about cells. It is pure.
package gcrule

import (
	"math"
	"slices"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
)

// MaxSize is the most bytes that an encoded rule may have.
const MaxSize = 500

// Rule is a compiled rule; it is immutable and may be used concurrently. The
// zero Rule and the nil Rule keep everything.
type Rule struct {
	op       op
	versions int   // opVersions: how many are kept
	age      int64 // opAge: microseconds
	subs     []*Rule

	maxVersions int   // see MaxVersions
	maxAge      int64 // no cell older than this is kept; never: no such bound
}

type op uint8

const (
	opKeep op = iota
	opVersions
	opAge
	opUnion
	opIntersection
)

const never = math.MaxInt64

// Compile validates and compiles r; nil keeps everything. An error wraps
// base.ErrInvalid.
func Compile(r *adminpb.GcRule) (*Rule, error) {
	if n := proto.Size(r); n > MaxSize {
		return nil, base.Invalidf("Garbage collection rule of %d bytes exceeds the maximum size of %d bytes", n, MaxSize)
	}
	return compile(r)
}

func compile(r *adminpb.GcRule) (*Rule, error) {
	switch k := r.GetRule().(type) {
	case nil:
		if len(r.ProtoReflect().GetUnknown()) > 0 {
			return nil, base.Invalidf("Garbage collection rule is of a kind that this server does not know")
		}
		return &Rule{maxAge: never}, nil
	case *adminpb.GcRule_MaxNumVersions:
		if k.MaxNumVersions <= 0 {
			return nil, base.Invalidf("Error in field 'max_num_versions' : must be greater than 0, but is %d", k.MaxNumVersions)
		}
		n := int(k.MaxNumVersions)
		return &Rule{op: opVersions, versions: n, maxVersions: n, maxAge: never}, nil
	case *adminpb.GcRule_MaxAge:
		if err := k.MaxAge.CheckValid(); err != nil {
			return nil, base.Invalidf("Error in field 'max_age' : %v", err)
		}
		age := k.MaxAge.GetSeconds()*1e6 + int64(k.MaxAge.GetNanos())/1e3
		if age < 1000 {
			return nil, base.Invalidf("Error in field 'max_age' : must be at least one millisecond, but is %v", k.MaxAge.AsDuration())
		}
		return &Rule{op: opAge, age: age, maxAge: age}, nil
	case *adminpb.GcRule_Union_:
		return compileSubs("union", opUnion, k.Union.GetRules())
	case *adminpb.GcRule_Intersection_:
		return compileSubs("intersection", opIntersection, k.Intersection.GetRules())
	}
	return nil, base.Invalidf("Garbage collection rule is of a kind that this server does not know")
}

func compileSubs(name string, o op, rules []*adminpb.GcRule) (*Rule, error) {
	if len(rules) == 0 {
		return nil, base.Invalidf("Error in field '%s' : must have at least one rule", name)
	}
	r := &Rule{op: o, maxAge: never}
	for i, s := range rules {
		c, err := compile(s)
		if err != nil {
			return nil, base.Textf(err, "Error in field '%s' : Error in element #%d : %s", name, i, err)
		}
		r.subs = append(r.subs, c)
		switch {
		case i == 0:
			r.maxVersions, r.maxAge = c.maxVersions, c.maxAge
		case o == opUnion: // every bound holds
			r.maxVersions, r.maxAge = tighter(r.maxVersions, c.maxVersions), min(r.maxAge, c.maxAge)
		default: // what one keeps is kept
			r.maxVersions, r.maxAge = looser(r.maxVersions, c.maxVersions), max(r.maxAge, c.maxAge)
		}
	}
	return r, nil
}

// tighter and looser compare bounds where 0 means none.
func tighter(a, b int) int {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func looser(a, b int) int {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

// Drop reports whether a cell is garbage: the cell is version n of its column
// (0 is the newest; deleted cells do not count) and has the timestamp ts; now
// is the time, both in microseconds.
//
// Drop is monotone: if it is true of a cell it is true of every older version
// of the column, so a reader may seek past the rest of the column.
func (r *Rule) Drop(n int, ts, now int64) bool {
	if r == nil {
		return false
	}
	switch r.op {
	case opVersions:
		return n >= r.versions
	case opAge:
		return ts < now-r.age
	case opUnion:
		for _, s := range r.subs {
			if s.Drop(n, ts, now) {
				return true
			}
		}
	case opIntersection:
		for _, s := range r.subs {
			if !s.Drop(n, ts, now) {
				return false
			}
		}
		return true
	}
	return false
}

// KeepsAll reports whether the rule never drops a cell.
func (r *Rule) KeepsAll() bool {
	return r == nil || r.maxVersions == 0 && r.maxAge == never && r.keepsAll()
}

func (r *Rule) keepsAll() bool {
	switch r.op {
	case opKeep:
		return true
	case opUnion:
		for _, s := range r.subs {
			if !s.keepsAll() {
				return false
			}
		}
		return true
	case opIntersection:
		for _, s := range r.subs {
			if s.keepsAll() {
				return true
			}
		}
	}
	return false
}

// CountsVersions reports whether the verdict on a cell can depend on how many
// newer versions there are. If not, a cell can be judged alone.
func (r *Rule) CountsVersions() bool {
	return r != nil && (r.op == opVersions || slices.ContainsFunc(r.subs, (*Rule).CountsVersions))
}

// MaxVersions returns a number of versions of a column above which every cell
// is garbage, whatever its age; 0: there is none.
func (r *Rule) MaxVersions() int {
	if r == nil {
		return 0
	}
	return r.maxVersions
}

// MinTimestamp returns a timestamp below which every cell is garbage at the
// time now, whatever its version; math.MinInt64: there is none. A file whose
// newest cell is older can be dropped unread.
func (r *Rule) MinTimestamp(now int64) int64 {
	if r == nil || r.maxAge == never {
		return math.MinInt64
	}
	return now - r.maxAge
}
