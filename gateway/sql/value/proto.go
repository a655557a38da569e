package value

import (
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/genproto/googleapis/type/date"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tabletdb/tabletdb/internal/base"
)

// maxDepth bounds the nesting of types that come from outside.
const maxDepth = 16

// TypeFromProto returns the type that p describes, which is one that a
// parameter may have: a scalar, or an array of scalars. An error wraps
// base.ErrInvalid.
func TypeFromProto(p *bigtablepb.Type) (Type, error) { return typeFromProto(p, 0) }

func typeFromProto(p *bigtablepb.Type, depth int) (Type, error) {
	if depth > maxDepth {
		return Type{}, fmt.Errorf("type is nested more than %d deep: %w", maxDepth, base.ErrInvalid)
	}
	switch k := p.GetKind().(type) {
	case *bigtablepb.Type_BoolType:
		return Of(Bool), nil
	case *bigtablepb.Type_Int64Type:
		return Of(Int64), nil
	case *bigtablepb.Type_Float32Type:
		return Of(Float32), nil
	case *bigtablepb.Type_Float64Type:
		return Of(Float64), nil
	case *bigtablepb.Type_StringType:
		return Of(String), nil
	case *bigtablepb.Type_BytesType:
		return Of(Bytes), nil
	case *bigtablepb.Type_TimestampType:
		return Of(Timestamp), nil
	case *bigtablepb.Type_DateType:
		return Of(Date), nil
	case *bigtablepb.Type_ArrayType:
		elem, err := typeFromProto(k.ArrayType.GetElementType(), depth+1)
		if err != nil {
			return Type{}, err
		}
		if elem.Kind == Array {
			return Type{}, fmt.Errorf("array of arrays: %w", base.ErrInvalid)
		}
		return ArrayOf(elem), nil
	case nil:
		return Type{}, fmt.Errorf("type is not set: %w", base.ErrInvalid)
	default:
		return Type{}, fmt.Errorf("type %T cannot be that of a parameter: %w", k, base.ErrInvalid)
	}
}

// Proto returns t in the form of the API, without encodings, as result sets
// have it.
func (t Type) Proto() *bigtablepb.Type {
	switch t.Kind {
	case Bool:
		return &bigtablepb.Type{Kind: &bigtablepb.Type_BoolType{BoolType: &bigtablepb.Type_Bool{}}}
	case Float32:
		return &bigtablepb.Type{Kind: &bigtablepb.Type_Float32Type{Float32Type: &bigtablepb.Type_Float32{}}}
	case Float64:
		return &bigtablepb.Type{Kind: &bigtablepb.Type_Float64Type{Float64Type: &bigtablepb.Type_Float64{}}}
	case String:
		return &bigtablepb.Type{Kind: &bigtablepb.Type_StringType{StringType: &bigtablepb.Type_String{}}}
	case Bytes:
		return &bigtablepb.Type{Kind: &bigtablepb.Type_BytesType{BytesType: &bigtablepb.Type_Bytes{}}}
	case Timestamp:
		return &bigtablepb.Type{Kind: &bigtablepb.Type_TimestampType{TimestampType: &bigtablepb.Type_Timestamp{}}}
	case Date:
		return &bigtablepb.Type{Kind: &bigtablepb.Type_DateType{DateType: &bigtablepb.Type_Date{}}}
	case Array:
		return &bigtablepb.Type{Kind: &bigtablepb.Type_ArrayType{ArrayType: &bigtablepb.Type_Array{ElementType: t.Elem.Proto()}}}
	case Map:
		return &bigtablepb.Type{Kind: &bigtablepb.Type_MapType{
			MapType: &bigtablepb.Type_Map{KeyType: t.Key.Proto(), ValueType: t.Elem.Proto()}}}
	case Struct:
		s := &bigtablepb.Type_Struct{}
		for _, f := range t.Fields {
			s.Fields = append(s.Fields, &bigtablepb.Type_Struct_Field{FieldName: f.Name, Type: f.Type.Proto()})
		}
		return &bigtablepb.Type{Kind: &bigtablepb.Type_StructType{StructType: s}}
	}
	return &bigtablepb.Type{Kind: &bigtablepb.Type_Int64Type{Int64Type: &bigtablepb.Type_Int64{}}}
}

