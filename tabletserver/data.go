package tabletserver

import (
	"context"
	"errors"
	"fmt"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/tabletdb/tabletdb/internal/base"
	"github.com/tabletdb/tabletdb/internal/heatmap"
	"github.com/tabletdb/tabletdb/internal/mutation"
	"github.com/tabletdb/tabletdb/internal/route"
	"github.com/tabletdb/tabletdb/internal/rowfilter"
	"github.com/tabletdb/tabletdb/internal/rowset"
	"github.com/tabletdb/tabletdb/tabletserver/commitlog"
	"github.com/tabletdb/tabletdb/tabletserver/tablet"
)

var _ route.Server = (*Server)(nil)

// serving returns the tablet that a request is for.
func (s *Server) serving(g route.Target) (*tablet.Tablet, error) {
	s.requests.Add(1)
	t, ok := s.tablet(g.Tablet)
	switch {
	case !ok:
		return nil, fmt.Errorf("tablet %d is not here: %w", g.Tablet, base.ErrNotServing)
	case t.Epoch() != g.Epoch:
		return nil, fmt.Errorf("tablet %d is here at epoch %d, not %d: %w", g.Tablet, t.Epoch(), g.Epoch, base.ErrNotServing)
	case t.State() != tablet.Serving:
		if err := t.Damage(); err != nil {
			return nil, fmt.Errorf("tablet %d cannot be loaded: %w", g.Tablet, err)
		}
		return nil, fmt.Errorf("tablet %d is %v: %w", g.Tablet, t.State(), base.ErrNotServing)
	}
	return t, nil
}

// MutateRow implements route.Server.
func (s *Server) MutateRow(ctx context.Context, g route.Target, req []byte) error {
	t, err := s.serving(g)
	if err != nil {
		return err
	}
	r, err := mutation.ParseMutateRow(req)
	if err != nil {
		return err
	}
	if err := tablet.CheckStart(r.Idempotency.StartMicros); err != nil {
		return err
	}
	t.Counters.Writes.Add(1)
	s.note(t, heatmap.Write, r.Row)
	return t.Apply(ctx, r.Row, r.Mutations, &r.Once)
}

// MutateRows implements route.Server. All entries are appended before the
// first is waited for.
func (s *Server) MutateRows(ctx context.Context, g route.Target, entries [][]byte) ([]error, error) {
	t, err := s.serving(g)
	if err != nil {
		return nil, err
	}
	var errs []error
	fail := func(i int, err error) {
		if errs == nil {
			errs = make([]error, len(entries))
		}
		errs[i] = err
	}
	type group struct {
		batch *commitlog.Batch
		from  int // first entry that may be in it
	}
	var groups []group
	var e mutation.Entry
	for i, raw := range entries {
		err := mutation.ParseEntry(raw, &e)
		if err == nil {
			err = tablet.CheckStart(e.Idempotency.StartMicros)
		}
		if err != nil {
			fail(i, err)
			continue
		}
		s.note(t, heatmap.Write, e.Row)
		batch, err := t.Append(ctx, e.Row, e.Mutations, &e.Once)
		if err != nil {
			fail(i, err)
			continue
		}
		if batch != nil && (len(groups) == 0 || groups[len(groups)-1].batch != batch) {
			groups = append(groups, group{batch, i})
		}
	}
	t.Counters.Writes.Add(int64(len(entries)))
	for k, gr := range groups {
		err := tablet.Await(ctx, gr.batch)
		if err == nil {
			continue
		}
		end := len(entries)
		if k+1 < len(groups) {
			end = groups[k+1].from
		}
		for i := gr.from; i < end; i++ {
			if errs == nil || errs[i] == nil {
				fail(i, err)
			}
		}
	}
	return errs, nil
}

// CheckAndMutateRow implements route.Server.
func (s *Server) CheckAndMutateRow(ctx context.Context, g route.Target, req []byte) (bool, error) {
	t, err := s.serving(g)
	if err != nil {
		return false, err
	}
	r, err := mutation.ParseCheckAndMutateRow(req)
	if err != nil {
		return false, err
	}
	var p *rowfilter.Program
	if r.Predicate != nil {
		if p, err = rowfilter.CompileBytes(r.Predicate, rowfilter.Options{}); err != nil {
			return false, err
		}
	}
	t.Counters.Reads.Add(1)
	t.Counters.Writes.Add(1)
	s.noteBoth(t, r.Row)
	return t.CheckAndMutate(ctx, &r, p)
}

// ReadModifyWriteRow implements route.Server.
func (s *Server) ReadModifyWriteRow(ctx context.Context, g route.Target, req []byte) ([]byte, error) {
	t, err := s.serving(g)
	if err != nil {
		return nil, err
	}
	r, err := mutation.ParseReadModifyWriteRow(req)
	if err != nil {
		return nil, err
	}
	t.Counters.Reads.Add(1)
	t.Counters.Writes.Add(1)
	s.noteBoth(t, r.Row)
	row, err := t.ReadModifyWrite(ctx, &r)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(&bigtablepb.ReadModifyWriteRowResponse{Row: row})
}

// DropRows implements route.Server.
func (s *Server) DropRows(ctx context.Context, g route.Target, req []byte) error {
	t, err := s.serving(g)
	if err != nil {
		return err
	}
	rows, once, err := route.ParseDrop(req)
	if err != nil {
		return err
	}
	t.Counters.Writes.Add(1)
	return t.Drop(ctx, rows, &once)
}

// ReadRows implements route.Server.
func (s *Server) ReadRows(ctx context.Context, g route.Target, sc route.Scan, req []byte, send func(mem.Buffer, route.FrameInfo) error) error {
	t, err := s.serving(g)
	if err != nil {
		return err
	}
	r := &bigtablepb.ReadRowsRequest{}
	if err := proto.Unmarshal(req, r); err != nil {
		return fmt.Errorf("%w: malformed ReadRowsRequest: %v", base.ErrInvalid, err)
	}
	read, err := readOf(r, sc)
	if err != nil {
		return err
	}
	note := s.readNoter(t, read.Rows)
	k := newSink(ctx, s.memory.frames, send, note)
	defer k.close()
	st, err := t.Scan(ctx, read, k)
	t.Counters.Reads.Add(max(st.RowsSeen, 1))
	if rows := read.Rows.Ranges(); st.RowsReturned == 0 && len(rows) > 0 { // it looked there all the same
		note(rows[0].Start)
	}
	t.Counters.ReadBytes.Add(k.bytes)
	if err != nil {
		// What is complete goes out, so that the caller resumes behind it.
		if !errors.Is(err, errSend) {
			k.enc.AbortRow()
			if ferr := k.finish(nil); ferr != nil {
				return ferr
			}
		}
		return err
	}
	var stats *bigtablepb.RequestStats
	if r.RequestStatsView == bigtablepb.ReadRowsRequest_REQUEST_STATS_FULL {
		stats = statsOf(st)
	}
	return k.finish(stats)
}

// readOf returns what a request asks of one tablet.
func readOf(r *bigtablepb.ReadRowsRequest, sc route.Scan) (tablet.Read, error) {
	rows, err := rowset.FromProto(r.Rows)
	if err != nil {
		return tablet.Read{}, err
	}
	if sc.HasAfter && r.Reversed {
		rows = rows.Before(sc.After)
	} else if sc.HasAfter {
		rows = rows.After(sc.After)
	}
	read := tablet.Read{Rows: rows, Reversed: r.Reversed, Limit: r.RowsLimit}
	if r.RowsLimit < 0 {
		return read, fmt.Errorf("%w: rows_limit %d; it must not be negative", base.ErrInvalid, r.RowsLimit)
	}
	if sc.Limit > 0 {
		read.Limit = sc.Limit
	}
	if r.Filter != nil {
		if read.Filter, err = rowfilter.Compile(r.Filter, rowfilter.Options{}); err != nil {
			return read, err
		}
	}
	return read, nil
}

// SampleRowKeys implements route.Server.
func (s *Server) SampleRowKeys(ctx context.Context, g route.Target) ([]route.Sample, error) {
	t, err := s.serving(g)
	if err != nil {
		return nil, err
	}
	samples, err := t.Sample(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]route.Sample, len(samples))
	for i, x := range samples {
		out[i] = route.Sample{Key: x.Row, Offset: x.Offset}
	}
	return out, nil
}
