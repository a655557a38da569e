// Package gcpolicy reads and writes garbage rules of column families in the
// syntax of cbt:
//
//	maxversions=3
//	maxage=24h                     also 90m, 30d, 1d12h
//	maxage=24h || maxversions=2    garbage by either (union)
//	maxage=24h && maxversions=2    garbage by both (intersection)
//	never                          nothing is garbage
//
// && binds closer than ||, and parentheses group. "and" and "or" are read too.
package gcpolicy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/gcrule"
)

// Parse returns the rule of that text; nil keeps everything. An error wraps
// base.ErrInvalid.
func Parse(s string) (*adminpb.GcRule, error) {
	if t := strings.TrimSpace(s); t == "" || t == "never" {
		return nil, nil
	}
	p := parser{text: s, rest: s}
	p.next()
	r, err := p.union(0)
	if err == nil && p.token != "" {
		err = p.fault("unexpected %q", p.token)
	}
	if err == nil {
		_, err = gcrule.Compile(r)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// maxDepth bounds the nesting of parentheses.
const maxDepth = 50

type parser struct {
	text, rest string
	token      string // "" at the end
}

func (p *parser) fault(format string, args ...any) error {
	return fmt.Errorf("%w: garbage rule %q: %s; want for example maxversions=1, maxage=24h, or two of them joined by || or &&",
		base.ErrInvalid, p.text, fmt.Sprintf(format, args...))
}

// next reads a token: ||, &&, a parenthesis, or a word up to the next of them.
func (p *parser) next() {
	p.rest = strings.TrimSpace(p.rest)
	for _, op := range []string{"||", "&&", "(", ")"} {
		if strings.HasPrefix(p.rest, op) {
			p.token, p.rest = op, p.rest[len(op):]
			return
		}
	}
	end := strings.IndexAny(p.rest, "|&() \t\n")
	switch {
	case end < 0:
		end = len(p.rest)
	case end == 0: // a single | or &
		end = 1
	}
	p.token, p.rest = p.rest[:end], p.rest[end:]
	switch p.token {
	case "or":
		p.token = "||"
	case "and":
		p.token = "&&"
	}
}

func (p *parser) union(depth int) (*adminpb.GcRule, error) {
	return p.list("||", func() (*adminpb.GcRule, error) {
		return p.list("&&", func() (*adminpb.GcRule, error) { return p.term(depth) }, func(rules []*adminpb.GcRule) *adminpb.GcRule {
			return &adminpb.GcRule{Rule: &adminpb.GcRule_Intersection_{Intersection: &adminpb.GcRule_Intersection{Rules: rules}}}
		})
	}, func(rules []*adminpb.GcRule) *adminpb.GcRule {
		return &adminpb.GcRule{Rule: &adminpb.GcRule_Union_{Union: &adminpb.GcRule_Union{Rules: rules}}}
	})
}

func (p *parser) list(op string, part func() (*adminpb.GcRule, error), join func([]*adminpb.GcRule) *adminpb.GcRule) (*adminpb.GcRule, error) {
	var rules []*adminpb.GcRule
	for {
		r, err := part()
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
		if p.token != op {
			break
		}
		p.next()
	}
	if len(rules) == 1 {
		return rules[0], nil
	}
	return join(rules), nil
}

func (p *parser) term(depth int) (*adminpb.GcRule, error) {
	token := p.token
	p.next()
	if token == "(" {
		if depth == maxDepth {
			return nil, p.fault("more than %d parentheses within each other", maxDepth)
		}
		r, err := p.union(depth + 1)
		if err == nil && p.token != ")" {
			err = p.fault("a parenthesis is not closed")
		}
		p.next()
		return r, err
	}
	key, value, ok := strings.Cut(token, "=")
	switch {
	case token == "":
		return nil, p.fault("it ends too early")
	case ok && key == "maxversions":
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || n < 1 {
			return nil, p.fault("maxversions=%s is no positive number", value)
		}
		return &adminpb.GcRule{Rule: &adminpb.GcRule_MaxNumVersions{MaxNumVersions: int32(n)}}, nil
	case ok && key == "maxage":
		d, err := parseAge(value)
		if err != nil || d <= 0 {
			return nil, p.fault("maxage=%s is no positive duration such as 90m, 24h or 30d", value)
		}
		return &adminpb.GcRule{Rule: &adminpb.GcRule_MaxAge{MaxAge: durationpb.New(d)}}, nil
	}
	return nil, p.fault("unexpected %q", token)
}

const day = 24 * time.Hour

// parseAge is time.ParseDuration with days in front.
func parseAge(s string) (time.Duration, error) {
	days, rest, ok := strings.Cut(s, "d")
	if !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 16) // 65,535 days fit a Duration
	if err != nil {
		return 0, err
	}
	d := time.Duration(n) * day
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	return d + more, err
}

// Format returns the text of a rule, which Parse reads back.
func Format(r *adminpb.GcRule) string {
	switch k := r.GetRule().(type) {
	case *adminpb.GcRule_MaxNumVersions:
		return fmt.Sprintf("maxversions=%d", k.MaxNumVersions)
	case *adminpb.GcRule_MaxAge:
		return "maxage=" + formatAge(k.MaxAge.AsDuration())
	case *adminpb.GcRule_Union_:
		return join(k.Union.GetRules(), " || ")
	case *adminpb.GcRule_Intersection_:
		return join(k.Intersection.GetRules(), " && ")
	}
	return "never"
}

func join(rules []*adminpb.GcRule, op string) string {
	parts := make([]string, len(rules))
	for i, r := range rules {
		parts[i] = Format(r)
		if len(rules) > 1 && (r.GetUnion() != nil || r.GetIntersection() != nil) {
			parts[i] = "(" + parts[i] + ")"
		}
	}
	return strings.Join(parts, op)
}

func formatAge(d time.Duration) string {
	if d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