// ToProto returns v in the form of the API, without its type. It shares the
// bytes of v.
func ToProto(v Value) *bigtablepb.Value {
	switch v := v.(type) {
	case bool:
		return &bigtablepb.Value{Kind: &bigtablepb.Value_BoolValue{BoolValue: v}}
	case int64:
		return &bigtablepb.Value{Kind: &bigtablepb.Value_IntValue{IntValue: v}}
	case float32:
		return &bigtablepb.Value{Kind: &bigtablepb.Value_FloatValue{FloatValue: float64(v)}}
	case float64:
		return &bigtablepb.Value{Kind: &bigtablepb.Value_FloatValue{FloatValue: v}}
	case string:
		return &bigtablepb.Value{Kind: &bigtablepb.Value_StringValue{StringValue: v}}
	case []byte:
		return &bigtablepb.Value{Kind: &bigtablepb.Value_BytesValue{BytesValue: v}}
	case Time:
		return &bigtablepb.Value{Kind: &bigtablepb.Value_TimestampValue{TimestampValue: timestamppb.New(v.UTC())}}
	case Day:
		y, m, d := v.UTC().Date()
		return &bigtablepb.Value{Kind: &bigtablepb.Value_DateValue{
			DateValue: &date.Date{Year: int32(y), Month: int32(m), Day: int32(d)}}}
	case List:
		return listToProto(v)
	case Dict:
		entries := make(List, len(v))
		for i, e := range v {
			entries[i] = List{e.Key, e.Value}
		}
		return listToProto(entries)
	}
	return &bigtablepb.Value{}
}

func listToProto(l List) *bigtablepb.Value {
	a := &bigtablepb.ArrayValue{Values: make([]*bigtablepb.Value, len(l))}
	for i, v := range l {
		a.Values[i] = ToProto(v)
	}
	return &bigtablepb.Value{Kind: &bigtablepb.Value_ArrayValue{ArrayValue: a}}
}

// FromProto returns the value of type t that p holds; a p without a kind is
// NULL. The type of p, if it has one, is the caller's to check; parts must
// have none. It keeps the bytes of p. An error wraps base.ErrInvalid.
func FromProto(p *bigtablepb.Value, t Type) (Value, error) {
	mismatch := func() (Value, error) {
		return nil, fmt.Errorf("value of kind %T for type %s: %w", p.GetKind(), t, base.ErrInvalid)
	}
	switch k := p.GetKind().(type) {
	case nil:
		return nil, nil
	case *bigtablepb.Value_BoolValue:
		if t.Kind == Bool {
			return k.BoolValue, nil
		}
	case *bigtablepb.Value_IntValue:
		if t.Kind == Int64 {
			return k.IntValue, nil
		}
	case *bigtablepb.Value_FloatValue:
		switch t.Kind {
		case Float32:
			if f := k.FloatValue; !math.IsInf(f, 0) && math.IsInf(float64(float32(f)), 0) {
				return nil, fmt.Errorf("%g is out of the range of FLOAT32: %w", f, base.ErrInvalid)
			}
			return float32(k.FloatValue), nil
		case Float64:
			return k.FloatValue, nil
		}
	case *bigtablepb.Value_StringValue:
		if t.Kind == String {
			if !utf8.ValidString(k.StringValue) {
				return nil, fmt.Errorf("STRING is not valid UTF-8: %w", base.ErrInvalid)
			}
			return k.StringValue, nil
		}
	case *bigtablepb.Value_BytesValue:
		if t.Kind == Bytes {
			if k.BytesValue == nil {
				return []byte{}, nil
			}
			return k.BytesValue, nil
		}
	case *bigtablepb.Value_TimestampValue:
		if t.Kind == Timestamp {
			return timeFromProto(k.TimestampValue)
		}
	case *bigtablepb.Value_DateValue:
		if t.Kind == Date {
			d := k.DateValue
			return NewDay(int64(d.GetYear()), int64(d.GetMonth()), int64(d.GetDay()))
		}
	case *bigtablepb.Value_ArrayValue:
		if t.Kind == Array {
			return listFromProto(k.ArrayValue, *t.Elem)
		}
	}
	return mismatch()
}

func timeFromProto(p *timestamppb.Timestamp) (Value, error) {
	if err := p.CheckValid(); err != nil {
		return nil, fmt.Errorf("TIMESTAMP: %w: %w", err, base.ErrInvalid)
	}
	return Time(p.AsTime().Truncate(time.Microsecond).UnixMicro()), nil
}

func listFromProto(p *bigtablepb.ArrayValue, elem Type) (Value, error) {
	l := make(List, len(p.GetValues()))
	for i, e := range p.GetValues() {
		if e.GetType() != nil {
			return nil, fmt.Errorf("element %d of an array has a type of its own: %w", i, base.ErrInvalid)
		}
		v, err := FromProto(e, elem)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		l[i] = v
	}
	return l, nil
}
