package value

import (
	"fmt"
	"strings"
	"time"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Bounds of TIMESTAMP and DATE: years 1 to 9999.
var (
	minTime = Time(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro())
	maxTime = Time(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() - 1)
)

const dayMicros = 24 * 60 * 60 * 1e6

// NewTime returns the time of micros microseconds since 1970. An error wraps
// base.ErrInvalid.
func NewTime(micros int64) (Value, error) {
	if t := Time(micros); t < minTime || t > maxTime {
		return nil, fmt.Errorf("%d microseconds are out of the range of TIMESTAMP: %w", micros, base.ErrInvalid)
	}
	return Time(micros), nil
}

// CellTime returns the time of a cell's timestamp, moved into the bounds of
// TIMESTAMP where it lies outside.
func CellTime(micros int64) Time { return min(max(Time(micros), minTime), maxTime) }

// FromTime returns t in whole microseconds. An error wraps base.ErrInvalid.
func FromTime(t time.Time) (Value, error) {
	if y := t.UTC().Year(); y < 1 || y > 9999 {
		return nil, fmt.Errorf("year %d is out of the range of TIMESTAMP: %w", y, base.ErrInvalid)
	}
	return NewTime(t.UnixMicro())
}

// NewDay returns the date of a year, month and day. An error wraps
// base.ErrInvalid.
func NewDay(year, month, day int64) (Value, error) {
	if year < 1 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31 {
		return nil, fmt.Errorf("%d-%d-%d is not a date: %w", year, month, day, base.ErrInvalid)
	}
	t := time.Date(int(year), time.Month(month), int(day), 0, 0, 0, 0, time.UTC)
	if t.Day() != int(day) {
		return nil, fmt.Errorf("%d-%d-%d is not a date: %w", year, month, day, base.ErrInvalid)
	}
	return Day(t.Unix() / (24 * 60 * 60)), nil
}

// DayFromUnix returns the date of n days since 1970. An error wraps
// base.ErrInvalid.
func DayFromUnix(n int64) (Value, error) {
	if n < int64(minTime)/dayMicros || n > int64(maxTime)/dayMicros {
		return nil, fmt.Errorf("day %d is out of the range of DATE: %w", n, base.ErrInvalid)
	}
	return Day(n), nil
}

// UTC returns t as a time.Time.
func (t Time) UTC() time.Time { return time.UnixMicro(int64(t)).UTC() }

// UTC returns the midnight at which d begins.
func (d Day) UTC() time.Time { return time.Unix(int64(d)*24*60*60, 0).UTC() }

// Time returns the midnight at which d begins.
func (d Day) Time() Time { return Time(int64(d) * dayMicros) }

// Day returns the date of t in UTC.
func (t Time) Day() Day {
	n := int64(t) / dayMicros
	if int64(t)%dayMicros < 0 {
		n--
	}
	return Day(n)
}

// String returns t as a cast to STRING has it: 2024-06-01 10:00:00.123+00.
func (t Time) String() string {
	u := t.UTC()
	s := u.Format("2006-01-02 15:04:05")
	switch micros := u.Nanosecond() / 1000; {
	case micros == 0:
	case micros%1000 == 0:
		s += fmt.Sprintf(".%03d", micros/1000)
	default:
		s += fmt.Sprintf(".%06d", micros)
	}
	return s + "+00"
}

// String returns d as 2024-06-01.
func (d Day) String() string { return d.UTC().Format("2006-01-02") }

// ParseDay reads a date such as 2024-6-1. An error wraps base.ErrInvalid.
func ParseDay(s string) (Value, error) {
	t, err := time.Parse("2006-1-2", strings.TrimSpace(s))
	if err != nil {
		return nil, fmt.Errorf("%q is not a DATE: %w", clip(s), base.ErrInvalid)
	}
	return NewDay(int64(t.Year()), int64(t.Month()), int64(t.Day()))
}

// ParseTime reads a timestamp such as 2024-06-01 10:00:00.123+02:00; without a
// zone it is UTC. An error wraps base.ErrInvalid.
func ParseTime(s string) (Value, error) {
	loc, rest := time.UTC, strings.TrimSpace(s)
	if i := strings.LastIndexByte(rest, ' '); i > 0 && strings.ContainsAny(rest[i+1:i+2], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		l, err := time.LoadLocation(rest[i+1:])
		if err != nil {
			return nil, fmt.Errorf("%q has no known time zone: %w", clip(s), base.ErrInvalid)
		}
		loc, rest = l, rest[:i]
	}
	for _, layout := range []string{"2006-1-2", "2006-1-2 15:4:5", "2006-1-2T15:4:5", "2006-1-2t15:4:5", "2006-1-2 15:4", "2006-1-2T15:4"} {
		for _, zone := range []string{"", "Z07:00", "-07", "-07:00", " -07", " -07:00", "z"} {
			if t, err := time.ParseInLocation(layout+zone, rest, loc); err == nil {
				return FromTime(t)
			}
		}
	}
	return nil, fmt.Errorf("%q is not a TIMESTAMP: %w", clip(s), base.ErrInvalid)
}

// clip shortens s for a message.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}
