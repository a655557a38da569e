package tablet

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/tabletdb/tabletdb/internal/base"
)

const (
	// keptRows is of how many requests the rows are remembered.
	keptRows = 256
	// fewestRows is how many must be remembered for a decision, and minSide the
	// part of them, in percent, that either half of a split must get.
	fewestRows = keptRows / 2
	minSide    = 20
)

// hotRows remembers the rows of recent requests that it is told of. The zero
// value is ready. Its methods may be called concurrently.
type hotRows struct {
	mu struct {
		sync.Mutex
		rows [][]byte
		next int
	}
}

func (h *hotRows) note(row []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.mu.rows) < keptRows {
		h.mu.rows = append(h.mu.rows, bytes.Clone(row))
		return
	}
	h.mu.rows[h.mu.next] = append(h.mu.rows[h.mu.next][:0], row...)
	h.mu.next = (h.mu.next + 1) % keptRows
}

// rows returns what is remembered, in order.
func (h *hotRows) rows() [][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([][]byte, len(h.mu.rows))
	for i, r := range h.mu.rows {
		out[i] = bytes.Clone(r)
	}
	slices.SortFunc(out, bytes.Compare)
	return out
}

// Note remembers that a request was for row, for HotRow. It takes a lock: the
// caller tells of a sample of the requests, all with the same chance.
func (t *Tablet) Note(row []byte) { t.hot.note(row) }

// HotRow returns the row at which a split halves the requests that the tablet
// gets, as far as rows allow, and which part of them, in percent, the left half
// gets. base.ErrPrecondition: too few requests are known, or most are for one
// row, so that a split would not help.
func (t *Tablet) HotRow() (row []byte, left int, err error) {
	rows := t.hot.rows()
	n := len(rows)
	if n < fewestRows {
		return nil, 0, fmt.Errorf("%w: of tablet %d only %d requests are known; a split by load needs %d", base.ErrPrecondition, t.id, n, fewestRows)
	}
	row, left = halve(rows)
	if row == nil || left < minSide || left > 100-minSide || !t.contains(row) || bytes.Equal(row, t.start) {
		return nil, 0, fmt.Errorf("%w: no row divides the requests for tablet %d: most are for %q", base.ErrPrecondition, t.id, rows[n/2])
	}
	return row, left, nil
}

// halve returns the row among rows, which are sorted, that has closest to half
// of them before it, and how many, in percent; nil: all are the same.
func halve(rows [][]byte) (row []byte, percent int) {
	n, best := len(rows), -1
	for i := 1; i < n; i++ {
		if bytes.Equal(rows[i], rows[i-1]) {
			continue
		}
		if best < 0 || abs(2*i-n) < abs(2*best-n) {
			best = i
		}
	}
	if best < 0 {
		return nil, 0
	}
	return rows[best], best * 100 / n
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}
