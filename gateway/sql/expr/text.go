package expr

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

// maxText bounds the strings that functions make, in bytes.
const maxText = 64 << 20

// concat is CONCAT and the operator ||: of strings, bytes or arrays.
func concat(xs []Expr) (Expr, error) {
	xs, t, err := Unify(xs)
	if err != nil {
		return nil, fmt.Errorf("operator ||: %w", err)
	}
	var f func(a []value.Value) (value.Value, error)
	switch t.Kind {
	case value.String:
		f = func(a []value.Value) (value.Value, error) { return joined(a, "") }
	case value.Bytes:
		f = func(a []value.Value) (value.Value, error) {
			var out []byte
			for _, v := range a {
				if out = append(out, v.([]byte)...); len(out) > maxText {
					return nil, errOverflow
				}
			}
			return out, nil
		}
	case value.Array:
		f = concatLists
	default:
		return nil, fmt.Errorf("%s cannot be concatenated: %w", t, base.ErrInvalid)
	}
	return &Call{Name: "CONCAT", Args: xs, T: t, Strict: true, F: f}, nil
}

func joined(a []value.Value, sep string) (value.Value, error) {
	var out strings.Builder
	for i, v := range a {
		if i > 0 {
			out.WriteString(sep)
		}
		if out.WriteString(v.(string)); out.Len() > maxText {
			return nil, errOverflow
		}
	}
	return out.String(), nil
}

// text1 is a function of a string to a string.
func text1(f func(string) string) func([]value.Value) (value.Value, error) {
	return func(a []value.Value) (value.Value, error) { return f(a[0].(string)), nil }
}

func bytes1(f func([]byte) []byte) func([]value.Value) (value.Value, error) {
	return func(a []value.Value) (value.Value, error) { return f(a[0].([]byte)), nil }
}

func text2(f func(s, t string) bool) func([]value.Value) (value.Value, error) {
	return func(a []value.Value) (value.Value, error) { return f(a[0].(string), a[1].(string)), nil }
}

func bytes2(f func(s, t []byte) bool) func([]value.Value) (value.Value, error) {
	return func(a []value.Value) (value.Value, error) { return f(a[0].([]byte), a[1].([]byte)), nil }
}

