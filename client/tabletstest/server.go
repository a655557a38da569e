package tabletstest

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rowset"
	"github.com/tabletdb/tabletdb/lockservice"
	"github.com/tabletdb/tabletdb/meta"
)

// Op is one request as a fault sees it.
type Op struct {
	Method string // of route.Server
	Tablet base.TabletID
	Row    string // of single-row calls
}

// Fault decides what becomes of a request. Before it is executed: an error is
// the answer. After is called when it was executed: an error takes the place
// of the answer, as when a reply is lost. Either may be nil.
type Fault struct {
	Before, After func(Op) error
	// Frame is called before each frame of a scan but the first; an error
	// ends the scan there.
	Frame func(Op) error
}

// Server is a tablet server. It implements route.Server.
type Server struct {
	Addr string

	cluster     *Cluster
	incarnation base.Incarnation
	grpc        *grpc.Server
	done        sync.WaitGroup

	mu struct {
		sync.Mutex
		tablets map[base.TabletID]*tablet
		fault   Fault
		calls   map[string]int
		// rowsPerFrame of scans; 0 means 100. cellsPerFrame, if positive,
		// cuts rows.
		rowsPerFrame, cellsPerFrame int
	}
}

var _ route.Server = (*Server)(nil)

// tablet is one that the server serves.
type tablet struct {
	meta.Tablet
	store *store
}

// SetFault installs a fault; the zero Fault removes it.
func (s *Server) SetFault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.fault = f
}

// SetFrames sets how many rows, and how many cells, a frame of a scan holds.
func (s *Server) SetFrames(rows, cells int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.rowsPerFrame, s.mu.cellsPerFrame = rows, cells
}

// Calls returns how often the method was called since the last time.
func (s *Server) Calls(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.mu.calls[method]
	delete(s.mu.calls, method)
	return n
}

// Forget makes the server stop serving a tablet; the record stays.
func (s *Server) Forget(id base.TabletID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.tablets, id)
}

// learn makes the server serve a tablet.
func (s *Server) learn(tb meta.Tablet) {
	t := &tablet{tb, s.cluster.store(tb.Table)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.tablets[tb.ID] = t
}

// Stop ends the process: nothing listens at the address, connections break.
// The records of its tablets stay.
func (s *Server) Stop() {
	c := s.cluster
	c.mu.Lock()
	delete(c.mu.servers, s.Addr)
	c.mu.Unlock()
	s.mu.Lock()
	clear(s.mu.tablets)
	s.mu.Unlock()
	c.Net.Crash(s.Addr)
	s.grpc.Stop()
	s.done.Wait()
	_, _ = c.LS.Txn(c.ctx(), lockservice.Txn{Then: []lockservice.Op{lockservice.Delete(s.key())}}) // at worst it stays
}

// begin counts a request and finds its tablet.
func (s *Server) begin(op Op, t route.Target) (*tablet, Fault, error) {
	s.mu.Lock()
	if s.mu.calls == nil {
		s.mu.calls = map[string]int{}
	}
	s.mu.calls[op.Method]++
	f, tb := s.mu.fault, s.mu.tablets[t.Tablet]
	s.mu.Unlock()
	if f.Before != nil {
		if err := f.Before(op); err != nil {
			return nil, f, err
		}
	}
	if tb == nil || tb.Epoch != t.Epoch {
		return nil, f, fmt.Errorf("%w: tablet %d, epoch %d, at %s", base.ErrNotServing, t.Tablet, t.Epoch, s.Addr)
	}
	return tb, f, nil
}

func (f Fault) after(op Op) error {
	if f.After == nil {
		return nil
	}
	return f.After(op)
}

// check refuses rows outside of the tablet.
func (t *tablet) check(row []byte) error {
	if !t.Contains(row) {
		return fmt.Errorf("%w: row %q, tablet %d", base.ErrWrongTablet, row, t.ID)
	}
	return nil
}

// MutateRow implements route.Server.
func (s *Server) MutateRow(_ context.Context, t route.Target, req []byte) error {
	m, err := parseMutateRow(req)
	if err != nil {
		return err
	}
	op := Op{"MutateRow", t.Tablet, string(m.RowKey)}
	tb, f, err := s.begin(op, t)
	if err != nil {
		return err
	}
	if err := tb.check(m.RowKey); err != nil {
		return err
	}
	parsed, err := mutation.ParseMutateRow(req)
	if err != nil {
		return err
	}
	if err := tb.store.mutate(m.RowKey, m.Mutations, parsed.Once); err != nil {
		return err
	}
	return f.after(op)
}

// MutateRows implements route.Server.
func (s *Server) MutateRows(_ context.Context, t route.Target, entries [][]byte) ([]error, error) {
	op := Op{Method: "MutateRows", Tablet: t.Tablet}
	tb, f, err := s.begin(op, t)
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(entries))
	failed := false
	for i, raw := range entries {
		m, err := parseEntry(raw)
		if err == nil {
			err = tb.check(m.RowKey)
		}
		var parsed mutation.Entry
		if err == nil {
			err = mutation.ParseEntry(raw, &parsed)
		}
		if err == nil {
			err = tb.store.mutate(m.RowKey, m.Mutations, parsed.Once)
		}
		if errs[i] = err; err != nil {
			failed = true
		}
	}
	if err := f.after(op); err != nil {
		return nil, err
	}
	if !failed {
		return nil, nil
	}
	return errs, nil
}

