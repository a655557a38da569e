package expr

import (
	"fmt"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

// timeFunctions are those of timestamps and dates without parts. Times are in
// UTC.
var timeFunctions = []function{
	fn("DATE", "III:d", func(a []value.Value) (value.Value, error) {
		return value.NewDay(a[0].(int64), a[1].(int64), a[2].(int64))
	}),
	fn("DATE", "T:d", func(a []value.Value) (value.Value, error) { return a[0].(value.Time).Day(), nil }),
	fn("DATE", "d:d", func(a []value.Value) (value.Value, error) { return a[0], nil }),
	fn("TIMESTAMP", "S:T", func(a []value.Value) (value.Value, error) { return value.ParseTime(a[0].(string)) }),
	fn("TIMESTAMP", "d:T", func(a []value.Value) (value.Value, error) { return a[0].(value.Day).Time(), nil }),
	fn("TIMESTAMP", "T:T", func(a []value.Value) (value.Value, error) { return a[0], nil }),
	fn("STRING", "T:S", func(a []value.Value) (value.Value, error) { return a[0].(value.Time).String(), nil }),
	fn("STRING", "d:S", func(a []value.Value) (value.Value, error) { return a[0].(value.Day).String(), nil }),
	fn("TIMESTAMP_SECONDS", "I:T", fromUnix(1e6)), fn("TIMESTAMP_FROM_UNIX_SECONDS", "I:T", fromUnix(1e6)),
	fn("TIMESTAMP_MILLIS", "I:T", fromUnix(1e3)), fn("TIMESTAMP_FROM_UNIX_MILLIS", "I:T", fromUnix(1e3)),
	fn("TIMESTAMP_MICROS", "I:T", fromUnix(1)), fn("TIMESTAMP_FROM_UNIX_MICROS", "I:T", fromUnix(1)),
	fn("UNIX_SECONDS", "T:I", toUnix(1e6)), fn("UNIX_MILLIS", "T:I", toUnix(1e3)), fn("UNIX_MICROS", "T:I", toUnix(1)),
	fn("UNIX_DATE", "d:I", func(a []value.Value) (value.Value, error) { return int64(a[0].(value.Day)), nil }),
	fn("DATE_FROM_UNIX_DATE", "I:d", func(a []value.Value) (value.Value, error) { return value.DayFromUnix(a[0].(int64)) }),
	fn("FORMAT_TIMESTAMP", "ST:S", func(a []value.Value) (value.Value, error) {
		return strftime(a[0].(string), a[1].(value.Time).UTC())
	}),
	fn("FORMAT_DATE", "Sd:S", func(a []value.Value) (value.Value, error) {
		return strftime(a[0].(string), a[1].(value.Day).UTC())
	}),
}

func fromUnix(unit int64) func([]value.Value) (value.Value, error) {
	return func(a []value.Value) (value.Value, error) {
		n := a[0].(int64)
		if n*unit/unit != n {
			return nil, errOverflow
		}
		return value.NewTime(n * unit)
	}
}

func toUnix(unit int64) func([]value.Value) (value.Value, error) {
	return func(a []value.Value) (value.Value, error) { return floorDiv(int64(a[0].(value.Time)), unit), nil }
}

func floorDiv(n, d int64) int64 {
	q := n / d
	if n%d < 0 {
		q--
	}
	return q
}

// strftime formats t; it knows the elements that have one meaning everywhere.
func strftime(format string, t time.Time) (value.Value, error) {
	layouts := map[byte]string{
		'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'e': "_2", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM",
		'F': "2006-01-02", 'T': "15:04:05", 'R': "15:04", 'D': "01/02/06", 'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January",
		'h': "Jan", 'j': "002", 'z': "-0700", 'Z': "MST",
	}
	var out strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			out.WriteByte(format[i])
			continue
		}
		i++
		switch c := format[i]; {
		case c == '%':
			out.WriteByte('%')
		case c == 's':
			fmt.Fprint(&out, t.Unix())
		case layouts[c] != "":
			out.WriteString(t.Format(layouts[c]))
		case strings.HasPrefix(format[i:], "E*S") || strings.HasPrefix(format[i:], "E6S"):
			out.WriteString(t.Format("05.000000"))
			i += 2
		case strings.HasPrefix(format[i:], "E3S"):
			out.WriteString(t.Format("05.000"))
			i += 2
		default:
			return nil, fmt.Errorf("format element %%%c is not supported: %w", c, base.ErrUnimplemented)
		}
	}
	return out.String(), nil
}

