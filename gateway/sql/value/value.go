package value

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"strings"
	"unsafe"
)

// Value is a value of some Type, which has to be known to read it. Its dynamic
// type is nil for NULL, and otherwise by kind:
//
//	BOOL bool           STRING string     ARRAY  List
//	INT64 int64         BYTES []byte      STRUCT List, a value for each field
//	FLOAT32 float32     TIMESTAMP Time    MAP    Dict
//	FLOAT64 float64     DATE Day
type Value any

// Time is a point in time in microseconds since 1970-01-01 00:00:00 UTC.
type Time int64

// Day is a date in days since 1970-01-01.
type Day int32

// List is the elements of an array or the fields of a struct.
type List []Value

// Dict is the entries of a map, in the ascending order of their keys, which
// are not NULL.
type Dict []Entry

// Entry is one entry of a Dict.
type Entry struct{ Key, Value Value }

// Get returns the value of key in d; false: there is none.
func (d Dict) Get(key Value) (Value, bool) {
	lo, hi := 0, len(d)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		switch c := Compare(d[mid].Key, key); {
		case c == 0:
			return d[mid].Value, true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return nil, false
}

// Compare orders values of one scalar type: NULL first, then NaN, then the
// rest in their natural order; strings and bytes by their bytes. Values of
// different types are ordered by an order of the types.
func Compare(a, b Value) int {
	if d := cmp.Compare(rank(a), rank(b)); d != 0 {
		return d
	}
	switch a := a.(type) {
	case bool:
		switch {
		case a == b.(bool):
			return 0
		case a:
			return 1
		}
		return -1
	case int64:
		return cmp.Compare(a, b.(int64))
	case float32:
		return cmp.Compare(a, b.(float32))
	case float64:
		return cmp.Compare(a, b.(float64))
	case string:
		return strings.Compare(a, b.(string))
	case []byte:
		return bytes.Compare(a, b.([]byte))
	case Time:
		return cmp.Compare(a, b.(Time))
	case Day:
		return cmp.Compare(a, b.(Day))
	case List:
		return compareLists(a, b.(List))
	}
	return 0
}

func compareLists(a, b List) int {
	for i := range min(len(a), len(b)) {
		if d := Compare(a[i], b[i]); d != 0 {
			return d
		}
	}
	return cmp.Compare(len(a), len(b))
}

// rank is the order of the types among each other.
func rank(v Value) int {
	switch v.(type) {
	case nil:
		return 0
	case bool:
		return 1
	case int64:
		return 2
	case float32:
		return 3
	case float64:
		return 4
	case string:
		return 5
	case []byte:
		return 6
	case Time:
		return 7
	case Day:
		return 8
	case List:
		return 9
	}
	return 10
}

// IsNaN reports whether v is a float that is not a number.
func IsNaN(v Value) bool {
	switch v := v.(type) {
	case float32:
		return v != v
	case float64:
		return v != v
	}
	return false
}

// Equal is the operator = of SQL over values of one type: true, false, or nil
// where a NULL leaves it open.
func Equal(a, b Value) Value {
	switch {
	case a == nil || b == nil:
		return nil
	case IsNaN(a) || IsNaN(b):
		return false
	}
	x, ok := a.(List)
	if !ok {
		return Compare(a, b) == 0
	}
	y, ok := b.(List)
	if !ok || len(x) != len(y) {
		return false
	}
	var open bool
	for i := range x {
		switch Equal(x[i], y[i]) {
		case false:
			return false
		case nil:
			open = true
		}
	}
	if open {
		return nil
	}
	return true
}

// AppendKey appends a form of v to dst that is the same for values that GROUP
// BY and DISTINCT hold for one, and different for others.
func AppendKey(dst []byte, v Value) []byte {
	dst = append(dst, byte(rank(v)))
	word := func(u uint64) []byte { return binary.BigEndian.AppendUint64(dst, u) }
	switch v := v.(type) {
	case bool:
		if v {
			return append(dst, 1)
		}
		return append(dst, 0)
	case int64:
		return word(uint64(v))
	case float32:
		return word(floatBits(float64(v)))
	case float64:
		return word(floatBits(v))
	case string:
		return append(word(uint64(len(v))), v...)
	case []byte:
		return append(word(uint64(len(v))), v...)
	case Time:
		return word(uint64(v))
	case Day:
		return word(uint64(v))
	case List:
		dst = word(uint64(len(v)))
		for _, x := range v {
			dst = AppendKey(dst, x)
		}
	case Dict:
		dst = word(uint64(len(v)))
		for _, e := range v {
			dst = AppendKey(AppendKey(dst, e.Key), e.Value)
		}
	}
	return dst
}

// floatBits is the same for all NaNs, and for both zeros.
func floatBits(f float64) uint64 {
	switch {
	case f != f:
		return math.Float64bits(math.NaN())
	case f == 0:
		return 0
	}
	return math.Float64bits(f)
}

// Size returns about how many bytes v takes in memory.
func Size(v Value) int {
	n := int(unsafe.Sizeof(v))
	switch v := v.(type) {
	case string:
		n += len(v)
	case []byte:
		n += len(v) + 16
	case List:
		for _, x := range v {
			n += Size(x)
		}
	case Dict:
		for _, e := range v {
			n += Size(e.Key) + Size(e.Value)
		}
	default:
		n += 8
	}
	return n
}