// DropRows implements route.Server.
func (s *Server) DropRows(_ context.Context, t route.Target, req []byte) error {
	g, _, err := route.ParseDrop(req)
	if err != nil {
		return err
	}
	op := Op{"DropRows", t.Tablet, string(g.Start)}
	tb, f, err := s.begin(op, t)
	if err != nil {
		return err
	}
	tb.store.drop(rowset.Of(g).Intersect(rowset.Range{Start: tb.Start, End: tb.End}))
	return f.after(op)
}

// CheckAndMutateRow implements route.Server. The predicate may be absent, or
// pass or block all.
func (s *Server) CheckAndMutateRow(_ context.Context, t route.Target, req []byte) (bool, error) {
	m, err := parseCheck(req)
	if err != nil {
		return false, err
	}
	op := Op{"CheckAndMutateRow", t.Tablet, string(m.RowKey)}
	tb, f, err := s.begin(op, t)
	if err != nil {
		return false, err
	}
	if err := tb.check(m.RowKey); err != nil {
		return false, err
	}
	parsed, err := mutation.ParseCheckAndMutateRow(req)
	if err != nil {
		return false, err
	}
	matched, err := once(tb.store, m.RowKey, parsed.Once, func() (bool, error) { return tb.store.checkAndMutateLocked(m) })
	if err != nil {
		return false, err
	}
	return matched, f.after(op)
}

// ReadModifyWriteRow implements route.Server.
func (s *Server) ReadModifyWriteRow(_ context.Context, t route.Target, req []byte) ([]byte, error) {
	m, err := parseModify(req)
	if err != nil {
		return nil, err
	}
	op := Op{"ReadModifyWriteRow", t.Tablet, string(m.RowKey)}
	tb, f, err := s.begin(op, t)
	if err != nil {
		return nil, err
	}
	if err := tb.check(m.RowKey); err != nil {
		return nil, err
	}
	parsed, err := mutation.ParseReadModifyWriteRow(req)
	if err != nil {
		return nil, err
	}
	resp, err := once(tb.store, m.RowKey, parsed.Once, func() ([]byte, error) { return tb.store.modifyLocked(m) })
	if err != nil {
		return nil, err
	}
	return resp, f.after(op)
}

// SampleRowKeys implements route.Server.
func (s *Server) SampleRowKeys(_ context.Context, t route.Target) ([]route.Sample, error) {
	op := Op{Method: "SampleRowKeys", Tablet: t.Tablet}
	tb, f, err := s.begin(op, t)
	if err != nil {
		return nil, err
	}
	size := int64(0)
	for _, r := range tb.store.rows(tb.Start, tb.End) {
		size += int64(r.size())
	}
	return []route.Sample{{Key: tb.End, Offset: size}}, f.after(op)
}

// ReadRows implements route.Server.
func (s *Server) ReadRows(ctx context.Context, t route.Target, sc route.Scan, req []byte, send func(mem.Buffer, route.FrameInfo) error) error {
	m, set, err := parseRead(req)
	if err != nil {
		return err
	}
	op := Op{Method: "ReadRows", Tablet: t.Tablet}
	tb, f, err := s.begin(op, t)
	if err != nil {
		return err
	}
	s.mu.Lock()
	w := &frameWriter{op: op, fault: f, send: send, rowsPerFrame: s.mu.rowsPerFrame, cellsPerFrame: s.mu.cellsPerFrame}
	s.mu.Unlock()
	rows := tb.store.rows(tb.Start, tb.End)
	if m.Reversed {
		rows = reversed(rows)
	}
	limit := m.RowsLimit
	if sc.Limit > 0 {
		limit = sc.Limit
	}
	for _, r := range rows {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !set.Contains([]byte(r.key)) || beyond(sc, m.Reversed, r.key) {
			continue
		}
		if err := w.row(r); err != nil {
			return err
		}
		if w.total++; limit > 0 && w.total >= limit {
			break
		}
	}
	if m.RequestStatsView == fullStats {
		w.stats(int64(len(rows)))
	}
	if err := w.flush(false); err != nil {
		return err
	}
	return f.after(op)
}

// beyond reports whether the row is one that the caller has.
func beyond(sc route.Scan, reversed bool, row string) bool {
	if !sc.HasAfter {
		return false
	}
	if reversed {
		return row >= string(sc.After)
	}
	return row <= string(sc.After)
}
