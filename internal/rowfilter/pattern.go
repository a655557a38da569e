package rowfilter

import (
	"bytes"
	"slices"

	"rsc.io/binaryregexp"
	"rsc.io/binaryregexp/syntax"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/rowset"
)

// maxProgram bounds the size of a compiled regular expression, in instructions
// (about 40 bytes each): a repetition can make much of few bytes.
const maxProgram = 100_000

// pattern is an RE2 regular expression over bytes (Latin-1), matched against
// the whole input. The common forms are matched without the engine.
type pattern struct {
	form     form
	literals [][]byte // formLiterals: sorted
	literal  []byte   // formAffix
	pre, suf wild     // formAffix: what may stand before and after literal
	re       *binaryregexp.Regexp
	set      rowset.Set // a superset of what matches
	bound    []byte     // all that matches is below; nil: no such bound
}

type form uint8

const (
	formRegexp form = iota
	formLiterals
	formAffix
)

// wild is what stands at one end of a pattern.
type wild uint8

const (
	wildNone wild = iota // nothing: anchored
	wildDot              // .*  : bytes other than newline
	wildByte             // \C* : any bytes
)

// compilePattern compiles src. An error wraps base.ErrInvalid and is to be put
// in context by the caller.
func compilePattern(src []byte) (*pattern, error) {
	expr := latin1(src)
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, base.Invalidf("invalid regular expression: %v", err)
	}
	if size(tree) > maxProgram {
		return nil, base.Invalidf("invalid regular expression: pattern too large - compile failed")
	}
	p := simple(src)
	if p == nil {
		if p, err = compileEngine(expr); err != nil {
			return nil, err
		}
	}
	if r := p.set.Ranges(); len(r) > 0 {
		p.bound = r[len(r)-1].End
	}
	return p, nil
}

// compileEngine is for patterns that are not simple.
func compileEngine(expr string) (*pattern, error) {
	free, err := binaryregexp.Compile(expr)
	if err != nil {
		return nil, base.Invalidf("invalid regular expression: %v", err)
	}
	re, err := binaryregexp.Compile(`\A(?:` + expr + `)\z`)
	if err != nil {
		return nil, base.Invalidf("invalid regular expression: %v", err)
	}
	p := &pattern{re: re, set: rowset.All()}
	if prefix, _ := free.LiteralPrefix(); prefix != "" {
		p.set = rowset.Of(rowset.Prefix([]byte(prefix)))
	}
	return p, nil
}

// match reports whether all of b matches.
func (p *pattern) match(b []byte) bool {
	switch {
	case p.form == formRegexp:
		return p.re.Match(b)
	case p.form == formAffix:
		return p.matchAffix(b)
	case len(p.literals) == 1:
		return bytes.Equal(b, p.literals[0])
	}
	_, ok := slices.BinarySearchFunc(p.literals, b, bytes.Compare)
	return ok
}

// matchString is match without an allocation for short strings.
func (p *pattern) matchString(s string) bool {
	switch p.form {
	case formRegexp:
		return p.re.MatchString(s)
	case formAffix:
		return p.matchAffix([]byte(s))
	}
	for _, l := range p.literals {
		if string(l) == s {
			return true
		}
	}
	return false
}

// matchAffix: the literal holds no newline where a wildDot is involved.
func (p *pattern) matchAffix(b []byte) bool {
	switch {
	case p.pre == wildNone:
		if !bytes.HasPrefix(b, p.literal) {
			return false
		}
	case p.suf == wildNone:
		if !bytes.HasSuffix(b, p.literal) {
			return false
		}
	default:
		if len(p.literal) > 0 && !bytes.Contains(b, p.literal) {
			return false
		}
	}
	return p.pre != wildDot && p.suf != wildDot || bytes.IndexByte(b, '\n') < 0
}

// exact returns the only input that matches, if the pattern is a literal.
func (p *pattern) exact() ([]byte, bool) {
	if p.form == formLiterals && len(p.literals) == 1 {
		return p.literals[0], true
	}
	return nil, false
}

// all reports whether everything matches.
func (p *pattern) all() bool {
	return p.form == formAffix && len(p.literal) == 0 && p.pre != wildDot && p.suf != wildDot && (p.pre == wildByte || p.suf == wildByte)
}

