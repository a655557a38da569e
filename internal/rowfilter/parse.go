package rowfilter

import (
	"bytes"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Limits of the API.
const (
	MaxSize  = 20480 // bytes of an encoded filter
	MaxDepth = 20    // levels of nesting; a simple filter has one
)

// expr is a validated filter.
type expr struct {
	kind kind
	// subs are the parts of a chain or interleave; of a condition they are the
	// predicate, the true and the false filter, of which the last two may be nil.
	subs   []*expr
	pat    *pattern
	family string
	in     byteRange
	start  int64 // of a timestamp range,
	end    int64 // microseconds; 0: no end
	n      int
	p      float64
	label  []string // one
	mask   []byte
}

type kind uint8

const (
	kindPass kind = iota
	kindBlock
	kindChain
	kindInterleave
	kindCondition
	kindSink
	kindRowRegex
	kindRowSample
	kindFamilyRegex
	kindQualifierRegex
	kindColumnRange
	kindTimeRange
	kindValueRegex
	kindValueRange
	kindValueMask
	kindOffset
	kindRowLimit
	kindColumnLimit
	kindStrip
	kindLabel
)

// byteRange is the byte strings in [lo, hi).
type byteRange struct {
	lo, hi []byte
	hasHi  bool // false: no upper bound
}

func (r byteRange) above(b []byte) bool { return r.hasHi && bytes.Compare(b, r.hi) >= 0 }
func (r byteRange) below(b []byte) bool { return len(r.lo) > 0 && bytes.Compare(b, r.lo) < 0 }

// parser validates filters of the API.
type parser struct{ inCondition int }

func parse(f *bigtablepb.RowFilter) (*expr, error) {
	if n := proto.Size(f); n > MaxSize {
		return nil, tooLarge()
	}
	var p parser
	return p.parse(f, 1)
}

func tooLarge() error {
	return base.Invalidf("Row filter exceeds maximum size of %d bytes", MaxSize)
}

// inField puts err into the context of a field of RowFilter.
func inField(name string, err error) error {
	return base.Textf(err, "Error in field '%s' : %s", name, err)
}

func (p *parser) parse(f *bigtablepb.RowFilter, depth int) (*expr, error) {
	if depth > MaxDepth {
		return nil, base.Invalidf("Row filter exceeds maximum nesting depth of %d", MaxDepth)
	}
	switch k := f.GetFilter().(type) {
	case nil:
		if len(f.ProtoReflect().GetUnknown()) > 0 {
			return nil, base.Invalidf("Row filter is of a kind that this server does not know")
		}
		return &expr{kind: kindPass}, nil
	case *bigtablepb.RowFilter_Chain_:
		return p.chain(k.Chain.GetFilters(), depth)
	case *bigtablepb.RowFilter_Interleave_:
		return p.several(kindInterleave, "Interleave", k.Interleave.GetFilters(), depth)
	case *bigtablepb.RowFilter_Condition_:
		return p.condition(k.Condition, depth)
	case *bigtablepb.RowFilter_Sink:
		if p.inCondition > 0 {
			return nil, base.Invalidf("sink cannot be used within a condition")
		}
		return mustBeTrue(kindSink, "sink", k.Sink)
	case *bigtablepb.RowFilter_PassAllFilter:
		return mustBeTrue(kindPass, "pass_all_filter", k.PassAllFilter)
	case *bigtablepb.RowFilter_BlockAllFilter:
		return mustBeTrue(kindBlock, "block_all_filter", k.BlockAllFilter)
	case *bigtablepb.RowFilter_StripValueTransformer:
		return mustBeTrue(kindStrip, "strip_value_transformer", k.StripValueTransformer)
	}
	return parseLeaf(f)
}

func mustBeTrue(k kind, name string, v bool) (*expr, error) {
	if !v {
		return nil, base.Invalidf("%s must be true if set", name)
	}
	return &expr{kind: k}, nil
}

func (p *parser) several(k kind, name string, fs []*bigtablepb.RowFilter, depth int) (*expr, error) {
	if len(fs) < 2 {
		return nil, base.Invalidf("%s must contain at least two RowFilters", name)
	}
	e := &expr{kind: k}
	for i, f := range fs {
		s, err := p.parse(f, depth+1)
		if err != nil {
			return nil, base.Textf(err, "%s element #%d : %s", name, i, err)
		}
		e.subs = append(e.subs, s)
	}
	return e, nil
}

func (p *parser) chain(fs []*bigtablepb.RowFilter, depth int) (*expr, error) {
	e, err := p.several(kindChain, "Chain", fs, depth)
	if err != nil {
		return nil, err
	}
	labels := 0
	for _, s := range e.subs {
		if s.contains(kindLabel) {
			labels++
		}
	}
	if labels > 1 {
		return nil, base.Invalidf("Chain must contain at most one sub-filter with an apply_label_transformer")
	}
	return e, nil
}

func (p *parser) condition(c *bigtablepb.RowFilter_Condition, depth int) (*expr, error) {
	if c.GetPredicateFilter() == nil {
		return nil, base.Invalidf("Condition must have a predicate_filter")
	}
	p.inCondition++
	defer func() { p.inCondition-- }()
	e := &expr{kind: kindCondition, subs: make([]*expr, 3)}
	for i, part := range []struct {
		name string
		f    *bigtablepb.RowFilter
	}{{"predicate_filter", c.PredicateFilter}, {"true_filter", c.TrueFilter}, {"false_filter", c.FalseFilter}} {
		if part.f == nil {
			continue
		}
		s, err := p.parse(part.f, depth+1)
		if err != nil {
			return nil, inField(part.name, err)
		}
		e.subs[i] = s
	}
	return e, nil
}

// contains reports whether e or a part of it is of kind k.
func (e *expr) contains(k kind) bool {
	if e == nil {
		return false
	}
	if e.kind == k {
		return true
	}
	for _, s := range e.subs {
		if s.contains(k) {
			return true
		}
	}
	return false
}
