package rowfilter

import (
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"

	"rsc.io/binaryregexp"
)

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern string
		form    form
		yes, no []string
	}{
		{"abc", formLiterals, []string{"abc"}, []string{"", "ab", "abcd", "xabc"}},
		{"", formLiterals, []string{""}, []string{"a", "\n"}},
		{"a|", formLiterals, []string{"a", ""}, []string{"b"}},
		{`a\.b\x41\n`, formLiterals, []string{"a.bA\n"}, []string{"axbA\n"}},
		{"\xff\x80", formLiterals, []string{"\xff\x80"}, []string{"ÿ", "\xff"}},
		{`\` + "\xff", formLiterals, []string{"\xff"}, []string{`\`}},
		{"ab.*", formAffix, []string{"ab", "abc", "ab\xff\x00"}, []string{"a", "ab\n", "xab"}},
		{`ab\C*`, formAffix, []string{"ab", "ab\n"}, []string{"a"}},
		{".*ab", formAffix, []string{"ab", "xab"}, []string{"abx", "\nab"}},
		{".*ab.*", formAffix, []string{"ab", "xaby"}, []string{"a", "\nab", "ab\n", "b"}},
		{`\C*ab\C*`, formAffix, []string{"ab", "\nab\n"}, []string{"a\nb"}},
		{".*", formAffix, []string{"", "abc", "\xff"}, []string{"\n", "a\nb"}},
		{`\C*`, formAffix, []string{"", "\n"}, nil},
		{`.*a\C*`, formRegexp, []string{"a", "a\n"}, []string{"\na"}},
		{".*\n.*", formRegexp, []string{"\n", "a\nb"}, []string{"\n\n", ""}},
		{".", formRegexp, []string{"a", "\xff", "\x00"}, []string{"", "\n", "ab"}},
		{`\C`, formRegexp, []string{"a", "\xff", "\n"}, []string{"", "ab"}},
		{"\xe9", formLiterals, []string{"\xe9"}, []string{"é"}},
		{"[\x80-\xff]+", formRegexp, []string{"\x80", "é"}, []string{"a"}},
		{"(?i)abc", formRegexp, []string{"ABC", "abc"}, []string{"abd"}},
		{"a{2}", formRegexp, []string{"aa"}, []string{"a", "a{2}"}},
		{"a*", formRegexp, []string{"", "aa"}, []string{"b"}},
		{".*?", formRegexp, []string{"", "aa"}, []string{"\n"}},
		{`\d+`, formRegexp, []string{"12"}, []string{"", "x"}},
		{`\Qa.b` + "\xff" + `\E.`, formRegexp, []string{"a.b\xffx"}, []string{"axb\xffx"}},
		{`\\Q`, formLiterals, []string{`\Q`}, []string{"Q"}},
		{"^abc$", formRegexp, []string{"abc"}, []string{"abcd", "abc\n"}},
		{"(?m)a$", formRegexp, []string{"a"}, []string{"a\n", "a\nb"}},
		{"a|b.*", formRegexp, []string{"a", "bc"}, []string{"ac"}},
	} {
		p, err := compilePattern([]byte(c.pattern))
		if err != nil || p.form != c.form {
			t.Errorf("%q: form %d, %v", c.pattern, p.form, err)
			continue
		}
		for _, s := range append(c.yes, c.no...) {
			want := len(c.yes) > 0
			for _, n := range c.no {
				want = want && n != s
			}
			if got := p.match([]byte(s)); got != want || p.matchString(s) != want {
				t.Errorf("%q matches %q: %v", c.pattern, s, got)
			}
			if want && !p.set.Contains([]byte(s)) {
				t.Errorf("%q matches %q, which is not in its set", c.pattern, s)
			}
		}
	}
}

// FuzzPattern compares the fast paths with the engine, and the engine with
// Go's own.
func FuzzPattern(f *testing.F) {
	f.Add([]byte("ab.*"), []byte("abc"))
	f.Add([]byte(`\Qa|b\E|c`), []byte("a|b"))
	f.Add([]byte(`.*\x0a`), []byte("\n"))
	f.Fuzz(func(t *testing.T, pattern, b []byte) {
		if len(pattern) > 50 || len(b) > 50 {
			return
		}
		p, err := compilePattern(pattern)
		if err != nil {
			return
		}
		got := p.match(b)
		if engine := binaryregexp.MustCompile(`\A(?:` + latin1(pattern) + `)\z`).Match(b); got != engine {
			t.Fatalf("%q on %q: %v, the engine says %v", pattern, b, got, engine)
		}
		if got && !p.set.Contains(b) {
			t.Fatalf("%q matches %q, which is not in its set", pattern, b)
		}
		// Go's engine knows characters, not bytes: leave out what differs.
		if strings.ContainsAny(string(pattern), `\[(`) {
			return
		}
		expr := latin1String(pattern)
		if _, err := syntax.Parse(expr, syntax.Perl); err != nil {
			return
		}
		if std := regexp.MustCompile(`\A(?:` + expr + `)\z`).MatchString(latin1String(b)); got != std {
			t.Fatalf("%q on %q: %v, package regexp says %v", pattern, b, got, std)
		}
	})
}

func BenchmarkPattern(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, 100)
	for i := range value {
		value[i] = 'a' + byte(rng.IntN(26))
	}
	for _, s := range []string{string(value), "prefix.*", ".*zzz.*", "[a-y]*", "(?i)abc.*"} {
		p, err := compilePattern([]byte(s))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(strings.ReplaceAll(s[:min(10, len(s))], "/", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.match(value)
			}
		})
	}
}
