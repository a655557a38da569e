package csvload

import (
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/tabletdb/tabletdb/internal/base"
)

// Column names a column of the wide form.
type Column struct{ Family, Qualifier string }

// Writer writes rows so that a Reader with the same Cells and Base64 reads them
// back. It is used by one goroutine. Flush it.
type Writer struct {
	csv     *csv.Writer
	columns map[Column]int // of the wide form: index of the field
	base64  bool
	record  []string
}

// NewWriter returns a Writer of the wide form and writes the header. In this
// form an empty value cannot be told from none.
func NewWriter(w io.Writer, columns []Column, inBase64 bool) (*Writer, error) {
	x := &Writer{csv: csv.NewWriter(w), columns: map[Column]int{}, base64: inBase64}
	header := []string{KeyColumn}
	for i, c := range columns {
		if err := x.check(c.Qualifier); err != nil {
			return nil, fmt.Errorf("column %s:%s: %w", c.Family, strconv.Quote(c.Qualifier), err)
		}
		x.columns[c] = i + 1
		header = append(header, c.Family+":"+c.Qualifier)
	}
	x.record = make([]string, len(header))
	return x, x.csv.Write(header)
}

// NewCellWriter returns a Writer of the cell form and writes the header.
func NewCellWriter(w io.Writer, inBase64 bool) (*Writer, error) {
	x := &Writer{csv: csv.NewWriter(w), base64: inBase64, record: make([]string, len(cellHeader))}
	return x, x.csv.Write(cellHeader[:])
}

// check refuses what a CSV file does not give back: \r\n becomes \n.
func (x *Writer) check(s string) error {
	if strings.Contains(s, "\r") {
		return fmt.Errorf("%w: it holds a carriage return, which CSV does not keep; use --base64", base.ErrInvalid)
	}
	return nil
}

func (x *Writer) field(s string) (string, error) {
	if x.base64 {
		return base64.StdEncoding.EncodeToString([]byte(s)), nil
	}
	return s, x.check(s)
}

// Write writes a row. In the wide form the first cell of each column counts,
// and every column must be one of the header.
func (x *Writer) Write(r Row) error {
	if x.columns == nil {
		for _, c := range r.Cells {
			if err := x.writeCell(r.Key, c); err != nil {
				return fmt.Errorf("row %q: %w", r.Key, err)
			}
		}
		return nil
	}
	clear(x.record)
	done := map[int]bool{}
	err := x.set(0, r.Key)
	for _, c := range r.Cells {
		i, ok := x.columns[Column{c.Family, c.Qualifier}]
		if !ok {
			return fmt.Errorf("%w: row %q has a column %s:%s that was not there before: the table changes", base.ErrAborted, r.Key, c.Family, strconv.Quote(c.Qualifier))
		}
		if !done[i] && err == nil {
			done[i], err = true, x.set(i, c.Value)
		}
	}
	if err != nil {
		return fmt.Errorf("row %q: %w", r.Key, err)
	}
	return x.csv.Write(x.record)
}

func (x *Writer) set(i int, s string) (err error) {
	x.record[i], err = x.field(s)
	return err
}

func (x *Writer) writeCell(key string, c Cell) error {
	x.record[1], x.record[3] = c.Family, strconv.FormatInt(c.Timestamp, 10)
	for i, s := range map[int]string{0: key, 2: c.Qualifier, 4: c.Value} {
		if err := x.set(i, s); err != nil {
			return err
		}
	}
	return x.csv.Write(x.record)
}

// Flush writes out what is buffered.
func (x *Writer) Flush() error {
	x.csv.Flush()
	return x.csv.Error()
}
