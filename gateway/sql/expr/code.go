package expr

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"unicode/utf8"

	"github.com/tabletdb/tabletdb/gateway/sql/value"
	"github.com/tabletdb/tabletdb/internal/base"
)

// codeFunctions convert between bytes and what they encode. Numbers are big
// endian, as the API's increments store them.
var codeFunctions = []function{
	fn("TO_INT64", "B:I", func(a []value.Value) (value.Value, error) {
		b, err := sized(a[0], 8)
		if err != nil {
			return nil, err
		}
		return int64(binary.BigEndian.Uint64(b)), nil
	}),
	fn("TO_FLOAT64", "B:D", func(a []value.Value) (value.Value, error) {
		b, err := sized(a[0], 8)
		if err != nil {
			return nil, err
		}
		return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
	}),
	fn("TO_FLOAT32", "B:F", func(a []value.Value) (value.Value, error) {
		b, err := sized(a[0], 4)
		if err != nil {
			return nil, err
		}
		return math.Float32frombits(binary.BigEndian.Uint32(b)), nil
	}),
	fn("FROM_INT64", "I:B", func(a []value.Value) (value.Value, error) {
		return binary.BigEndian.AppendUint64(nil, uint64(a[0].(int64))), nil
	}),
	fn("TO_VECTOR32", "B:[F", func(a []value.Value) (value.Value, error) {
		b := a[0].([]byte)
		if len(b)%4 != 0 {
			return nil, fmt.Errorf("%d bytes, want a multiple of 4: %w", len(b), base.ErrInvalid)
		}
		out := make(value.List, len(b)/4)
		for i := range out {
			out[i] = math.Float32frombits(binary.BigEndian.Uint32(b[4*i:]))
		}
		return out, nil
	}),
	fn("TO_VECTOR64", "B:[D", func(a []value.Value) (value.Value, error) {
		b := a[0].([]byte)
		if len(b)%8 != 0 {
			return nil, fmt.Errorf("%d bytes, want a multiple of 8: %w", len(b), base.ErrInvalid)
		}
		out := make(value.List, len(b)/8)
		for i := range out {
			out[i] = math.Float64frombits(binary.BigEndian.Uint64(b[8*i:]))
		}
		return out, nil
	}),
	fn("COSINE_DISTANCE", "[D[D:D", distance(func(xx, xy, yy, _ float64) (float64, error) {
		if xx == 0 || yy == 0 {
			return 0, errZero
		}
		return 1 - xy/math.Sqrt(xx)/math.Sqrt(yy), nil
	})),
	fn("EUCLIDEAN_DISTANCE", "[D[D:D", distance(func(_, _, _, dd float64) (float64, error) { return math.Sqrt(dd), nil })),
	fn("DOT_PRODUCT", "[D[D:D", distance(func(_, xy, _, _ float64) (float64, error) { return xy, nil })),
	fn("BIT_COUNT", "I:I", func(a []value.Value) (value.Value, error) {
		return int64(bits.OnesCount64(uint64(a[0].(int64)))), nil
	}),
	fn("TO_HEX", "B:S", func(a []value.Value) (value.Value, error) { return hex.EncodeToString(a[0].([]byte)), nil }),
	fn("FROM_HEX", "S:B", func(a []value.Value) (value.Value, error) {
		s := a[0].(string)
		if len(s)%2 == 1 {
			s = "0" + s
		}
		return decoded(hex.DecodeString(s))
	}),
	fn("TO_BASE64", "B:S", func(a []value.Value) (value.Value, error) {
		return base64.StdEncoding.EncodeToString(a[0].([]byte)), nil
	}),
	fn("FROM_BASE64", "S:B", func(a []value.Value) (value.Value, error) {
		return decoded(base64.StdEncoding.DecodeString(a[0].(string)))
	}),
	fn("TO_BASE32", "B:S", func(a []value.Value) (value.Value, error) {
		return base32.StdEncoding.EncodeToString(a[0].([]byte)), nil
	}),
	fn("FROM_BASE32", "S:B", func(a []value.Value) (value.Value, error) {
		return decoded(base32.StdEncoding.DecodeString(a[0].(string)))
	}),
	fn("SAFE_CONVERT_BYTES_TO_STRING", "B:S", func(a []value.Value) (value.Value, error) {
		return strings.ToValidUTF8(string(a[0].([]byte)), "\uFFFD"), nil
	}),
	fn("TO_CODE_POINTS", "S:[I", func(a []value.Value) (value.Value, error) {
		out := value.List{}
		for _, r := range a[0].(string) {
			out = append(out, int64(r))
		}
		return out, nil
	}),
	fn("TO_CODE_POINTS", "B:[I", func(a []value.Value) (value.Value, error) {
		out := value.List{}
		for _, c := range a[0].([]byte) {
			out = append(out, int64(c))
		}
		return out, nil
	}),
	fn("CODE_POINTS_TO_STRING", "[I:S", func(a []value.Value) (value.Value, error) {
		var out []byte
		for _, v := range a[0].(value.List) {
			if v == nil {
				return nil, nil
			}
			n := v.(int64)
			if n < 0 || n > utf8.MaxRune || !utf8.ValidRune(rune(n)) {
				return nil, fmt.Errorf("code point %d: %w", n, base.ErrInvalid)
			}
			out = utf8.AppendRune(out, rune(n))
		}
		return string(out), nil
	}),
	fn("CODE_POINTS_TO_BYTES", "[I:B", func(a []value.Value) (value.Value, error) {
		out := []byte{}
		for _, v := range a[0].(value.List) {
			if v == nil {
				return nil, nil
			}
			n := v.(int64)
			if n < 0 || n > 255 {
				return nil, fmt.Errorf("byte %d: %w", n, base.ErrInvalid)
			}
			out = append(out, byte(n))
		}
		return out, nil
	}),
	fn("MD5", "B:B", hash(func(b []byte) []byte { h := md5.Sum(b); return h[:] })),
	fn("SHA1", "B:B", hash(func(b []byte) []byte { h := sha1.Sum(b); return h[:] })),
	fn("SHA256", "B:B", hash(func(b []byte) []byte { h := sha256.Sum256(b); return h[:] })),
	fn("SHA512", "B:B", hash(func(b []byte) []byte { h := sha512.Sum512(b); return h[:] })),
	fn("MD5", "S:B", hash(func(b []byte) []byte { h := md5.Sum(b); return h[:] })),
	fn("SHA1", "S:B", hash(func(b []byte) []byte { h := sha1.Sum(b); return h[:] })),
	fn("SHA256", "S:B", hash(func(b []byte) []byte { h := sha256.Sum256(b); return h[:] })),
	fn("SHA512", "S:B", hash(func(b []byte) []byte { h := sha512.Sum512(b); return h[:] })),
}

// sized returns the bytes of v, which must be n.
func sized(v value.Value, n int) ([]byte, error) {
	b := v.([]byte)
	if len(b) != n {
		return nil, fmt.Errorf("%d bytes, want %d: %w", len(b), n, base.ErrInvalid)
	}
	return b, nil
}

func decoded(b []byte, err error) (value.Value, error) {
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, base.ErrInvalid)
	}
	return b, nil
}

func hash(f func([]byte) []byte) func([]value.Value) (value.Value, error) {
	return func(a []value.Value) (value.Value, error) {
		if s, ok := a[0].(string); ok {
			return f([]byte(s)), nil
		}
		return f(a[0].([]byte)), nil
	}
}

// distance gives f the sums of x*x, x*y, y*y and (x-y)^2 over two vectors.
func distance(f func(xx, xy, yy, dd float64) (float64, error)) func([]value.Value) (value.Value, error) {
	return func(a []value.Value) (value.Value, error) {
		x, y := a[0].(value.List), a[1].(value.List)
		if len(x) != len(y) {
			return nil, fmt.Errorf("vectors have %d and %d elements: %w", len(x), len(y), base.ErrInvalid)
		}
		var xx, xy, yy, dd float64
		for i := range x {
			if x[i] == nil || y[i] == nil {
				return nil, fmt.Errorf("element %d is NULL: %w", i, base.ErrInvalid)
			}
			p, q := x[i].(float64), y[i].(float64)
			xx, xy, yy, dd = xx+p*p, xy+p*q, yy+q*q, dd+(p-q)*(p-q)
		}
		z, err := f(xx, xy, yy, dd)
		if err != nil {
			return nil, err
		}
		return z, nil
	}
}