// Part is a part of a date or time, such as DAY, in upper case.
type Part string

// micros is how long the parts of a fixed length are.
func (p Part) micros() int64 {
	return map[Part]int64{"MICROSECOND": 1, "MILLISECOND": 1e3, "SECOND": 1e6, "MINUTE": 60e6, "HOUR": 3600e6, "DAY": 86400e6, "WEEK": 7 * 86400e6}[p]
}

// months is how many months the others have.
func (p Part) months() int { return map[Part]int{"MONTH": 1, "QUARTER": 3, "YEAR": 12}[p] }

// ofDate reports whether p is at least a day.
func (p Part) ofDate() bool { return p.months() > 0 || p.micros() >= 86400e6 }

func (p Part) check(t value.Type, dates bool) error {
	switch {
	case t.Kind != value.Timestamp && t.Kind != value.Date:
		return fmt.Errorf("%s has no date or time: %w", t, base.ErrInvalid)
	case p.months() == 0 && p.micros() == 0, t.Kind == value.Date && dates && !p.ofDate():
		return fmt.Errorf("date part %q of %s: %w", p, t, base.ErrInvalid)
	}
	return nil
}

// dated coerces x to the type of the function name: TIMESTAMP_ADD, DATE_DIFF.
func dated(name string, x Expr) (Expr, error) {
	t := value.Of(value.Timestamp)
	if strings.HasPrefix(name, "DATE") {
		t = value.Of(value.Date)
	}
	return Coerce(x, t)
}

// AddInterval returns TIMESTAMP_ADD, TIMESTAMP_SUB, DATE_ADD or DATE_SUB.
func AddInterval(name string, x, n Expr, p Part) (Expr, error) {
	x, err := dated(name, x)
	if err != nil {
		return nil, err
	}
	if n, err = Coerce(n, value.Of(value.Int64)); err != nil {
		return nil, err
	}
	if err := p.check(x.Type(), true); err != nil {
		return nil, err
	}
	if p.months() > 0 && x.Type().Kind == value.Timestamp {
		return nil, fmt.Errorf("date part %q of TIMESTAMP: %w", p, base.ErrInvalid)
	}
	minus := strings.HasSuffix(name, "_SUB")
	return &Call{Name: name, Args: []Expr{x, n}, T: x.Type(), Strict: true, F: func(a []value.Value) (value.Value, error) {
		n := a[1].(int64)
		if n > 1<<53 || n < -1<<53 {
			return nil, errOverflow
		}
		if minus {
			n = -n
		}
		if d, ok := a[0].(value.Day); ok {
			return addDays(d, n, p)
		}
		u := p.micros()
		if n*u/u != n || n*u > 1<<60 || n*u < -1<<60 {
			return nil, errOverflow
		}
		return value.NewTime(int64(a[0].(value.Time)) + n*u)
	}}, nil
}

// addDays moves d; a day that its month does not have becomes its last.
func addDays(d value.Day, n int64, p Part) (value.Value, error) {
	if n > 4e6 || n < -4e6 {
		return nil, errOverflow
	}
	m := p.months()
	if m == 0 {
		return value.DayFromUnix(int64(d) + n*(p.micros()/86400e6))
	}
	t := d.UTC()
	first := time.Date(t.Year(), t.Month()+time.Month(n*int64(m)), 1, 0, 0, 0, 0, time.UTC)
	last := first.AddDate(0, 1, -1).Day()
	return value.NewDay(int64(first.Year()), int64(first.Month()), int64(min(t.Day(), last)))
}

