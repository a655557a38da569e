package output

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Bytes is a row key, a qualifier or a value: bytes that mostly are text.
//
// For people they stand as they are where all of them can be printed, else in
// double quotes as a Go string, which Parse reads back. In JSON they are a
// string where they are UTF-8, else an object {"base64": "..."}.
type Bytes []byte

// String returns the form for people.
func (b Bytes) String() string {
	s := string(b)
	if strings.HasPrefix(s, `"`) || !printable(s) {
		return strconv.Quote(s)
	}
	return s
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// MarshalJSON implements json.Marshaler.
func (b Bytes) MarshalJSON() ([]byte, error) {
	if utf8.Valid(b) {
		return encode(string(b), "")
	}
	return json.Marshal(map[string]string{"base64": base64.StdEncoding.EncodeToString(b)})
}

// Parse is the inverse of Bytes.String: a string that begins with a double
// quote is a Go string. An error wraps base.ErrInvalid.
func Parse(s string) ([]byte, error) {
	if !strings.HasPrefix(s, `"`) {
		return []byte(s), nil
	}
	u, err := strconv.Unquote(s)
	if err != nil {
		return nil, fmt.Errorf(`%w: %s begins with a double quote but is no quoted string: write "..." with \xNN for bytes and \" for a quote`, base.ErrInvalid, s)
	}
	return []byte(u), nil
}

// Size is a number of bytes: in JSON a number, for people 1.2 MiB.
type Size int64

// String returns the form for people.
func (s Size) String() string {
	if s < 0 {
		return "-" + humanize.IBytes(uint64(-s))
	}
	return humanize.IBytes(uint64(s))
}

// Duration is in JSON a number of seconds, for people like 3m12s.
type Duration time.Duration

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).Seconds())
}

// String returns the form for people: rounded to about three digits.
func (d Duration) String() string {
	t := time.Duration(d)
	switch {
	case t >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(t.Hours()/24))
	case t >= time.Hour:
		return strings.TrimSuffix(t.Round(time.Minute).String(), "0s")
	case t >= 10*time.Second:
		return t.Round(time.Second).String()
	case t >= time.Second:
		return t.Round(100 * time.Millisecond).String()
	case t >= time.Millisecond:
		return t.Round(time.Millisecond).String()
	}
	return t.String()
}

// Count is a number: for people with thousands separated.
type Count int64

// String returns the form for people.
func (c Count) String() string { return humanize.Comma(int64(c)) }

// Time is a point in time, RFC 3339 in UTC with microseconds; the zero Time is
// shown as nothing.
type Time time.Time

// TimeMicros returns the Time of a number of microseconds since 1970.
func TimeMicros(us int64) Time { return Time(time.UnixMicro(us)) }

// String returns the form for people.
func (t Time) String() string {
	if time.Time(t).IsZero() {
		return ""
	}
	return time.Time(t).UTC().Format("2006-01-02T15:04:05.999999Z07:00")
}

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }
