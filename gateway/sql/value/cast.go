package value

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tabletdb/tabletdb/internal/base"
)

// CanCast reports whether an expression of type from may be CAST to the type
// to.
func CanCast(from, to Type) bool {
	if from.Kind == Unknown || from.Equal(to) {
		return true
	}
	switch to.Kind {
	case Bool:
		return from.Kind == Int64 || from.Kind == String
	case Int64:
		return from.Kind == Bool || from.IsFloat() || from.Kind == String
	case Float32, Float64:
		return from.IsNumber() || from.Kind == String
	case String:
		return from.IsScalar()
	case Bytes:
		return from.Kind == String
	case Timestamp, Date:
		return from.Kind == String || from.Kind == Date || from.Kind == Timestamp
	case Array:
		return from.Kind == Array && (from.Elem.Kind == Unknown || CanCoerce(*from.Elem, *to.Elem))
	case Map:
		return from.Kind == Map && CanCast(*from.Key, *to.Key) && CanCast(*from.Elem, *to.Elem)
	case Struct:
		if from.Kind != Struct || len(from.Fields) != len(to.Fields) {
			return false
		}
		for i, f := range from.Fields {
			if !CanCast(f.Type, to.Fields[i].Type) {
				return false
			}
		}
		return true
	}
	return false
}

// CanCoerce reports whether every expression of type from may stand where one
// of type to is needed.
func CanCoerce(from, to Type) bool {
	switch {
	case from.Kind == Unknown || from.Equal(to):
		return true
	case to.Kind == Float64:
		return from.Kind == Int64 || from.Kind == Float32
	case to.Kind == Array && from.Kind == Array:
		return CanCoerce(*from.Elem, *to.Elem)
	case to.Kind == Struct && from.Kind == Struct && len(from.Fields) == len(to.Fields):
		for i, f := range from.Fields {
			if !CanCoerce(f.Type, to.Fields[i].Type) {
				return false
			}
		}
		return true
	}
	return false
}

// CanCoerceLiteral is CanCoerce for literals and parameters, which may stand
// for more: 'r1' for BYTES, '2024-06-01' for DATE, 1.5 for FLOAT32.
func CanCoerceLiteral(from, to Type) bool {
	if CanCoerce(from, to) {
		return true
	}
	switch from.Kind {
	case String:
		return to.Kind == Bytes || to.Kind == Timestamp || to.Kind == Date
	case Int64, Float64:
		return to.Kind == Float32
	case Array:
		return to.Kind == Array && CanCoerceLiteral(*from.Elem, *to.Elem)
	}
	return false
}

// Supertype returns the type to which both a and b coerce.
func Supertype(a, b Type) (Type, bool) {
	switch {
	case CanCoerce(a, b):
		return b, true
	case CanCoerce(b, a):
		return a, true
	case a.IsNumber() && b.IsNumber(): // INT64 and FLOAT32
		return Of(Float64), true
	}
	return Type{}, false
}

// Cast converts v, not NULL, to the type to; CanCast must hold of its type.
// An error wraps base.ErrInvalid.
func Cast(v Value, to Type) (Value, error) {
	if v == nil {
		return nil, nil
	}
	switch to.Kind {
	case Bool:
		return castBool(v)
	case Int64:
		return castInt(v)
	case Float32:
		return castFloat32(v)
	case Float64:
		return castFloat64(v)
	case String:
		return castString(v)
	case Bytes:
		if s, ok := v.(string); ok {
			return []byte(s), nil
		}
	case Timestamp:
		switch v := v.(type) {
		case string:
			return ParseTime(v)
		case Day:
			return v.Time(), nil
		}
	case Date:
		switch v := v.(type) {
		case string:
			if d, err := ParseDay(v); err == nil {
				return d, nil
			}
			t, err := ParseTime(v)
			if err != nil {
				return nil, fmt.Errorf("%q is not a DATE: %w", clip(v), base.ErrInvalid)
			}
			return t.(Time).Day(), nil
		case Time:
			return v.Day(), nil
		}
	case Array, Struct, Map:
		return castParts(v, to)
	}
	return v, nil
}

func castParts(v Value, to Type) (Value, error) {
	switch v := v.(type) {
	case Dict:
		out := make(Dict, len(v))
		for i, e := range v {
			k, err := Cast(e.Key, *to.Key)
			if err != nil {
				return nil, err
			}
			x, err := Cast(e.Value, *to.Elem)
			if err != nil {
				return nil, err
			}
			out[i] = Entry{k, x}
		}
		return out, nil // bytes and strings sort alike
	case List:
		out := make(List, len(v))
		for i, x := range v {
			t := to.Elem
			if to.Kind == Struct {
				t = &to.Fields[i].Type
			}
			x, err := Cast(x, *t)
			if err != nil {
				return nil, err
			}
			out[i] = x
		}
		return out, nil
	}
	return v, nil
}

func castBool(v Value) (Value, error) {
	switch v := v.(type) {
	case int64:
		return v != 0, nil
	case string:
		switch {
		case strings.EqualFold(v, "true"):
			return true, nil
		case strings.EqualFold(v, "false"):
			return false, nil
		}
		return nil, bad(v, "BOOL")
	}
	return v, nil
}

func castInt(v Value) (Value, error) {
	switch v := v.(type) {
	case bool:
		if v {
			return int64(1), nil
		}
		return int64(0), nil
	case float32:
		return intOf(float64(v))
	case float64:
		return intOf(v)
	case string:
		s := strings.TrimSpace(v)
		digits := strings.TrimLeft(s, "+-")
		if len(s)-len(digits) <= 1 && (strings.HasPrefix(digits, "0x") || strings.HasPrefix(digits, "0X")) {
			n, err := strconv.ParseInt(s[:len(s)-len(digits)]+digits[2:], 16, 64)
			if err != nil {
				return nil, bad(v, "INT64")
			}
			return n, nil
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, bad(v, "INT64")
		}
		return n, nil
	}
	return v, nil
}

// intOf rounds halves away from zero.
func intOf(f float64) (Value, error) {
	r := math.Round(f)
	if !(r >= -(1<<63) && r < 1<<63) {
		return nil, fmt.Errorf("%g is out of the range of INT64: %w", f, base.ErrInvalid)
	}
	return int64(r), nil
}

func castFloat64(v Value) (Value, error) {
	switch v := v.(type) {
	case int64:
		return float64(v), nil
	case float32:
		return float64(v), nil
	case string:
		f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		if err != nil || strings.ContainsAny(v, "_xX") {
			return nil, bad(v, "FLOAT64")
		}
		return f, nil
	}
	return v, nil
}

func castFloat32(v Value) (Value, error) {
	f, err := castFloat64(v)
	if err != nil {
		return nil, err
	}
	d := f.(float64)
	if !math.IsInf(d, 0) && math.IsInf(float64(float32(d)), 0) {
		return nil, fmt.Errorf("%g is out of the range of FLOAT32: %w", d, base.ErrInvalid)
	}
	return float32(d), nil
}

func castString(v Value) (Value, error) {
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float32:
		return formatFloat(float64(v), 32), nil
	case float64:
		return formatFloat(v, 64), nil
	case []byte:
		if !utf8.Valid(v) {
			return nil, fmt.Errorf("BYTES are not valid UTF-8 and cannot be cast to STRING: %w", base.ErrInvalid)
		}
		return string(v), nil
	case Time:
		return v.String(), nil
	case Day:
		return v.String(), nil
	}
	return v, nil
}

func formatFloat(f float64, bits int) string {
	switch {
	case f != f:
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	format := byte('g')
	if a := math.Abs(f); a == 0 || a >= 1e-4 && a < 1e15 {
		format = 'f'
	}
	return strconv.FormatFloat(f, format, -1, bits)
}

func bad(s, to string) error {
	return fmt.Errorf("%q is not a valid %s: %w", clip(s), to, base.ErrInvalid)
}
