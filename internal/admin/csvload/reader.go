package csvload

import (
	"bufio"
	"encoding/base64"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/meta/schema"
)

// KeyColumn is the name of the first column of exported files: without a key
// template, its field is the key.
const KeyColumn = "_key"

// cellHeader is the first line of the cell form.
var cellHeader = [...]string{"row", "family", "qualifier", "timestamp", "value"}

// Options say how a file is read. The zero value is valid for exported files.
type Options struct {
	// Key is the template of the wide form; "" means {_key}.
	Key string
	// Family is the default family; "": every column must have its own.
	Family string
	// Map says where columns go: name to family:qualifier; "" as target: the
	// column is left out.
	Map map[string]string
	// SkipEmpty makes no cell of an empty field.
	SkipEmpty bool
	// Cells: the file is in the cell form. Base64: keys, qualifiers and values
	// are in base64.
	Cells, Base64 bool
	// Comma is the separator of fields; 0 means ','. LazyQuotes takes quotes
	// that stand where they should not.
	Comma      rune
	LazyQuotes bool
}

// Cell is a cell to write.
type Cell struct {
	Family, Qualifier string
	Timestamp         int64 // microseconds; -1: none was given
	Value             string
}

// Row is what one line holds.
type Row struct {
	Line  int // where it begins, from 1
	Key   string
	Cells []Cell
}

// LineError says what is wrong with one line. Reading may go on.
type LineError struct {
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// Reader reads rows. It is used by one goroutine.
type Reader struct {
	o       Options
	csv     *csv.Reader
	columns []string
	key     *Template
	targets []target
}

// target is where a column goes.
type target struct{ family, qualifier string } // no family: nowhere

// NewReader reads the header of a file. Errors about it and the options wrap
// base.ErrInvalid.
func NewReader(r io.Reader, o Options) (*Reader, error) {
	if o.Comma == 0 {
		o.Comma = ','
	}
	br := bufio.NewReaderSize(r, 256<<10)
	if bom, err := br.Peek(3); err == nil && string(bom) == "\ufeff" {
		br.Discard(3) // what was peeked can be discarded
	}
	x := &Reader{o: o, csv: csv.NewReader(br)}
	x.csv.Comma, x.csv.LazyQuotes, x.csv.FieldsPerRecord = o.Comma, o.LazyQuotes, -1
	header, err := x.csv.Read()
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: the file is empty; want a line with the names of the columns", base.ErrInvalid)
	case err != nil:
		return nil, fmt.Errorf("%w: line with the names of the columns: %w", base.ErrInvalid, err)
	}
	x.columns = header
	if o.Cells {
		if !slices.Equal(header, cellHeader[:]) {
			return nil, fmt.Errorf("%w: the first line of a file of cells is %s", base.ErrInvalid, strings.Join(cellHeader[:], ","))
		}
		return x, nil
	}
	return x, x.wide()
}

// wide prepares the wide form.
func (x *Reader) wide() error {
	seen := map[string]bool{}
	for i, c := range x.columns {
		if seen[c] {
			return fmt.Errorf("%w: two columns are called %q", base.ErrInvalid, c)
		}
		if c == "" {
			return fmt.Errorf("%w: column %d has no name", base.ErrInvalid, i+1)
		}
		seen[c] = true
	}
	for c := range x.o.Map {
		if !seen[c] {
			return fmt.Errorf("%w: there is no column %q to map; there are %s", base.ErrInvalid, c, quoted(x.columns))
		}
	}
	key := x.o.Key
	if key == "" {
		if !seen[KeyColumn] {
			return fmt.Errorf("%w: how is a row's key made? Give a template such as --key '{%s}#{line}'", base.ErrInvalid, x.columns[0])
		}
		key = "{" + KeyColumn + "}"
	}
	var err error
	if x.key, err = ParseTemplate(key, x.columns); err != nil {
		return err
	}
	x.targets = make([]target, len(x.columns))
	for i, c := range x.columns {
		if x.targets[i], err = x.target(c); err != nil {
			return err
		}
	}
	return nil
}

