package plan

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cloudspannerecosystem/memefish"
	"github.com/cloudspannerecosystem/memefish/ast"
	"github.com/cloudspannerecosystem/memefish/token"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Limits of the text of a query. They keep the parser, which recurses, within
// its stack.
const (
	MaxQuery  = 1 << 20 // bytes
	maxTokens = 100_000
	maxNested = 100 // brackets, CASE and prefixes within each other
)

// Statement is a parsed query. It is immutable.
type Statement struct {
	sql    string
	sel    *ast.Select
	order  *ast.OrderBy
	limit  *ast.Limit
	table  string // empty: there is no FROM
	alias  string
	args   []*ast.NamedArg // of the table
	within ast.Node        // the FROM
}

// Parse parses the text of a query.
func Parse(sql string) (s *Statement, err error) {
	if sql, err = checkText(sql); err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil { // the parser is not ours, and its input is anyone's
			s, err = nil, fmt.Errorf("syntax error: the query cannot be parsed: %v: %w", p, base.ErrInvalid)
		}
	}()
	p := &memefish.Parser{Lexer: &memefish.Lexer{File: &token.File{Buffer: sql}}}
	st, err := p.ParseStatement()
	if err != nil {
		return nil, syntaxError(err)
	}
	q, ok := st.(*ast.QueryStatement)
	if !ok {
		return nil, unsupported(sql, st, "statement other than SELECT")
	}
	s = &Statement{sql: sql}
	if q.Hint != nil {
		return nil, unsupported(sql, q.Hint, "statement hint")
	}
	return s, s.query(q.Query)
}

// checkText refuses what is too much for the parser, and returns the rest of
// sql without a semicolon at its end.
func checkText(sql string) (string, error) {
	if len(sql) > MaxQuery {
		return "", fmt.Errorf("query has %d bytes, at most %d: %w", len(sql), MaxQuery, base.ErrInvalid)
	}
	lex := &memefish.Lexer{File: &token.File{Buffer: sql}}
	depth, run, types := 0, 0, 0
	for n := 0; ; n++ {
		prev, pos := lex.Token.Kind, lex.Token.Pos
		if err := lex.NextToken(); err != nil {
			return "", syntaxError(err)
		}
		switch lex.Token.Kind {
		case token.TokenEOF:
			if prev == ";" {
				return sql[:pos], nil
			}
			return sql, nil
		case "(", "[", "{", "CASE":
			depth++
		case ")", "]", "}", "END":
			depth = max(depth-1, 0)
		case "<", "<>":
			if prev == "ARRAY" || prev == "STRUCT" {
				types++ // which are not seen to end
			}
		}
		switch lex.Token.Kind {
		case "NOT", "-", "+", "~":
			run++
		default:
			run = 0
		}
		if depth+run+types/10 > maxNested {
			return "", at(sql, lex.Token.Pos, fmt.Errorf("query is nested more than %d deep: %w", maxNested, base.ErrInvalid))
		}
		if n > maxTokens {
			return "", fmt.Errorf("query has more than %d tokens: %w", maxTokens, base.ErrInvalid)
		}
	}
}

// query takes q, the part with ORDER BY and LIMIT, apart.
func (s *Statement) query(q ast.QueryExpr) error {
	switch q := q.(type) {
	case *ast.Select:
		s.sel = q
		return s.selected()
	case *ast.SubQuery:
		return s.query(q.Query)
	case *ast.Query:
		switch {
		case q.With != nil:
			return unsupported(s.sql, q.With, "WITH")
		case q.ForUpdate != nil:
			return unsupported(s.sql, q.ForUpdate, "FOR UPDATE")
		case len(q.PipeOperators) > 0:
			return unsupported(s.sql, q.PipeOperators[0], "pipe operator")
		case s.order != nil || s.limit != nil:
			return unsupported(s.sql, q, "subquery")
		}
		s.order, s.limit = q.OrderBy, q.Limit
		return s.query(q.Query)
	case *ast.CompoundQuery:
		return unsupported(s.sql, q, string(q.Op))
	case *ast.FromQuery:
		return unsupported(s.sql, q, "FROM without SELECT")
	}
	return unsupported(s.sql, q, "subquery")
}

// selected checks the SELECT and looks up its table.
func (s *Statement) selected() error {
	switch {
	case s.sel.As != nil:
		return unsupported(s.sql, s.sel.As, "SELECT AS")
	case s.sel.GroupBy != nil && s.sel.GroupBy.Hint != nil:
		return unsupported(s.sql, s.sel.GroupBy.Hint, "hint")
	case s.sel.From == nil:
		return nil
	}
	s.within = s.sel.From.Source
	switch f := s.sel.From.Source.(type) {
	case *ast.TableName:
		if f.Hint != nil || f.Sample != nil {
			return unsupported(s.sql, f, "hint or sample of a table")
		}
		s.table, s.alias = f.Table.Name, f.Table.Name
		if f.As != nil {
			s.alias = f.As.Alias.Name
		}
		return nil
	case *ast.TVFCallExpr:
		switch {
		case len(f.Name.Idents) != 1:
			return unsupported(s.sql, f, "table with a path for a name")
		case strings.EqualFold(f.Name.Idents[0].Name, "UNPACK"):
			return unsupported(s.sql, f, "UNPACK")
		case len(f.Args) > 0:
			return at(s.sql, f.Args[0].Pos(), fmt.Errorf("a table takes named arguments only: %w", base.ErrInvalid))
		case f.Hint != nil || f.Sample != nil:
			return unsupported(s.sql, f, "hint or sample of a table")
		}
		s.table, s.args = f.Name.Idents[0].Name, f.NamedArgs
		s.alias = s.table
		return nil
	case *ast.PathTableExpr:
		return unsupported(s.sql, f, "table with a path for a name")
	case *ast.Join:
		return unsupported(s.sql, f, "JOIN")
	case *ast.Unnest:
		return unsupported(s.sql, f, "UNNEST in FROM")
	}
	return unsupported(s.sql, s.sel.From.Source, "subquery in FROM")
}

// Table returns the id of the table that the query reads; false: it reads
// none.
func (s *Statement) Table() (string, bool) { return s.table, s.within != nil }

// located is an error that says where it is.
type located struct{ error }

func (l located) Unwrap() error { return l.error }

// at adds the place pos to err, unless it has one.
func at(sql string, pos token.Pos, err error) error {
	var l located
	if err == nil || errors.As(err, &l) || pos < 0 || int(pos) > len(sql) {
		return err
	}
	before := sql[:pos]
	line := strings.Count(before, "\n") + 1
	column := int(pos) - (strings.LastIndexByte(before, '\n') + 1) + 1
	return located{fmt.Errorf("%w [at %d:%d]", err, line, column)}
}

// unsupported names a feature that there is not.
func unsupported(sql string, n ast.Node, what string) error {
	return at(sql, n.Pos(), fmt.Errorf("%s is not supported: %w", what, base.ErrUnimplemented))
}

// syntaxError wraps an error of the parser.
func syntaxError(err error) error {
	var list memefish.MultiError
	if errors.As(err, &list) && len(list) > 0 {
		err = list[0]
	}
	var e *memefish.Error
	if !errors.As(err, &e) || e.Position == nil {
		return fmt.Errorf("%w: %w", err, base.ErrInvalid)
	}
	return located{fmt.Errorf("syntax error: %s: %w [at %d:%d]", e.Message, base.ErrInvalid, e.Position.Line+1, e.Position.Column+1)}
}
