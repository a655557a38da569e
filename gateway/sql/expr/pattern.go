package expr

import (
	"bytes"
	"fmt"
	"regexp"
	"unicode/utf8"

	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

// LikeName is the name of the Call that NewLike makes.
const LikeName = "LIKE"

// NewLike returns x LIKE pattern: % stands for any text, _ for one character
// (one byte in BYTES), and \ before either for itself.
func NewLike(x, pattern Expr) (Expr, error) {
	xs, t, err := Unify([]Expr{x, pattern})
	if err != nil {
		return nil, fmt.Errorf("operator LIKE: %w", err)
	}
	switch t.Kind {
	case value.String:
		return &Call{Name: LikeName, Args: xs, T: boolean(), Strict: true, F: func(a []value.Value) (value.Value, error) {
			return like([]byte(a[0].(string)), []byte(a[1].(string)), true)
		}}, nil
	case value.Bytes:
		return &Call{Name: LikeName, Args: xs, T: boolean(), Strict: true, F: func(a []value.Value) (value.Value, error) {
			return like(a[0].([]byte), a[1].([]byte), false)
		}}, nil
	}
	return nil, fmt.Errorf("operator LIKE is not defined for %s: %w", typeList(xs), base.ErrInvalid)
}

// LikePrefix returns what every text that matches pattern begins with, and
// whether the pattern is that and then %, or that alone.
func LikePrefix(pattern []byte) (prefix []byte, open, exact bool) {
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '%':
			return prefix, true, i == len(pattern)-1
		case '_':
			return prefix, true, false
		case '\\':
			if i++; i == len(pattern) {
				return prefix, true, false // an error, which evaluation reports
			}
			prefix = append(prefix, pattern[i])
		default:
			prefix = append(prefix, c)
		}
	}
	return prefix, false, true
}

// like matches in O(len(s) * len(p)): a % that has been passed need not be
// reconsidered once a later one is reached.
func like(s, p []byte, runes bool) (value.Value, error) {
	if n := len(p) - len(bytes.TrimRight(p, `\`)); n%2 == 1 {
		return nil, fmt.Errorf(`pattern ends with a single \: %w`, base.ErrInvalid)
	}
	width := func(i int) int {
		if !runes {
			return 1
		}
		_, n := utf8.DecodeRune(s[i:])
		return n
	}
	i, j := 0, 0
	starS, starP := -1, -1
	for i < len(s) {
		if j < len(p) {
			switch c := p[j]; {
			case c == '%':
				starS, starP = i, j
				j++
				continue
			case c == '_':
				i += width(i)
				j++
				continue
			case c == '\\' && p[j+1] == s[i]:
				i++
				j += 2
				continue
			case c != '\\' && c == s[i]:
				i++
				j++
				continue
			}
		}
		if starP < 0 {
			return false, nil
		}
		starS += width(starS)
		i, j = starS, starP+1
	}
	for j < len(p) && p[j] == '%' {
		j++
	}
	return j == len(p), nil
}

// compile compiles the regular expression of a function, of a STRING or of
// BYTES, which are matched as UTF-8 too.
func compile(v value.Value) (*regexp.Regexp, error) {
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case []byte:
		s = string(v)
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, fmt.Errorf("regular expression: %w: %w", err, base.ErrInvalid)
	}
	return re, nil
}

// matching is a function of a regular expression and its arguments, the second
// of which is the text of the former.
type matching func(re *regexp.Regexp, args []value.Value) (value.Value, error)

// byPattern compiles the second argument for each call.
func byPattern(f matching) func([]value.Value) (value.Value, error) {
	return func(a []value.Value) (value.Value, error) {
		re, err := compile(a[1])
		if err != nil {
			return nil, err
		}
		return f(re, a)
	}
}

// precompiled returns the function name for a pattern that is a literal, which
// it compiles once; nil: it is not of that kind.
func precompiled(name string, args []Expr) (func([]value.Value) (value.Value, error), error) {
	f := map[string]matching{"REGEXP_CONTAINS": regexpContains, "REGEXP_EXTRACT": regexpExtract, "REGEXP_REPLACE": regexpReplace}[name]
	if f == nil {
		return nil, nil
	}
	c, ok := args[1].(*Const)
	if !ok || c.V == nil {
		return nil, nil
	}
	re, err := compile(c.V)
	if err != nil {
		return nil, err
	}
	return func(a []value.Value) (value.Value, error) { return f(re, a) }, nil
}

func regexpContains(re *regexp.Regexp, a []value.Value) (value.Value, error) {
	if b, ok := a[0].([]byte); ok {
		return re.Match(b), nil
	}
	return re.MatchString(a[0].(string)), nil
}

// regexpExtract returns the part that matches, or its one group.
func regexpExtract(re *regexp.Regexp, a []value.Value) (value.Value, error) {
	n := re.NumSubexp()
	if n > 1 {
		return nil, fmt.Errorf("regular expression has %d groups: %w", n, base.ErrInvalid)
	}
	if b, ok := a[0].([]byte); ok {
		if m := re.FindSubmatchIndex(b); m != nil && m[2*n] >= 0 {
			return b[m[2*n]:m[2*n+1]], nil
		}
		return nil, nil
	}
	s := a[0].(string)
	if m := re.FindStringSubmatchIndex(s); m != nil && m[2*n] >= 0 {
		return s[m[2*n]:m[2*n+1]], nil
	}
	return nil, nil
}

// regexpReplace replaces all matches; \1 to \9 in the replacement are groups.
func regexpReplace(re *regexp.Regexp, a []value.Value) (value.Value, error) {
	src, isBytes := a[0].([]byte)
	repl, _ := a[2].([]byte)
	if !isBytes {
		src, repl = []byte(a[0].(string)), []byte(a[2].(string))
	}
	tmpl, err := template(repl, re.NumSubexp())
	if err != nil {
		return nil, err
	}
	out := re.ReplaceAll(src, tmpl)
	if len(out) > maxText {
		return nil, errOverflow
	}
	if isBytes {
		return out, nil
	}
	return string(out), nil
}

// template turns \1 into ${1}, which package regexp knows.
func template(repl []byte, groups int) ([]byte, error) {
	var out []byte
	for i := 0; i < len(repl); i++ {
		switch c := repl[i]; {
		case c == '$':
			out = append(out, "$$"...)
		case c != '\\':
			out = append(out, c)
		case i+1 < len(repl) && repl[i+1] == '\\':
			out = append(out, '\\')
			i++
		case i+1 < len(repl) && repl[i+1] >= '0' && int(repl[i+1]-'0') <= groups && repl[i+1] <= '9':
			out = append(out, '$', '{', repl[i+1], '}')
			i++
		default:
			return nil, fmt.Errorf("replacement has a wrong \\: %w", base.ErrInvalid)
		}
	}
	return out, nil
}