// target returns where the column goes.
func (x *Reader) target(name string) (target, error) {
	to, mapped := x.o.Map[name]
	family, qualifier, ok := strings.Cut(to, ":")
	switch {
	case mapped && to == "", !mapped && name == KeyColumn:
		return target{}, nil
	case mapped && !ok:
		return target{}, fmt.Errorf("%w: column %q goes to %q; want family:qualifier", base.ErrInvalid, name, to)
	case !mapped:
		family, qualifier, ok = strings.Cut(name, ":")
		if !ok || schema.CheckFamilyName(family) != nil {
			family, qualifier = x.o.Family, name
		}
	}
	if family == "" {
		return target{}, fmt.Errorf("%w: to which family does column %q go? Give --family, or --map '%s=family:qualifier'", base.ErrInvalid, name, name)
	}
	if err := schema.CheckFamilyName(family); err != nil {
		return target{}, fmt.Errorf("column %q: %w", name, err)
	}
	return target{family, qualifier}, nil
}

// Families returns the families that rows of the wide form go to.
func (x *Reader) Families() []string {
	var list []string
	for _, t := range x.targets {
		if t.family != "" && !slices.Contains(list, t.family) {
			list = append(list, t.family)
		}
	}
	return list
}

// Offset returns how many bytes of the file were read.
func (x *Reader) Offset() int64 { return x.csv.InputOffset() }

// Next returns the next row; its error is io.EOF at the end, a *LineError for a
// line that is skipped, and else that of the file.
func (x *Reader) Next() (Row, error) {
	record, err := x.csv.Read()
	var parse *csv.ParseError
	switch {
	case errors.As(err, &parse):
		return Row{}, &LineError{parse.StartLine, parse.Err}
	case err != nil:
		return Row{}, err
	}
	line, _ := x.csv.FieldPos(0)
	row, err := x.row(record, line)
	if err != nil {
		return Row{}, &LineError{line, err}
	}
	return row, nil
}

func (x *Reader) row(record []string, line int) (Row, error) {
	if len(record) != len(x.columns) {
		return Row{}, fmt.Errorf("%d fields, want %d", len(record), len(x.columns))
	}
	row := Row{Line: line}
	if x.o.Cells {
		return x.cell(row, record)
	}
	if x.o.Base64 {
		for i, f := range record {
			b, err := base64.StdEncoding.DecodeString(f)
			if err != nil {
				return Row{}, fmt.Errorf("column %q is not in base64", x.columns[i])
			}
			record[i] = string(b)
		}
	}
	row.Key = x.key.Key(record, line)
	for i, v := range record {
		if t := x.targets[i]; t.family != "" && (v != "" || !x.o.SkipEmpty) {
			row.Cells = append(row.Cells, Cell{Family: t.family, Qualifier: t.qualifier, Timestamp: -1, Value: v})
		}
	}
	if len(row.Cells) == 0 {
		return Row{}, errors.New("all its fields are empty")
	}
	return row, checkKey(row.Key)
}

// cell reads a line of the cell form.
func (x *Reader) cell(row Row, record []string) (Row, error) {
	if x.o.Base64 {
		for _, i := range []int{0, 2, 4} {
			b, err := base64.StdEncoding.DecodeString(record[i])
			if err != nil {
				return Row{}, fmt.Errorf("its %s is not in base64", cellHeader[i])
			}
			record[i] = string(b)
		}
	}
	ts, err := strconv.ParseInt(record[3], 10, 64)
	if err != nil || ts < 0 {
		return Row{}, fmt.Errorf("timestamp %q is no number of microseconds", record[3])
	}
	if err := schema.CheckFamilyName(record[1]); err != nil {
		return Row{}, err
	}
	row.Key = record[0]
	row.Cells = []Cell{{Family: record[1], Qualifier: record[2], Timestamp: ts, Value: record[4]}}
	return row, checkKey(row.Key)
}

func checkKey(key string) error {
	switch n := len(key); {
	case n == 0:
		return errors.New("its key is empty")
	case n > schema.MaxRowKey:
		return fmt.Errorf("its key has %d bytes; at most %d", n, schema.MaxRowKey)
	}
	return nil
}