// Diff returns TIMESTAMP_DIFF or DATE_DIFF: how many of p lie between y and x.
func Diff(name string, x, y Expr, p Part) (Expr, error) {
	x, err := dated(name, x)
	if err != nil {
		return nil, err
	}
	if y, err = dated(name, y); err != nil {
		return nil, err
	}
	if err := p.check(x.Type(), true); err != nil {
		return nil, err
	}
	if p.months() > 0 && x.Type().Kind == value.Timestamp {
		return nil, fmt.Errorf("date part %q of TIMESTAMP: %w", p, base.ErrInvalid)
	}
	return &Call{Name: name, Args: []Expr{x, y}, T: value.Of(value.Int64), Strict: true, F: func(a []value.Value) (value.Value, error) {
		if x, ok := a[0].(value.Time); ok {
			return (int64(x) - int64(a[1].(value.Time))) / p.micros(), nil
		}
		x, y := truncate(a[0].(value.Day).UTC(), p), truncate(a[1].(value.Day).UTC(), p)
		if m := p.months(); m > 0 {
			return int64((x.Year()-y.Year())*12+int(x.Month())-int(y.Month())) / int64(m), nil
		}
		return x.Sub(y).Microseconds() / p.micros(), nil
	}}, nil
}

// Trunc returns TIMESTAMP_TRUNC or DATE_TRUNC.
func Trunc(name string, x Expr, p Part) (Expr, error) {
	x, err := dated(name, x)
	if err != nil {
		return nil, err
	}
	if err := p.check(x.Type(), true); err != nil {
		return nil, err
	}
	return &Call{Name: name, Args: []Expr{x}, T: x.Type(), Strict: true, F: func(a []value.Value) (value.Value, error) {
		if d, ok := a[0].(value.Day); ok {
			t := truncate(d.UTC(), p)
			return value.NewDay(int64(t.Year()), int64(t.Month()), int64(t.Day()))
		}
		return value.FromTime(truncate(a[0].(value.Time).UTC(), p))
	}}, nil
}

// truncate cuts t, in UTC, to whole p. Weeks begin on Sunday.
func truncate(t time.Time, p Part) time.Time {
	if m := p.months(); m > 0 {
		return time.Date(t.Year(), (t.Month()-1)/time.Month(m)*time.Month(m)+1, 1, 0, 0, 0, 0, time.UTC)
	}
	if p == "WEEK" {
		t = time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
		return t.AddDate(0, 0, -int(t.Weekday()))
	}
	return time.UnixMicro(floorDiv(t.UnixMicro(), p.micros()) * p.micros()).UTC()
}

// Extract returns EXTRACT(p FROM x).
func Extract(x Expr, p Part) (Expr, error) {
	t := x.Type()
	if t.Kind != value.Timestamp && t.Kind != value.Date {
		return nil, fmt.Errorf("EXTRACT from %s: %w", t, base.ErrInvalid)
	}
	if p == "DATE" && t.Kind == value.Timestamp {
		return &Convert{X: x, To: value.Of(value.Date)}, nil
	}
	fields := map[Part]func(time.Time) int{
		"YEAR": time.Time.Year, "MONTH": func(t time.Time) int { return int(t.Month()) }, "DAY": time.Time.Day,
		"QUARTER":     func(t time.Time) int { return int(t.Month()-1)/3 + 1 },
		"DAYOFWEEK":   func(t time.Time) int { return int(t.Weekday()) + 1 },
		"DAYOFYEAR":   time.Time.YearDay,
		"ISOWEEK":     func(t time.Time) int { _, w := t.ISOWeek(); return w },
		"ISOYEAR":     func(t time.Time) int { y, _ := t.ISOWeek(); return y },
		"WEEK":        func(t time.Time) int { return (t.YearDay() + 6 - int(t.Weekday())) / 7 },
		"HOUR":        time.Time.Hour,
		"MINUTE":      time.Time.Minute,
		"SECOND":      time.Time.Second,
		"MILLISECOND": func(t time.Time) int { return t.Nanosecond() / 1e6 },
		"MICROSECOND": func(t time.Time) int { return t.Nanosecond() / 1e3 },
	}
	f, ok := fields[p]
	if !ok || t.Kind == value.Date && p.micros() > 0 && !p.ofDate() {
		return nil, fmt.Errorf("EXTRACT of %q from %s: %w", p, t, base.ErrInvalid)
	}
	return &Call{Name: "EXTRACT", Args: []Expr{x}, T: value.Of(value.Int64), Strict: true, F: func(a []value.Value) (value.Value, error) {
		if d, ok := a[0].(value.Day); ok {
			return int64(f(d.UTC())), nil
		}
		return int64(f(a[0].(value.Time).UTC())), nil
	}}, nil
}
