package load

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Data is the rows that a load works on.
type Data struct {
	Keys Keys
	// ValueBytes is the size of values, at least MinValue.
	ValueBytes int
	// Verify checks what is read: that values are what was written to their
	// rows, and not older than what was acknowledged before.
	Verify bool

	rows     int64     // at the beginning; loads may insert more
	versions *Versions // nil: not verified
}

// MaxRows is how many rows there can be, MaxVerified how many if what was
// acknowledged is remembered.
const (
	MaxRows     = 1 << 31
	MaxVerified = 1 << 26
)

// NewData returns the data of that many rows.
func NewData(rows int64, valueBytes int, hashed, verify bool) (*Data, error) {
	d := &Data{Keys: Keys{Hashed: hashed}, ValueBytes: valueBytes, Verify: verify, rows: rows}
	switch {
	case rows < 1 || rows > d.maxRows():
		return nil, fmt.Errorf("%d rows: want 1 to %d", rows, d.maxRows())
	case valueBytes < MinValue:
		return nil, fmt.Errorf("values of %d bytes: want at least %d", valueBytes, MinValue)
	}
	if verify {
		d.versions = &Versions{}
	}
	return d, nil
}

func (d *Data) maxRows() int64 {
	if d.Verify {
		return MaxVerified
	}
	return MaxRows
}

// next fills dst with the next value of a row and returns its version. Two
// writes of a row may have the same version if nothing is verified; then they
// have the same value, too.
func (d *Data) next(row int64, dst []byte) (version int64) {
	if d.versions == nil {
		version = time.Now().UnixMilli()
	} else {
		version = d.versions.Next(row)
	}
	FillValue(dst, row, version)
	return version
}

// ack notes that a write was acknowledged.
func (d *Data) ack(row, version int64) {
	if d.versions != nil {
		d.versions.Ack(row, version)
	}
}

func (d *Data) write(ctx context.Context, w *Worker, row int64) error {
	if w.value == nil {
		w.value = make([]byte, d.ValueBytes)
	}
	version := d.next(row, w.value)
	if err := w.Table.Write(ctx, d.Keys.Key(row), version, w.value); err != nil {
		return err
	}
	d.ack(row, version)
	w.Moved(1, int64(d.ValueBytes))
	return nil
}

func (d *Data) read(ctx context.Context, w *Worker, row int64) error {
	floor := int64(0)
	if d.versions != nil {
		floor = d.versions.Floor(row)
	}
	value, err := w.Table.Read(ctx, d.Keys.Key(row))
	if err != nil {
		return err
	}
	w.Moved(1, int64(len(value)))
	return d.check(value, row, floor)
}

func (d *Data) check(value []byte, row, floor int64) error {
	if !d.Verify {
		return nil
	}
	got, err := CheckValue(value, row, d.ValueBytes)
	if err != nil {
		return err
	}
	return d.versions.Check(row, floor, got)
}

// scan reads limit rows, or all, from a row on.
func (d *Data) scan(ctx context.Context, w *Worker, first, limit int64) error {
	var wrong error
	last, rows, stopped := "", int64(0), false
	start := ""
	if first > 0 || d.Keys.Hashed {
		start = d.Keys.Key(first)
	}
	err := w.Table.Scan(ctx, start, limit, func(key string, value []byte) bool {
		w.Moved(1, int64(len(value)))
		rows++
		if d.Verify {
			wrong = d.checkScanned(start, last, key, value)
			last = key
		}
		stopped = w.Stopping()
		return wrong == nil && !stopped
	})
	if err != nil || wrong != nil {
		return errors.Join(err, wrong)
	}
	if rows == 0 {
		return fmt.Errorf("%w: a scan from %q found nothing", ErrMissing, start)
	}
	if want := d.rows - first; d.Verify && !d.Keys.Hashed && !stopped && rows < min(want, limitOr(limit, want)) {
		return fmt.Errorf("%w: a scan from %q found %d rows of %d", ErrMissing, start, rows, want)
	}
	return nil
}

func limitOr(limit, all int64) int64 {
	if limit == 0 {
		return all
	}
	return limit
}

// checkScanned checks a row of a scan. The newest version that was acknowledged
// is not known as of when the server read the row; so versions are not checked.
func (d *Data) checkScanned(start, last, key string, value []byte) error {
	if key < start || (last != "" && key <= last) {
		return fmt.Errorf("%w: a scan from %q returns %q after %q", ErrWrong, start, key, last)
	}
	row, ok := d.Keys.Number(key)
	if !ok {
		return fmt.Errorf("%w: nobody wrote a row with the key %q", ErrWrong, key)
	}
	_, err := CheckValue(value, row, d.ValueBytes)
	return err
}

// NewWrite returns a load of single writes, of each row once before any again.
func NewWrite(d *Data, sequential bool) Load {
	return &write{d: d, order: newOrder(d.rows, sequential)}
}

type write struct {
	d     *Data
	order *order
}

func (l *write) Do(ctx context.Context, w *Worker) (Kind, error) {
	return KindWrite, l.d.write(ctx, w, l.order.at(l.order.take(1)))
}

// NewRead returns a load of single reads of rows drawn evenly.
func NewRead(d *Data) Load { return &read{d} }

type read struct{ d *Data }

func (l *read) Do(ctx context.Context, w *Worker) (Kind, error) {
	return KindRead, l.d.read(ctx, w, w.Rand.Int64N(l.d.rows))
}

// NewScan returns a load of scans of limit rows from rows drawn evenly; 0 are
// scans of the whole table.
func NewScan(d *Data, limit int64) Load { return &scan{d: d, limit: limit} }

type scan struct {
	d     *Data
	limit int64
}

func (l *scan) Do(ctx context.Context, w *Worker) (Kind, error) {
	first := int64(0)
	if l.limit > 0 {
		first = w.Rand.Int64N(max(1, l.d.rows-l.limit+1))
	}
	return KindScan, l.d.scan(ctx, w, first, l.limit)
}