// textFunctions are those of strings and of bytes as text.
var textFunctions = []function{
	fn("UPPER", "S:S", text1(strings.ToUpper)), fn("LOWER", "S:S", text1(strings.ToLower)),
	fn("UPPER", "B:B", bytes1(func(b []byte) []byte { return ascii(b, 'a', 'z', -32) })),
	fn("LOWER", "B:B", bytes1(func(b []byte) []byte { return ascii(b, 'A', 'Z', 32) })),
	fn("LENGTH", "S:I", runeCount), fn("LENGTH", "B:I", byteCount),
	fn("CHAR_LENGTH", "S:I", runeCount), fn("CHARACTER_LENGTH", "S:I", runeCount),
	fn("BYTE_LENGTH", "S:I", func(a []value.Value) (value.Value, error) { return int64(len(a[0].(string))), nil }),
	fn("BYTE_LENGTH", "B:I", byteCount), fn("OCTET_LENGTH", "B:I", byteCount),
	fn("SUBSTR", "SII?:S", substr), fn("SUBSTR", "BII?:B", substr),
	fn("SUBSTRING", "SII?:S", substr), fn("SUBSTRING", "BII?:B", substr),
	fn("STARTS_WITH", "SS:b", text2(strings.HasPrefix)), fn("STARTS_WITH", "BB:b", bytes2(bytes.HasPrefix)),
	fn("ENDS_WITH", "SS:b", text2(strings.HasSuffix)), fn("ENDS_WITH", "BB:b", bytes2(bytes.HasSuffix)),
	fn("CONTAINS_SUBSTR", "SS:b", text2(func(s, t string) bool {
		return strings.Contains(strings.ToLower(s), strings.ToLower(t))
	})),
	fn("STRPOS", "SS:I", func(a []value.Value) (value.Value, error) {
		s := a[0].(string)
		i := strings.Index(s, a[1].(string))
		return int64(utf8.RuneCountInString(s[:max(i, 0)]) + min(i, 0) + 1), nil
	}),
	fn("STRPOS", "BB:I", func(a []value.Value) (value.Value, error) {
		return int64(bytes.Index(a[0].([]byte), a[1].([]byte)) + 1), nil
	}),
	fn("TRIM", "SS?:S", trim(true, true)), fn("LTRIM", "SS?:S", trim(true, false)), fn("RTRIM", "SS?:S", trim(false, true)),
	fn("TRIM", "BB:B", trim(true, true)), fn("LTRIM", "BB:B", trim(true, false)), fn("RTRIM", "BB:B", trim(false, true)),
	fn("REVERSE", "S:S", text1(func(s string) string {
		r := []rune(s)
		slices.Reverse(r)
		return string(r)
	})),
	fn("REVERSE", "B:B", bytes1(func(b []byte) []byte {
		b = bytes.Clone(b)
		slices.Reverse(b)
		return b
	})),
	fn("REPLACE", "SSS:S", func(a []value.Value) (value.Value, error) {
		s, from, to := a[0].(string), a[1].(string), a[2].(string)
		if from == "" {
			return s, nil
		}
		if strings.Count(s, from)*len(to) > maxText {
			return nil, errOverflow
		}
		return strings.ReplaceAll(s, from, to), nil
	}),
	fn("REPLACE", "BBB:B", func(a []value.Value) (value.Value, error) {
		s, from, to := a[0].([]byte), a[1].([]byte), a[2].([]byte)
		if len(from) == 0 {
			return s, nil
		}
		if bytes.Count(s, from)*len(to) > maxText {
			return nil, errOverflow
		}
		return bytes.ReplaceAll(s, from, to), nil
	}),
	fn("REPEAT", "SI:S", repeat), fn("REPEAT", "BI:B", repeat),
	fn("LPAD", "SIS?:S", pad(true)), fn("RPAD", "SIS?:S", pad(false)),
	fn("INITCAP", "S:S", text1(initcap)),
	fn("SPLIT", "SS?:[S", func(a []value.Value) (value.Value, error) {
		sep := ","
		if len(a) == 2 {
			sep = a[1].(string)
		}
		var out value.List
		if a[0] == "" {
			return value.List{""}, nil
		}
		for p := range strings.SplitSeq(a[0].(string), sep) {
			out = append(out, p)
		}
		return out, nil
	}),
	fn("SPLIT", "BB:[B", func(a []value.Value) (value.Value, error) {
		var out value.List
		if len(a[0].([]byte)) == 0 {
			return value.List{[]byte{}}, nil
		}
		if sep := a[1].([]byte); len(sep) == 0 {
			for _, c := range a[0].([]byte) {
				out = append(out, []byte{c})
			}
			return out, nil
		}
		for _, p := range bytes.Split(a[0].([]byte), a[1].([]byte)) {
			out = append(out, p)
		}
		return out, nil
	}),
	fn("ARRAY_TO_STRING", "[SS:S", func(a []value.Value) (value.Value, error) {
		return joined(slices.DeleteFunc(slices.Clone(a[0].(value.List)), func(v value.Value) bool { return v == nil }), a[1].(string))
	}),
	fn("REGEXP_CONTAINS", "SS:b", byPattern(regexpContains)), fn("REGEXP_CONTAINS", "BB:b", byPattern(regexpContains)),
	fn("REGEXP_EXTRACT", "SS:S", byPattern(regexpExtract)), fn("REGEXP_EXTRACT", "BB:B", byPattern(regexpExtract)),
	fn("REGEXP_REPLACE", "SSS:S", byPattern(regexpReplace)), fn("REGEXP_REPLACE", "BBB:B", byPattern(regexpReplace)),
}

