package snapshot

import (
	"fmt"
	"testing"

	"github.com/tabletdb/tabletdb/meta"
)

// TestFlushed: what is missing of tablets that are split and merged while others
// are flushed.
func TestFlushed(t *testing.T) {
	tb := func(start, end string) meta.Tablet { return meta.Tablet{Start: []byte(start), End: []byte(end)} }
	for _, c := range []struct {
		add     []meta.Tablet
		tablets []meta.Tablet
		missing string
	}{
		{nil, []meta.Tablet{tb("", "")}, "[-]"},
		{[]meta.Tablet{tb("", "")}, []meta.Tablet{tb("", "c"), tb("c", "")}, "[]"},
		{[]meta.Tablet{tb("", "c")}, []meta.Tablet{tb("", "b"), tb("b", "c"), tb("c", "")}, "[c-]"},
		{[]meta.Tablet{tb("c", ""), tb("", "c")}, []meta.Tablet{tb("", "d"), tb("d", "")}, "[]"},
		{[]meta.Tablet{tb("", "b"), tb("c", "")}, []meta.Tablet{tb("", "d"), tb("d", "")}, "[-d]"},
		{[]meta.Tablet{tb("", "b"), tb("c", ""), tb("a", "c")}, []meta.Tablet{tb("", "")}, "[]"},
		{[]meta.Tablet{tb("b", "e"), tb("c", "d")}, []meta.Tablet{tb("b", "e"), tb("e", "f"), tb("a", "b"), tb("d", "f")}, "[e-f a-b d-f]"},
	} {
		var f flushed
		f.of(7)
		for _, x := range c.add {
			f.add(x)
		}
		f.of(7)
		got := []string{}
		for _, x := range f.missing(c.tablets) {
			got = append(got, fmt.Sprintf("%s-%s", x.Start, x.End))
		}
		if fmt.Sprint(got) != c.missing {
			t.Errorf("%v flushed: %v is missing of %v, want %s", c.add, got, c.tablets, c.missing)
		}
		if f.of(8); len(f.missing(c.tablets)) != len(c.tablets) {
			t.Errorf("what was flushed of one table counts for another")
		}
	}
}
