package admin

import (
	"github.com/spf13/cobra"

	"github.com/tabletdb/tabletdb/internal/admin/output"
)

// listing is the flag of commands whose answers can be thousands of lines:
// people are shown some, programs all, unless it is given.
type listing struct {
	limit int
	c     *cobra.Command
}

// shownLines is how many lines of a long list people are shown.
const shownLines = 200

func (l *listing) register(c *cobra.Command) {
	l.c = c
	c.Flags().IntVar(&l.limit, "limit", shownLines, "show so many (0: all); with -o json or yaml all are shown unless it is given")
}

func (l *listing) check() error {
	if l.limit < 0 {
		return usagef("--limit %d: must not be negative", l.limit)
	}
	return nil
}

// take returns how many of n are shown.
func (l *listing) take(e *env, n int) int {
	if l.limit == 0 || e.out.Machine() && !l.c.Flags().Changed("limit") {
		return n
	}
	return min(n, l.limit)
}

// rest says how many are not shown, if there are some.
func (l *listing) rest(p *output.Page, shown, n int) {
	if n > shown {
		p.Line("... and %v more of %v (--limit 0 shows all)", output.Count(n-shown), output.Count(n))
	}
}
