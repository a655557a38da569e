package rowfilter

import (
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
)

// maxCopies bounds how many copies of one cell a filter may make: interleaves
// behind each other multiply.
const maxCopies = 1 << 16

// Options are what a compilation may be given; the zero value is valid.
type Options struct {
	// Seed decides row samples. The gateway draws one for each request and
	// gives it to every server that works on it.
	Seed uint64
}

// Program is a compiled filter. It is immutable and may be used concurrently.
type Program struct {
	root *expr
	seed uint64

	// nodes are the stages that cells flow through, from higher to lower
	// indices: what a node passes on goes to nodes below it. nodes[0] is the
	// result. Branches of an interleave share the stages behind it, so this is
	// a graph, and its size is that of the filter.
	nodes []node
	entry int32

	conditions   int  // number of conditions
	holds        bool // cells may have to be held back (there is a condition)
	rowDependent bool // whether a node is dead depends on the row key
	countsColumn bool // some node must know where columns begin
}

// node is one stage. It does not change after compilation.
type node struct {
	op   op
	next int32 // where cells go that pass
	e    *expr // its parameters; nil for stages that have none
	// copies is the largest number of copies of one cell that this stage and
	// those behind it make. Copies get consecutive numbers in a range of that
	// size, which restores their order after some were held back.
	copies   uint64
	branches []int32 // opInterleave
	slot     int32   // conditions: which one
	pred     int32   // opCondition: entries of its parts; -1: no such part
	yes, no  int32
	// patient: the predicate may produce a cell at the end of the row even
	// though it needs no more cells.
	patient bool
}

type op uint8

const (
	opResult op = iota
	opBlock
	opInterleave
	opMerge     // restores the order of what branches held back
	opCondition // entry of a condition
	opProbe     // end of its predicate
	opGateYes   // end of its true filter
	opGateNo    // end of its false filter
	opRow       // depends on the row only: passes all cells or is dead
	opFamily
	opQualifier
	opColumnRange
	opTimeRange
	opValueRegex
	opValueRange
	opValueMask
	opOffset
	opRowLimit
	opColumnLimit
	opStrip
	opLabel
)

// ops are the stages of simple filters, by kind.
var ops = [...]op{
	kindRowRegex: opRow, kindRowSample: opRow, kindFamilyRegex: opFamily, kindQualifierRegex: opQualifier,
	kindColumnRange: opColumnRange, kindTimeRange: opTimeRange, kindValueRegex: opValueRegex, kindValueRange: opValueRange,
	kindValueMask: opValueMask, kindOffset: opOffset, kindRowLimit: opRowLimit, kindColumnLimit: opColumnLimit,
	kindStrip: opStrip, kindLabel: opLabel, kindBlock: opBlock,
}

// Compile validates f and compiles it; nil passes everything. The program keeps
// slices of f, which must not be changed. An error wraps base.ErrInvalid.
func Compile(f *bigtablepb.RowFilter, opts Options) (*Program, error) {
	root, err := parse(f)
	if err != nil {
		return nil, err
	}
	p := &Program{root: root, seed: opts.Seed}
	p.nodes = append(p.nodes, node{op: opResult, next: -1, copies: 1})
	p.holds = root.contains(kindCondition)
	result := int32(0)
	if p.holds && root.contains(kindSink) {
		result = p.add(node{op: opMerge, next: 0})
	}
	p.entry = p.link(root, result, result)
	for _, n := range p.nodes {
		if n.copies > maxCopies {
			return nil, base.Invalidf("Row filter makes more than %d copies of a cell", maxCopies)
		}
	}
	return p, nil
}

// CompileBytes is Compile of an encoded google.bigtable.v2.RowFilter.
func CompileBytes(raw []byte, opts Options) (*Program, error) {
	if len(raw) > MaxSize {
		return nil, tooLarge()
	}
	var f bigtablepb.RowFilter
	if err := proto.Unmarshal(raw, &f); err != nil {
		return nil, base.Invalidf("Malformed RowFilter: %v", err)
	}
	return Compile(&f, opts)
}

// PassAll reports whether every cell passes unchanged, so that no Eval is
// needed.
func (p *Program) PassAll() bool { return p.entry == 0 }

func (p *Program) add(n node) int32 {
	if n.copies == 0 {
		n.copies = p.nodes[n.next].copies
	}
	n.copies = min(n.copies, maxCopies+1)
	p.nodes = append(p.nodes, n)
	return int32(len(p.nodes) - 1)
}

// link adds the stages of e whose cells go on to next, and returns the entry.
// Sinks go to result.
func (p *Program) link(e *expr, next, result int32) int32 {
	switch e.kind {
	case kindPass:
		return next
	case kindSink:
		return result
	case kindChain:
		for i := len(e.subs) - 1; i >= 0; i-- {
			next = p.link(e.subs[i], next, result)
		}
		return next
	case kindInterleave:
		if e.contains(kindCondition) {
			next = p.add(node{op: opMerge, next: next})
		}
		n := node{op: opInterleave, next: next}
		for _, s := range e.subs {
			b := p.link(s, next, result)
			n.branches = append(n.branches, b)
			n.copies += p.nodes[b].copies
		}
		return p.add(n)
	case kindCondition:
		return p.linkCondition(e, next, result)
	case kindRowRegex, kindRowSample:
		p.rowDependent = true
	case kindQualifierRegex:
		p.countsColumn = p.countsColumn || e.pat.form == formRegexp
	case kindColumnLimit:
		p.countsColumn = true
	}
	return p.add(node{op: ops[e.kind], next: next, e: e})
}

// linkCondition adds the gates first and the predicate last, so that at the
// end of a row, when nodes finish from the highest to the lowest, the
// predicate is through before the gates decide.
func (p *Program) linkCondition(e *expr, next, result int32) int32 {
	n := node{op: opCondition, next: next, slot: int32(p.conditions), yes: -1, no: -1,
		patient: e.subs[0].contains(kindCondition)}
	p.conditions++
	gate := func(s *expr, o op) int32 {
		if s == nil {
			return -1
		}
		return p.link(s, p.add(node{op: o, next: next, slot: n.slot}), result)
	}
	n.no = gate(e.subs[2], opGateNo)
	n.yes = gate(e.subs[1], opGateYes)
	n.pred = p.link(e.subs[0], p.add(node{op: opProbe, next: 0, slot: n.slot, copies: 1}), result)
	n.copies = p.nodes[n.pred].copies
	for _, b := range []int32{n.yes, n.no} {
		if b >= 0 {
			n.copies = max(n.copies, p.nodes[b].copies)
		}
	}
	return p.add(n)
}
