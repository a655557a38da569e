package lint

import (
	"go/ast"
	"strings"
	"testing"
)

// TestSleepsAreInBubbles: a test sleeps in the fake time of a synctest bubble
// only; a sleep in real time is a race that somebody has bet on.
//
// It goes by names, without types: a function literal is in a bubble if it is
// given to synctest.Test, or to a function that calls its parameter in one, or
// stands in such a literal; a function is if everything that names it is. A sleep
// that is in one where names do not show it says so: "// fake time".
func TestSleepsAreInBubbles(t *testing.T) {
	packages := map[string][]*file{}
	var all []*file
	for _, f := range load(t) {
		if f.test || testOnly(f.pkg()) {
			packages[f.pkg()] = append(packages[f.pkg()], f)
			all = append(all, f)
		}
	}
	wrappers := wrappersOf(all)
	for pkg, files := range packages {
		b := &bubbles{wrappers: wrappers, inside: map[string]bool{}, suite: testOnly(pkg)}
		marked := markedLines(files)
		for _, n := range b.sleepsOutside(files) {
			if p := fset.Position(n.Pos()); !marked[line{p.Filename, p.Line}] {
				t.Errorf("%s: time.Sleep outside a synctest bubble; wait for what you wait for", p)
			}
		}
	}
}

// line is a line of a file.
type line struct {
	file string
	n    int
}

// markedLines returns the lines with the comment "// fake time".
func markedLines(files []*file) map[line]bool {
	marked := map[line]bool{}
	for _, f := range files {
		for _, g := range f.ast.Comments {
			for _, c := range g.List {
				if strings.HasPrefix(c.Text, "// fake time") {
					p := fset.Position(c.Pos())
					marked[line{p.Filename, p.Line}] = true
				}
			}
		}
	}
	return marked
}

// wrappersOf finds the functions that run a parameter in a bubble.
func wrappersOf(files []*file) map[string]bool {
	wrappers := map[string]bool{"Test": true} // synctest.Test
	for changed := true; changed; {
		changed = false
		for _, f := range files {
			for _, d := range f.ast.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || fn.Body == nil || wrappers[fn.Name.Name] {
					continue
				}
				b := &bubbles{wrappers: wrappers, inside: map[string]bool{}}
				b.walk(fn.Body, false, func(n ast.Node, inside bool) {
					if id, ok := n.(*ast.Ident); ok && inside && isFuncParam(fn, id.Name) {
						wrappers[fn.Name.Name], changed = true, true
					}
				})
			}
		}
	}
	return wrappers
}

// isFuncParam reports whether name is a parameter of fn that is a function.
func isFuncParam(fn *ast.FuncDecl, name string) bool {
	for _, p := range fn.Type.Params.List {
		if _, ok := p.Type.(*ast.FuncType); !ok {
			continue
		}
		for _, id := range p.Names {
			if id.Name == name {
				return true
			}
		}
	}
	return false
}

// bubbles knows the functions of a package that run in bubbles only.
type bubbles struct {
	wrappers map[string]bool
	inside   map[string]bool
	suite    bool // a package of helpers: what it exports is called by tests that are looked at by themselves
}

// walk visits the nodes below n, and says of each whether it is in a bubble.
func (b *bubbles) walk(n ast.Node, inside bool, visit func(ast.Node, bool)) {
	ast.Inspect(n, func(m ast.Node) bool {
		if m == nil {
			return false
		}
		call, ok := m.(*ast.CallExpr)
		if !ok || inside || !b.wraps(call) {
			visit(m, inside)
			return true
		}
		visit(m, inside)
		for _, a := range call.Args {
			switch a.(type) {
			case *ast.FuncLit, *ast.Ident:
				b.walk(a, true, visit)
			default:
				b.walk(a, false, visit)
			}
		}
		return false
	})
}

// wraps reports whether a call is one of a wrapper, by its name.
func (b *bubbles) wraps(call *ast.CallExpr) bool {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return b.wrappers[f.Name] && f.Name != "Test"
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); f.Sel.Name == "Test" {
			return ok && x.Name == "synctest"
		}
		return b.wrappers[f.Sel.Name]
	}
	return false
}

// sleepsOutside returns the calls of time.Sleep that some test may reach in
// real time. It begins with the belief that every function is in a bubble only,
// and gives it up for those that are named outside of one.
func (b *bubbles) sleepsOutside(files []*file) []ast.Node {
	for _, f := range files {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				b.inside[fn.Name.Name] = b.suite || !isEntry(fn.Name.Name)
			}
		}
	}
	for changed := true; changed; {
		changed = false
		b.each(files, func(n ast.Node, inside bool) {
			if id, ok := n.(*ast.Ident); ok && !inside && b.inside[id.Name] && !b.suite {
				b.inside[id.Name], changed = false, true
			}
		})
	}
	var sleeps []ast.Node
	b.each(files, func(n ast.Node, inside bool) {
		if s, ok := n.(*ast.SelectorExpr); ok && !inside && s.Sel.Name == "Sleep" {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" {
				sleeps = append(sleeps, s)
			}
		}
	})
	return sleeps
}

// each visits what stands in the bodies of functions, and in variables.
func (b *bubbles) each(files []*file, visit func(ast.Node, bool)) {
	for _, f := range files {
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Body != nil {
					b.walk(d.Body, b.inside[d.Name.Name], visit)
				}
			case *ast.GenDecl:
				b.walk(d, false, visit)
			}
		}
	}
}

// isEntry reports whether the testing package calls a function of that name.
func isEntry(name string) bool {
	for _, p := range []string{"Test", "Fuzz", "Benchmark", "Example"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}