func runeCount(a []value.Value) (value.Value, error) {
	return int64(utf8.RuneCountInString(a[0].(string))), nil
}

func byteCount(a []value.Value) (value.Value, error) { return int64(len(a[0].([]byte))), nil }

// ascii moves the letters in [lo, hi] by d.
func ascii(b []byte, lo, hi byte, d int) []byte {
	out := bytes.Clone(b)
	for i, c := range out {
		if c >= lo && c <= hi {
			out[i] = byte(int(c) + d)
		}
	}
	return out
}

func initcap(s string) string {
	prev := ' '
	return strings.Map(func(r rune) rune {
		letter := unicode.IsLetter(prev) || unicode.IsDigit(prev)
		prev = r
		if letter {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, s)
}

// substr counts positions from 1, or from the end where negative.
func substr(a []value.Value) (value.Value, error) {
	pos, length := a[1].(int64), int64(1)<<62
	if len(a) == 3 {
		if length = a[2].(int64); length < 0 {
			return nil, fmt.Errorf("negative length: %w", base.ErrInvalid)
		}
	}
	cut := func(n int64) (int64, int64) {
		start := pos - 1
		if pos < 0 {
			start = n + pos
		}
		start = min(max(start, 0), n)
		return start, min(start+min(length, n), n)
	}
	if b, ok := a[0].([]byte); ok {
		lo, hi := cut(int64(len(b)))
		return b[lo:hi:hi], nil
	}
	s := a[0].(string)
	if utf8.RuneCountInString(s) == len(s) {
		lo, hi := cut(int64(len(s)))
		return s[lo:hi], nil
	}
	r := []rune(s)
	lo, hi := cut(int64(len(r)))
	return string(r[lo:hi]), nil
}

// trim cuts the runes, or bytes, of the second argument off the ends of the
// first: without it white space.
func trim(left, right bool) func([]value.Value) (value.Value, error) {
	return func(a []value.Value) (value.Value, error) {
		if b, ok := a[0].([]byte); ok {
			in := func(c byte) bool { return bytes.IndexByte(a[1].([]byte), c) >= 0 }
			for left && len(b) > 0 && in(b[0]) {
				b = b[1:]
			}
			for right && len(b) > 0 && in(b[len(b)-1]) {
				b = b[:len(b)-1]
			}
			return b, nil
		}
		in := unicode.IsSpace
		if len(a) == 2 {
			in = func(r rune) bool { return strings.ContainsRune(a[1].(string), r) }
		}
		s := a[0].(string)
		if left {
			s = strings.TrimLeftFunc(s, in)
		}
		if right {
			s = strings.TrimRightFunc(s, in)
		}
		return s, nil
	}
}

func repeat(a []value.Value) (value.Value, error) {
	n := a[1].(int64)
	size := func(l int) error {
		if n < 0 || l > 0 && n > int64(maxText/l) {
			return errOverflow
		}
		return nil
	}
	if b, ok := a[0].([]byte); ok {
		if err := size(len(b)); err != nil || len(b) == 0 {
			return b, err
		}
		return bytes.Repeat(b, int(n)), nil
	}
	s := a[0].(string)
	if err := size(len(s)); err != nil || s == "" {
		return s, err
	}
	return strings.Repeat(s, int(n)), nil
}

func pad(left bool) func([]value.Value) (value.Value, error) {
	return func(a []value.Value) (value.Value, error) {
		s, n, p := []rune(a[0].(string)), a[1].(int64), []rune(" ")
		if len(a) == 3 {
			p = []rune(a[2].(string))
		}
		if n < 0 || n > maxText/4 || len(p) == 0 {
			return nil, errOverflow
		}
		if int(n) <= len(s) {
			return string(s[:n]), nil
		}
		fill := make([]rune, 0, int(n)-len(s))
		for len(fill) < int(n)-len(s) {
			fill = append(fill, p[len(fill)%len(p)])
		}
		if left {
			return string(fill) + string(s), nil
		}
		return string(s) + string(fill), nil
	}
}