// latin1 rewrites src so that the engine takes each of its bytes for a
// character: bytes above 7f become escapes, and \Q...\E, in which there are no
// escapes, is spelled out.
func latin1(src []byte) string {
	out := make([]byte, 0, len(src)+16)
	quoted := false
	for i := 0; i < len(src); i++ {
		c := src[i]
		pair := c == '\\' && i+1 < len(src)
		switch {
		case quoted && pair && src[i+1] == 'E':
			quoted = false
			i++
		case quoted:
			out = appendEscaped(out, c)
		case pair && src[i+1] == 'Q':
			quoted = true
			i++
		case pair && src[i+1] < 0x80:
			out = append(out, c, src[i+1])
			i++
		case c == '\\' && pair: // a backslash before a high byte
			out = appendEscaped(out, src[i+1])
			i++
		case c >= 0x80:
			out = appendEscaped(out, c)
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

func appendEscaped(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'x', hex[c>>4], hex[c&15])
}

// size estimates the number of instructions that re compiles to.
func size(re *syntax.Regexp) int {
	n := 1
	if re.Op == syntax.OpLiteral {
		n = len(re.Rune)
	}
	for _, s := range re.Sub {
		n = min(n+size(s), maxProgram+1)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, maxProgram+1)
}

// simple recognises literals, alternatives of literals, and a literal with
// wildcards around it; nil: src is something else. src is valid.
func simple(src []byte) *pattern {
	var alts [][]byte
	lit := []byte{}
	pre, suf := wildNone, wildNone
	for i := 0; i < len(src); {
		if src[i] == '|' {
			if pre != wildNone || suf != wildNone {
				return nil
			}
			alts, lit = append(alts, lit), []byte{}
			i++
			continue
		}
		w, c, n := token(src[i:])
		switch {
		case n == 0:
			return nil
		case w == wildNone && suf == wildNone:
			lit = append(lit, c)
		case w == wildNone: // a literal after the last wildcard
			return nil
		case len(alts) > 0:
			return nil
		case len(lit) == 0 && pre == wildNone:
			pre = w
		case suf == wildNone && len(lit) > 0:
			suf = w
		default:
			return nil
		}
		i += n
	}
	if pre == wildNone && suf == wildNone {
		return literals(append(alts, lit))
	}
	if pre != wildNone && suf != wildNone && pre != suf || (pre == wildDot || suf == wildDot) && bytes.IndexByte(lit, '\n') >= 0 {
		return nil
	}
	p := &pattern{form: formAffix, literal: lit, pre: pre, suf: suf, set: rowset.All()}
	if pre == wildNone {
		p.set = rowset.Of(rowset.Prefix(lit))
	}
	return p
}

func literals(alts [][]byte) *pattern {
	slices.SortFunc(alts, bytes.Compare)
	alts = slices.CompactFunc(alts, bytes.Equal)
	points := make([]rowset.Range, len(alts))
	for i, a := range alts {
		points[i] = rowset.Point(a)
	}
	return &pattern{form: formLiterals, literals: alts, set: rowset.Of(points...)}
}

// token reads a literal byte or a wildcard at the start of src; n 0: it is
// neither.
func token(src []byte) (w wild, c byte, n int) {
	switch c = src[0]; c {
	case '.':
		return star(wildDot, src, 1)
	case '^', '$', '(', ')', '[', ']', '{', '}', '*', '+', '?', '|':
		return 0, 0, 0
	case '\\':
		if len(src) < 2 {
			return 0, 0, 0
		}
		return escape(src)
	}
	return literalToken(c, src, 1)
}

func escape(src []byte) (w wild, c byte, n int) {
	switch e := src[1]; {
	case e == 'C':
		return star(wildByte, src, 2)
	case e == 'n':
		return literalToken('\n', src, 2)
	case e == 't':
		return literalToken('\t', src, 2)
	case e == 'r':
		return literalToken('\r', src, 2)
	case e == 'x' && len(src) >= 4:
		hi, ok1 := unhex(src[2])
		lo, ok2 := unhex(src[3])
		if ok1 && ok2 {
			return literalToken(hi<<4|lo, src, 4)
		}
	case e >= 0x80 || e < '0' || e > '9' && e < 'A' || e > 'Z' && e < '_' || e == '`' || e > 'z':
		return literalToken(e, src, 2)
	}
	return 0, 0, 0
}

// literalToken refuses a literal that is repeated.
func literalToken(c byte, src []byte, n int) (wild, byte, int) {
	if n < len(src) && bytes.IndexByte([]byte("*+?{"), src[n]) >= 0 {
		return 0, 0, 0
	}
	return wildNone, c, n
}

// star accepts a wildcard that is repeated by exactly one '*'.
func star(w wild, src []byte, n int) (wild, byte, int) {
	if n >= len(src) || src[n] != '*' {
		return 0, 0, 0
	}
	n++
	if n < len(src) && bytes.IndexByte([]byte("*+?{"), src[n]) >= 0 {
		return 0, 0, 0
	}
	return w, 0, n
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
