// Package value holds the types and values of the SQL dialect: what an
// expression has and yields, how values compare, convert, and travel in the
// messages of the API. It is pure; values are immutable once made and may be
// shared.
package value

import "strings"

// Kind is what a Type is.
type Kind uint8

// The kinds of types.
const (
	// Unknown is the type of a NULL, or the elements of an array, that nothing
	// tells more about. It coerces to every type and is INT64 in a result.
	Unknown Kind = iota
	Bool
	Int64
	Float32
	Float64
	String
	Bytes
	Timestamp
	Date
	Array
	Struct
	Map
)

// Type is a type of the dialect. Types are compared with Equal.
type Type struct {
	Kind   Kind
	Key    *Type   // of the keys of a Map
	Elem   *Type   // of the elements of an Array, of the values of a Map
	Fields []Field // of a Struct
}

// Field is one field of a Struct; its name may be empty.
type Field struct {
	Name string
	Type Type
}

// Of returns the scalar type of kind k.
func Of(k Kind) Type { return Type{Kind: k} }

// ArrayOf returns the type ARRAY<elem>.
func ArrayOf(elem Type) Type { return Type{Kind: Array, Elem: &elem} }

// MapOf returns the type MAP<key, elem>.
func MapOf(key, elem Type) Type { return Type{Kind: Map, Key: &key, Elem: &elem} }

// StructOf returns the type STRUCT<fields...>.
func StructOf(fields ...Field) Type { return Type{Kind: Struct, Fields: fields} }

// Equal reports whether t and o are the same type, names of fields included.
func (t Type) Equal(o Type) bool {
	if t.Kind != o.Kind || len(t.Fields) != len(o.Fields) {
		return false
	}
	for i, f := range t.Fields {
		if f.Name != o.Fields[i].Name || !f.Type.Equal(o.Fields[i].Type) {
			return false
		}
	}
	same := func(a, b *Type) bool { return a == nil && b == nil || a != nil && b != nil && a.Equal(*b) }
	return same(t.Key, o.Key) && same(t.Elem, o.Elem)
}

// IsNumber reports whether t is INT64, FLOAT32 or FLOAT64.
func (t Type) IsNumber() bool { return t.Kind == Int64 || t.IsFloat() }

// IsFloat reports whether t is FLOAT32 or FLOAT64.
func (t Type) IsFloat() bool { return t.Kind == Float32 || t.Kind == Float64 }

// IsScalar reports whether values of t have no parts.
func (t Type) IsScalar() bool { return t.Kind < Array }

// Ordered reports whether values of t can be compared with < and sorted.
func (t Type) Ordered() bool { return t.IsScalar() }

// Comparable reports whether values of t can be compared with = and grouped.
func (t Type) Comparable() bool {
	switch t.Kind {
	case Array, Map:
		return false
	case Struct:
		for _, f := range t.Fields {
			if !f.Type.Comparable() {
				return false
			}
		}
	}
	return true
}

// Known returns t with INT64 in place of Unknown: the type as a client sees it.
func (t Type) Known() Type {
	switch t.Kind {
	case Unknown:
		return Of(Int64)
	case Array:
		return ArrayOf(t.Elem.Known())
	case Map:
		return MapOf(t.Key.Known(), t.Elem.Known())
	case Struct:
		fields := make([]Field, len(t.Fields))
		for i, f := range t.Fields {
			fields[i] = Field{Name: f.Name, Type: f.Type.Known()}
		}
		return StructOf(fields...)
	}
	return t
}

// names are those of the scalar kinds.
var names = [...]string{
	Unknown: "NULL", Bool: "BOOL", Int64: "INT64", Float32: "FLOAT32", Float64: "FLOAT64",
	String: "STRING", Bytes: "BYTES", Timestamp: "TIMESTAMP", Date: "DATE",
}

// String returns t as SQL spells it.
func (t Type) String() string {
	switch t.Kind {
	case Array:
		return "ARRAY<" + t.Elem.String() + ">"
	case Map:
		return "MAP<" + t.Key.String() + ", " + t.Elem.String() + ">"
	case Struct:
		parts := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			parts[i] = strings.TrimSpace(f.Name + " " + f.Type.String())
		}
		return "STRUCT<" + strings.Join(parts, ", ") + ">"
	}
	return names[t.Kind]
}
