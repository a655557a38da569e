package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tabletdb/tabletdb/internal/bench/load"
)

// printer prints answers.
type printer struct {
	w    io.Writer
	json bool
}

// print prints v as a line of JSON, or what text writes.
func (p printer) print(v any, text func(w io.Writer) error) error {
	if p.json {
		return json.NewEncoder(p.w).Encode(v)
	}
	t := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	if err := text(t); err != nil {
		return err
	}
	return t.Flush()
}

// result prints what a load measured.
func (p printer) result(r *load.Result) error {
	return p.print(r, func(w io.Writer) error {
		var b strings.Builder
		fmt.Fprintf(&b, "load\tworkers\tops/s\trows/s\tMB/s\tp50\tp95\tp99\tmax\terrors\n")
		fmt.Fprintf(&b, "%s\t%d\t%s\t%s\t%.1f\t%s\t%d\n", r.Load, r.Workers, count(r.OpsPerSecond), count(r.RowsPerSecond), r.MBPerSecond, latency(r.Latency), r.Failed())
		for _, k := range slices.Sorted(maps.Keys(r.Kinds)) {
			l := r.Kinds[k]
			fmt.Fprintf(&b, "  %s\t\t%s\t\t\t%s\t\n", k, count(float64(l.Count)/r.Seconds), latency(l))
		}
		for _, c := range slices.Sorted(maps.Keys(r.Errors)) {
			fmt.Fprintf(&b, "%d %s, such as: %s\n", r.Errors[c], c, r.Examples[c])
		}
		_, err := io.WriteString(w, b.String())
		return err
	})
}

func latency(l load.Latency) string {
	if l.Count == 0 {
		return "-\t-\t-\t-" // none began and ended
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s", micros(l.P50), micros(l.P95), micros(l.P99), micros(l.Max))
}

// brief writes the median and the 99th percentile.
func brief(l load.Latency) string {
	if l.Count == 0 {
		return "-\t-"
	}
	return micros(l.P50) + "\t" + micros(l.P99)
}

// micros writes microseconds with three digits.
func micros(us int64) string {
	switch d := time.Duration(us) * time.Microsecond; {
	case us >= 10_000_000:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case us >= 1_000_000:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case us >= 100_000:
		return fmt.Sprintf("%.0fms", float64(us)/1e3)
	case us >= 1000:
		return fmt.Sprintf("%.2fms", float64(us)/1e3)
	}
	return fmt.Sprintf("%dus", us)
}

// count writes a number with as many digits as matter.
func count(x float64) string {
	switch {
	case x >= 100_000:
		return fmt.Sprintf("%.0fk", x/1e3)
	case x >= 1000:
		return fmt.Sprintf("%.1fk", x/1e3)
	}
	return fmt.Sprintf("%.1f", x)
}

// megabytes writes bytes in units of 2^20.
func megabytes(b int64) string { return fmt.Sprintf("%.1f MiB", float64(b)/(1<<20)) }
