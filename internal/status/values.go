package status

import (
	"fmt"
	"html/template"
	"math"
	"net"
	"time"

	"github.com/tabletdb/tabletdb/internal/admin/output"
	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/heatmap"
)

// Rate is a number per second.
type Rate float64

// String returns the form for people.
func (r Rate) String() string { return heatmap.Rate(float64(r)) }

func micros(us int64) output.Duration { return output.Duration(time.Duration(us) * time.Microsecond) }

// at returns a time of which people need the seconds; zero stays zero.
func at(t time.Time) output.Time {
	if t.IsZero() {
		return output.Time{}
	}
	return output.Time(t.Truncate(time.Millisecond))
}

func microTime(us int64) output.Time {
	if us == 0 {
		return output.Time{}
	}
	return at(time.UnixMicro(us))
}

// id returns an incarnation for links; "": none.
func id(e base.Incarnation) string {
	if e.IsZero() {
		return ""
	}
	return e.String()
}

// functions are those of the templates.
func functions() template.FuncMap {
	return template.FuncMap{
		"bar": bar, "clock": clock, "ago": ago, "url": statusURL, "plural": plural,
		"count": func(n any) string { return output.Count(integer(n)).String() },
		"key":   func(b output.Bytes) string { return heatmap.Short(b, 72) },
		"first": func(b output.Bytes) string { return bound(b, "first row") },
		"last":  func(b output.Bytes) string { return bound(b, "last row") },
		"none":  func(t output.Time) bool { return time.Time(t).IsZero() },
	}
}

func bound(b output.Bytes, none string) string {
	if len(b) == 0 {
		return "(" + none + ")"
	}
	return heatmap.Short(b, 72)
}

func integer(n any) int64 {
	switch n := n.(type) {
	case int:
		return int64(n)
	case uint32:
		return int64(n)
	case uint64:
		return int64(n)
	case int64:
		return n
	}
	return 0
}

// plural returns "1 tablet", "2,000 tablets".
func plural(n any, one string) string {
	if integer(n) == 1 {
		return "1 " + one
	}
	return output.Count(integer(n)).String() + " " + one + "s"
}

// bar draws how much of most v is. Styles in the page itself are forbidden by
// its policy; attributes of SVG are not.
func bar(v, most any) template.HTML {
	x, of := number(v), number(most)
	part := 0.0
	if of > 0 && x > 0 {
		part = math.Min(x/of, 1)
	}
	class := "bar"
	if part > 0.9 {
		class = "bar full"
	}
	return template.HTML(fmt.Sprintf(`<svg class="%s" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="6" rx="0"/><rect class="value" width="%.1f" height="6"/></svg>`, class, part*100))
}

func number(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case Rate:
		return float64(v)
	case output.Size:
		return float64(v)
	}
	return float64(integer(v))
}

// clock returns a time of day, or the date too where it is not of today.
func clock(t output.Time) string {
	x := time.Time(t).UTC()
	if x.IsZero() {
		return ""
	}
	if now := time.Now().UTC(); x.YearDay() == now.YearDay() && x.Year() == now.Year() {
		return x.Format("15:04:05")
	}
	return x.Format("2006-01-02 15:04:05")
}

// ago returns how long ago t is.
func ago(t output.Time) string {
	if time.Time(t).IsZero() {
		return ""
	}
	return output.Duration(max(time.Since(time.Time(t)), 0)).String()
}

// statusURL returns the address of another process's pages; "": not known, or
// it cannot be reached from elsewhere.
func statusURL(addr string) string {
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "" || port == "0" {
		return ""
	}
	return "http://" + addr + "/"
}
