package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/tabletdb/tabletdb/"

// floors is the order of the house: a package imports only packages on lower
// floors and those of its own tree. The longest prefix counts.
var floors = map[string]int{
	"internal/base": 0, "internal/lint": 0, "internal/seedtest": 0, "proto": 0,
	"internal/rpc": 1, "internal/rowset": 1, "internal/gcrule": 1, "internal/mutation": 1, "internal/chunk": 1, "internal/heatmap": 1, "internal/membudget": 1, "internal/admin/output": 1,
	"objstore": 2, "lockservice": 2, "internal/rowfilter": 2, "internal/route": 2,
	"sstable": 3, "wal": 3, "root": 3,
	"meta":         4,
	"client":       5,
	"tabletserver": 6, "master": 6, "gateway": 6,
	"internal/cluster": 7, "internal/status": 7, "client/bulkload": 7,
	"internal/daemon": 8, "internal/admin": 8, "internal/bench": 8, "internal/demo": 8,
	"cmd": 9, "integration": 9,
}

// file is one Go file of the repository.
type file struct {
	path string // from the root
	test bool
	ast  *ast.File
}

func (f *file) pkg() string { return path.Dir(f.path) }

var fset = token.NewFileSet()

// load returns every Go file that we wrote, parsed once for all tests.
func load(t *testing.T) []*file {
	t.Helper()
	files, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("only %d files found", len(files))
	}
	return files
}

var parsed = sync.OnceValues(parse)

func parse() ([]*file, error) {
	root := filepath.Join("..", "..")
	var files []*file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			switch d.Name() {
			case ".git", "bin", "data", "testdata", "node_modules":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, ".pb.go") {
			return nil
		}
		a, err := parser.ParseFile(fset, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		files = append(files, &file{path: rel, test: strings.HasSuffix(p, "_test.go"), ast: a})
		return nil
	})
	return files, err
}

func floorOf(pkg string) (tree string, floor int, ok bool) {
	for p, n := range floors {
		if (pkg == p || strings.HasPrefix(pkg, p+"/")) && len(p) > len(tree) {
			tree, floor, ok = p, n, true
		}
	}
	return tree, floor, ok
}

func TestFloors(t *testing.T) {
	for _, f := range load(t) {
		tree, floor, ok := floorOf(f.pkg())
		if !ok {
			t.Errorf("%s: package %s stands on no floor; add it to the table", f.path, f.pkg())
			continue
		}
		if f.test {
			continue // tests may look up
		}
		for _, i := range f.ast.Imports {
			p := strings.Trim(i.Path.Value, `"`)
			if !strings.HasPrefix(p, module) {
				continue
			}
			p = strings.TrimPrefix(p, module)
			other, n, ok := floorOf(p)
			if testOnly(f.pkg()) || other == tree {
				continue
			}
			if !ok || n >= floor {
				t.Errorf("%s (floor %d) imports %s (floor %d)", f.path, floor, p, n)
			}
		}
	}
}

// testOnly reports whether a package exists for tests: its name says so.
func testOnly(pkg string) bool { return strings.HasSuffix(path.Base(pkg), "test") }

func TestPackageComments(t *testing.T) {
	count := map[string]int{}
	for _, f := range load(t) {
		if f.test || strings.HasPrefix(f.path, "proto/") && !strings.HasPrefix(f.path, "proto/gen/") {
			continue
		}
		if _, ok := count[f.pkg()]; !ok {
			count[f.pkg()] = 0
		}
		if f.ast.Doc != nil {
			count[f.pkg()]++
		}
	}
	for pkg, n := range count {
		if n != 1 {
			t.Errorf("package %s has %d package comments, want 1", pkg, n)
		}
	}
}

func TestNoInitAndNoDefaults(t *testing.T) {
	for _, f := range load(t) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: func init; the caller passes what is needed", f.path)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := s.X.(*ast.Ident)
			if !ok {
				return true
			}
			switch name := x.Name + "." + s.Sel.Name; {
			case name == "slog.Default", name == "slog.SetDefault", !f.test && (name == "log.Printf" || name == "log.Fatal"):
				t.Errorf("%s: %s; a logger is given in the Config", fset.Position(n.Pos()), name)
			case name == "time.Sleep" && !f.test && !testOnly(f.pkg()):
				t.Errorf("%s: time.Sleep; wait for what you wait for, or for a context", fset.Position(n.Pos()))
			}
			return true
		})
	}
}

func imports(f *file, p string) bool {
	return slices.ContainsFunc(f.ast.Imports, func(i *ast.ImportSpec) bool { return strings.Trim(i.Path.Value, `"`) == p })
}

func TestTestingStaysInTests(t *testing.T) {
	for _, f := range load(t) {
		if !f.test && !testOnly(f.pkg()) && imports(f, "testing") {
			t.Errorf("%s imports testing", f.path)
		}
	}
}

var openTask = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)

func TestNoLooseEnds(t *testing.T) {
	for _, f := range load(t) {
		if strings.HasPrefix(f.path, "internal/lint/") {
			continue
		}
		for _, g := range f.ast.Comments {
			if openTask.MatchString(g.Text()) && !strings.Contains(g.Text(), "TODO(#") {
				t.Errorf("%s: an open task without a number: %s", fset.Position(g.Pos()), strings.TrimSpace(g.Text()))
			}
		}
	}
}

// Sizes beyond which a file or function must be cut.
const (
	maxFileLines = 600
	maxFuncLines = 80
)

func TestSizes(t *testing.T) {
	for _, f := range load(t) {
		if f.test {
			continue
		}
		if n := fset.Position(f.ast.End()).Line; n > maxFileLines {
			t.Errorf("%s has %d lines, at most %d", f.path, n, maxFileLines)
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > maxFuncLines {
				t.Errorf("%s: %s has %d lines, at most %d", fset.Position(fn.Pos()), fn.Name.Name, n, maxFuncLines)
			}
		}
	}
}

// TestMainsAreThin: what a command does stands in a library.
func TestMainsAreThin(t *testing.T) {
	for _, f := range load(t) {
		if strings.HasPrefix(f.path, "cmd/") && !f.test {
			if n := fset.Position(f.ast.End()).Line; n > 60 {
				t.Errorf("%s has %d lines, at most 60", f.path, n)
			}
		}
	}
}

// TestNamesNoWorkplace: the repository names no machine, path or person it was
// built at.
func TestNamesNoWorkplace(t *testing.T) {
	bad := regexp.MustCompile(fmt.Sprintf(`(?i)(/%s/|/%s/|proxy\.golang\.org)`, "work", "farm"))
	for _, f := range load(t) {
		if f.path == "internal/lint/lint_test.go" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && bad.MatchString(l.Value) {
				t.Errorf("%s: %s", fset.Position(n.Pos()), l.Value)
			}
			return true
		})
	}
}
