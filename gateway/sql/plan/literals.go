package plan

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/cloudspannerecosystem/memefish/ast"

	"github.com/tabletdb/tabletdb/gateway/sql/expr"
	"github.com/tabletdb/tabletdb/gateway/sql/value"
)

// literal analyzes what stands for itself.
func (a *analyzer) literal(n ast.Expr) (expr.Expr, error) {
	switch n := n.(type) {
	case *ast.NullLiteral:
		return expr.NewConst(value.Of(value.Unknown), nil), nil
	case *ast.BoolLiteral:
		return expr.NewConst(value.Of(value.Bool), n.Value), nil
	case *ast.IntLiteral:
		return a.integerLiteral(n, "")
	case *ast.FloatLiteral:
		f, err := strconv.ParseFloat(n.Value, 64)
		if err != nil {
			return nil, a.invalid(n, "%s is out of the range of FLOAT64", n.Value)
		}
		return expr.NewConst(value.Of(value.Float64), f), nil
	case *ast.StringLiteral:
		return expr.NewConst(value.Of(value.String), strings.ToValidUTF8(n.Value, "\uFFFD")), nil
	case *ast.BytesLiteral:
		return expr.NewConst(value.Of(value.Bytes), append([]byte{}, n.Value...)), nil
	case *ast.DateLiteral:
		return expr.Coerce(expr.NewConst(value.Of(value.String), n.Value.Value), value.Of(value.Date))
	case *ast.TimestampLiteral:
		return expr.Coerce(expr.NewConst(value.Of(value.String), n.Value.Value), value.Of(value.Timestamp))
	case *ast.ArrayLiteral:
		return a.array(n)
	case *ast.TupleStructLiteral:
		xs, err := a.exprs(n.Values)
		if err != nil {
			return nil, err
		}
		return expr.NewStruct(make([]string, len(xs)), xs), nil
	case *ast.TypelessStructLiteral:
		return a.structOf(n)
	case *ast.TypedStructLiteral:
		return a.typedStruct(n)
	case *ast.ScalarSubQuery, *ast.ArraySubQuery, *ast.ExistsSubQuery:
		return nil, unsupported(a.sql, n, "subquery")
	}
	kind := strings.TrimPrefix(reflect.TypeOf(n).String(), "*ast.")
	return nil, unsupported(a.sql, n, "expression of kind "+kind)
}

func (a *analyzer) integerLiteral(n *ast.IntLiteral, sign string) (expr.Expr, error) {
	digits := n.Value
	if n.Base == 16 {
		digits = strings.TrimPrefix(strings.TrimPrefix(digits, "0x"), "0X")
	}
	i, err := strconv.ParseInt(sign+digits, n.Base, 64)
	if err != nil {
		return nil, a.invalid(n, "%s%s is out of the range of INT64", sign, n.Value)
	}
	return expr.NewConst(value.Of(value.Int64), i), nil
}

func (a *analyzer) array(n *ast.ArrayLiteral) (expr.Expr, error) {
	xs, err := a.exprs(n.Values)
	if err != nil {
		return nil, err
	}
	elem := value.Of(value.Unknown)
	if n.Type != nil {
		if elem, err = a.typeOf(n.Type); err != nil {
			return nil, err
		}
	}
	return expr.NewArray(elem, xs)
}

func (a *analyzer) structOf(n *ast.TypelessStructLiteral) (expr.Expr, error) {
	names, xs := make([]string, len(n.Values)), make([]expr.Expr, len(n.Values))
	for i, v := range n.Values {
		var err error
		switch v := v.(type) {
		case *ast.ExprArg:
			names[i] = a.implicitName(v.Expr)
			xs[i], err = a.expr(v.Expr)
		case *ast.Alias:
			names[i] = v.As.Alias.Name
			xs[i], err = a.expr(v.Expr)
		default:
			err = unsupported(a.sql, v, "this field of a STRUCT")
		}
		if err != nil {
			return nil, err
		}
	}
	return expr.NewStruct(names, xs), nil
}

func (a *analyzer) typedStruct(n *ast.TypedStructLiteral) (expr.Expr, error) {
	if len(n.Fields) != len(n.Values) {
		return nil, a.invalid(n, "STRUCT has %d fields and %d values", len(n.Fields), len(n.Values))
	}
	names, xs := make([]string, len(n.Values)), make([]expr.Expr, len(n.Values))
	for i, f := range n.Fields {
		t, err := a.typeOf(f.Type)
		if err != nil {
			return nil, err
		}
		if f.Ident != nil {
			names[i] = f.Ident.Name
		}
		x, err := a.expr(n.Values[i])
		if err != nil {
			return nil, err
		}
		if xs[i], err = expr.Coerce(x, t); err != nil {
			return nil, a.fail(n.Values[i], err)
		}
	}
	return expr.NewStruct(names, xs), nil
}

// typeOf resolves the name of a type.
func (a *analyzer) typeOf(n ast.Type) (value.Type, error) {
	switch n := n.(type) {
	case *ast.SimpleType:
		switch n.Name {
		case ast.BoolTypeName:
			return value.Of(value.Bool), nil
		case ast.Int64TypeName:
			return value.Of(value.Int64), nil
		case ast.Float32TypeName:
			return value.Of(value.Float32), nil
		case ast.Float64TypeName:
			return value.Of(value.Float64), nil
		case ast.StringTypeName:
			return value.Of(value.String), nil
		case ast.BytesTypeName:
			return value.Of(value.Bytes), nil
		case ast.DateTypeName:
			return value.Of(value.Date), nil
		case ast.TimestampTypeName:
			return value.Of(value.Timestamp), nil
		}
	case *ast.ArrayType:
		elem, err := a.typeOf(n.Item)
		if err == nil && elem.Kind == value.Array {
			err = a.invalid(n, "array of arrays")
		}
		return value.ArrayOf(elem), err
	case *ast.StructType:
		fields := make([]value.Field, len(n.Fields))
		for i, f := range n.Fields {
			t, err := a.typeOf(f.Type)
			if err != nil {
				return value.Type{}, err
			}
			if fields[i].Type = t; f.Ident != nil {
				fields[i].Name = f.Ident.Name
			}
		}
		return value.StructOf(fields...), nil
	}
	return value.Type{}, unsupported(a.sql, n, "type "+n.SQL())
}
